"""Dates in documents' metadata: read as Haystack's own filters read them, and kept so that the store can compare them.

An ISO 8601 string is compared by its point in time. Where one of two has no offset, it is taken to have the other's:
then it is the time on the wall that is compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from dateutil.parser import isoparse

WALL = "wall"
"""Times on the wall by path, in microseconds since the year 1; those that are kept for dates with an offset, too."""
INSTANT = "instant"
"""Points in time by path, for dates with an offset only, in the same unit, at offset 0."""
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ]|\Z)")


def date_of(value: object) -> datetime | None:
    """Return the date that a value is, or says in ISO 8601 with a whole day; None for all others."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not _ISO.match(value):
        return None
    for read in (datetime.fromisoformat, isoparse):
        try:
            return read(value)
        except (ValueError, OverflowError):
            continue
    return None


def wall(date: datetime) -> int:
    """Return a date's time on the wall."""
    return (date.replace(tzinfo=None) - datetime.min) // timedelta(microseconds=1)


def instant(date: datetime) -> int | None:
    """Return a date's point in time, or None where it has no offset."""
    offset = date.utcoffset()
    return None if offset is None else wall(date) - offset // timedelta(microseconds=1)


def columns(meta: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Return what is kept of the dates in some metadata; nothing where there are none."""
    kept: dict[str, dict[str, int]] = {}
    for path, date in _dates(meta, ""):
        kept.setdefault(WALL, {})[path] = wall(date)
        point = instant(date)
        if point is not None:
            kept.setdefault(INSTANT, {})[path] = point
    return kept


def _dates(meta: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, datetime]]:
    """Yield the dates that a filter can name, each with its path: a key with a dot in it is none that it can."""
    for key, value in meta.items():
        if "." in key:
            continue
        if isinstance(value, Mapping):
            yield from _dates(value, f"{prefix}{key}.")
        elif (date := date_of(value)) is not None:
            yield f"{prefix}{key}", date
