"""The graph search: hnswlib's own answers, good recall by codes and under filters, and no trust in the file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

import hnswlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_data import clustered, exact_order, make_rows, make_segment, segment_bytes

from agentmem.backend import kernels as compiled
from agentmem.index import kernels, reference
from agentmem.index.locality import insertion_order
from agentmem.index.part import Graph
from agentmem.index.segment import Segment
from agentmem.records import METRICS, Metric

native = pytest.mark.skipif(compiled("graph") is None, reason="the kernels are not built, or not asked for")


def graph_of(segment: Segment) -> Graph:
    assert segment.graph is not None
    return segment.graph


def whole_vectors(n: int, dim: int, seed: int) -> np.ndarray:
    """Return vectors of which every product and sum is exact in float32."""
    return np.random.default_rng(seed).integers(-300, 300, (n, dim)).astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", [64, 97, 5])
def test_the_answers_are_those_of_hnswlib(metric: Metric, dim: int) -> None:
    vectors, queries = whole_vectors(1200, dim, dim), whole_vectors(60, dim, dim + 1)
    segment = make_segment(make_rows(vectors), metric=metric, graph=True, M=5, ef_construction=50, seed=1)
    index = hnswlib.Index(metric, dim)
    index.init_index(len(vectors), 5, 50, 1)
    order = insertion_order(segment.vectors, np.arange(len(vectors)), 1)
    index.add_items(vectors[order], order + 1, 1)
    assert graph_of(segment).max_level >= 3
    same = 0
    for query in queries:
        if metric == "cosine":
            query /= np.linalg.norm(query)
        for k, ef in ((1, 1), (10, 10), (5, 40)):
            index.set_ef(ef)
            labels, distances = index.knn_query(query, k, 1)
            rows, scores = kernels.graph_search(graph_of(segment), segment, metric, query, k, ef, codes=False)
            expected = -distances[0] if metric == "l2" else 1 - distances[0]
            equal = np.array_equal(segment.labels[rows], labels[0])
            same += equal
            if equal:
                np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-6 if metric == "cosine" else 0)
    assert same >= (170 if metric == "cosine" else 180)  # lengths are rounded under cosine


@native
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", [1, 5, 64, 97, 384])
def test_the_kernel_answers_like_the_reference(metric: Metric, dim: int) -> None:
    vectors = clustered(700, dim, dim)
    segment = make_segment(make_rows(vectors), metric=metric, graph=True, M=6)
    graph = graph_of(segment)
    queries = clustered(40, dim, dim + 1)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    shape = (len(queries), 5)
    rows, scores, counts = np.zeros(shape, np.int64), np.zeros(shape, np.float32), np.zeros(40, np.int32)
    reference.search(
        graph.links, graph.upper_offsets, graph.upper, graph.entry, graph.max_level, graph.M, None, segment.scales,
        segment.norms, segment.vectors, metric == "l2", queries, 30, None, rows, scores, counts,
    )  # fmt: skip
    agreeing = 0
    for line, query in enumerate(queries):
        found, found_scores = kernels.graph_search(graph, segment, metric, query, 5, 30, codes=False)
        count = counts[line]
        assert len(found) == count == (2 if (metric, dim) == ("cosine", 1) else 5)
        np.testing.assert_allclose(found_scores, scores[line, :count], rtol=1e-4, atol=1e-4)
        agreeing += int(np.array_equal(found, rows[line, :count]))
    assert agreeing >= 38


@pytest.mark.parametrize("metric", METRICS)
def test_scores_are_exact_and_sorted_and_codes_cost_no_recall(metric: Metric) -> None:
    segment = make_segment(make_rows(clustered(3000, 48, 1)), metric=metric, graph=True)
    hits = hits_by_vectors = 0
    for query in clustered(60, 48, 2):
        query /= np.linalg.norm(query)
        rows, scores = kernels.graph_search(graph_of(segment), segment, metric, query, 10, 80)
        best, best_scores = exact_order(segment, query, metric)
        hits += len(set(rows.tolist()) & set(best[:10].tolist()))
        rows_by_vectors, _ = kernels.graph_search(graph_of(segment), segment, metric, query, 10, 80, codes=False)
        hits_by_vectors += len(set(rows_by_vectors.tolist()) & set(best[:10].tolist()))
        where = dict(zip(best.tolist(), best_scores, strict=True))
        np.testing.assert_allclose(scores, [where[row] for row in rows.tolist()], rtol=1e-5, atol=1e-4)
        assert np.all(np.diff(scores) <= 0)
    assert hits_by_vectors > 540
    assert hits >= hits_by_vectors - 6


@pytest.mark.parametrize("share", [0.99, 0.5, 0.1, 0.03])
def test_a_filter_is_kept_and_costs_no_recall(share: float) -> None:
    segment = make_segment(make_rows(clustered(4000, 32, 3)), graph=True)
    rng = np.random.default_rng(4)
    allowed = (rng.random(segment.n) < share).astype(np.uint8)
    allowed.flags.writeable = False
    hits = 0
    for query in clustered(50, 32, 5):
        query /= np.linalg.norm(query)
        rows, _ = kernels.graph_search(graph_of(segment), segment, "cosine", query, 10, 60, allowed)
        assert allowed[rows].all()
        best = exact_order(segment, query, "cosine")[0]
        hits += len(set(rows.tolist()) & set(best[allowed[best] == 1][:10].tolist()))
    assert hits / 500 > 0.95


@native
def test_a_filter_far_from_the_query_gives_its_rows_or_too_few() -> None:
    rng = np.random.default_rng(6)
    near, far = rng.normal(size=(2000, 16)) + 9, rng.normal(size=(2000, 16)) - 9
    segment = make_segment(make_rows(np.concatenate([near, far])), graph=True)
    allowed = (segment.labels > 2000).astype(np.uint8)
    query = (np.ones(16) / 4).astype(np.float32)
    rows, _ = kernels.graph_search(graph_of(segment), segment, "cosine", query, 10, 40, allowed)
    best = exact_order(segment, query, "cosine")[0]
    expected = set(best[allowed[best] == 1][:10].tolist())
    assert len(rows) == 0 or len(set(rows.tolist()) & expected) >= 8
    assert len(kernels.graph_search(graph_of(segment), segment, "cosine", query, 5, 40, 0 * allowed)[0]) == 0


@pytest.mark.parametrize("n", [1, 2, 3, 70])
def test_more_asked_for_than_there_is(n: int) -> None:
    segment = make_segment(make_rows(clustered(n, 7, n)), metric="l2", graph=True)
    query = np.zeros(7, np.float32)
    rows, scores = kernels.graph_search(graph_of(segment), segment, "l2", query, 100, 1)
    best, best_scores = exact_order(segment, query, "l2")
    np.testing.assert_array_equal(rows, best)
    np.testing.assert_allclose(scores, best_scores, rtol=1e-5)


def test_equal_scores_come_in_the_order_of_rows() -> None:
    vectors = np.eye(40, dtype=np.float32)
    segment = make_segment(make_rows(vectors), graph=True)
    rows, scores = kernels.graph_search(graph_of(segment), segment, "cosine", np.full(40, 0.5, np.float32), 40, 40)
    assert rows.tolist() == list(range(40))
    assert set(scores.tolist()) == {0.5}


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e6, 1e17])
def test_huge_and_tiny_vectors(scale: float) -> None:
    vectors = clustered(300, 24, 7) * np.float32(scale)
    segment = make_segment(make_rows(vectors), metric="ip", graph=True)
    query = vectors[5] / np.float32(scale)
    rows, _ = kernels.graph_search(graph_of(segment), segment, "ip", query, 10, 50)
    assert len(set(rows.tolist()) & set(exact_order(segment, query, "ip")[0][:10].tolist())) >= 9


def test_a_zero_query_still_finds_k() -> None:
    segment = make_segment(make_rows(clustered(300, 24, 8)), graph=True)
    rows, scores = kernels.graph_search(graph_of(segment), segment, "cosine", np.zeros(24, np.float32), 10, 50)
    assert len(rows) == 10
    assert not scores.any()


def test_many_queries_on_many_threads_are_the_single_ones(tmp_path: Path) -> None:
    path = tmp_path / "mapped.seg"
    path.write_bytes(segment_bytes(make_rows(clustered(2000, 40, 9)), graph=True))
    segment = Segment.open(path)
    queries = clustered(64, 40, 10)
    allowed = (np.arange(segment.n) % 3 > 0).astype(np.uint8)
    for mask in (None, allowed):
        single = [kernels.graph_search(graph_of(segment), segment, "ip", query, 7, 50, mask) for query in queries]
        for threads in (1, 8):
            rows, scores, counts = kernels.graph_search_many(
                graph_of(segment), segment, "ip", queries, 7, 50, mask, threads
            )
            assert counts.tolist() == [7] * 64
            np.testing.assert_array_equal(rows, [found for found, _ in single])
            np.testing.assert_array_equal(scores, [found for _, found in single])

        def work(seed: int, mask: np.ndarray | None = mask, single: list = single) -> bool:
            order = np.random.default_rng(seed).permutation(64)
            return all(
                np.array_equal(
                    kernels.graph_search(graph_of(segment), segment, "ip", queries[i], 7, 50, mask)[0], single[i][0]
                )
                for i in order
            )

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(8)))


@cache
def small_graph() -> Segment:
    return make_segment(make_rows(clustered(300, 20, 11)), graph=True, M=4)


WILD = np.array([0, 1, 5, 33, 60, 299, 300, 301, 65535, 2**31 - 1, 2**31, 2**32 - 1], np.uint32)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.001, 1.0), st.booleans(), st.booleans(), st.sampled_from(METRICS))
def test_a_wild_file_neither_crashes_nor_hangs(seed: int, share: float, codes: bool, some: bool, metric: str) -> None:
    segment = small_graph()
    graph, rng = graph_of(segment), np.random.default_rng(seed)

    def spoil(array: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.where(rng.random(array.shape) < share, rng.choice(values, array.shape), array).astype(array.dtype)

    wild = replace(
        graph,
        links=spoil(graph.links, WILD),
        upper=spoil(graph.upper, WILD),
        upper_offsets=spoil(graph.upper_offsets, np.array([-(2**62), -1, 0, 17, 1 << 40, 2**62], np.int64)),
        max_level=int(rng.choice([0, 1, 63, 10**6, 2**62])),
        entry=int(rng.choice([-1, 0, 7, 299, 300, 2**31, 2**62])),
    )
    spoiled = Spoiled(
        segment,
        spoil(segment.scales, np.array([np.nan, np.inf, -1.0, 0.0], np.float32)),
        spoil(segment.norms, np.array([np.nan, np.inf, -1.0, 0.0], np.float32)),
        spoil(segment.vectors, np.array([np.nan, np.inf, -np.inf], np.float32)),
    )
    allowed = (rng.random(300) < 0.3).astype(np.uint8) if some else None
    with np.errstate(all="ignore"):
        rows, _ = kernels.graph_search(wild, spoiled, metric, segment.vectors[3], 10, 50, allowed, codes)
    assert len(set(rows.tolist())) == len(rows) <= 10
    assert all(0 <= row < 300 for row in rows)
    assert allowed is None or allowed[rows].all()


class Spoiled:
    """A segment with some columns replaced."""

    def __init__(self, segment: Segment, scales: np.ndarray, norms: np.ndarray, vectors: np.ndarray) -> None:
        self.codes, self.scales, self.norms, self.vectors, self.n = segment.codes, scales, norms, vectors, segment.n
