"""JSON as it is stored: canonical (sorted keys, no spaces), so that equal values have equal texts.

SQLite's JSON functions end a string at U+0000.  Strings that hold it are stored with U+FDD0 U+FDD1 in its place (and
U+FDD0 itself as U+FDD0 U+FDD2): noncharacters, which no text in interchange has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

_ESCAPE = "\ufdd0"
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")).encode


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): _map_strings(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_map_strings(item, change) for item in value]
    return value


def protect(text: str) -> str:
    """Return a string as it stands in stored JSON: without U+0000."""
    if "\0" in text or _ESCAPE in text:
        return text.replace(_ESCAPE, "\ufdd0\ufdd2").replace("\0", "\ufdd0\ufdd1")
    return text


def _restore(text: str) -> str:
    return text.replace("\ufdd0\ufdd1", "\0").replace("\ufdd0\ufdd2", _ESCAPE)


def dump(value: Any) -> str:
    """Return the canonical JSON text of a value.

    Raises:
        TypeError, ValueError: the value is not JSON.
    """
    if not value and isinstance(value, dict):
        return "{}"
    text = _encode(value)
    if "\\u0000" in text or _ESCAPE in text:
        return _encode(_map_strings(value, protect))
    return text


def load(text: str) -> Any:
    """Return the value of a stored JSON text."""
    value = json.loads(text)
    return _map_strings(value, _restore) if _ESCAPE in text else value


def load_all(texts: Sequence[str]) -> list[Any]:
    """Return the values of several stored JSON texts, parsed in one go."""
    values: list[Any] = load(f"[{','.join(texts)}]")
    return values
