"""The mechanisms by name: those of the catalogue, and those that a caller registers."""

from __future__ import annotations

import difflib

from agentmem.attention.catalogue import CATALOGUE
from agentmem.attention.mechanism import Mechanism
from agentmem.errors import InvalidInput, UnknownMechanism

_mechanisms: dict[str, Mechanism] = {mechanism.name: mechanism for mechanism in CATALOGUE}


def get_mechanism(name: str) -> Mechanism:
    """Return the mechanism of that name.

    Raises:
        UnknownMechanism: there is none; the message names the nearest and lists all.
    """
    try:
        return _mechanisms[name]
    except (KeyError, TypeError):
        names = mechanism_names()
        near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else ";"
        raise UnknownMechanism(f"no mechanism {name!r}{hint} There are: {', '.join(names)}") from None


def mechanism_names() -> list[str]:
    """Return all names, sorted."""
    return sorted(_mechanisms)


def mechanisms_by_category() -> dict[str, list[Mechanism]]:
    """Return the mechanisms of each category, both sorted by name."""
    categories: dict[str, list[Mechanism]] = {}
    for name in mechanism_names():
        categories.setdefault(_mechanisms[name].category, []).append(_mechanisms[name])
    return dict(sorted(categories.items()))


def register(mechanism: Mechanism) -> None:
    """Add a mechanism: another declaration over an existing form.

    Raises:
        InvalidInput: not a ``Mechanism``, its name is taken, or it lacks a parameter that its form reads.
    """
    if not isinstance(mechanism, Mechanism):
        raise InvalidInput(f"expected a Mechanism, not {type(mechanism).__name__}")
    if mechanism.name in _mechanisms:
        raise InvalidInput(f"there is a mechanism {mechanism.name!r} already; choose another name")
    has = {parameter.name for parameter in mechanism.parameters}
    if missing := _form_parameters(mechanism.form) - has:
        raise InvalidInput(
            f"mechanism {mechanism.name!r}: form {mechanism.form!r} also reads {', '.join(sorted(missing))}"
        )
    _mechanisms[mechanism.name] = mechanism


def _form_parameters(form: str) -> set[str]:
    """Return the parameters that every catalogued mechanism of that form declares."""
    sets = [{parameter.name for parameter in each.parameters} for each in CATALOGUE if each.form == form]
    return set.intersection(*sets)
