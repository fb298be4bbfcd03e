"""The mechanisms by name: those of the catalogue, and those that a caller registers."""

from __future__ import annotations

import builtins
import difflib
from collections.abc import Callable
from typing import Any

from agentmem.attention.catalogue import CATALOGUE
from agentmem.attention.mechanism import Mechanism
from agentmem.errors import InvalidInput, UnknownMechanism

CUSTOM = "custom"
"""The form of a mechanism that is a function of the caller's."""

_mechanisms: dict[str, Mechanism] = {mechanism.name: mechanism for mechanism in CATALOGUE}
_custom: dict[str, Callable[..., Any]] = {}


def get(name: str) -> Mechanism:
    """Return the mechanism of that name.

    Raises:
        UnknownMechanism: there is none; the message names the nearest and lists all.
    """
    try:
        return _mechanisms[name]
    except (KeyError, TypeError):
        names = sorted(_mechanisms)
        near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.4)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ";"
        raise UnknownMechanism(f"no mechanism {name!r}{hint} There are: {', '.join(names)}") from None


def has(name: str) -> bool:
    """Return whether there is a mechanism of that name."""
    return name in _mechanisms


def list() -> builtins.list[str]:
    """Return all names, sorted."""
    return sorted(_mechanisms)


def categories() -> builtins.list[str]:
    """Return the families, sorted."""
    return sorted({mechanism.category for mechanism in _mechanisms.values()})


def by_category(category: str) -> builtins.list[Mechanism]:
    """Return the mechanisms of a family, sorted by name.

    Raises:
        InvalidInput: no such family; the message lists them.
    """
    if category not in categories():
        raise InvalidInput(f"no category {category!r}; there are {', '.join(categories())}")
    return [_mechanisms[name] for name in list() if _mechanisms[name].category == category]


def custom(name: str) -> Callable[..., Any] | None:
    """Return the function that carries out a mechanism of a caller's own, None for the others."""
    return _custom.get(name)


def register(mechanism: Mechanism, run: Callable[..., Any] | None = None) -> None:
    """Add a mechanism: another declaration over an existing form and its atoms, or a function of one's own.

    Args:
        mechanism: the declaration; its form is "custom" where ``run`` is given.
        run: plain Python: takes a ``Call``, everything in it checked against the declaration, and returns the output,
            or the output and the weights: (n_queries, n_keys), with n_heads in front or not.  Both are checked.

    Raises:
        InvalidInput: not a ``Mechanism``, its name is taken, its form does not exist, it lacks a parameter that its
            form reads, or it is "custom" without a function.
    """
    if not isinstance(mechanism, Mechanism):
        raise InvalidInput(f"expected a Mechanism, not {type(mechanism).__name__}")
    if mechanism.name in _mechanisms:
        raise InvalidInput(f"there is a mechanism {mechanism.name!r} already; choose another name")
    if (mechanism.form == CUSTOM) is not callable(run):
        raise InvalidInput(f"mechanism {mechanism.name!r}: form {CUSTOM!r} and run= (a function) come together")
    if run is not None:
        _custom[mechanism.name] = run
    else:
        _check_form(mechanism)
    _mechanisms[mechanism.name] = mechanism


def _check_form(mechanism: Mechanism) -> None:
    forms = sorted({each.form for each in CATALOGUE})
    if mechanism.form not in forms:
        raise InvalidInput(
            f"mechanism {mechanism.name!r}: form {mechanism.form!r}; expected one of {', '.join(forms)}, {CUSTOM}"
        )
    has = {parameter.name for parameter in mechanism.parameters}
    if missing := _form_parameters(mechanism.form) - has:
        raise InvalidInput(
            f"mechanism {mechanism.name!r}: form {mechanism.form!r} also reads {', '.join(sorted(missing))}"
        )


def _form_parameters(form: str) -> set[str]:
    """Return the parameters that every catalogued mechanism of that form declares."""
    sets = [{parameter.name for parameter in each.parameters} for each in CATALOGUE if each.form == form]
    return set.intersection(*sets)
