"""LangGraph's filters on values, in the store's filter language.

A filter names keys of the value; ``{"a": {"b": 1}}`` looks into an object.  Values are compared as JSON: true is not 1,
and ``$gt $gte $lt $lte`` compare numbers with numbers and strings with strings.  A key that is missing is null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentmem.adapters.paths import key_path
from agentmem.errors import InvalidFilter
from agentmem.validation import shown

Condition = dict[str, Any]

ORDERED = ("$gt", "$gte", "$lt", "$lte")
OPERATORS = ("$eq", "$ne", *ORDERED)


def condition_of(filter: Mapping[str, Any], path: str) -> list[Condition]:
    """Return the conditions that all have to hold, in the store's language.

    Args:
        filter: LangGraph's.
        path: in the records' metadata, of the object whose keys the filter names.

    Raises:
        InvalidFilter: an operator that does not exist.
    """
    conditions = []
    for key, wanted in filter.items():
        if not isinstance(key, str):
            raise InvalidFilter(f"a filter names keys of the value, which are strings, got {shown(key)}")
        place = f"{path}.{key_path(key)}"
        if not isinstance(wanted, Mapping):
            conditions.append(_equal(place, wanted))
        elif any(isinstance(name, str) and name.startswith("$") for name in wanted):
            conditions += [_operator(place, name, operand) for name, operand in wanted.items()]
        else:
            conditions += [{place: {"$exists": True}}, *condition_of(wanted, place)]
    return conditions


def _operator(place: str, name: str, operand: Any) -> Condition:
    if name not in OPERATORS:
        raise InvalidFilter(f"filter operator {shown(name)} does not exist; there are {', '.join(OPERATORS)}")
    if name in ORDERED:
        return {place: {name: operand}}
    return _equal(place, operand) if name == "$eq" else {"$not": _equal(place, operand)}


def _equal(place: str, wanted: Any) -> Condition:
    if wanted is None:
        return {"$or": [{place: None}, {place: {"$exists": False}}]}
    return {place: {"$eq": list(wanted) if isinstance(wanted, tuple) else wanted}}
