"""maxsim over token ids, and late-interaction over vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentmem.attention import attend, maxsim, score
from agentmem.errors import InvalidInput, InvalidVector

TABLE = np.array([[127, 0], [0, 127], [-127, 0]], np.int8)
SCALES = np.full(3, 1 / 127, np.float32)
QUERY = np.eye(2, dtype=np.float32)
WEIGHTS = np.array([2, 10], np.float32)


def test_known_answer(backend: str) -> None:
    # rows: tokens 0 and 1 -> 2 · 1 + 10 · 1; token 2 twice -> 2 · (−1) + 10 · 0; none -> 0; 2 and 0 -> 2 · 1 + 10 · 0
    offsets = np.array([0, 2, 4, 4, 6])
    tokens = np.array([0, 1, 2, 2, 2, 0], np.uint16)
    came = maxsim(QUERY, WEIGHTS, TABLE, offsets, tokens, scales=SCALES, backend=backend)
    assert came.dtype == np.float32
    np.testing.assert_allclose(came, [12, -2, 0, 2], rtol=1e-6)
    picked = maxsim(QUERY, WEIGHTS, TABLE, offsets, tokens, scales=SCALES, rows=np.array([3, 0, 3]), backend=backend)
    np.testing.assert_allclose(picked, [2, 12, 2], rtol=1e-6)


def test_ids_and_offsets_outside_are_ignored(backend: str) -> None:
    offsets = np.array([0, 3, 99, 2, -5, 1])
    tokens = np.array([0, 65535, 3], np.uint16)
    came = maxsim(QUERY, WEIGHTS, TABLE, offsets, tokens, scales=SCALES, backend=backend)
    np.testing.assert_allclose(came, [2, 0, 0, 0, 0], rtol=1e-6)
    wide = np.array([2**32 - 1, 2**31, 1], np.uint32)
    only = maxsim(QUERY, WEIGHTS, TABLE, np.array([0, 2, 3]), wide, scales=SCALES, backend=backend)
    np.testing.assert_allclose(only, [0, 10], rtol=1e-6)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 13),
    st.integers(1, 70),
    st.integers(1, 300),
    st.integers(0, 40),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_any_shape(
    backend: str, n_query: int, dim: int, vocabulary: int, n_rows: int, coded: bool, wide: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    query, weights = rng.standard_normal((n_query, dim)).astype("f"), rng.random(n_query).astype("f")
    codes = rng.integers(-127, 128, (vocabulary, dim)).astype(np.int8)
    table: np.ndarray[Any, Any] = codes if coded else codes.astype(np.float32)
    scales = (rng.random(vocabulary) / 127).astype("f")
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 9, n_rows))]).astype(np.int64)
    tokens = rng.integers(0, vocabulary, offsets[-1]).astype(np.uint32 if wide else np.uint16)
    table.flags.writeable = tokens.flags.writeable = offsets.flags.writeable = False
    came = maxsim(query, weights, table, offsets, tokens, scales=scales, backend=backend)
    vectors = codes.astype(float) * scales[:, None].astype(float)
    for row, score_ in enumerate(came):
        ids = tokens[offsets[row] : offsets[row + 1]]
        expected = float(weights @ (query @ vectors[ids].T).max(1)) if len(ids) else 0.0
        assert score_ == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_mechanism_over_vectors(backend: str) -> None:
    rng = np.random.default_rng(5)
    query, keys = rng.standard_normal((3, 9)).astype("f"), rng.standard_normal((12, 9)).astype("f")
    groups = np.array([2, 0, 2, 2, 0, 4, 4, 0, 0, 0, 0, 2])
    weights = {"tokens": np.array([1, 2, 3], np.float32)}
    came = score(query, keys, mechanism="late-interaction", segment_ids=groups, weights=weights, backend=backend)
    cosine = (query @ keys.T) / np.linalg.norm(query, axis=1)[:, None] / np.linalg.norm(keys, axis=1)
    expected = [weights["tokens"] @ cosine[:, groups == g].max(1) if g in groups else 0 for g in range(5)]
    np.testing.assert_allclose(came, expected, rtol=1e-5, atol=1e-6)
    single = score(query[0], keys, mechanism="late-interaction", backend=backend)
    np.testing.assert_allclose(single, cosine[0], rtol=1e-5, atol=1e-6)


def test_impossible_inputs() -> None:
    offsets, tokens = np.array([0, 1]), np.zeros(1, np.uint16)
    with pytest.raises(InvalidInput, match="late-interaction has scores and no output"):
        attend(QUERY, QUERY, mechanism="late-interaction")
    with pytest.raises(InvalidInput, match="query_vectors: expected a float32 array"):
        maxsim(QUERY.astype(float), WEIGHTS, TABLE, offsets, tokens)
    with pytest.raises(
        InvalidInput, match=r"weights: expected a float32 array of shape \(2,\), came float32 of shape \(1,\)"
    ):
        maxsim(QUERY, WEIGHTS[:1], TABLE, offsets, tokens)
    with pytest.raises(InvalidInput, match=r"table: .*shape \('any', 2\)"):
        maxsim(QUERY, WEIGHTS, TABLE[:, :1].copy(), offsets, tokens)
    with pytest.raises(InvalidInput, match=r"ascontiguousarray\(tokens\)"):
        maxsim(QUERY, WEIGHTS, TABLE, offsets, np.zeros(4, np.uint16)[::2])
    with pytest.raises(InvalidInput, match="tokens: expected a uint16 or uint32 array"):
        maxsim(QUERY, WEIGHTS, TABLE, offsets, tokens.astype(np.int16))
    with pytest.raises(InvalidInput, match="rows: expected numbers from 0 to 0, came 1 to 1"):
        maxsim(QUERY, WEIGHTS, TABLE, offsets, tokens, rows=np.array([1]))
    with pytest.raises(InvalidInput, match="no rows are"):
        maxsim(QUERY, WEIGHTS, TABLE, offsets[:0], tokens)
    with pytest.raises(InvalidVector, match="query_vectors: expected finite"):
        maxsim(QUERY * np.float32(np.nan), WEIGHTS, TABLE, offsets, tokens)
    with pytest.raises(InvalidInput, match="segment_ids: expected record numbers from 0"):
        score(QUERY, QUERY, mechanism="late-interaction", segment_ids=[0, -1])


def test_known_answer_over_vectors(backend: str) -> None:
    # record 0 has a vector for each of the query's two, record 1 one that lies between them at 45°
    query, keys = np.array([[2, 0], [0, 1]], np.float32), np.array([[0, 3], [1, 0], [1, 1]], np.float32)
    options = {"mechanism": "late-interaction", "segment_ids": [0, 0, 1], "backend": backend}
    np.testing.assert_allclose(score(query, keys, **options), [2, 2**0.5], rtol=1e-6)
    weighed = score(query, keys, weights={"tokens": np.array([3, 1], np.float32)}, **options)
    np.testing.assert_allclose(weighed, [4, 4 * 2**-0.5], rtol=1e-6)
