"""Haystack's filters in the store's filter language.

They mean what ``haystack.utils.filters.document_matches_filter`` makes of them, where that gives an answer; where it
raises because a document's value has another type than the filter's, that document does not match.  Strings are ordered
only as ISO 8601 dates with a whole day.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from haystack.errors import FilterError

from agentmem.adapters.comparing import NOTHING, Filter, equals, missing, ordered
from agentmem.adapters.haystack.dates import INSTANT, WALL, date_of, instant, wall
from agentmem.adapters.haystack.documents import OWN

ORDER = {">": "$gt", ">=": "$gte", "<": "$lt", "<=": "$lte"}
FIELDS = ("id", "content", "blob", "meta", "score", "embedding", "sparse_embedding")


def translate(filters: dict[str, Any] | None) -> Filter:
    """Return the store's filter; {} where everything matches.

    Raises:
        FilterError: a key is missing, an operator or a field is not known, or a value cannot be compared.
    """
    return _condition(filters) if filters else {}


def _condition(condition: Any) -> Filter:
    if not isinstance(condition, dict):
        raise FilterError(f"a filter must be a dictionary, got {type(condition).__name__}")
    if "field" not in condition:
        return _logic(_required(condition, "operator"), _required(condition, "conditions"))
    operator, value = _required(condition, "operator"), _required(condition, "value")
    if operator not in COMPARISONS:
        raise FilterError(f"unknown comparison operator {operator!r}; there are {', '.join(map(repr, COMPARISONS))}")
    return COMPARISONS[operator](Path(condition["field"]), value)


def _required(condition: dict[str, Any], key: str) -> Any:
    if key not in condition:
        raise FilterError(f"the key {key!r} is missing in the filter {condition!r}")
    return condition[key]


def _logic(operator: Any, conditions: Any) -> Filter:
    if not isinstance(conditions, list):
        raise FilterError(f"'conditions' must be a list, got {type(conditions).__name__}")
    parts = [_condition(each) for each in conditions]
    if operator == "AND":
        return {"$and": parts} if parts else {}
    if operator == "OR":
        return {"$or": parts} if parts else NOTHING
    if operator == "NOT":
        return {"$not": {"$and": parts} if parts else {}}
    raise FilterError(f"unknown logical operator {operator!r}; there are 'AND', 'OR', 'NOT'")


class Path:
    """Where a field of a document stands in its record.

    Attributes:
        field: as the filter names it.
        places: paths of the filter language, each of which may hold its value.
        absent: the filter for documents that have no such field, or None in it.
        meta: its path within the document's metadata, as ``dates.columns`` writes it; None outside of it.
    """

    def __init__(self, field: Any) -> None:
        if not isinstance(field, str):
            raise FilterError(f"'field' must be a string, got {type(field).__name__}")
        self.field = field
        self.meta: str | None = None
        root, dot, rest = field.partition(".")
        if root == "meta" and dot:
            self.meta = rest
        elif not dot and field not in FIELDS:
            self.meta = field  # as in filters of old, which left "meta." out
        if self.meta is not None:
            self.places = [escaped(self.meta)]
        elif field == "id":
            self.places = ["@id"]
        elif field == "content":
            self.places = ["@text", f"{OWN}.content"]
        elif root in ("blob", "score", "embedding", "sparse_embedding") and field != "blob.data":
            self.places = [f"{OWN}.{field}"]
        else:
            raise FilterError(
                f"a filter cannot look at {field!r}; there are meta.*, id, content, score, blob.meta.* and "
                "blob.mime_type, and embedding, sparse_embedding and blob with None"
            )
        self.absent: Filter = missing(self.places[0])
        if field == "content":
            self.absent = {"$or": [{place: None} for place in self.places]}

    def is_(self, value: Any) -> Filter:
        """Return the filter for documents in which the field equals a value."""
        if value is None:
            return self.absent
        if self.field in ("blob", "embedding", "sparse_embedding"):
            raise FilterError(f"a filter can compare {self.field!r} with None only")
        found: list[Filter] = []
        if not isinstance(value, datetime):
            found += [{place: {"$eq": each}} for place in self.places for each in equals(value)]
        date = date_of(value)
        if date is not None and self.meta is not None:
            found.append(self.dated("$eq", date))
        return {"$or": found} if found else NOTHING

    def dated(self, operator: str, date: datetime) -> Filter:
        """Return the filter for documents in which the field is a date that stands so to another."""
        on_wall, in_time = (f"{OWN}.{kept}.{escaped(self.meta or '', whole=True)}" for kept in (WALL, INSTANT))
        by_wall = {on_wall: {operator: wall(date)}}
        point = instant(date)
        if point is None:
            return by_wall
        without = {"$and": [{in_time: {"$exists": False}}, by_wall]}
        return {"$or": [{in_time: {operator: point}}, without]}


def escaped(path: str, *, whole: bool = False) -> str:
    """Return a dotted path of Haystack as one of the filter language; ``whole``: as a single key."""
    path = path.replace("\\", "\\\\")
    if whole:
        return path.replace(".", "\\.")
    return f"\\{path}" if path[:1] in ("@", "$") else path


def _not_equal(path: Path, value: Any) -> Filter:
    return {"$not": path.is_(value)}


def _in(path: Path, value: Any) -> Filter:
    if not isinstance(value, list):
        raise FilterError(f"'in' and 'not in' need a list at {path.field!r}, got {type(value).__name__}")
    return {"$or": [path.is_(each) for each in value]} if value else NOTHING


def _not_in(path: Path, value: Any) -> Filter:
    return {"$not": _in(path, value)}


def _ordered(sign: str) -> Callable[[Path, Any], Filter]:
    operator = ORDER[sign]

    def compare(path: Path, value: Any) -> Filter:
        if value is None:
            return NOTHING
        date = date_of(value)
        if date is not None and path.meta is not None:
            return path.dated(operator, date)
        if not isinstance(value, (int, float)):
            raise FilterError(
                f"{sign!r} at {path.field!r} needs a number, or an ISO 8601 date such as '2026-05-08T13:56:00', "
                f"got {value!r}"
            )
        return {"$or": [ordered(place, operator, value) for place in path.places]}

    return compare


COMPARISONS: dict[str, Callable[[Path, Any], Filter]] = {
    "==": Path.is_,
    "!=": _not_equal,
    **{sign: _ordered(sign) for sign in ORDER},
    "in": _in,
    "not in": _not_in,
}
