"""The filter language in plain Python: the model that the SQL is compared with."""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Mapping
from typing import Any

MISSING = object()
_ORDER = {"$gt": operator.gt, "$gte": operator.ge, "$lt": operator.lt, "$lte": operator.le}
OWN = ("id", "text", "namespace", "thread", "session", "speaker", "position", "created_at", "expires_at", "importance")


def matches(filter: Mapping[str, Any], metadata: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    """Say whether a record with this metadata and these own fields matches."""
    return all(_entry(key, operand, metadata, fields) for key, operand in filter.items())


def _entry(key: str, operand: Any, metadata: Mapping[str, Any], fields: Mapping[str, Any]) -> bool:
    if key == "$and":
        return all(matches(each, metadata, fields) for each in operand)
    if key == "$or":
        return any(matches(each, metadata, fields) for each in operand)
    if key == "$not":
        return not matches(operand, metadata, fields)
    own = key.startswith("@")
    return _condition(fields[key[1:]] if own else _look_up(key, metadata), operand, own)


def _look_up(path: str, metadata: Any) -> Any:
    for key in re.findall(r"(?:^|\.)((?:[^.\\]|\\.)*)", path, re.DOTALL):
        key = re.sub(r"\\(.)", r"\1", key, flags=re.DOTALL)
        if not isinstance(metadata, dict) or key not in metadata:
            return MISSING
        metadata = metadata[key]
    return metadata


def _condition(value: Any, operand: Any, own: bool) -> bool:
    if not isinstance(operand, dict) or not any(key.startswith("$") for key in operand):
        return _equal(value, operand)
    return all(_operator(name, value, argument, own) for name, argument in operand.items())


def _operator(name: str, value: Any, argument: Any, own: bool) -> bool:
    if name == "$not":
        return not _condition(value, argument, own)
    if name == "$exists":
        return argument == (value is not MISSING and not (own and value is None))
    if name in ("$eq", "$ne"):
        return _equal(value, argument) == (name == "$eq")
    if name in ("$in", "$nin"):
        return any(_equal(value, each) for each in argument) == (name == "$in")
    if name == "$contains":
        if isinstance(value, str):
            return isinstance(argument, str) and argument in value
        return isinstance(value, list) and any(_equal(each, argument) for each in value)
    if _kind(value) != _kind(argument):
        return False
    return bool(_ORDER[name](_sort_key(value, own), _sort_key(argument, own)))


def _sort_key(value: Any, own: bool) -> Any:
    """Return what orders a value: in metadata U+0000 stands as the noncharacter U+FDD0."""
    if isinstance(value, str) and not own:
        return value.replace("\ufdd0", "\ufdd0\ufdd2").replace("\0", "\ufdd0\ufdd1")
    return _number(value)


def _kind(value: Any) -> str:
    if value is MISSING:
        return "missing"
    if isinstance(value, bool) or value is None:
        return str(value)
    return {int: "number", float: "number", str: "string", list: "array", dict: "object"}[type(value)]


def _number(value: Any) -> Any:
    """Return a number as SQLite reads it: integers beyond 64 bits are the nearest float."""
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return math.inf * (1 if value > 0 else -1) if abs(value) > 10**308 else float(value)
    return value


def _equal(value: Any, operand: Any) -> bool:
    if _kind(value) != _kind(operand):
        return False
    if _kind(value) in ("array", "object"):
        return json.dumps(value, sort_keys=True) == json.dumps(operand, sort_keys=True)
    return bool(_number(value) == operand)
