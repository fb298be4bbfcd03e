r"""The filter language, compiled to SQL with bound values.

A filter is a mapping: ``{"topic": "life", "stars": {"$gte": 3}}`` matches records for which every entry holds.  Keys
are paths (``paths.field_of``): dotted into metadata (``a\.b`` is the key "a.b", ``\@x`` the key "@x"), or the record's
own fields ``@id @text @namespace @thread @session @speaker`` (strings) and ``@position @created_at @updated_at
@expires_at @importance`` (numbers; times in epoch seconds).

=====================================  =========================================================================
``{"x": value}``, ``$eq``              equal, and of the same JSON type
``$ne``, ``$nin``, ``$not``            exactly what ``$eq``, ``$in`` or the inner condition does not match
``$gt $gte $lt $lte``                  numbers with numbers, strings with strings (by code point); else no match
``$in``                                ``$eq`` with any element of the list; an empty list matches nothing
``$exists``                            true: the key is there, even if null; false: it is missing
``$contains``                          an array has an element that is ``$eq``; a string has this substring
``$match``                             an FTS5 query, Porter-stemmed; on ``@text`` only
``$and``, ``$or``, ``$not``            of a list of filters, of a list, of one filter
=====================================  =========================================================================

What happens with

=====================================  =========================================================================
a missing key                          only ``$exists: false`` and the negations ``$ne $nin $not`` match it
null                                   ``{"x": None}`` matches a JSON null, not a missing key; an own field that is
                                       not set counts as both null and missing
true versus 1                          distinct: booleans equal booleans only, and have no order
1 versus 1.0                           equal
mixed types                            never equal, never ordered: ``{"$gt": 3}`` does not match "4", but
                                       ``{"$not": {"$gt": 3}}`` does
integers beyond 64 bits                in a filter refused (InvalidFilter); in metadata compared as the nearest float
arrays and objects                     ``$eq`` compares them whole, as canonical JSON: order of keys does not matter,
                                       order of elements does, and within them 1 and 1.0 differ
paths through arrays                   lead nowhere (missing); use ``$contains``
paths of more than 101 keys            refused (InvalidFilter), as are those through more than 4 keys that are empty
                                       or hold a quote, a backslash or a control character
U+0000 in strings                      equal only to itself; in the order of metadata it stands where U+FDD0 does
=====================================  =========================================================================
"""

from __future__ import annotations

import math
import sqlite3
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from agentmem.errors import InvalidFilter
from agentmem.storage.jsontext import dump, protect
from agentmem.storage.paths import Field, field_of
from agentmem.storage.schema import scope_token
from agentmem.validation import came, shown

MAX_DEPTH = 32
MAX_VALUES = 30_000
"""SQLite binds at most 32,766 values in a statement; the list of an ``$in`` counts as one."""

Sql = tuple[str, tuple[Any, ...]]
"""A condition and the values that it binds."""

_NUMBERS = "('integer', 'real')"
_ORDER = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_FALSE: Sql = ("0", ())
_TRUE: Sql = ("1", ())


def compile_filter(filter: Mapping[str, Any] | None, namespace: str | None = None) -> Sql:
    """Return the condition over ``records`` that a filter stands for; None and {} match everything.

    Args:
        filter: see above.
        namespace: where the caller searches; the condition leaves checking it to ``namespace_condition``, but a
            full-text query reads only the postings of that namespace.

    Raises:
        InvalidFilter: unknown operator or own field, an operand that the operator cannot take, or nesting beyond 32.
    """
    if filter is None:
        return _TRUE
    everywhere = namespace is None or namespace.endswith("/")
    condition = _filter(filter, 1, "" if everywhere else scope_token(namespace or ""))
    if len(condition[1]) > MAX_VALUES:
        raise InvalidFilter(f"the filter binds {len(condition[1])} values, at most {MAX_VALUES} are possible; use $in")
    return condition


def namespace_condition(namespace: str | None) -> Sql:
    """Return the condition of a scope: exact, a whole branch where the name ends in "/", everything for None."""
    if namespace is None:
        return _TRUE
    if namespace.endswith("/"):
        return "namespace >= ? AND namespace < ?", (namespace, namespace[:-1] + "0")
    return "namespace = ?", (namespace,)


def all_of(conditions: Sequence[Sql]) -> Sql:
    """Return the conjunction of conditions."""
    return _join([condition for condition in conditions if condition is not _TRUE], "AND")


def _join(parts: Sequence[Sql], word: str) -> Sql:
    """Join conditions as a balanced tree, since SQLite limits the depth of expressions."""
    if not parts:
        return _TRUE
    if len(parts) == 1:
        return parts[0]
    if len(parts) <= 8:
        return f"({f' {word} '.join(sql for sql, _ in parts)})", tuple(value for _, values in parts for value in values)
    half = len(parts) // 2
    return _join([_join(parts[:half], word), _join(parts[half:], word)], word)


def _negated(condition: Sql) -> Sql:
    return f"({condition[0]}) IS NOT TRUE", condition[1]


