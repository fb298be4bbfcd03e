"""What a ranking of candidates is worth, beside the order in which the store found them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.records import Float32
from agentmem.simulation.study.pools import TOP, Pools, gain

RECALL, NDCG = "recall@10", "ndcg@10"


def values(pools: Pools, scores: Float32 | None = None) -> dict[str, NDArray[np.float64]]:
    """Return recall@10 and NDCG@10 of every query of the split, 0 for one without candidates.

    They are the numbers of ``measures.measure``, for all queries at once: training asks for them after every epoch.

    Args:
        pools: the candidates, as the store found them.
        scores: float32 (b, m), to order them by; ties stay as they were found.

    Returns:
        Measure -> float64 (queries,), in the order of ``pools.qrels``.
    """
    grades = pools.grades
    if scores is not None:
        grades = np.take_along_axis(grades, np.argsort(-scores, axis=1, kind="stable"), axis=1)
    places, relevant, best = pools.attainable
    found = {name: np.zeros(len(pools.qrels)) for name in (RECALL, NDCG)}
    found[RECALL][places] = (grades[:, :TOP] > 0).sum(axis=1) / relevant
    found[NDCG][places] = gain(grades) / best
    return found


def ndcg(pools: Pools, scores: Float32) -> float:
    """Return the mean NDCG@10 over all queries."""
    return float(values(pools, scores)[NDCG].mean())


def compare(pools: Pools, scores: Float32) -> dict[str, Any]:
    """Return recall@10 and NDCG@10 of the order that the store found and of that by scores, over all queries.

    Returns:
        ``{"recall@10": {"before", "after", "change"}, "ndcg@10": ..., "categories": {name: {"queries", ...}}}``; the
        change is relative, None to 0.
    """
    before, after = (values(pools, each) for each in (None, scores))

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
