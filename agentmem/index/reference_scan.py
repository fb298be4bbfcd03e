"""What the scan and BM25 kernels compute, in plain NumPy: their oracle, and the portable fallback."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.index.part import Part, Postings
from agentmem.records import Float32, Int64, Metric

CHUNK = 8192


def scores_of(part: Part, metric: Metric, query: Float32, rows: Int64) -> Any:
    """Return the exact scores of rows, float32 (m,)."""
    vectors = part.vectors[rows]
    if metric == "l2":
        vectors = vectors - query
        return -np.einsum("ij,ij->i", vectors, vectors)
    with np.errstate(invalid="ignore"):  # BLAS may raise the flag in lanes that it does not use; vectors are finite
        return vectors @ query


def select(scores: Float32, labels: Int64, k: int) -> Int64:
    """Return the indices of the k best scores, best first, ties by lower label."""
    if len(scores) > 4 * k + 64:
        cut = np.partition(scores, len(scores) - k)[len(scores) - k]
        kept = np.flatnonzero(scores >= cut)
        return kept[np.lexsort((labels[kept], -scores[kept]))[:k]]
    return np.lexsort((labels, -scores))[:k]


def scan_rows(part: Part, metric: Metric, query: Float32, k: int, rows: Int64) -> tuple[Int64, Float32]:
    """Return the best k of some rows and their scores, best first."""
    best_rows, best = np.empty(0, np.int64), np.empty(0, np.float32)
    rows = rows[part.has_vector[rows] != 0]
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        both = np.concatenate([best_rows, chunk])
        scores = np.concatenate([best, scores_of(part, metric, query, chunk)])
        order = select(scores, part.labels[both], k)
        best_rows, best = both[order], scores[order]
    return best_rows, best


def rows_in(start: int, stop: int, mask: NDArray[np.uint8] | None) -> Int64:
    """Return the rows of a range that a mask allows, int64."""
    if mask is None:
        return np.arange(start, stop)
    return np.flatnonzero(mask[start:stop]) + start


def window(
    thread_key: Int64, mask: NDArray[np.uint8] | None, start: int, stop: int, rows: Int64, radius: int
) -> tuple[NDArray[np.int32], NDArray[np.int8], Int64]:
    """Return the nearest allowed rows of the same thread on either side of each row, by rank 1 to radius."""
    owners, offsets, found = [], [], []
    for owner, row in enumerate(rows.tolist()):
        key = thread_key[row]
        for step in (-1, 1):
            rank, at = 0, row + step
            while key and rank < radius and start <= at < stop and thread_key[at] == key:
                if mask is None or mask[at]:
                    rank += 1
                    owners.append(owner)
                    offsets.append(step * rank)
                    found.append(at)
                at += step
    return np.array(owners, np.int32), np.array(offsets, np.int8), np.array(found, np.int64)


def invert(
    term_offsets: Int64, terms: NDArray[np.uint32], first: int, last: int, wanted: NDArray[np.uint32] | None
) -> Postings:
    """Return the postings of rows [first, last) for the wanted terms (ascending, distinct; None for all)."""
    ids = terms[term_offsets[first] : term_offsets[last]]
    rows = np.repeat(np.arange(first, last, dtype=np.uint32), np.diff(term_offsets[first : last + 1]))
    if wanted is not None:
        kept = np.isin(ids, wanted)
        ids, rows = ids[kept], rows[kept]
    order = _stable_order(ids)
    ids, rows = ids[order], rows[order]
    runs = _run_starts(ids, rows)
    counts = np.diff(runs, append=len(ids))
    ids, rows = ids[runs], rows[runs]
    starts = _run_starts(ids)
    return Postings(
        terms=ids[starts],
        offsets=np.append(starts, len(ids)),
        rows=rows,
        counts=np.minimum(counts, 255).astype(np.uint8),
    )


def _stable_order(ids: NDArray[np.uint32]) -> Int64:
    """Return the stable ascending order of numbers: NumPy sorts 16 bits by counting, several times faster than 32."""
    order = np.argsort(ids.astype(np.uint16), kind="stable")
    high = (ids >> np.uint32(16)).astype(np.uint16)
    return order[np.argsort(high[order], kind="stable")] if high.any() else order


def _run_starts(*columns: NDArray[Any]) -> Int64:
    """Return where each run of equal values begins."""
    changes = np.ones(len(columns[0]), np.bool_)
    changes[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return np.flatnonzero(changes)


def _posting(postings: Postings, term: int, start: int, stop: int) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Return the rows of [start, stop) that hold a term, and how often; wild rows of a damaged file are left out."""
    index = int(np.searchsorted(postings.terms, term))
    if index == len(postings.terms) or postings.terms[index] != term:
        return postings.rows[:0], postings.counts[:0]
    low, high = int(postings.offsets[index]), int(postings.offsets[index + 1])
    rows, counts = postings.rows[low:high], postings.counts[low:high]
    inside = (rows >= start) & (rows < stop)
    return rows[inside], counts[inside]


def document_frequencies(
    postings: Postings, terms: NDArray[np.uint32], start: int, stop: int, mask: NDArray[np.uint8] | None
) -> Int64:
    """Return in how many rows of [start, stop) under the mask each term occurs, int64 (t,)."""
    found = [_posting(postings, int(term), start, stop)[0] for term in terms]
    return np.array([len(rows) if mask is None else np.count_nonzero(mask[rows]) for rows in found], np.int64)


def accumulate(
    postings: Postings,
    terms: NDArray[np.uint32],
    weights: Float32,
    saturation: tuple[float, float, float],
    lengths: NDArray[np.uint32],
    start: int,
    scores: Float32,
) -> None:
    """Add each term's BM25 part to ``scores``, which belongs to the rows from ``start`` on.

    Args:
        postings: of the part.
        terms: uint32 (t,).
        weights: float32 (t,).
        saturation: (a, b, c) of w · tf · a / (tf + b + c · length).
        lengths: of the part's rows.
        start: the row of ``scores[0]``.
        scores: float32, changed in place.
    """
    gain, flat, slope = (np.float32(number) for number in saturation)
    for term, weight in zip(terms, weights, strict=True):
        rows, times = _posting(postings, int(term), start, start + len(scores))
        counts = times.astype(np.float32)
        scores[rows - np.uint32(start)] += weight * gain * counts / (counts + flat + slope * lengths[rows])


def top_scores(
    scores: Float32, start: int, labels: Int64, mask: NDArray[np.uint8] | None, k: int
) -> tuple[Int64, Float32]:
    """Return the k best rows of positive score under the mask, best first, and their scores."""
    rows = np.flatnonzero(scores > 0) + start
    if mask is not None:
        rows = rows[mask[rows] != 0]
    order = select(scores[rows - start], labels[rows], k)
    return rows[order], scores[rows[order] - start]


def count_texts(lengths: NDArray[np.uint32], start: int, stop: int, mask: NDArray[np.uint8] | None) -> tuple[int, int]:
    """Return how many rows of [start, stop) under the mask have terms, and how many terms they have together."""
    chosen = lengths[start:stop]
    if mask is not None:
        chosen = chosen[mask[start:stop] != 0]
    return int(np.count_nonzero(chosen)), int(chosen.sum(dtype=np.int64))
