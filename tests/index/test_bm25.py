"""The BM25 kernel against its NumPy twin, and both against plain counting."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from view_model import BACKENDS, backend

from agentmem.index import kernels, reference_scan
from agentmem.index.part import Postings

STEADY = settings(max_examples=40, deadline=None, derandomize=True)
on_backends = pytest.mark.parametrize("name", BACKENDS)
TEXTS = st.lists(st.lists(st.sampled_from([0, 1, 2, 3, 7, 2**31, 2**32 - 1]), max_size=12), min_size=1, max_size=30)


def ragged(texts: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.cumsum([0, *(len(text) for text in texts)]).astype(np.int64)
    return offsets, np.array([term for text in texts for term in text], np.uint32)


def as_dictionary(postings: Postings) -> dict[int, dict[int, int]]:
    found = {}
    for index, term in enumerate(postings.terms.tolist()):
        low, high = postings.offsets[index : index + 2]
        rows = postings.rows[low:high].tolist()
        assert rows == sorted(set(rows))
        if rows:
            found[term] = dict(zip(rows, postings.counts[low:high].tolist(), strict=True))
    return found


@on_backends
@STEADY
@given(texts=TEXTS, seed=st.integers(0, 99))
def test_inversion_counts_each_row(name: str, texts: list[list[int]], seed: int) -> None:
    first, last = sorted(np.random.default_rng(seed).integers(0, len(texts) + 1, 2).tolist())
    expected: dict[int, dict[int, int]] = {}
    for row in range(first, last):
        for term, count in Counter(texts[row]).items():
            expected.setdefault(term, {})[row] = count
    wanted = np.array([1, 7, 9, 2**32 - 1], np.uint32)
    with backend(name):
        assert as_dictionary(kernels.invert(*ragged(texts), first, last, None)) == expected
        some = as_dictionary(kernels.invert(*ragged(texts), first, last, wanted))
        assert some == {term: rows for term, rows in expected.items() if term in wanted}
        assert as_dictionary(kernels.invert(*ragged(texts), first, last, wanted[:0])) == {}


@on_backends
def test_counts_stop_at_255(name: str) -> None:
    with backend(name):
        for wanted in (None, np.array([3], np.uint32)):
            postings = kernels.invert(*ragged([[3] * 255, [3] * 256, [3] * 700]), 0, 3, wanted)
            assert postings.counts.tolist() == [255, 255, 255]


@on_backends
@STEADY
@given(
    texts=TEXTS, seed=st.integers(0, 99), terms=st.lists(st.sampled_from([0, 1, 3, 5, 2**31, 2**32 - 1]), max_size=5)
)
def test_scores_add_up_over_terms(name: str, texts: list[list[int]], seed: int, terms: list[int]) -> None:
    rng = np.random.default_rng(seed)
    count = len(texts)
    start, stop = sorted(rng.integers(0, count + 1, 2).tolist())
    mask = rng.integers(0, 2, count).astype(np.uint8)
    lengths = np.array([len(text) for text in texts], np.uint32)
    weights = rng.random(len(terms)).astype(np.float32)
    ids = np.array(terms, np.uint32)
    for array in (lengths, ids, weights, mask):
        array.setflags(write=False)
    scores = np.zeros(stop - start, np.float32)
    with backend(name):
        postings = kernels.invert(*ragged(texts), 0, count, None)
        kernels.accumulate(postings, ids, weights, (2.2, 0.3, 0.1), lengths, start, scores)
        for allowed in (None, mask):
            rows = [row for row in range(start, stop) if allowed is None or allowed[row]]
            frequencies = kernels.document_frequencies(postings, ids, start, stop, allowed)
            assert frequencies.tolist() == [sum(term in texts[row] for row in rows) for term in terms]
            total = kernels.count_texts(lengths, start, stop, allowed)
            assert total == (sum(bool(texts[row]) for row in rows), sum(len(texts[row]) for row in rows))
    for row in range(start, stop):
        expected = 0.0
        for term, weight in zip(terms, weights.tolist(), strict=True):
            tf = texts[row].count(term)
            expected += weight * 2.2 * tf / (tf + 0.3 + 0.1 * len(texts[row])) if tf else 0.0
        assert scores[row - start] == pytest.approx(expected, rel=1e-5)


@on_backends
@STEADY
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 600), k=st.sampled_from([1, 5, 64, 1000]))
def test_the_best_are_those_of_a_sort(name: str, seed: int, count: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    start = int(rng.integers(0, 50))
    labels = rng.permutation(start + count).astype(np.int64)
    scores = np.maximum(rng.integers(-3, 6, count), 0).astype(np.float32)
    mask = rng.integers(0, 2, start + count).astype(np.uint8)
    with backend(name):
        for allowed in (None, mask):
            rows, best = kernels.top_scores(scores, start, labels, allowed, k)
            candidates = [
                (-scores[row - start], labels[row], row)
                for row in range(start, start + count)
                if scores[row - start] > 0 and (allowed is None or allowed[row])
            ]
            wanted = sorted(candidates)[:k]
            assert rows.tolist() == [row for _, _, row in wanted]
            assert best.tolist() == [-score for score, _, _ in wanted]


def test_wild_postings_are_left_out() -> None:
    lengths = np.full(8, 2, np.uint32)
    terms = np.array([1, 2, 3], np.uint32)
    rows = np.array([2, 4_000_000_000, 3, 9, 5, 6], np.uint32)
    counts = np.ones(6, np.uint8)
    ones = np.ones(3, np.float32)
    mask = np.ones(8, np.uint8)
    with backend("native"):
        for offsets in ([0, 2, 4, 6], [0, 5, 2, 6], [-9, 2, 2**50, 6], [2**62, -(2**62), 0, 7]):
            postings = Postings(terms, np.array(offsets, np.int64), rows, counts)
            scores = np.zeros(8, np.float32)
            kernels.accumulate(postings, terms, ones, (2.2, 0.3, 0.1), lengths, 0, scores)
            assert np.isfinite(scores).all()
            assert (scores[[0, 1, 4, 7]] == 0).all()
            assert (kernels.document_frequencies(postings, terms, 0, 8, mask) <= 6).all()


def test_a_sort_of_few_agrees_with_a_sort_of_many() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 9, 500).astype(np.float32)
    labels = rng.permutation(500).astype(np.int64)
    full = np.lexsort((labels, -scores))
    for k in (1, 10, 80, 499, 500, 600):
        assert reference_scan.select(scores, labels, k).tolist() == full[:k].tolist()
