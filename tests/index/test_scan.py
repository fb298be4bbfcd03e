"""The scan kernel and its NumPy twin against plain sorts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from view_model import BACKENDS, backend

from agentmem.index import kernels, reference_scan
from agentmem.index.quantise import quantise

DIMENSIONS = [1, 5, 31, 97, 384]
STEADY = settings(max_examples=30, deadline=None, derandomize=True)
on_backends = pytest.mark.parametrize("name", BACKENDS)


def part_of(vectors: np.ndarray, rng: np.random.Generator, missing: float = 0.1) -> SimpleNamespace:
    """A part of these vectors, with shuffled labels, some rows without a vector; all arrays read-only as maps are."""
    count = len(vectors)
    has_vector = (rng.random(count) >= missing).astype(np.uint8)
    vectors = np.where(has_vector[:, None] != 0, vectors, 0).astype(np.float32)
    codes, scales = quantise(vectors)
    part = SimpleNamespace(
        n=count,
        labels=rng.permutation(count).astype(np.int64) + 5,
        vectors=vectors,
        codes=codes,
        scales=scales,
        norms=np.einsum("ij,ij->i", vectors, vectors),
        has_vector=has_vector,
    )
    for array in (value for value in vars(part).values() if isinstance(value, np.ndarray)):
        array.setflags(write=False)
    return part


def sorted_scores(
    part: SimpleNamespace, metric: str, query: np.ndarray, k: int, rows: np.ndarray
) -> list[tuple[float, int]]:
    """(score, row) of the best rows with a vector, by float64 and a plain sort."""
    pairs = []
    for row in rows.tolist():
        if part.has_vector[row]:
            vector = part.vectors[row].astype(np.float64)
            score = -((vector - query) ** 2).sum() if metric == "l2" else vector @ query.astype(np.float64)
            pairs.append((float(score), part.labels[row], row))
    return [(score, row) for score, _, row in sorted(pairs, key=lambda pair: (-pair[0], pair[1]))[:k]]


@on_backends
@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("metric", ["ip", "l2"])
@STEADY
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 700), k=st.sampled_from([1, 3, 20, 1000]))
def test_scans_of_small_integers_are_sorted_exactly(
    name: str, dimension: int, metric: str, seed: int, count: int, k: int
) -> None:
    rng = np.random.default_rng(seed)
    part = part_of(rng.integers(-2, 3, (count, dimension)), rng)
    query = rng.integers(-2, 3, dimension).astype(np.float32)
    start, stop = sorted(rng.integers(0, count + 1, 2).tolist())
    mask = (rng.random(count) < rng.choice([0.02, 0.5, 1.0])).astype(np.uint8)
    mask.setflags(write=False)
    listed = np.flatnonzero(mask)
    with backend(name):
        everything = np.arange(start, stop)
        for chosen, arguments, given_rows in [
            (everything, (start, stop, None), None),
            (everything[mask[start:stop] != 0], (start, stop, mask), None),
            (listed, (0, count, None), listed),
        ]:
            wanted = sorted_scores(part, metric, query, k, chosen)
            rows, scores = kernels.scan(part, metric, query, k, *arguments, given_rows, exact=True)
            assert (rows.dtype, scores.dtype) == (np.int64, np.float32)
            assert rows.tolist() == [row for _, row in wanted]
            np.testing.assert_allclose(scores, [score for score, _ in wanted], rtol=1e-6)
            _, by_code = kernels.scan(part, metric, query, k, *arguments, given_rows)
            np.testing.assert_allclose(by_code, [score for score, _ in wanted], rtol=1e-6)


@on_backends
@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("metric", ["ip", "l2", "cosine"])
def test_codes_choose_what_exact_scores_would(name: str, dimension: int, metric: str) -> None:
    rng = np.random.default_rng(dimension)
    vectors = rng.normal(size=(3000, dimension))
    if metric == "cosine":
        vectors /= np.linalg.norm(vectors, axis=1)[:, None]
    part = part_of(vectors, rng)
    queries = rng.normal(size=(20, dimension)).astype(np.float32)
    if metric == "cosine":
        queries /= np.linalg.norm(queries, axis=1)[:, None]
    with backend(name):
        rows, scores, counts = kernels.scan_many(part, metric, queries, 10, 0, part.n, threads=3)
        assert counts.tolist() == [10] * 20
        for line, query in enumerate(queries):
            wanted = [score for score, _ in sorted_scores(part, metric, query, 10, np.arange(part.n))]
            np.testing.assert_allclose(np.sort(scores[line])[::-1], scores[line])
            np.testing.assert_allclose(scores[line], wanted, rtol=1e-3, atol=1e-3)
            alone, alone_scores = kernels.scan(part, metric, query, 10, 0, part.n)
            assert alone.tolist() == rows[line].tolist()
            np.testing.assert_allclose(
                alone_scores, kernels.scores_of(part, metric, query, alone), rtol=1e-5, atol=1e-6
            )


@on_backends
def test_equal_vectors_are_ranked_by_label(name: str) -> None:
    rng = np.random.default_rng(0)
    part = part_of(np.tile([[1.0, 2.0, 3.0]], (2000, 1)), rng, missing=0.0)
    with backend(name):
        for exact in (False, True):
            rows, _ = kernels.scan(part, "ip", np.ones(3, np.float32), 7, 0, 2000, exact=exact)
            assert part.labels[rows].tolist() == list(range(5, 12))


@on_backends
def test_extremes(name: str) -> None:
    rng = np.random.default_rng(1)
    part = part_of(np.array([[0.0, 0.0], [1e-30, 0.0], [1e15, -1e15], [3.0, 4.0]]), rng, missing=0.0)
    with backend(name):
        rows, scores = kernels.scan(part, "ip", np.zeros(2, np.float32), 4, 0, 4)
        assert sorted(rows.tolist()) == [0, 1, 2, 3]
        assert scores.tolist() == [0.0] * 4
        rows, scores = kernels.scan(part, "l2", np.array([3.0, 4.0], np.float32), 1, 0, 4)
        assert (rows.tolist(), scores.tolist()) == ([3], [0.0])
        for start, stop, mask, listed in [
            (2, 2, None, None),
            (0, 4, np.zeros(4, np.uint8), None),
            (0, 4, None, np.empty(0, np.int64)),
        ]:
            assert len(kernels.scan(part, "ip", np.ones(2, np.float32), 3, start, stop, mask, listed)[0]) == 0


def test_wild_rows_are_left_out() -> None:
    rng = np.random.default_rng(2)
    part = part_of(rng.normal(size=(10, 4)), rng, missing=0.0)
    wild = np.array([-(2**60), -1, 3, 7, 10, 2**40], np.int64)
    query = np.ones(4, np.float32)
    with backend("native"):
        assert sorted(kernels.scan(part, "ip", query, 5, 0, 10, None, wild)[0].tolist()) == [3, 7]
        assert np.isneginf(kernels.scores_of(part, "ip", query, wild)).tolist() == [
            True,
            True,
            False,
            False,
            True,
            True,
        ]
        assert len(kernels.window(part.labels, None, 0, 10, np.array([-1, 10, 2**50]), 3)[0]) == 0


def test_many_threads_scan_at_once() -> None:
    rng = np.random.default_rng(3)
    part = part_of(rng.normal(size=(2000, 31)), rng)
    queries = rng.normal(size=(64, 31)).astype(np.float32)
    with backend("native"), ThreadPoolExecutor(8) as pool:
        wanted = [kernels.scan(part, "ip", query, 5, 0, part.n)[0].tolist() for query in queries]
        found = pool.map(lambda query: kernels.scan(part, "ip", query, 5, 0, part.n)[0].tolist(), queries)
        assert list(found) == wanted


@STEADY
@given(
    runs=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), max_size=12),
    seed=st.integers(0, 2**32 - 1),
    radius=st.sampled_from([1, 2, 5, 127]),
)
def test_windows_are_the_same_natively(runs: list[tuple[int, int]], seed: int, radius: int) -> None:
    rng = np.random.default_rng(seed)
    keys = np.repeat([key for key, _ in runs], [size for _, size in runs]).astype(np.int64)
    rows = rng.integers(0, max(len(keys), 1), 6 if len(keys) else 0)
    mask = rng.integers(0, 2, len(keys)).astype(np.uint8)
    start, stop = sorted(rng.integers(0, len(keys) + 1, 2).tolist())
    with backend("native"):
        for allowed in (None, mask):
            native = kernels.window(keys, allowed, start, stop, rows, radius)
            plain = reference_scan.window(keys, allowed, start, stop, rows, radius)
            for ours, theirs in zip(native, plain, strict=True):
                assert ours.dtype == theirs.dtype
                np.testing.assert_array_equal(ours, theirs)
