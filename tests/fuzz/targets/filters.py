"""The filter language: any JSON, compiled and run on a small store, is answered or refused, alike in all verbs."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from agentmem import MemoryStore
from agentmem.errors import InvalidFilter

VECTORS = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]


@cache
def store() -> MemoryStore:
    """Return a store of three records."""
    made = MemoryStore(":memory:", embedder=None, dimension=2, merge="manual")
    made.add_many(
        ["book club", "a garden", "x"],
        embeddings=VECTORS,
        ids=["a", "b", "c"],
        metadatas=[
            {"topic": "life", "n": 1, "l": [1, "a", None]},
            {"topic": None, "": {"'": 1.5}},
            {"n": 2**70, "o": {"p": True}},
        ],
        namespace=["", "users/1", "users/10"],
        threads=["t", None, None],
    )
    return made


def run(data: bytes) -> None:
    """Count, list and search with the filter that ``data`` is as JSON; a filter and its negation share the records."""
    try:
        filter: Any = json.loads(data)
    except (ValueError, RecursionError):
        return
    try:
        found = {record.id for record in store().iterate(filter)}
    except InvalidFilter:
        return
    assert store().count(filter) == len(found)
    assert {hit.id for hit in store().search(embedding=[1.0, 0.5], filter=filter)} == found
    try:
        others = {record.id for record in store().iterate({"$not": filter})}
    except InvalidFilter:
        return
    assert not filter or found | others == {"a", "b", "c"}
    assert not filter or not found & others
