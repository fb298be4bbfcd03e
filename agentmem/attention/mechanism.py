"""What a mechanism is: a frozen declaration over atoms; the arithmetic that its ``form`` names lives in ``forms``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from agentmem.errors import InvalidInput

Value = int | float | bool | str | None
Init = Literal["identity", "normal", "zeros", "ones", "orthogonal"]


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
        whole: a number without a fraction, where the default is None and cannot tell.
        choices: the words allowed, for strings.
    """

    name: str
    default: Value
    meaning: str
    minimum: float = -math.inf
    maximum: float = math.inf
    positive: bool = False
    whole: bool = False
    choices: tuple[str, ...] = ()

    def check(self, value: Any, mechanism: str) -> Value:
        """Return ``value`` as this parameter's type.

        Raises:
            InvalidInput: another type, not finite, or out of range; the message says what is expected.
        """
        if value is None and self.default is None:
            return None
        kind: Any = (int if self.whole else float) if self.default is None else type(self.default)
        accepted = isinstance(value, (int, float) if kind is float else kind)
        if accepted and isinstance(value, bool) is (kind is bool):
            if isinstance(value, str):
                fits = not self.choices or value in self.choices
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
        if isinstance(self.default, str):
            return "a string"
        if isinstance(self.default, bool):
            return "True or False"
        words = "a whole number" if self.whole or isinstance(self.default, int) else "a finite number"
        if self.positive:
            words += " above 0"
        if self.minimum > -math.inf:
            words += f", at least {self.minimum:g}"
        if self.maximum < math.inf:
            words += f", at most {self.maximum:g}"
        return words + (", or None" if self.default is None else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """One learned array of a mechanism.

    Attributes:
        name: the key in ``weights``.
        shape: one symbol an axis: "dim" and "value_dim" (of query and value rows), "n_keys", a parameter's name, a
            number, sums and products of these ("2*distance+1"), or one of ``weights.FREE``, which the array itself
            decides.
        init: how ``AttentionWeights.init`` makes it.
        meaning: one line.
        required: there is no attention without it; where False, a missing array means the identity (or none).
    """

    name: str
    shape: tuple[str, ...]
    init: Init
    meaning: str
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanism:
    """One attention mechanism, declared.

    Attributes:
        name: the registry name.
        category: the family, as in the catalogue's modules.
        summary: one line.
        formula: the definition, in one line of plain text.
        form: which arithmetic carries it out: one of ``forms.FORMS``.
        score: atom: how a query and a key are compared.
        bias: atom: what is added to a score.
        support: atom: which keys a query may see.
        layout: atom: how heads share or mix queries, keys and values.
        normaliser: atom: what turns scores into weights.
        route: atom: how queries find experts.
        feature: atom: the feature map.
        parameters: what ``params`` may say.
        weights: the learned arrays that ``weights`` may hold.
        needs: inputs without which ``attend`` cannot run: "positions", "segment_ids", "edges", "context".
        takes: inputs that it uses where they are given.
        rerank_needs: inputs that ``score`` needs besides ``needs``: candidates have no order of their own.
        masks: whether ``mask`` may be any ("full"), only one over keys ("keys"), or is not taken ("none").
        sequence: in ``score`` the query is the last row of the candidates' sequence; else the candidates are the keys.
        can_reorder: whether its score can order candidates otherwise than the dot product does.
        why: the reason for ``can_reorder``.
        complexity: of one call, n queries and keys of length d.
        best_for: one line.
        paper: the defining source.
        reference_only: why no compiled path pays, measured; empty where there is one.
    """

    name: str
    category: str
    summary: str
    formula: str = ""
    form: str
    score: str = "dot"
    bias: str = ""
    support: str = ""
    layout: str = ""
    normaliser: str = "softmax"
    route: str = ""
    feature: str = ""
    parameters: tuple[Parameter, ...] = ()
    weights: tuple[Weight, ...] = ()
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    rerank_needs: tuple[str, ...] = ()
    masks: Literal["full", "keys", "none"] = "full"
    sequence: bool = False
    can_reorder: bool
    why: str
    complexity: str = "O(n² d)"
    best_for: str = ""
    paper: str
    reference_only: str = ""

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

    def inputs(self) -> tuple[str, ...]:
        """Return every input that it needs or takes besides query, key, value and mask."""
        return (*self.needs, *self.takes, *(("weights",) if self.weights else ()))
