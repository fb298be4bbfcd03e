"""How each part of a view is searched for near vectors: by a walk of its graph, or by a scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentmem.index import kernels
from agentmem.index.part import Graph
from agentmem.index.scope import PartScope, Scope
from agentmem.index.segment import Segment
from agentmem.records import Float32, Int64, Metric

SCAN_ROWS = 10_000
"""So many rows are scanned sooner than a graph is walked, and exactly but for ties."""
SCAN_SHARE = 20
"""A scope of less than one row in this many is scanned: the walk would mostly meet rows that are not in it."""
DEFAULT_EF = 100

Found = tuple[PartScope, Int64, Float32]
"""A part, rows of it (its own numbers) and their scores."""


def nearest(metric: Metric, query: Float32, k: int, scope: Scope, ef: int, exact: bool) -> tuple[Int64, Float32]:
    """Return the global rows in scope with the ``k`` best scores, best first, and the scores."""
    found: list[Found] = []
    for part in scope.parts:
        if part.count:
            rows, scores = _nearest_in_part(metric, query, k, part, ef, exact)
            found.append((part, rows, scores))
    return best_of(found, k)


def nearest_many(
    metric: Metric, queries: Float32, k: int, scope: Scope, ef: int, exact: bool, threads: int
) -> tuple[Int64, Float32]:
    """Return ``nearest`` for each of ``queries`` (m, dim): (m, k) rows and scores, padded with -1 and -inf."""
    count = len(queries)
    rows = np.full((count, k), -1, np.int64)
    scores = np.full((count, k), -np.inf, np.float32)
    parts = [part for part in scope.parts if part.count]
    found = [_many_in_part(metric, queries, k, part, ef, exact, threads) for part in parts]
    for line in range(count):
        best = best_of([(part, *lines[line]) for part, lines in zip(parts, found, strict=True)], k)
        rows[line, : len(best[0])], scores[line, : len(best[0])] = best
    return rows, scores


def best_of(found: Sequence[Found], k: int) -> tuple[Int64, Float32]:
    """Return the global rows of the ``k`` best scores over all parts, best first, ties by lower label.

    Each part's rows come in that order, and the labels of later parts are higher.
    """
    if len(found) == 1:
        part, rows, scores = found[0]
        return rows[:k] + part.base if part.base else rows[:k], scores[:k]
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    scores = np.concatenate([scores for _, _, scores in found])
    rows = np.concatenate([rows + part.base for part, rows, _ in found])
    order = np.argsort(-scores, kind="stable")[:k]
    return rows[order], scores[order]


def walked_graph(scope: PartScope) -> Graph | None:
    """Return the graph by which a part is searched, or None where it is scanned."""
    part = scope.part
    if not isinstance(part, Segment) or scope.count <= SCAN_ROWS or scope.count * SCAN_SHARE < part.n:
        return None
    return part.graph if kernels.walks_natively() else None


def _nearest_in_part(
    metric: Metric, query: Float32, k: int, scope: PartScope, ef: int, exact: bool
) -> tuple[Int64, Float32]:
    graph = None if exact else walked_graph(scope)
    if graph is not None:
        rows, scores = kernels.graph_search(graph, scope.part, metric, query, k, ef, scope.nodes)
        rows, scores = _completed(graph, metric, query, k, scope, rows, scores)
        if len(rows) >= min(k, scope.count):
            return rows, scores
    return kernels.scan(scope.part, metric, query, k, scope.start, scope.stop, scope.mask, scope.rows, exact=exact)


def _many_in_part(
    metric: Metric, queries: Float32, k: int, scope: PartScope, ef: int, exact: bool, threads: int
) -> list[tuple[Int64, Float32]]:
    part = scope.part
    graph = None if exact else walked_graph(scope)
    if graph is None:
        rows, scores, counts = kernels.scan_many(
            part, metric, queries, k, scope.start, scope.stop, scope.mask, scope.rows, exact=exact, threads=threads
        )
        return [(rows[line, :count], scores[line, :count]) for line, count in enumerate(counts.tolist())]
    rows, scores, counts = kernels.graph_search_many(graph, part, metric, queries, k, ef, scope.nodes, threads)
    result = []
    for line, count in enumerate(counts.tolist()):
        query = queries[line]
        found = _completed(graph, metric, query, k, scope, rows[line, :count], scores[line, :count])
        if len(found[0]) < min(k, scope.count):
            found = kernels.scan(part, metric, query, k, scope.start, scope.stop, scope.mask, scope.rows)
        result.append(found)
    return result


def _completed(
    graph: Graph,
    metric: Metric,
    query: Float32,
    k: int,
    scope: PartScope,
    rows: Int64,
    scores: Float32,
) -> tuple[Int64, Float32]:
    """Add what a walk cannot find: unreachable rows, and the rows whose vectors equal those that it found."""
    part = scope.part
    if len(graph.unreachable):
        lost = graph.unreachable
        if scope.nodes is not None:
            lost = lost[scope.nodes[lost] != 0]
        lost_rows, lost_scores = kernels.scan(part, metric, query, k, 0, part.n, None, lost)
        rows, scores = np.concatenate([rows, lost_rows]), np.concatenate([scores, lost_scores])
    elif graph.group_offsets is None:
        return rows, scores
    rows, scores = _with_duplicates(graph, scope, rows, scores)
    order = np.lexsort((part.labels[rows], -scores))[:k]
    return rows[order], scores[order]


def _with_duplicates(graph: Graph, scope: PartScope, rows: Int64, scores: Float32) -> tuple[Int64, Float32]:
    if graph.group_offsets is None or graph.group_rows is None:
        return rows, scores
    firsts = graph.group_offsets[rows]
    sizes = graph.group_offsets[rows + 1] - firsts
    if not sizes.any():
        return rows, scores
    groups = [graph.group_rows[first : first + size] for first, size in zip(firsts, sizes, strict=True) if size]
    alone = sizes == 0
    rows = np.concatenate([rows[alone], *groups]).astype(np.int64)
    scores = np.concatenate([scores[alone], np.repeat(scores[~alone], sizes[~alone])])
    kept = scope.holds(rows)
    return rows[kept], scores[kept]
