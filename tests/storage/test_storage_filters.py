"""The filter language: against a model in Python, by hand-worked cases, and what it refuses."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from filter_model import OWN, matches
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from storage_kit import make_record

from agentmem.errors import InvalidFilter
from agentmem.records import NewRecord
from agentmem.storage.database import Database
from agentmem.storage.filters import compile_filter

KEYS = ["a", "b", "a.b", "c d", 'q"', "back\\slash", "new\nline", "é", "", "'", "nul\0", "@id", "$x", "0", "[0]", "%"]
NUMBERS = [
    0,
    1,
    -1,
    2,
    2**53 + 1,
    2**63 - 1,
    -(2**63),
    0.5,
    1.0,
    -0.0,
    0.1,
    0.30000000000000004,
    1e300,
    1e-7,
]
HUGE = [2**63, -(2**70), 10**400]
STRINGS = ["", "a", "A", "ab", "abc", "1", "true", "null", "[1]", "{}", "é", "\0", "a\0b", "\ufdd0", "😀", "'", '"']
CONSTANTS = [None, True, False]


def test_a_path_through_unusual_keys_grows_with_their_number() -> None:
    sizes = [len(compile_filter({".".join(['"'] * count): 1})[0]) for count in (1, 2, 3, 4)]
    assert sizes[3] - sizes[2] == sizes[2] - sizes[1] == sizes[1] - sizes[0]
    for path in ("." * 5, ".".join(['"'] * 5), "a.." * 5):
        with pytest.raises(InvalidFilter, match="4 are possible"):
            compile_filter({path: 1})
    with pytest.raises(InvalidFilter, match="has 500001 keys"):
        compile_filter({"a." * 500_000: 1})


def test_unusual_keys_are_found_at_any_depth(db: Database) -> None:
    path, metadata = "." * 3, {"": {"": {"": {"": 1, "a": {"b": {'"': 2}}}}}}
    with db.transaction() as writer:
        writer.insert(make_record(metadata=metadata))
    deepest: dict[str, Any] = {path: {"$in": [1, "a", [1]]}}
    for _ in range(30):
        deepest = {"$not": deepest}
    with db.read() as reader:
        assert reader.count(deepest, None, None) == 1
        assert reader.count({'...a.b."': 2}, None, None) == 1
        assert reader.count({'...a.c."': 2}, None, None) == 0
        assert reader.count({"$or": [{path: {"$contains": "x"}}] * 50}, None, None) == 0


class Dice:
    """Draws records, and filters that have something to do with them."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.found: list[tuple[str, Any]] = [("é", 1), ("a.a", "a"), ("@id", "0"), ("@namespace", "")]

    def scalar(self) -> Any:
        if self.random.random() < 0.1:
            return self.random.uniform(-1e3, 1e3)
        return self.random.choice(self.random.choice([NUMBERS, STRINGS, CONSTANTS]))

    def value(self, depth: int = 0) -> Any:
        kind = self.random.random()
        if kind < 0.6 or depth == 3:
            return self.random.choice(HUGE) if kind < 0.03 else self.scalar()
        if kind < 0.8:
            return [self.value(depth + 1) for _ in range(self.random.randrange(4))]
        return self.mapping(depth + 1)

    def mapping(self, depth: int = 0) -> dict[str, Any]:
        keys = self.random.sample(KEYS, self.random.randrange(5))
        return {key: self.value(depth) for key in [*keys, "a"]}

    def record(self, id: str) -> NewRecord:
        fields = {
            "text": self.random.choice([None, *STRINGS]),
            "thread": self.random.choice([None, *STRINGS]),
            "position": self.random.choice([None, 0.0, 1.0, 0.5]),
            "expires_at": self.random.choice([None, 1e300]),
            "importance": self.random.choice([0.0, 0.1, 1.0]),
        }
        metadata = self.mapping()
        self.found += [*places(metadata), *((f"@{name}", value) for name, value in fields.items())]
        return make_record(id, metadata=metadata, vector=None, **fields)

    def operand(self, value: Any, depth: int = 0) -> Any:
        """Return something that ``value`` may match: itself, an element, a part, something near it, or anything."""
        choice = self.random.random()
        if choice < 0.2 or (isinstance(value, (int, float)) and abs(value) >= 2**63):
            return self.scalar()
        if isinstance(value, str):
            return self.random.choice([value, value[1:], value[:1]])
        if isinstance(value, list) and value and choice < 0.7 and depth < 3:
            return self.operand(self.random.choice(value), depth + 1)
        if type(value) in (int, float) and choice < 0.4 and abs(value) < 2**62:
            return self.random.choice([value + 1, value - 1, float(value)])
        if isinstance(value, dict) and any(key.startswith("$") for key in value):
            return 1
        return value

    def ordered(self, value: Any) -> Any:
        operand = self.operand(value)
        fits = isinstance(operand, (int, float, str)) and not isinstance(operand, bool)
        return operand if fits else self.random.choice(NUMBERS)

    def condition(self, value: Any) -> Any:
        name = self.random.choice(["", "$eq", "$ne", "$contains", "$order", "$order", "$in", "$nin", "$exists", "$not"])
        if name == "":
            return self.operand(value)
        if name == "$order":
            names = self.random.sample(["$gt", "$gte", "$lt", "$lte"], self.random.choice([1, 1, 2]))
            return {each: self.ordered(value) for each in names}
        if name in ("$in", "$nin"):
            return {name: [self.operand(value) for _ in range(self.random.randrange(4))]}
        if name == "$exists":
            return {name: self.random.random() < 0.5}
        if name == "$not":
            return {name: {"$eq": self.operand(value)} if self.random.random() < 0.5 else {"$gt": self.ordered(value)}}
        return {name: self.operand(value)}

    def filter(self, depth: int = 0) -> dict[str, Any]:
        kind = self.random.random()
        if kind < 0.75 or depth == 2:
            chosen = self.random.sample(self.found, self.random.choice([1, 1, 2]))
            return {path: self.condition(value) for path, value in chosen}
        if kind < 0.82:
            return {"$not": self.filter(depth + 1)}
        parts = [self.filter(depth + 1) for _ in range(self.random.randrange(1, 4))]
        return {self.random.choice(["$and", "$or"]): parts}


