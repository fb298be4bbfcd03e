"""Attention as SQL functions, on any connection and on a store's own."""

from __future__ import annotations

import json
import logging
import math
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentmem import MemoryStore
from agentmem.attention import attend, registry, score
from agentmem.attention.sql import _FUNCTIONS, _told, register_sql_functions
from agentmem.errors import AgentMemError


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(":memory:")
    register_sql_functions(opened)
    yield opened
    opened.close()


def one(connection: sqlite3.Connection, sql: str, *values: object) -> Any:
    return connection.execute(sql, values).fetchone()[0]


def numbers(blob: bytes) -> np.ndarray:
    return np.frombuffer(blob, np.float32)


ROWS = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
QUERY = ROWS[0] * 0.5


def test_a_score_by_hand(connection: sqlite3.Connection) -> None:
    assert one(connection, "SELECT attention_score('[1, 0, 0]', '[1, 0, 0]')") == pytest.approx(1 / math.sqrt(3))
    assert one(connection, "SELECT attention_score('[1, 2, 3, 4]', '[4, 3, 2, 1]', 'scaled_dot')") == 10.0
    # one head: (1 + 1 + 3 + 12) over the root of 4
    registered = "SELECT attention_score('[1, 1, 1, 4]', '[1, 1, 3, 3]', 'cross-attention')"
    assert one(connection, registered) == pytest.approx(17 / 2)
    eight = json.dumps([1.0] * 8)
    assert one(connection, "SELECT attention_score(?, ?, 'multi_head')", eight, eight) == pytest.approx(1.0)
    # the two lie at the origin and at tanh(1/2) e1 of the ball, a tangent vector of length 1 away
    assert one(connection, "SELECT attention_score('[0, 0]', '[1, 0]', 'hyperbolic_attention')") == pytest.approx(-1)


def test_softmax_by_hand(connection: sqlite3.Connection) -> None:
    came = json.loads(one(connection, "SELECT attention_softmax(?)", json.dumps([0.0, math.log(3)])))
    assert came == pytest.approx([0.25, 0.75])
    assert json.loads(one(connection, "SELECT attention_softmax('[1000, 1000]')")) == [0.5, 0.5]
    blob = np.array([-np.inf, 0, 0], np.float32).tobytes()
    np.testing.assert_array_equal(numbers(one(connection, "SELECT attention_softmax(?)", blob)), [0, 0.5, 0.5])
    blob = np.full(2, -np.inf, np.float32).tobytes()
    np.testing.assert_array_equal(numbers(one(connection, "SELECT attention_softmax(?)", blob)), [0, 0])


@pytest.mark.parametrize("kind", ["scaled_dot", "standard-mha", "flash", "hyperbolic-attention"])
def test_scores_are_those_of_the_library(connection: sqlite3.Connection, kind: str) -> None:
    name = {"scaled_dot": "scaled-dot", "flash": "flash-attention-v2"}.get(kind, kind)
    sql = "SELECT attention_scores(?, ?, ?)"
    came = numbers(one(connection, sql, QUERY.tobytes(), ROWS.tobytes(), kind))
    np.testing.assert_array_equal(came, score(QUERY, ROWS, mechanism=name))
    told = json.loads(one(connection, sql, json.dumps(QUERY.tolist()), json.dumps(ROWS.tolist()), kind))
    np.testing.assert_allclose(told, came, rtol=1e-4)
    mixed = json.loads(one(connection, sql, json.dumps(QUERY.tolist()), ROWS.tobytes(), kind))
    assert mixed == told


def test_the_scores_of_pairs_are_what_the_weights_are_the_softmax_of(connection: sqlite3.Connection) -> None:
    for kind in ("scaled-dot", "hyperbolic-attention", "flash-attention-v2"):
        pairs = [
            one(connection, "SELECT attention_score(?, ?, ?)", QUERY.tobytes(), row.tobytes(), kind) for row in ROWS
        ]
        weights = json.loads(one(connection, "SELECT attention_softmax(?)", json.dumps(pairs)))
        np.testing.assert_allclose(weights, score(QUERY, ROWS, mechanism=kind), rtol=1e-4)


