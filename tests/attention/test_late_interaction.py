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
    # rows: tokens 0 and 1 -> 2 · 1 + 10 · 1; token 2 twice -> 2 · (−1) + 10 · 0; no token; 2 and 0 -> 2 · 1 + 10 · 0
    offsets = np.array([0, 2, 4, 4, 6])
    tokens = np.array([0, 1, 2, 2, 2, 0], np.uint16)
    came = maxsim(QUERY, WEIGHTS, TABLE, offsets, tokens, scales=SCALES, backend=backend)
    assert came.dtype == np.float32
    np.testing.assert_allclose(came, [12, -2, np.nan, 2], rtol=1e-6)
    picked = maxsim(QUERY, WEIGHTS, TABLE, offsets, tokens, scales=SCALES, rows=np.array([3, 0, 3]), backend=backend)
    np.testing.assert_allclose(picked, [2, 12, 2], rtol=1e-6)


def test_ids_and_offsets_outside_are_ignored(backend: str) -> None:
    offsets = np.array([0, 3, 99, 2, -5, 1])
    tokens = np.array([0, 65535, 3], np.uint16)
    came = maxsim(QUERY, WEIGHTS, TABLE, offsets, tokens, scales=SCALES, backend=backend)
    np.testing.assert_allclose(came, [2, *[np.nan] * 4], rtol=1e-6)
    wide = np.array([2**32 - 1, 2**31, 1], np.uint32)
    only = maxsim(QUERY, WEIGHTS, TABLE, np.array([0, 2, 3]), wide, scales=SCALES, backend=backend)
    np.testing.assert_allclose(only, [np.nan, 10], rtol=1e-6)


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
    seen = rounded(query) if coded else query
    for row, score_ in enumerate(came):
        ids = tokens[offsets[row] : offsets[row + 1]]
        expected = float(weights @ (seen @ vectors[ids].T).max(1)) if len(ids) else np.nan
        assert score_ == pytest.approx(expected, rel=1e-4, abs=1e-4, nan_ok=True)


