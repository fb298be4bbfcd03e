"""The index's one door to the compiled kernels, with the NumPy reference where they are not built."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.backend import kernels
from agentmem.index import reference, reference_scan
from agentmem.index.part import Graph, Part, Postings
from agentmem.records import Float32, Int64, Metric

Allowed = NDArray[np.uint8] | None
Columns = tuple[NDArray[Any], ...]


def walks_natively() -> bool:
    """Whether the compiled graph search is there; without it a scan is faster than a walk."""
    return kernels("graph") is not None


def passes() -> Any:
    """Return the compiled passes over rows and the turns around them, see ``index.around``; None where not built."""
    return kernels("around")


def graph_search(
    graph: Graph,
    part: Part,
    metric: Metric,
    query: Float32,
    k: int,
    ef: int,
    allowed: Allowed = None,
    codes: bool = True,
) -> tuple[Int64, Float32]:
    """Return up to ``k`` rows near ``query`` by a best-first walk of the graph, best first, ties by lower row.

    Only representatives of equal vectors are found; the caller expands ``graph.group_rows``, and lets a representative
    pass ``allowed`` when any row of its group may pass.  Fewer than ``k`` rows come back when the walk found too few
    allowed ones: scan then.

    Args:
        graph: of ``part``; it may be a map, wild links in it are skipped.
        part: the segment.
        metric: of the segment.
        query: float32 (dim,), C-contiguous, normalised under cosine.
        k: how many rows at most, at least 1.
        ef: breadth; ``max(ef, k)`` is used.
        allowed: uint8 (n,), 1 for rows that may be found, or None for all.
        codes: walk by int8 codes and rescore the survivors exactly; False walks by the float32 vectors.

    Returns:
        int64 rows and their exact float32 scores.
    """
    rows, scores, counts = _search_block(graph, part, metric, query.reshape(1, -1), k, ef, allowed, codes)
    return rows[0, : counts[0]], scores[0, : counts[0]]


def graph_search_many(
    graph: Graph,
    part: Part,
    metric: Metric,
    queries: Float32,
    k: int,
    ef: int,
    allowed: Allowed = None,
    threads: int = 1,
) -> tuple[Int64, Float32, NDArray[np.int32]]:
    """Search for each of ``queries`` (m, dim), on ``threads`` threads.

    Returns:
        int64 rows (m, k), float32 scores (m, k), and int32 counts (m,): how many of a line's k are set.
    """
    if threads < 2 or len(queries) < 2:
        return _search_block(graph, part, metric, queries, k, ef, allowed, True)
    blocks = np.array_split(queries, min(4 * threads, len(queries)))
    with ThreadPoolExecutor(threads) as pool:
        done = list(pool.map(lambda block: _search_block(graph, part, metric, block, k, ef, allowed, True), blocks))
    rows, scores, counts = zip(*done, strict=True)
    return np.concatenate(rows), np.concatenate(scores), np.concatenate(counts)


def _search_block(
    graph: Graph, part: Part, metric: Metric, queries: Float32, k: int, ef: int, allowed: Allowed, codes: bool
) -> tuple[Int64, Float32, NDArray[np.int32]]:
    shape = (len(queries), k)
    rows, scores, counts = np.empty(shape, np.int64), np.empty(shape, np.float32), np.zeros(len(queries), np.int32)
    native = kernels("graph")
    search = reference.search if native is None else native.search
    search(
        graph.links,
        graph.upper_offsets,
        graph.upper,
        graph.entry,
        graph.max_level,
        graph.M,
        part.codes if codes else None,
        part.scales,
        part.norms,
        part.vectors,
        metric == "l2",
        queries,
        max(ef, k),
        allowed,
        rows,
        scores,
        counts,
    )
    return rows, scores, counts


def scan_many(
    part: Part,
    metric: Metric,
    queries: Float32,
    k: int,
    start: int,
    stop: int,
    mask: Allowed = None,
    rows: Int64 | None = None,
    *,
    exact: bool = False,
    threads: int = 1,
) -> tuple[Int64, Float32, NDArray[np.int32]]:
    """Scan rows [start, stop), or the given rows, for the ``k`` best for each of ``queries`` (m, dim).

    The int8 codes choose ``max(4 k, 64)`` rows, which are rescored in float32; ties go to the lower label.

    Args:
        part: to scan.
        metric: of its vectors.
        queries: float32 (m, dim), C-contiguous, normalised under cosine.
        k: how many rows at most for each query.
        start: the first row of the range.
        stop: the row behind the range.
        mask: uint8 (n,) of 0 and 1, 1 for rows that may be found, or None for all; none without a vector is found.
        rows: int64 ascending, the rows to scan, all of them allowed, in place of the range and the mask.
        exact: score every row in float32.
        threads: over which the queries are spread.

    Returns:
        int64 rows (m, k), float32 scores (m, k), and int32 counts (m,): how many of a line's k are set.
    """

    def scan_block(block: Float32) -> tuple[Int64, Float32, NDArray[np.int32]]:
        return _scan_block(part, metric, block, k, start, stop, mask, rows, exact)

    if threads < 2 or len(queries) < 2:
        return scan_block(queries)
    blocks = np.array_split(queries, min(4 * threads, len(queries)))
    with ThreadPoolExecutor(threads) as pool:
        found, scores, counts = zip(*pool.map(scan_block, blocks), strict=True)
    return np.concatenate(found), np.concatenate(scores), np.concatenate(counts)


def scan(
    part: Part,
    metric: Metric,
    query: Float32,
    k: int,
    start: int,
    stop: int,
    mask: Allowed = None,
    rows: Int64 | None = None,
    *,
    exact: bool = False,
) -> tuple[Int64, Float32]:
    """Scan as ``scan_many`` does, for one query of shape (dim,); return the rows found and their scores."""
    found, scores, counts = _scan_block(part, metric, query.reshape(1, -1), k, start, stop, mask, rows, exact)
    return found[0, : counts[0]], scores[0, : counts[0]]


def _scan_block(
    part: Part,
    metric: Metric,
    queries: Float32,
    k: int,
    start: int,
    stop: int,
    mask: Allowed,
    rows: Int64 | None,
    exact: bool,
) -> tuple[Int64, Float32, NDArray[np.int32]]:
    shape = (len(queries), k)
    found, scores, counts = np.empty(shape, np.int64), np.empty(shape, np.float32), np.zeros(len(queries), np.int32)
    native = kernels("scan")
    if native is None:
        chosen = reference_scan.rows_in(start, stop, mask) if rows is None else rows
        for line, query in enumerate(queries):
            best, best_scores = reference_scan.scan_rows(part, metric, query, k, chosen)
            counts[line] = len(best)
            found[line, : len(best)], scores[line, : len(best)] = best, best_scores
        return found, scores, counts
    native.scan(
        part.codes,
        part.scales,
        part.norms,
        part.vectors,
        part.has_vector,
        part.labels,
        metric == "l2",
        queries,
        k if exact else max(4 * k, 64),
        start,
        stop,
        mask,
        rows,
        exact,
        found,
        scores,
        counts,
    )
    return found, scores, counts


def scores_of(part: Part, metric: Metric, query: Float32, rows: Int64) -> Float32:
    """Return the exact scores of rows, float32 (m,); meaningless for rows without a vector."""
    native = kernels("scan")
    scores: Float32
    if native is None:
        scores = reference_scan.scores_of(part, metric, query, rows)
    else:
        scores = native.scores_of(part.vectors, metric == "l2", query, rows)
    return scores


def take(columns: Columns, rows: Int64, places: Int64 | None, results: Columns) -> None:
    """Set ``results[c][places] = columns[c][rows]`` for each column.

    Args:
        columns: one-dimensional, of items of 1, 4 or 8 bytes.
        rows: int64 (m,).
        places: int64 (m,), or None for 0 to m - 1.
        results: as many as columns, of the same types.
    """
    native = kernels("gather")
    if native is not None:
        native.take(columns, rows, places, results)
        return
    for column, result in zip(columns, results, strict=True):
        result[slice(None) if places is None else places] = column[rows]


def distinct_places(rows: Int64) -> tuple[Int64, Int64]:
    """Return the distinct rows, int64, ascending, and where each of the m rows stands among them, int64 (m,)."""
    native = kernels("gather")
    found: tuple[Int64, Int64]
    found = np.unique(rows, return_inverse=True) if native is None else native.distinct_places(rows)
    return found


def union(offered: Sequence[tuple[int, Int64]]) -> tuple[Int64, NDArray[np.uint8]]:
    """Return the distinct rows of several arrays, int64, ascending, and which of these have each.

    Args:
        offered: bits, and int64 rows in any order, each as often as it may be.

    Returns:
        the rows, and uint8 (m,), the bits of the arrays that have each.
    """
    native = kernels("gather")
    found: tuple[Int64, NDArray[np.uint8]]
    if native is not None:
        found = native.union(tuple([rows for _, rows in offered]), tuple([bit for bit, _ in offered]))
        return found
    rows, places = distinct_places(np.concatenate([np.empty(0, np.int64), *(each for _, each in offered)]))
    marks, start = np.zeros(len(rows), np.uint8), 0
    for bit, each in offered:
        marks[places[start : start + len(each)]] |= np.uint8(bit)
        start += len(each)
    return rows, marks


def window(
    thread_key: Int64, mask: Allowed, start: int, stop: int, rows: Int64, radius: int
) -> tuple[NDArray[np.int32], NDArray[np.int8], Int64]:
    """Return the nearest allowed rows of the same thread on either side of each row, by rank 1 to ``radius``.

    Args:
        thread_key: int64 (n,), equal in adjacent rows of one thread, 0 for none.
        mask: uint8 (n,), or None: the rows in [start, stop) that may be returned.
        start: the first row of the range.
        stop: the row behind the range.
        rows: int64 (m,).
        radius: at most 127.

    Returns:
        owner int32 (an index into ``rows``), offset int8 (negative before the row), row int64.
    """
    native = kernels("scan")
    search = reference_scan.window if native is None else native.window
    found: tuple[NDArray[np.int32], NDArray[np.int8], Int64] = search(thread_key, mask, start, stop, rows, radius)
    return found


def invert(
    term_offsets: Int64, terms: NDArray[np.uint32], first: int, last: int, wanted: NDArray[np.uint32] | None
) -> Postings:
    """Return the postings of rows [first, last), for all terms or for the wanted ones (uint32, ascending, distinct)."""
    native = kernels("bm25")
    if native is None or wanted is None:
        return reference_scan.invert(term_offsets, terms, first, last, wanted)
    return Postings(wanted, *native.invert(term_offsets, terms, first, last, wanted))


def document_frequencies(
    postings: Postings, terms: NDArray[np.uint32], start: int, stop: int, mask: Allowed = None
) -> Int64:
    """Return in how many rows of [start, stop) under the mask each of ``terms`` occurs, int64 (t,)."""
    native = kernels("bm25")
    if native is None:
        return reference_scan.document_frequencies(postings, terms, start, stop, mask)
    frequencies: Int64 = native.document_frequencies(
        postings.terms, postings.offsets, postings.rows, terms, start, stop, mask
    )
    return frequencies


def accumulate(
    postings: Postings,
    terms: NDArray[np.uint32],
    weights: Float32,
    saturation: tuple[float, float, float],
    lengths: NDArray[np.uint32],
    start: int,
    scores: Float32,
) -> None:
    """Add w · tf · a / (tf + b + c · length) for every posting of ``terms`` to ``scores``, in place.

    Args:
        postings: of the part.
        terms: uint32 (t,).
        weights: float32 (t,).
        saturation: (a, b, c).
        lengths: uint32 (n,), of the part.
        start: the row that ``scores[0]`` belongs to; postings outside the scores are left out.
        scores: float32.
    """
    native = kernels("bm25")
    if native is None:
        reference_scan.accumulate(postings, terms, weights, saturation, lengths, start, scores)
        return
    native.accumulate(
        postings.terms,
        postings.offsets,
        postings.rows,
        postings.counts,
        terms,
        weights,
        *saturation,
        lengths,
        start,
        scores,
    )


def top_scores(scores: Float32, start: int, labels: Int64, mask: Allowed, k: int) -> tuple[Int64, Float32]:
    """Return the ``k`` best rows of positive score under the mask, best first, ties by lower label, and their scores.

    Args:
        scores: float32, of the rows from ``start`` on.
        start: the row of ``scores[0]``.
        labels: int64 (n,), of the part.
        mask: uint8 (n,), or None for all.
        k: how many rows at most.
    """
    native = kernels("bm25")
    search = reference_scan.top_scores if native is None else native.top_scores
    found: tuple[Int64, Float32] = search(scores, start, labels, mask, k)
    return found


def count_texts(lengths: NDArray[np.uint32], start: int, stop: int, mask: Allowed) -> tuple[int, int]:
    """Return how many rows of [start, stop) under the mask have terms, and how many terms they have together."""
    native = kernels("bm25")
    search = reference_scan.count_texts if native is None else native.count_texts
    counts: tuple[int, int] = search(lengths, start, stop, mask)
    return counts
