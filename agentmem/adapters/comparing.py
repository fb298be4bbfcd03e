"""Python's comparisons in the store's filter language: to Python, and to frameworks written in it, true is 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import ge, gt, le, lt
from types import MappingProxyType
from typing import Any

Filter = dict[str, Any]
NOTHING: Filter = {"@id": {"$in": []}}
"""The filter that no record matches."""
ORDER: Mapping[str, Callable[[Any, Any], bool]] = MappingProxyType({"$gt": gt, "$gte": ge, "$lt": lt, "$lte": le})


def equals(value: Any) -> list[Any]:
    """Return what Python takes for equal to a value and the store does not: 1 and true, 0 and false."""
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return [int(value), bool(value)]
    return [value]


def ordered(path: str, operator: str, bound: float | str) -> Filter:
    """Return the filter for values that stand so to a bound: strings to strings, numbers and bools to numbers."""
    if isinstance(bound, str):
        return {path: {operator: bound}}
    number = int(bound) if isinstance(bound, bool) else bound
    flags = [flag for flag in (False, True) if ORDER[operator](flag, number)]
    return {"$or": [{path: {operator: number}}, {path: {"$in": flags}}]}


def missing(path: str) -> Filter:
    """Return the filter for records in which a path leads to null, or nowhere."""
    return {"$or": [{path: None}, {path: {"$exists": False}}]}