def rounded(query: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the rows in whole multiples of a 127th of their largest number."""
    step = np.abs(query).max(1, initial=0, keepdims=True).astype(float) / 127
    return np.rint(query / np.where(step == 0, 1, step)) * step


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 300), st.integers(0, 2**31))
def test_rounding_the_query_moves_a_similarity_no_further_than_promised(backend: str, dim: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    query, one = rng.standard_normal((1, dim)).astype("f"), np.ones(1, np.float32)
    table = rng.integers(-127, 128, (20, dim)).astype(np.int8)
    table[:, 0] = 127
    scales = (1 / np.linalg.norm(table.astype(float), axis=1)).astype("f")
    offsets, tokens = np.arange(21), np.arange(20, dtype=np.uint16)
    came = maxsim(query, one, table, offsets, tokens, scales=scales, backend=backend)
    exact = table.astype(float) * scales[:, None] @ query[0]
    assert np.abs(came - exact).max() <= (dim**0.5 / 254 + 1e-6) * np.abs(query).max()
    own = table[3:4].astype(np.float32) * scales[3]  # a row of the table loses nothing
    came = maxsim(own, one, table, offsets, tokens, scales=scales, backend=backend)
    np.testing.assert_allclose(came, table.astype(float) * scales[:, None] @ own[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 31, 33, 63, 64, 100, 256, 1027])
def test_every_instruction_set_gives_the_same_bits(dim: int) -> None:
    kernels = pytest.importorskip("agentmem._kernels.maxsim")
    rng = np.random.default_rng(dim)
    for n_query in (0, 1, 3, 4, 7, 8, 9, 16, 17, 40):
        for distinct in (0, 1, 7, 8, 9, 50):
            table = rng.choice(np.array([-128, -127, -1, 0, 5, 127], np.int8), (60, dim))
            query = (rng.choice([-1, 1], (n_query, dim)) * rng.choice([0.3, 1], (n_query, dim))).astype("f")
            weights, scales = rng.standard_normal(n_query).astype("f"), rng.random(60).astype("f")
            tokens = rng.integers(0, distinct + 20, 90).astype(np.uint16)
            tokens[tokens >= distinct] += 60  # a token that the table lacks
            offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 7, 20))])
            arrays = (query, weights, table, scales, offsets, tokens, None)
            best, avx2, portable = (kernels.maxsim(*arrays, isa=isa) for isa in (4, 3, 1))
            assert best.tobytes() == avx2.tobytes() == portable.tobytes()
            reference = maxsim(query, weights, table, offsets, tokens, scales=scales, backend="numpy")
            np.testing.assert_allclose(portable, reference, rtol=2e-5, atol=1e-5 * (1 + np.abs(weights).sum()))


def test_sums_as_large_as_they_can_be(backend: str) -> None:
    # 255 · 127 twice is more than an int16 holds, which a multiply-add of bytes would cut off
    for code, sign in ((-128, -1), (127, 1)):
        for dim in (1, 31, 33, 256, 4096):
            table, query = np.full((1, dim), code, np.int8), np.full((2, dim), 1, np.float32)
            query[1] = -1
            came = maxsim(
                query, np.array([1, 0], "f"), table, np.array([0, 1]), np.zeros(1, np.uint16), backend=backend
            )
            other = maxsim(
                query, np.array([0, 1], "f"), table, np.array([0, 1]), np.zeros(1, np.uint16), backend=backend
            )
            np.testing.assert_allclose([came[0], other[0]], [code * dim, -code * dim], rtol=1e-6)
            assert np.sign(came[0]) == sign


@pytest.mark.parametrize("length", [0.0, 1e-44, 1e-39, 1e-30, 1e-10, 1e10, 1e30])
def test_queries_of_any_length(backend: str, length: float) -> None:
    rng = np.random.default_rng(7)
    unit = rng.standard_normal((3, 33)).astype("f")
    table, tokens = rng.integers(-127, 128, (40, 33)).astype(np.int8), rng.integers(0, 40, 60).astype(np.uint16)
    query = (unit * length).astype("f")
    offsets, weights = np.arange(0, 61, 6), np.ones(3, np.float32)
    scales = np.full(40, 1e-3, "f")
    came = maxsim(query, weights, table, offsets, tokens, scales=scales, backend=backend)
    one = maxsim(unit, weights, table, offsets, tokens, scales=scales, backend=backend)
    assert np.isfinite(came).all()
    np.testing.assert_allclose(came, one * length if length > 1e-36 else np.zeros(10), rtol=1e-4, atol=1e-38)


def test_codes_that_overflow_no_sum(backend: str) -> None:
    longest = 131_072
    table, query = np.full((1, longest), -128, np.int8), np.full((1, longest), -1, np.float32)
    came = maxsim(query, np.ones(1, "f"), table, np.array([0, 1]), np.zeros(1, np.uint16), backend=backend)
    assert came[0] == pytest.approx(128 * longest, rel=1e-6)
    with pytest.raises(InvalidInput, match="table: expected at most 131072 dimensions of int8, came 131073"):
        maxsim(
            np.ones((1, longest + 1), "f"),
            np.ones(1, "f"),
            np.ones((1, longest + 1), np.int8),
            np.array([0, 1]),
            np.zeros(1, np.uint16),
            backend=backend,
        )


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
    with pytest.raises(InvalidVector, match="weights: expected finite"):
        maxsim(QUERY, WEIGHTS * np.float32(np.inf), TABLE, offsets, tokens)
    with pytest.raises(InvalidInput, match=r"scales: expected a float32 array of shape \(3,\)"):
        maxsim(QUERY, WEIGHTS, TABLE, offsets, tokens, scales=SCALES[:2])
    with pytest.raises(InvalidInput, match="rows: expected numbers from 0 to 0, came -1 to -1"):
        maxsim(QUERY, WEIGHTS, TABLE, offsets, tokens, rows=np.array([-1]))
    with pytest.raises(InvalidInput, match="segment_ids: expected record numbers from 0"):
        score(QUERY, QUERY, mechanism="late-interaction", segment_ids=[0, -1])


def test_known_answer_over_vectors(backend: str) -> None:
    # record 0 has a vector for each of the query's two, record 1 one that lies between them at 45°
    query, keys = np.array([[2, 0], [0, 1]], np.float32), np.array([[0, 3], [1, 0], [1, 1]], np.float32)
    options = {"mechanism": "late-interaction", "segment_ids": [0, 0, 1], "backend": backend}
    np.testing.assert_allclose(score(query, keys, **options), [2, 2**0.5], rtol=1e-6)
    weighed = score(query, keys, weights={"tokens": np.array([3, 1], np.float32)}, **options)
    np.testing.assert_allclose(weighed, [4, 4 * 2**-0.5], rtol=1e-6)