def test_attention(connection: sqlite3.Connection) -> None:
    values = ROWS[:, :4].copy()
    arguments = (QUERY.tobytes(), ROWS.tobytes(), values.tobytes())
    for sql, options in (
        ("multi_head_attention(?, ?, ?)", {"mechanism": "standard-mha", "params": {"heads": 4}}),
        ("multi_head_attention(?, ?, ?, 2)", {"mechanism": "standard-mha", "params": {"heads": 2}}),
        ("flash_attention(?, ?, ?)", {"mechanism": "flash-attention-v2", "params": {"block_size": 64}}),
        ("flash_attention(?, ?, ?, 16)", {"mechanism": "flash-attention-v2", "params": {"block_size": 16}}),
    ):
        came = numbers(one(connection, f"SELECT {sql}", *arguments))
        np.testing.assert_array_equal(came, attend(QUERY[None], ROWS, values, **options).output[0])
        texts = [json.dumps(array.tolist()) for array in (QUERY, ROWS, values)]
        np.testing.assert_allclose(json.loads(one(connection, f"SELECT {sql}", *texts)), came, rtol=1e-4, atol=1e-6)
    # the seed's own example: one key, so its value comes back
    sql = "SELECT multi_head_attention('[1, 0, 0, 0]', '[[1, 0, 0, 0]]', '[[5, 10, 15, 20]]', 2)"
    assert json.loads(one(connection, sql)) == [5, 10, 15, 20]


def test_reranking_in_sql(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE documents (id INTEGER PRIMARY KEY, embedding BLOB)")
    connection.executemany("INSERT INTO documents VALUES (?, ?)", enumerate(row.tobytes() for row in ROWS))
    sql = "SELECT id FROM documents ORDER BY attention_score(?, embedding) DESC"
    came = [row[0] for row in connection.execute(sql, (QUERY.tobytes(),))]
    assert came == np.argsort(-(ROWS @ QUERY)).tolist()
    connection.execute("CREATE INDEX near ON documents (attention_score(X'0000803F', substr(embedding, 1, 4)))")


def test_the_table_of_types(connection: sqlite3.Connection) -> None:
    rows = connection.execute("SELECT name, complexity, best_for FROM attention_types ORDER BY name").fetchall()
    assert rows == [(m.name, m.complexity, m.best_for) for m in map(registry.get, registry.list())]
    register_sql_functions(connection)  # twice does no harm
    assert one(connection, "SELECT count(*) FROM attention_types WHERE name = 'scaled-dot'") == 1


def test_null_is_null(connection: sqlite3.Connection) -> None:
    assert one(connection, "SELECT attention_score(NULL, '[1]')") is None
    assert one(connection, "SELECT attention_softmax(NULL)") is None
    assert one(connection, "SELECT attention_error()") is None


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("attention_score('[1, 2]', '[1]')", "attention_score: key: expected 2 numbers as in query, came 1"),
        ("attention_score('[1, \"a\"]', '[1, 2]')", "query: expected a JSON array of numbers or a blob of float32"),
        ("attention_score('[]', '[]')", "query: expected a JSON array of numbers"),
        ("attention_score('[1', '[1]')", "came '[1'"),
        ("attention_score('[NaN]', '[1]')", "query: expected a JSON array of numbers"),
        ("attention_score('[true]', '[1]')", "query: expected a JSON array of numbers"),
        ("attention_score(x'000000', '[1]')", "came a blob of 3 bytes"),
        ("attention_score(x'0000C07F', '[1]')", "query: expected finite numbers, came NaN or infinity at [0]"),
        ("attention_score(7, '[1]')", "query: expected a JSON array of numbers or a blob of float32, came '7'"),
        ("attention_score('[1]', '[1]', 'scaled_dots')", "no mechanism 'scaled-dots'; did you mean 'scaled-dot'"),
        ("attention_score('[1]', '[1]', 5)", "type: expected a name such as 'scaled_dot', came 5"),
        ("attention_score('[1]', '[1]', 'moe_attention')", "scores a key among others only; use attention_scores"),
        ("attention_score('[1]', '[1]', 'multi_head')", "8 heads of type standard-mha do not divide 1 numbers"),
        ("attention_scores('[1]', '[[1], [1, 2]]')", "keys: expected rows of 1 numbers, came 2 of 1 and 2 numbers"),
        ("attention_scores('[1]', '[1]')", "keys: expected a JSON array of arrays"),
        ("attention_scores('[1, 1]', x'0000803F')", "keys: expected rows of 2 numbers, a multiple of 8 bytes"),
        ("attention_scores('[1]', '[[1]]', 'moe_attention')", "moe-attention needs weights['router']"),
        ("attention_softmax(x'0000C07F')", "vector: expected numbers or -infinity, came NaN or infinity"),
        ("multi_head_attention('[1, 1]', '[[1, 1]]', '[[1, 1]]')", "4 heads do not divide 2 dimensions"),
        ("multi_head_attention('[1]', '[[1]]', '[[1], [2]]', 1)", "values: expected 1 rows, one a key, came 2 of 1"),
        ("multi_head_attention('[1]', '[[1]]', '[[1]]', 'two')", "heads must be a whole number"),
        ("flash_attention('[1]', '[[1]]', '[[1]]', -1)", "block_size must be a whole number, at least 0"),
    ],
)
def test_errors_are_errors_in_sql_and_say_what_was_wrong(
    connection: sqlite3.Connection, caplog: pytest.LogCaptureFixture, call: str, words: str
) -> None:
    with pytest.raises(sqlite3.OperationalError), caplog.at_level(logging.ERROR, "agentmem.attention.sql"):
        connection.execute(f"SELECT {call}").fetchall()
    assert words in one(connection, "SELECT attention_error()")
    assert words in caplog.text


