"""Rules as data: ``"seq_len > 8192 and not graph -> linear-attention"``, read by a small grammar of their own.

::

    rule       condition "->" mechanism
    condition  all of the terms between "and", any of those between "or"; "not" and brackets as in Python
    term       number compared (> >= < <= == !=) with a whole number or a decimal:   seq_len, batch_size
               flag:                                                                 hierarchical, graph, moe, default
               task == name, task != name

Nothing is evaluated but these: a rule may come from a file that nobody has checked.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from agentmem.errors import InvalidInput

TASKS = ("code-analysis", "memory-retrieval", "long-context", "swarm-coordination", "default")
NUMBERS = ("seq_len", "batch_size")
FLAGS = ("hierarchical", "graph", "moe")
ALIASES = {"seqLen": "seq_len", "sequence_length": "seq_len", "batchSize": "batch_size"}
DEEPEST = 20
"""Brackets and "not" inside one another at most."""

_TOKEN = re.compile(r"""\s*(?:(>=|<=|==|!=|>|<|\(|\))|(["']?)([A-Za-z0-9_.]+(?:-[A-Za-z0-9_]+)*)\2)""")
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


class Features(NamedTuple):
    """What a rule may look at.

    Attributes:
        seq_len: keys that a query sees at most.
        batch_size: calls of that size at a time.
        hierarchical: the rows form a hierarchy.
        graph: edges between rows are known.
        moe: different kinds of queries are to be treated differently.
        task: one of ``TASKS``.
    """

    seq_len: int
    batch_size: int = 1
    hierarchical: bool = False
    graph: bool = False
    moe: bool = False
    task: str = "default"


Condition = Callable[[Features], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; the first that holds decides.

    Attributes:
        condition: as it was written.
        mechanism: what it chooses.
        holds: the condition, compiled.
    """

    condition: str
    mechanism: str
    holds: Condition

    def __str__(self) -> str:
        return f"{self.condition} -> {self.mechanism}"


def parse_rule(text: str) -> Rule:
    """Read ``condition -> mechanism``.

    Raises:
        InvalidInput: it is not a rule; the message shows where it ends to be one.
    """
    if not isinstance(text, str) or text.count("->") != 1:
        raise InvalidInput(f'expected a rule such as "seq_len > 8192 -> linear-attention", came {str(text)[:80]!r}')
    condition, mechanism = (part.strip() for part in text.split("->"))
    if not condition or not mechanism:
        raise InvalidInput(f"rule {text!r}: expected a condition before -> and a mechanism behind it")
    return Rule(condition, mechanism, _Parser(condition).parse())


class _Parser:
    """Recursive descent over the tokens of one condition."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._split()
        self._at = 0
        self._depth = 0

    def _split(self) -> list[str]:
        tokens, at = [], 0
        while self._text[at:].strip():
            found = _TOKEN.match(self._text, at)
            if found is None:
                raise self._error(f"unexpected {self._text[at:].strip()[0]!r}")
            tokens.append(found[1] or found[3])
            at = found.end()
        return tokens

    def _error(self, what: str) -> InvalidInput:
        known = ", ".join((*NUMBERS, *FLAGS, "task", "default"))
        return InvalidInput(f"condition {self._text!r}: {what}; it may speak of {known}")

    def _next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._next()
        if not token:
            raise self._error("ends too early")
        self._at += 1
        return token

    def parse(self) -> Condition:
        """Return the whole condition."""
        condition = self._any()
        if self._next():
            raise self._error(f"unexpected {self._next()!r}")
        return condition

    def _any(self) -> Condition:
        terms = [self._all()]
        while self._next() == "or":
            self._at += 1
            terms.append(self._all())
        return terms[0] if len(terms) == 1 else lambda features: any(term(features) for term in terms)

    def _all(self) -> Condition:
        terms = [self._one()]
        while self._next() == "and":
            self._at += 1
            terms.append(self._one())
        return terms[0] if len(terms) == 1 else lambda features: all(term(features) for term in terms)

    def _one(self) -> Condition:
        token = self._take()
        if token in ("not", "("):
            return self._nested(token)
        name = ALIASES.get(token, token)
        if name == "default":
            return lambda features: True
        if name in FLAGS:
            return operator.attrgetter(name)
        if name in NUMBERS:
            return self._comparison(name, self._operator(name, _COMPARE), self._number())
        if name == "task":
            return self._comparison(name, self._operator(name, ("==", "!=")), self._task())
        raise self._error(f"unknown word {token!r}")

    def _nested(self, token: str) -> Condition:
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._error(f"more than {DEEPEST} brackets and negations inside one another")
        inner = self._one() if token == "not" else self._any()
        if token == "(" and self._take() != ")":
            raise self._error("expected )")
        self._depth -= 1
        return inner if token == "(" else lambda features: not inner(features)

    @staticmethod
    def _comparison(name: str, sign: str, value: object) -> Condition:
        get, compare = operator.attrgetter(name), _COMPARE[sign]
        return lambda features: compare(get(features), value)

    def _operator(self, name: str, allowed: Mapping[str, object] | tuple[str, ...]) -> str:
        sign = self._take()
        if sign not in allowed:
            raise self._error(f"expected one of {' '.join(allowed)} behind {name}, came {sign!r}")
        return sign

    def _number(self) -> float:
        word = self._take()
        if not re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,15})?", word):
            raise self._error(f"expected a number, came {word!r}")
        return float(word)

    def _task(self) -> str:
        word = self._take()
        if word not in TASKS:
            raise self._error(f"unknown task {word!r}, there are {', '.join(TASKS)}")
        return word
