"""What a ranking of candidates is worth, beside the order in which the store found them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.records import Float32
from agentmem.simulation.measures import measure
from agentmem.simulation.study.pools import Pools

TOP = 10
RECALL, NDCG = "recall@10", "ndcg@10"


def names(pools: Pools, scores: Float32 | None = None) -> dict[str, list[str]]:
    """Return each query's candidates, best first.

    Args:
        pools: the candidates, as the store found them.
        scores: float32 (queries, m), to order them by; ties stay as they were found.
    """
    rows = pools.rows
    if scores is not None:
        rows = np.take_along_axis(rows, np.argsort(-scores, axis=1, kind="stable"), axis=1)
    return {
        query: [pools.ids[row] for row in mine[mine >= 0].tolist()]
        for query, mine in zip(pools.queries, rows, strict=True)
    }


def ndcg(pools: Pools, scores: Float32) -> float:
    """Return the mean NDCG@10 over all queries."""
    return float(measure(pools.judged, names(pools, scores), TOP)[NDCG].mean())


def compare(pools: Pools, scores: Float32) -> dict[str, Any]:
    """Return recall@10 and NDCG@10 of the order that the store found and of that by scores, over all queries.

    Returns:
        ``{"recall@10": {"before", "after", "change"}, "ndcg@10": ..., "categories": {name: {"queries", ...}}}``; the
        change is relative, None to 0.
    """
    before, after = (measure(pools.judged, names(pools, each), TOP) for each in (None, scores))

    def part(mine: NDArray[np.bool_]) -> dict[str, Any]:
        return {
            each: change(float(before[each][mine].mean()), float(after[each][mine].mean())) for each in (RECALL, NDCG)
        }

    categories = {}
    for name in sorted({*pools.categories.values()}):
        mine = np.array([pools.categories.get(query) == name for query in pools.qrels])
        categories[name] = {"queries": int(mine.sum()), **part(mine)}
    return {**part(np.ones(len(pools.qrels), bool)), "categories": categories}


def change(before: float, after: float) -> dict[str, float | None]:
    """Return both, and the relative change, None to 0."""
    return {"before": before, "after": after, "change": after / before - 1 if before else None}