anything = st.one_of(
    st.none(),
    st.integers(),
    st.floats(),
    st.binary(max_size=24),
    st.text(max_size=12),
    st.sampled_from(["[", "[" * 100_000, "[[]]", "[[], []]", "{}", "[1e999]", "[1, 2, 3, 4]", "[[1, 2, 3, 4]]", "moe"]),
    st.recursive(st.integers() | st.floats() | st.text(max_size=2), st.lists, max_leaves=6).map(json.dumps),
)


@settings(max_examples=400)
@given(st.sampled_from([(arity, call) for _, arities, call in _FUNCTIONS for arity in arities]), st.data())
def test_whatever_is_given_is_answered_or_refused(
    function: tuple[int, Callable[..., Any]], data: st.DataObject
) -> None:
    arity, call = function
    arguments = [data.draw(anything) for _ in range(arity)]
    try:
        answer = _told("f", call, [None])(*arguments)
    except AgentMemError:
        return
    assert answer is None or isinstance(answer, (bytes, str, float))
    if isinstance(answer, float):
        assert math.isfinite(answer)


def test_no_rows_at_all(connection: sqlite3.Connection) -> None:
    assert one(connection, "SELECT attention_scores('[1]', '[]')") == "[]"
    assert one(connection, "SELECT flash_attention('[1, 2]', '[]', '[]')") == "[0.0]"


@pytest.mark.parametrize("read_only", [False, True])
def test_a_store_s_own_connections_have_them(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "memory.db"
    with MemoryStore(path, embedder=None, dimension=8, merge="manual") as store:
        store.add_many([None] * 5, embeddings=ROWS)
        with store._database.transaction() as writer:
            assert writer.connection.first("SELECT attention_score('[1]', '[1]')") == 1.0
    with (
        MemoryStore(path, embedder=None, dimension=8, merge="manual", read_only=read_only) as store,
        store._database.read() as reader,
    ):
        sql = "SELECT count(*) FROM embeddings WHERE attention_score(?, vector) > -100"
        assert reader.connection.first(sql, (QUERY.tobytes(),)) == 5
        assert reader.connection.first("SELECT count(*) FROM attention_types") == len(registry.list())
