"""LlamaIndex's metadata filters in the store's filter language.

They mean what LlamaIndex's own ``SimpleVectorStore`` makes of them, where that gives an answer: a missing key and a
null match ``!=``, ``nin`` and ``is_empty`` only; true is 1 and false is 0, since a filter's value cannot be a bool.
Where it raises because a record's value has another type than the filter's, that record does not match.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from agentmem.adapters.comparing import NOTHING, Filter, equals, missing, ordered

OWN = "_llama_index"
"""The metadata key under which the adapter keeps what is its own."""
LOWER = "lower"
"""The key within ``OWN`` of the strings that have capitals, in lower case: what ``text_match_insensitive`` reads."""
REF_DOC = ("ref_doc_id", "doc_id", "document_id")
"""Keys that LlamaIndex's stores give the id of a node's document: here it is the record's thread."""

_ORDER = {
    FilterOperator.GT: "$gt",
    FilterOperator.GTE: "$gte",
    FilterOperator.LT: "$lt",
    FilterOperator.LTE: "$lte",
}


def translate(filters: MetadataFilters | None) -> Filter:
    """Return the store's filter; {} where everything matches.

    Raises:
        ValueError: an operator that is not known here, or that cannot take its value.
    """
    if filters is None or not filters.filters:
        return {}
    parts = [translate(each) if isinstance(each, MetadataFilters) else _leaf(each) for each in filters.filters]
    condition = filters.condition or FilterCondition.AND
    if condition == FilterCondition.AND:
        return {"$and": parts}
    if condition == FilterCondition.OR:
        return {"$or": parts}
    if condition == FilterCondition.NOT:
        return {"$not": {"$or": parts}}
    raise ValueError(f"unknown filter condition {condition!r}; there are {_names(FilterCondition)}")


def _leaf(leaf: MetadataFilter) -> Filter:
    path = "@thread" if leaf.key in REF_DOC else _path(leaf.key)
    if leaf.operator in _ORDER:
        return _ordered(path, leaf)
    if leaf.operator not in _LEAVES:
        raise ValueError(f"unknown filter operator {leaf.operator!r}; there are {_names(FilterOperator)}")
    return _LEAVES[leaf.operator](path, leaf)


def _names(values: Any) -> str:
    return ", ".join(repr(each.value) for each in values)


def _path(key: str) -> str:
    """Return the path of a key of the metadata, whatever characters it has."""
    escaped = re.sub(r"([\\.])", r"\\\1", key)
    return f"\\{escaped}" if escaped[:1] in ("@", "$") else escaped


def _refuse(leaf: MetadataFilter, needs: str) -> ValueError:
    return ValueError(f"filter {leaf.key!r} {leaf.operator.value}: needs {needs}, got {leaf.value!r}")


def _listed(leaf: MetadataFilter) -> list[Any]:
    if not isinstance(leaf.value, list):
        raise _refuse(leaf, "a list")
    return leaf.value


def _text(leaf: MetadataFilter) -> str:
    if not isinstance(leaf.value, str):
        raise _refuse(leaf, "a string")
    return leaf.value


def _equal(path: str, leaf: MetadataFilter) -> Filter:
    if leaf.value is None:
        return NOTHING
    return {path: leaf.value} if isinstance(leaf.value, list) else {path: {"$in": equals(leaf.value)}}


def _unequal(path: str, leaf: MetadataFilter) -> Filter:
    return {"$not": _equal(path, leaf)}


def _ordered(path: str, leaf: MetadataFilter) -> Filter:
    if leaf.value is None or isinstance(leaf.value, list):
        raise _refuse(leaf, "a number or a string")
    return ordered(path, _ORDER[leaf.operator], leaf.value)


def _in(path: str, leaf: MetadataFilter) -> Filter:
    return {path: {"$in": [each for value in _listed(leaf) for each in equals(value)]}}


def _not_in(path: str, leaf: MetadataFilter) -> Filter:
    return {"$not": _in(path, leaf)}


def _holds(path: str, value: Any) -> Filter:
    return {"$or": [{path: {"$contains": each}} for each in equals(value)]}


def _contains(path: str, leaf: MetadataFilter) -> Filter:
    if leaf.value is None or isinstance(leaf.value, list):
        raise _refuse(leaf, "a number or a string")
    return _holds(path, leaf.value)


def _any(path: str, leaf: MetadataFilter) -> Filter:
    parts = [_holds(path, value) for value in _listed(leaf)]
    return {"$or": parts} if parts else NOTHING


def _all(path: str, leaf: MetadataFilter) -> Filter:
    parts = [_holds(path, value) for value in _listed(leaf)]
    return {"$and": parts} if parts else {"$not": missing(path)}


def _substring(path: str, text: str) -> Filter:
    """Return the filter for strings, and no lists, that have a substring."""
    return {path: {"$contains": text, "$gte": ""}}


def _text_match(path: str, leaf: MetadataFilter) -> Filter:
    return _substring(path, _text(leaf))


def _text_match_insensitive(path: str, leaf: MetadataFilter) -> Filter:
    text = _text(leaf).lower()
    key = REF_DOC[0] if leaf.key in REF_DOC else leaf.key
    return {"$or": [_substring(path, text), _substring(f"{OWN}.{LOWER}.{_path(key)}", text)]}


def _is_empty(path: str, leaf: MetadataFilter) -> Filter:
    return {"$or": [missing(path), {path: ""}, {path: {"$eq": []}}]}


_LEAVES: dict[FilterOperator, Callable[[str, MetadataFilter], Filter]] = {
    FilterOperator.EQ: _equal,
    FilterOperator.NE: _unequal,
    FilterOperator.IN: _in,
    FilterOperator.NIN: _not_in,
    FilterOperator.ANY: _any,
    FilterOperator.ALL: _all,
    FilterOperator.TEXT_MATCH: _text_match,
    FilterOperator.TEXT_MATCH_INSENSITIVE: _text_match_insensitive,
    FilterOperator.CONTAINS: _contains,
    FilterOperator.IS_EMPTY: _is_empty,
}