def _filter(filter: object, depth: int, scope: str) -> Sql:
    if depth > MAX_DEPTH:
        raise InvalidFilter(f"the filter is nested deeper than {MAX_DEPTH} levels; flatten it")
    if not isinstance(filter, Mapping):
        raise InvalidFilter(f"a filter must be a mapping, got {came(filter)}")
    return _join([_entry(key, operand, depth, scope) for key, operand in filter.items()], "AND")


def _entry(key: object, operand: Any, depth: int, scope: str) -> Sql:
    if key == "$not":
        return _negated(_filter(operand, depth + 1, scope))
    if key in ("$and", "$or"):
        if not isinstance(operand, (list, tuple)) or not operand:
            raise InvalidFilter(f"{key} needs a list of at least one filter, got {came(operand)}")
        return _join([_filter(each, depth + 1, scope) for each in operand], "AND" if key == "$and" else "OR")
    if isinstance(key, str) and key.startswith("$"):
        if key in _OPERATORS:
            raise InvalidFilter(f"{key} stands under a path, e.g. {{'topic': {{{key!r}: ...}}}}")
        raise _unknown(key, "the filter")
    return _field_conditions(field_of(key, scope), operand, depth)


def _unknown(operator: object, where: str) -> InvalidFilter:
    known = " ".join(("$and", "$or", "$not", *map(str, _OPERATORS)))
    return InvalidFilter(
        f"unknown operator {shown(operator)} at {where}; the operators are {known} "
        f"(a metadata key that begins with $ is written with a backslash before it)"
    )


def _field_conditions(field: Field, operand: Any, depth: int) -> Sql:
    """Return the condition of ``path: operand``; of a mapping with $ keys, the conjunction of its operators."""
    if depth > MAX_DEPTH:
        raise InvalidFilter(f"the filter is nested deeper than {MAX_DEPTH} levels at {shown(field.path)}; flatten it")
    if not isinstance(operand, Mapping) or not any(isinstance(key, str) and key.startswith("$") for key in operand):
        return _equal(field, _scalar(operand), "$eq")
    parts = []
    for operator, value in operand.items():
        if operator == "$not":
            if not isinstance(value, Mapping):
                raise InvalidFilter(
                    f"$not at {field.path!r} needs a mapping of operators, got {came(value)}; use $ne for a value"
                )
            parts.append(_negated(_field_conditions(field, value, depth + 1)))
        elif operator in _OPERATORS:
            parts.append(_OPERATORS[operator](field, _scalar(value), operator))
        else:
            raise _unknown(operator, f"path {shown(field.path)}")
    return _join(parts, "AND")


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _refuse(field: Field, operator: str, problem: str) -> InvalidFilter:
    return InvalidFilter(f"{operator} at {shown(field.path)}: {problem}")