def escaped(key: str) -> str:
    key = key.replace("\\", "\\\\").replace(".", "\\.")
    return "\\" + key if key.startswith(("@", "$")) else key


def places(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every path into a JSON object, with the value there."""
    for key, item in value.items():
        there = f"{path}.{escaped(key)}" if path else escaped(key)
        yield there, item
        if isinstance(item, dict):
            yield from places(item, there)


@pytest.fixture(scope="module")
def shared():
    database = Database.open(":memory:")
    yield database
    database.close()


@examples(max_examples=200)
@given(seed=st.integers(0, 2**32))
def test_sql_and_model_agree(shared, seed):
    dice = Dice(seed)
    made = [dice.record(str(i)) for i in range(8)]
    with shared.transaction() as writer, shared.read() as reader:
        writer.delete(reader.ids_where(None, None))
        writer.insert_many(made)
        for _ in range(25):
            filter = dice.filter()
            expected = [
                record.id
                for record in made
                if matches(filter, record.metadata, {name: getattr(record, name) for name in OWN})
            ]
            assert reader.ids_where(filter, None) == expected, filter


X: list[Any] = [1, 1.0, True, "1", None, [1], {"y": 1}, 2, "abc", False, 0]


@pytest.fixture
def xs(db, make):
    with db.transaction() as writer:
        writer.insert_many([make(str(i), metadata={"x": x}) for i, x in enumerate(X)] + [make("missing")])

    def find(filter: Any) -> list[Any]:
        with db.read() as reader:
            return [X[int(id)] if id != "missing" else "missing" for id in reader.ids_where(filter, None)]

    return find


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (1, [1, 1.0]),
        (np.int64(1), [1, 1.0]),
        (True, [True]),
        ("1", ["1"]),
        (None, [None]),
        ([1], [[1]]),
        ([1.0], []),
        ({"y": 1}, [{"y": 1}]),
        ({"$ne": 1}, [True, "1", None, [1], {"y": 1}, 2, "abc", False, 0, "missing"]),
        ({"$gt": 0}, [1, 1.0, 2]),
        ({"$gt": "1"}, ["abc"]),
        ({"$gte": 1, "$lt": 2}, [1, 1.0]),
        ({"$not": {"$gt": 0}}, [True, "1", None, [1], {"y": 1}, "abc", False, 0, "missing"]),
        ({"$in": [1, "abc", None, False]}, [1, 1.0, None, "abc", False]),
        ({"$in": []}, []),
        ({"$in": {"abc"}}, ["abc"]),
        ({"$in": np.array([2, 0])}, [2, 0]),
        ({"$nin": [1, "abc", None, False]}, [True, "1", [1], {"y": 1}, 2, 0, "missing"]),
        ({"$exists": False}, ["missing"]),
        ({"$exists": True}, X),
        ({"$contains": 1}, [[1]]),
        ({"$contains": "b"}, ["abc"]),
        ({"$contains": True}, []),
    ],
)
def test_worked_cases(xs, condition, expected):
    found = xs({"x": condition})
    assert [(type(x), x) for x in found] == [(type(x), x) for x in expected]


def test_worked_paths(xs):
    assert xs({"x.y": 1}) == [{"y": 1}]
    assert xs({"x.y": {"$exists": False}, "x": {"$gt": 1}}) == [2]
    assert xs({"x.0": 1}) == []
    assert xs({}) == [*X, "missing"]


def test_long_lists(db, make):
    with db.transaction() as writer:
        writer.insert_many([make(str(i), metadata={"n": i, "s": f"s{i}"}) for i in range(50)])
    with db.read() as reader:
        assert reader.count({"n": {"$in": list(range(0, 200_000, 2))}}, None, None) == 25
        assert reader.count({"s": {"$in": [f"s{i}" for i in range(40, 100_040)]}}, None, None) == 10
        assert reader.count({"@id": {"$nin": [str(i) for i in range(1, 100_001)]}}, None, None) == 1
        assert reader.count({"$or": [{"n": i} for i in range(10, 5_000)]}, None, None) == 40


def test_injection_stays_a_value(db, make):
    nasty = "x' OR 1=1; DROP TABLE records; --"
    with db.transaction() as writer:
        writer.insert(make("a", metadata={nasty: nasty}))
        writer.insert(make("b"))
    with db.read() as reader:
        assert reader.ids_where({nasty: nasty}, None) == ["a"]
        assert reader.ids_where({"@thread": nasty}, None) == []
        assert reader.ids_where({"@text": {"$match": "words"}}, nasty) == []
        assert reader.count(None, None, None) == 2


@pytest.mark.parametrize(
    ("filter", "says"),
    [
        ({"x": {"$like": 1}}, r"\$like.*'x'.*\$contains"),
        ({"$nor": []}, r"\$nor.*\$and \$or"),
        ({"$gt": 3}, r"\$gt stands under a path"),
        ({"x": {"$gt": 3, "y": 1}}, "'y'"),
        ({"@nothing": 1}, "@created_at"),
        ({"x": {"$gt": None}}, r"\$gt at 'x'"),
        ({"x": {"$lt": [1]}}, r"\$lt at 'x'"),
        ({"x": {"$in": "abc"}}, r"\$in at 'x': needs a list"),
        ({"x": {"$exists": 1}}, r"\$exists at 'x'"),
        ({"x": 2**63}, "64 bits"),
        ({"x": {"$in": [2**64]}}, "64 bits"),
        ({"x": float("nan")}, "not a JSON number"),
        ({"x": float("inf")}, "not a JSON number"),
        ({"x": {1, 2}}, "not a JSON value"),
        ({"x": [{1}]}, "not JSON"),
        ({"x": "\ud800"}, "not JSON"),
        ({"x": {"$in": ["\ud800"]}}, "not JSON"),
        ({"\ud800": 1}, "surrogate"),
        ({"x\\": 1}, "backslash"),
        ({1: 2}, "must be a string"),
        ({"$and": []}, "at least one"),
        ({"$or": {"x": 1}}, "needs a list"),
        ({"$not": 3}, "must be a mapping"),
        ({"x": {"$not": 3}}, r"\$ne"),
        ([1], "must be a mapping"),
        ({"x": {"$match": "a"}}, "@text only"),
        ({"@text": {"$match": "  "}}, "not empty"),
        ({"@text": {"$match": 'a "b'}}, "unterminated"),
        ({"@text": {"$match": "what's up?"}}, "syntax error"),
        ({"@text": {"$match": "nowhere : a"}}, "nowhere"),
    ],
    ids=repr,
)
def test_refusals_name_the_place(filter, says):
    with pytest.raises(InvalidFilter, match=says):
        compile_filter(filter)


def test_nesting_is_limited():
    deep: Any = {"x": 1}
    for _ in range(31):
        deep = {"$not": deep}
    compile_filter(deep)
    with pytest.raises(InvalidFilter, match="32"):
        compile_filter({"$not": deep})
    inner: Any = {"$gt": 1}
    for _ in range(40):
        inner = {"$not": inner}
    with pytest.raises(InvalidFilter, match=r"32.*'x'"):
        compile_filter({"x": inner})


def test_too_many_values():
    with pytest.raises(InvalidFilter, match=r"use \$in"):
        compile_filter({"$or": [{"x": i} for i in range(30_001)]})


def test_match_cannot_leave_its_column(db, make):
    with db.transaction() as writer:
        writer.insert(make("a", "plain"))
        scope = writer.connection.first("SELECT scope FROM records")
    with db.read() as reader:
        assert reader.ids_where({"@text": {"$match": scope}}, None) == []
        assert reader.ids_where({"@text": {"$match": f"plain OR scope : {scope}"}}, None) == ["a"]
        assert reader.ids_where({"@text": {"$match": f"scope : {scope}"}}, None) == []
