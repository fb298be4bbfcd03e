"""What a mechanism is: a frozen declaration; the arithmetic that its ``form`` names lives elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from agentmem.errors import InvalidInput

Value = int | float | bool | str | None
Form = Literal["softmax", "hyperbolic", "experts", "memory", "maxsim"]
FORMS: tuple[Form, ...] = ("softmax", "hyperbolic", "experts", "memory", "maxsim")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of a mechanism.

    Attributes:
        name: the key in ``params``.
        default: used where ``params`` does not say; its type decides what is accepted.
        meaning: one line, with units where there are any.
        minimum: the least value, for numbers.
        maximum: the greatest value, for numbers.
        positive: the value must be above zero.
        choices: the words allowed, for strings.
    """

    name: str
    default: Value
    meaning: str
    minimum: float = -math.inf
    maximum: float = math.inf
    positive: bool = False
    choices: tuple[str, ...] = ()

    def check(self, value: Any, mechanism: str) -> Value:
        """Return ``value`` as this parameter's type.

        Raises:
            InvalidInput: another type, not finite, or out of range; the message says what is expected.
        """
        if value is None and self.default is None:
            return None
        kind: Any = float if self.default is None else type(self.default)
        accepted = isinstance(value, (int, float) if kind is float else kind)
        if accepted and isinstance(value, bool) is (kind is bool):
            if isinstance(value, str):
                fits = value in self.choices
            else:
                number = float(value)
                fits = math.isfinite(number) and self.minimum <= number <= self.maximum
                fits = fits and (number > 0 or not self.positive)
            if fits:
                checked: Value = kind(value)
                return checked
        raise InvalidInput(f"{mechanism}: {self.name} must be {self.expected()}, not {value!r}")

    def expected(self) -> str:
        """Return the values accepted, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if isinstance(self.default, bool):
            return "True or False"
        words = "a whole number" if isinstance(self.default, int) else "a finite number"
        if self.positive:
            words += " above 0"
        if self.minimum > -math.inf:
            words += f", at least {self.minimum:g}"
        if self.maximum < math.inf:
            words += f", at most {self.maximum:g}"
        return words + (", or None" if self.default is None else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanism:
    """One attention mechanism, declared.

    Attributes:
        name: the registry name.
        category: the family, as in the catalogue's modules.
        summary: one line.
        form: which arithmetic carries it out: one of ``FORMS``.
        parameters: what ``params`` may say.
        needs: inputs besides query, key and value without which ``attend`` cannot run: "context".
        takes: inputs that it uses where they are given: "weights", "positions", "groups".
        can_reorder: whether its score can order candidates otherwise than the dot product does.
        why: the reason for ``can_reorder``.
        paper: the defining source.
    """

    name: str
    category: str
    summary: str
    form: Form
    parameters: tuple[Parameter, ...] = ()
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    can_reorder: bool
    why: str
    paper: str

    def __post_init__(self) -> None:
        """Refuse a form that nothing carries out."""
        if self.form not in FORMS:
            raise InvalidInput(f"mechanism {self.name!r}: form {self.form!r}; expected one of {', '.join(FORMS)}")

    def resolve(self, params: Mapping[str, object] | None) -> dict[str, Value]:
        """Return every parameter's value: those of ``params``, checked, and the defaults for the rest.

        Raises:
            InvalidInput: an unknown parameter, or a value out of range.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in params or ():
            if name not in known:
                raise InvalidInput(f"{self.name} has no parameter {name!r}; it has {', '.join(known) or 'none'}")
        given = dict(params or {})
        return {name: p.check(given[name], self.name) if name in given else p.default for name, p in known.items()}