def _checked(field: Field, value: Any, operator: str) -> Any:
    """Return an operand, or raise where no stored JSON value could be meant."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise _refuse(
                field, operator, f"the integer {shown(value)} does not fit 64 bits; compare with a float instead"
            )
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _refuse(field, operator, f"{value} is not a JSON number; use $exists or a bound")
    elif isinstance(value, str):
        _canonical(field, value, operator)
    elif not isinstance(value, (list, tuple, dict)):
        raise _refuse(field, operator, f"{came(value)} is not a JSON value")
    return value


def _canonical(field: Field, value: Any, operator: str) -> str:
    try:
        text = dump(value)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise _refuse(field, operator, f"the operand is not JSON: {error}") from None
    return text


def _equal(field: Field, operand: Any, operator: str) -> Sql:
    operand = _checked(field, operand, operator)
    if field.kind != "json":
        return _own_equal(field, operand)
    if operand is None:
        return f"{field.type} = 'null'", ()
    if isinstance(operand, bool):
        return f"{field.type} = '{'true' if operand else 'false'}'", ()
    if isinstance(operand, (int, float)):
        return f"({field.value} = {_number(operand)} AND {field.type} IN {_NUMBERS})", (_bound(operand),)
    if isinstance(operand, str):
        return f"({field.value} = ? AND {field.type} = 'text')", (protect(operand),)
    name = "object" if isinstance(operand, dict) else "array"
    return f"({field.value} = ? AND {field.type} = '{name}')", (_canonical(field, operand, operator),)


def _own_equal(field: Field, operand: Any) -> Sql:
    if operand is None:
        return f"{field.value} IS NULL", ()
    return (f"{field.value} = ?", (operand,)) if _comparable(field, operand) else _FALSE


def _comparable(field: Field, operand: Any) -> bool:
    """Say whether an own field of this kind can hold such a value."""
    if field.kind == "text":
        return isinstance(operand, str)
    return isinstance(operand, (int, float)) and not isinstance(operand, bool)


def _number(operand: float) -> str:
    """Return the placeholder of a number; SQLite itself reads floats, as it does in metadata, to the same bits."""
    return "json_extract(?, '$')" if isinstance(operand, float) else "?"


def _bound(operand: float) -> Any:
    return dump(operand) if isinstance(operand, float) else operand


def _not_equal(field: Field, operand: Any, operator: str) -> Sql:
    return _negated(_equal(field, operand, operator))


def _ordered(field: Field, operand: Any, operator: str) -> Sql:
    operand = _checked(field, operand, operator)
    if isinstance(operand, bool) or not isinstance(operand, (int, float, str)):
        raise _refuse(field, operator, f"needs a number or a string, got {came(operand)}")
    sign = _ORDER[operator]
    if field.kind != "json":
        return (f"{field.value} {sign} ?", (operand,)) if _comparable(field, operand) else _FALSE
    if isinstance(operand, str):
        return f"({field.value} {sign} ? AND {field.type} = 'text')", (protect(operand),)
    return f"({field.value} {sign} {_number(operand)} AND {field.type} IN {_NUMBERS})", (_bound(operand),)


def _in(field: Field, operand: Any, operator: str) -> Sql:
    if isinstance(operand, np.ndarray):
        operand = operand.tolist()
    if not isinstance(operand, (list, tuple, set, frozenset)):
        raise _refuse(field, operator, f"needs a list, got {came(operand)}")
    strings: list[str] = []
    numbers: list[float] = []
    others: list[Sql] = []
    for value in map(_scalar, operand):
        if isinstance(value, str) and not (field.kind == "text" and protect(value) is not value):
            strings.append(value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            numbers.append(_checked(field, value, operator))
        else:
            others.append(_equal(field, value, operator))
    parts = list(dict.fromkeys(others))
    if strings and field.kind != "number":
        parts.append(_listed(field, strings, "= 'text'", operator))
    if numbers and field.kind != "text":
        parts.append(_listed(field, numbers, f"IN {_NUMBERS}", operator))
    return _join(parts, "OR") if parts else _FALSE


def _listed(field: Field, values: Sequence[Any], type_test: str, operator: str) -> Sql:
    guard = f" AND {field.type} {type_test}" if field.kind == "json" else ""
    return f"({field.value} IN (SELECT value FROM json_each(?)){guard})", (_canonical(field, values, operator),)


def _not_in(field: Field, operand: Any, operator: str) -> Sql:
    return _negated(_in(field, operand, operator))


def _exists(field: Field, operand: Any, operator: str) -> Sql:
    if not isinstance(operand, bool):
        raise _refuse(field, operator, f"needs True or False, got {came(operand)}")
    there = field.type if field.kind == "json" else field.value
    return f"{there} IS {'NOT ' if operand else ''}NULL", ()


def _contains(field: Field, operand: Any, operator: str) -> Sql:
    operand = _checked(field, operand, operator)
    if field.kind == "text":
        return (f"instr({field.value}, ?) > 0", (operand,)) if isinstance(operand, str) else _FALSE
    if field.kind == "number":
        return _FALSE
    element, values = _equal(Field(field.path, "json", "value", "type"), operand, operator)
    in_text = ""
    if isinstance(operand, str):
        in_text, values = f"WHEN 'text' THEN instr({field.value}, ?) > 0 ", (protect(operand), *values)
    in_array = f"EXISTS (SELECT 1 FROM json_each({field.value}) WHERE {element})"
    return f"(CASE {field.type} {in_text}WHEN 'array' THEN {in_array} ELSE 0 END)", values


def _match(field: Field, operand: Any, operator: str) -> Sql:
    if field.path != "@text":
        raise _refuse(field, operator, "full-text search covers @text only")
    if not isinstance(operand, str) or not operand.strip():
        raise _refuse(field, operator, f"needs a query that is not empty, got {came(operand)}")
    problem = _SYNTAX.problem(_checked(field, operand, operator))
    if problem:
        raise _refuse(field, operator, f"{problem}; put words with punctuation in double quotes, e.g. '\"don''t\"'")
    scope = f" AND scope MATCH '{field.scope}'" if field.scope else ""
    return f"label IN (SELECT rowid FROM records_fts WHERE text MATCH ?{scope})", (operand,)


class _Syntax:
    """Judges FTS5 queries on an empty table in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._probe: sqlite3.Connection | None = None

    def problem(self, query: str) -> str | None:
        """Return what is wrong with a query, or None."""
        with self._lock:
            if self._probe is None:
                self._probe = sqlite3.connect(":memory:", check_same_thread=False)
                weakref.finalize(self, self._probe.close)
                self._probe.execute("CREATE VIRTUAL TABLE probe USING fts5(text, scope, tokenize = 'porter unicode61')")
            try:
                self._probe.execute("SELECT rowid FROM probe WHERE text MATCH ?", (query,)).fetchall()
            except sqlite3.Error as error:
                return str(error)
        return None


_SYNTAX = _Syntax()

_OPERATORS: dict[object, Callable[[Field, Any, str], Sql]] = {
    "$eq": _equal,
    "$ne": _not_equal,
    **dict.fromkeys(_ORDER, _ordered),
    "$in": _in,
    "$nin": _not_in,
    "$exists": _exists,
    "$contains": _contains,
    "$match": _match,
}
