"""Values that nobody should give a store, and what a store must be after it was given one."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st

import agentmem

DIMENSION = 4
INTERNAL = {"snapshot", "merge_if_due"}
"""Methods that are not meant for callers."""
WORDS = [
    "", " ", "a", "book club", "users", "users/", "users/1", "users/10", "/", "//", "../", "a/../b", ".", "..", "%",
    "_", "%_%", "*", "'", '"', "\\", ";", "\0", "a\0b", "\ufdd0", "\ufdd0\ufdd1", "\ufffe", "\u202eabc\u202c", "שלום",
    "e\u0301", "\U0001f600", "\n", "\x1b[31m", "NULL", "1", "true", "$in", "@id", "\\@id", "a.b", "nul\0.x", "...",
    "'; DROP TABLE records; --", "') OR 1=1 --", '"; DELETE FROM records', "{}", "[1]", "book*", "NEAR(a b)",
]  # fmt: skip
BROKEN = ["\ud800", "a\udfffb"]
NUMBERS: list[Any] = [
    0, 1, 2, -1, 0.5, 1.0, -0.0, 1e-320, 1e300, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1,
    math.nan, math.inf, -math.inf, np.float32(0.5), np.int64(3), np.uint8(1), np.float64("nan"),
]  # fmt: skip
OBJECTS: list[Any] = [
    None, True, False, b"bytes", 1j, object(), (), [], {}, set(), frozenset({1}), range(3), datetime.datetime.max,
    datetime.datetime.min, datetime.timedelta(1), np.array(1.0), np.arange(3), np.zeros((2, 2)), np.array(["a"]),
    np.array([None]), np.ones(DIMENSION), np.full(DIMENSION, np.nan), np.zeros((0, DIMENSION)), math, int,
    iter([1]), memoryview(b"x"), ["a"], [None], [[["to", "a"]]], {"\ud800": 1}, {1: 2}, {"a": math.nan}, {"$in": 5},
]  # fmt: skip


def deep(levels: int) -> list[Any]:
    """Return lists within lists."""
    nest: list[Any] = []
    for _ in range(levels):
        nest = [nest]
    return nest


strings = st.sampled_from(WORDS) | st.sampled_from(WORDS) | st.text(max_size=6)
any_string = strings | strings | strings | st.sampled_from(BROKEN)
# Long, deep and huge values are made as they are drawn: Hypothesis shows what a strategy is made of.
long_strings = st.sampled_from(["x", "book ", "é", "a.", "'"]).map(lambda part: part * (1_000_000 // len(part)))
numbers = st.sampled_from(NUMBERS) | st.sampled_from([400, 5_000]).map(lambda digits: 10**digits)
scalars = strings | numbers | st.booleans() | st.none()
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3), max_leaves=6
)
anything = st.one_of(
    any_string,
    long_strings,
    numbers,
    st.sampled_from(OBJECTS),
    json_values,
    st.sampled_from([90, 101, 2_000]).map(deep),
)
metadata = st.dictionaries(strings, json_values, max_size=3)
vectors = st.lists(st.integers(-3, 3), min_size=DIMENSION, max_size=DIMENSION).filter(any)
ids = st.sampled_from(["a", "b", "c"]) | strings
namespaces = st.sampled_from(["", "users/1", "users/10", "team"]) | strings
links = st.lists(st.tuples(strings, st.sampled_from(["a", "b", "c", "nobody"])), max_size=3)
times = st.sampled_from([None, 0, 1e9, -1e9, "2026-05-08", "2026-05-08T13:56:00Z", datetime.datetime(2026, 5, 8)])
many = st.just(100_000).map(lambda count: list(range(count)))
_operators = st.sampled_from(
    ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$contains", "$match", "$near"]
)
_paths = strings | st.sampled_from(
    ["topic", "topic.x", "a.b", "@id", "@text", "@thread", "@position", "@importance", "@nothing"]
)
_conditions = json_values | st.dictionaries(
    _operators, json_values | st.booleans() | st.lists(scalars, max_size=4) | many, min_size=1, max_size=2
)
filters: st.SearchStrategy[Any] = st.recursive(
    st.dictionaries(_paths, _conditions, max_size=2),
    lambda inner: (
        st.fixed_dictionaries({"$not": inner})
        | st.fixed_dictionaries({"$and": st.lists(inner, max_size=2)})
        | st.fixed_dictionaries({"$or": st.lists(inner, max_size=2)})
    ),
    max_leaves=4,
)

Contents = dict[str, tuple[Any, ...]]


def fill(store: agentmem.MemoryStore) -> None:
    """Make a store hold three records and nothing else."""
    with store.transaction():
        everything = [record.id for record in store.iterate()]
        if everything:
            store.delete(*everything)
        store.add_many(
            ["the book club", "a garden of herbs", "x"],
            embeddings=np.eye(3, DIMENSION) + 0.1 if store.embedder is None else None,
            ids=["a", "b", "c"],
            metadatas=[{"topic": "life", "n": 1}, {"topic": "work"}, {"'": '"', "a": {"b": [1, None]}}],
            namespace=["users/1", "users/10", "team"],
            threads=["t", "t", None],
        )
        store.update("b", links=[("to", "a")])


def contents(store: agentmem.MemoryStore) -> Contents:
    """Return all that a store holds, by id: the record without the number of its version, its vector and its links."""
    found = {}
    for record in store.iterate():
        vector = store.vector(record.id)
        found[record.id] = (
            record._replace(label=0),
            None if vector is None else vector.tobytes(),
            tuple(store.links(record.id)),
        )
    return found


def schema(store: agentmem.MemoryStore) -> list[tuple[str, str]]:
    """Return name and SQL of everything in the database's schema."""
    with store.database.read() as reader:
        return reader.connection.all("SELECT name, sql FROM sqlite_master ORDER BY name")


def same_json(stored: object, given: Mapping[str, Any] | None) -> bool:
    """Say whether stored metadata is what was given, as JSON holds it."""
    return json.dumps(stored, sort_keys=True) == json.dumps(dict(given or {}), sort_keys=True)
