"""Paths of the filter language: a bare dotted path leads into metadata, "@name" is one of the record's own fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agentmem.errors import InvalidFilter
from agentmem.storage.jsontext import protect
from agentmem.validation import MAX_METADATA_DEPTH, shown

TEXT_FIELDS = ("id", "text", "namespace", "thread", "session", "speaker")
MAX_UNUSUAL_KEYS = 4
"""Each is a subquery within the one before; SQLite limits how deep they may stand."""
NUMBER_FIELDS = ("position", "created_at", "updated_at", "expires_at", "importance")


@dataclass(frozen=True, slots=True)
class Field:
    """Where a filter looks, as SQL without parameters.

    Attributes:
        path: as the caller wrote it.
        kind: "json" for metadata; "text" or "number" for the record's own fields.
        value: the value; of an array or object its JSON text.
        type: the JSON type's name as SQLite's json_type gives it, NULL where the key is missing; "" for own fields.
        indexable: ``value`` may stand in an index.
        scope: the full-text token of the one namespace that is searched; "" for a branch or everything.
    """

    path: str
    kind: Literal["json", "text", "number"]
    value: str
    type: str = ""
    indexable: bool = True
    scope: str = ""


def literal(text: str) -> str:
    """Return a string as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def split(path: str) -> list[str]:
    r"""Return the keys of a dotted path; a backslash takes the next character as it is (``a\.b`` is one key).

    Raises:
        InvalidFilter: the path ends in a backslash.
    """
    keys: list[list[str]] = [[]]
    characters = iter(path)
    for character in characters:
        if character == ".":
            keys.append([])
            continue
        if character == "\\":
            character = next(characters, "")
            if not character:
                raise InvalidFilter(
                    f"path {shown(path)} ends in a backslash, which must stand before the character it escapes"
                )
        keys[-1].append(character)
    return ["".join(key) for key in keys]


def field_of(path: object, scope: str = "") -> Field:
    """Return the field that a path names, for a search within ``scope`` (see ``Field``).

    Raises:
        InvalidFilter: not a string, not valid Unicode, more keys than metadata has levels, or "@" with a name
            that no own field has.
    """
    if not isinstance(path, str):
        raise InvalidFilter(f"a path must be a string, got {shown(path)} ({type(path).__name__})")
    if path.startswith("@"):
        name = path[1:]
        if name in TEXT_FIELDS:
            return Field(path, "text", name, scope=scope)
        if name in NUMBER_FIELDS:
            return Field(path, "number", name)
        known = ", ".join(f"@{field}" for field in (*TEXT_FIELDS, *NUMBER_FIELDS))
        raise InvalidFilter(
            f"path {shown(path)}: the record's own fields are {known}; "
            f"a metadata key is written {shown(chr(92) + path)}"
        )
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InvalidFilter(f"path {shown(path)} holds a lone surrogate, which is not valid Unicode") from None
    return _metadata_field(path, [protect(key) for key in split(path)])


def _plain(key: str) -> bool:
    """Say whether a key can stand in a JSON path of every SQLite version: JSON escapes none of its characters."""
    return bool(key) and not any(character in '"\\' or character < " " for character in key)


def _metadata_field(path: str, keys: Sequence[str]) -> Field:
    """Each step's SQL holds the way to it once, or it would double in length with every key."""
    if len(keys) > MAX_METADATA_DEPTH + 1:
        raise InvalidFilter(
            f"path {shown(path)} has {len(keys)} keys; metadata is nested at most {MAX_METADATA_DEPTH} levels deep, "
            "and a dot within a key is written with a backslash before it"
        )
    container, value, type_, run, nested = "metadata", "", "", "", 0
    for key in keys:
        if _plain(key):
            run += f'."{key}"'
            steps = literal("$" + run)
            value, type_ = f"json_extract({container}, {steps})", f"json_type({container}, {steps})"
        else:
            start = f"{container}, {literal('$' + run)}" if run else container
            rows = f"FROM json_each({start}) WHERE key = {literal(key)}"
            value, type_, run = f"(SELECT value {rows})", f"(SELECT type {rows})", ""
            container = f"(SELECT value {rows} AND type = 'object')"
            nested += 1
    if nested > MAX_UNUSUAL_KEYS:
        raise InvalidFilter(
            f"path {shown(path)} leads through {nested} keys that are empty or hold a quote, backslash or control "
            f"character; {MAX_UNUSUAL_KEYS} are possible"
        )
    return Field(path, "json", value, type_, indexable=all(_plain(key) for key in keys))
