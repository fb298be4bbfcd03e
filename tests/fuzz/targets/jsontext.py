"""JSON as it is stored: what can be written comes back equal, is canonical, and SQLite can read it."""

from __future__ import annotations

import json
import sqlite3
from functools import cache

from agentmem.errors import InvalidInput
from agentmem.storage.jsontext import dump, load, load_all
from agentmem.validation import check_metadata


@cache
def database() -> sqlite3.Connection:
    """Return an empty database."""
    return sqlite3.connect(":memory:")


def run(data: bytes) -> None:
    """Store the metadata that ``data`` is as JSON, if it may be stored."""
    try:
        metadata = check_metadata(json.loads(data))
    except (ValueError, RecursionError, InvalidInput):
        return
    text = dump(metadata)
    assert "\0" not in text
    assert load(text) == metadata
    assert load_all([text, text]) == [metadata, metadata]
    assert dump(load(text)) == text
    keys = database().execute("SELECT count(*) FROM json_each(?)", (text,)).fetchone()[0]
    assert keys == len(metadata)
