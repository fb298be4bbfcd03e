"""Records and databases for the tests of storage."""

from __future__ import annotations

from typing import Any

import numpy as np

from agentmem.records import NewRecord
from agentmem.storage.database import Database

DIMENSION = 8


def make_record(id: str = "a", text: str | None = "some words", **fields: Any) -> NewRecord:
    """Return a record with a vector that follows from its id."""
    rng = np.random.default_rng(list(id.encode()))
    defaults: dict[str, Any] = {
        "vector": rng.standard_normal(DIMENSION).astype(np.float32),
        "created_at": 100.0,
        "updated_at": 100.0,
        "tokens": np.arange(3, dtype=np.uint16).tobytes(),
        "terms": np.arange(2, dtype=np.uint32).tobytes(),
    }
    return NewRecord(id=id, text=text, **{**defaults, **fields})


def stamped(database: Database) -> Database:
    with database.transaction() as writer:
        writer.set_config("dimension", str(DIMENSION))
        writer.set_config("token_bytes", "2")
    return database
