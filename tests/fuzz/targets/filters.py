"""The filter language: any JSON, compiled and run on a small store, is answered or refused, alike in all verbs."""

from __future__ import annotations

import json
from collections.abc import Iterator
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


KEYS = [
    "topic",
    "n",
    "l",
    "o",
    "o.p",
    ".'",
    "x",
    "@id",
    "@text",
    "@position",
    "@importance",
    "@no",
    "\\@id",
    "a\\.b",
    "\\",
]
OPERATORS = ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$contains", "$match", "$not", "$no"]
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 1.0, 1.5, 2**63 - 1, 2**63, 2**70, 1e308, float("inf"), "", "a", "b", "life", "book*",
    "\0", "\ufdd0", "'", '"', "NOT", "users/1", [], {}, [1, "a", None], {"p": True}, {"'": 1.5}, b"x", "\ud800",
]  # fmt: skip


def built(data: Iterator[int], depth: int = 0) -> Any:
    """Return a filter, or something like one, that follows from bytes: each is a choice."""
    kind = next(data, 0) % 8
    if depth > 40 or kind == 0:
        return VALUES[next(data, 0) % len(VALUES)]
    if kind in (1, 2):
        return {("$and", "$or")[kind - 1]: [built(data, depth + 1) for _ in range(next(data, 0) % 4)]}
    if kind == 3:
        return {"$not": built(data, depth + 1)}
    if kind == 4:
        return [built(data, depth + 1) for _ in range(next(data, 0) % 4)]
    key = KEYS[next(data, 0) % len(KEYS)]
    if kind == 5:
        return {key: built(data, depth + 1)}
    operators = [OPERATORS[next(data, 0) % len(OPERATORS)] for _ in range(kind - 5)]
    return {key: {operator: built(data, depth + 1) for operator in operators}}


def run(data: bytes) -> None:
    """Count, list and search with a filter; it and its negation share the records.

    The filter is ``data`` as JSON, or else what its bytes build.
    """
    try:
        filter: Any = json.loads(data)
    except (ValueError, RecursionError):
        filter = built(iter(data))
    if filter is None:
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
