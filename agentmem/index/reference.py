"""The graph search in plain Python, by float32 vectors: what the kernel is compared with, and its portable twin."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush, heapreplace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.records import Float32, Int64

Neighbours = Callable[[int, int], list[int]]
"""The rows linked from a row at a level."""
MAX_LEVELS = 64
"""Higher levels are not believed."""


def exact_scores(vectors: Float32, query: Float32, rows: Any, l2: bool) -> Float32:
    """Return the scores of some rows: inner products, or minus the squared distances."""
    some = vectors[rows]
    if not l2:
        return np.asarray(some @ query, np.float32)
    return np.asarray(-np.square(some - query).sum(axis=1), np.float32)


def search(
    links: NDArray[np.uint32],
    upper_offsets: Int64,
    upper: NDArray[np.uint32],
    entry: int,
    max_level: int,
    M: int,
    codes: NDArray[np.int8] | None,
    scales: Float32,
    norms: Float32,
    vectors: Float32,
    l2: bool,
    queries: Float32,
    ef: int,
    allowed: NDArray[np.uint8] | None,
    rows: Int64,
    scores: Float32,
    counts: NDArray[np.int32],
) -> None:
    """Do what the kernel ``graph.search`` does, but always by the vectors, and past rows that are not allowed for ever.

    Malkov & Yashunin, 1603.09320, algorithms 2 and 5.  ``codes``, ``scales`` and ``norms`` are not used.
    """
    if not 0 <= entry < len(vectors):
        return

    n, most = len(vectors), 2 * M

    def level_links(row: int, level: int) -> list[int]:
        if level == 0:
            return _linked(links[row], most, n)
        start = int(upper_offsets[row]) + (level - 1) * (1 + M)
        inside = start >= 0 and start + 1 + M <= min(int(upper_offsets[row + 1]), len(upper))
        return _linked(upper[start : start + 1 + M], M, n) if inside else []

    for line, query in enumerate(queries):
        start = _descend(level_links, vectors, query, l2, entry, min(max_level, MAX_LEVELS))
        results = _walk(level_links, vectors, query, l2, ef, allowed, start)
        ranked = sorted(results, key=lambda pair: (-pair[0], pair[1]))[: rows.shape[1]]
        counts[line] = len(ranked)
        for place, (score, row) in enumerate(ranked):
            rows[line, place], scores[line, place] = row, score


def _linked(words: NDArray[np.uint32], most: int, n: int) -> list[int]:
    count, *others = words.tolist()
    return [row for row in others[: min(count, most)] if row < n]


def _descend(neighbours: Neighbours, vectors: Float32, query: Float32, l2: bool, entry: int, max_level: int) -> int:
    """Return the row at which the greedy descent from ``entry`` to level 1 ends."""
    best, best_score = entry, float(exact_scores(vectors, query, [entry], l2)[0])
    for level in range(max_level, 0, -1):
        while others := neighbours(best, level):
            found = exact_scores(vectors, query, others, l2)
            if not float(found.max()) > best_score:
                break
            best, best_score = others[int(found.argmax())], float(found.max())
    return best


def _walk(
    neighbours: Neighbours,
    vectors: Float32,
    query: Float32,
    l2: bool,
    ef: int,
    allowed: NDArray[np.uint8] | None,
    start: int,
) -> list[tuple[float, int]]:
    """Return up to ``ef`` allowed (score, row) pairs by best-first search from ``start`` at level 0."""
    first = float(exact_scores(vectors, query, [start], l2)[0])
    seen = {start}
    front = [(-first, start)]
    results: list[tuple[float, int]] = []
    if allowed is None or allowed[start]:
        results.append((first, start))
    while front:
        badness, row = heappop(front)
        if len(results) == ef and -badness < results[0][0]:
            break
        fresh = [other for other in dict.fromkeys(neighbours(row, 0)) if other not in seen]
        seen.update(fresh)
        for score, other in zip(exact_scores(vectors, query, fresh, l2).tolist(), fresh, strict=True):
            if len(results) < ef or score > results[0][0]:
                heappush(front, (-score, other))
                if allowed is None or allowed[other]:
                    (heappush if len(results) < ef else heapreplace)(results, (score, other))
    return results
