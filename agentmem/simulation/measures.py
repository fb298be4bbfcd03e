"""Measures of rankings, one value a query, by ir-measures.

==================  ===================================================================================
recall@c            share of the query's relevant documents among the first c hits
recall_all@5        1 where all of them are among the first 5, else 0
ndcg@10             gain of the graded documents, each divided by log2(1 + rank), over that of the best
                    order of them (Järvelin & Kekäläinen 2002)
mrr                 1 / rank of the first relevant hit, 0 where none is among the hits
hit@10              1 where one of the first 10 hits is relevant, else 0
==================  ===================================================================================

A query for which nothing was found counts as 0 in each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.extras import need
from agentmem.simulation.datasets import Dataset

CUTOFFS = (1, 5, 10)
DEEP = 30
"""recall@30 is measured on searches for this many hits."""
TOP = 10

Values = Mapping[str, NDArray[np.float64]]
"""Measure -> float64 (queries,)."""


def ir_measures() -> ModuleType:
    """Return the library.

    Raises:
        MissingExtra: it is not installed.
    """
    return need("ir_measures", "evaluate", "measuring")


def _wanted(k: int) -> dict[str, Any]:
    library = ir_measures()
    top = min(k, TOP)
    cutoffs = sorted({*(cutoff for cutoff in CUTOFFS if cutoff < top), top})
    wanted = {f"recall@{cutoff}": library.R @ cutoff for cutoff in cutoffs}
    return {**wanted, f"ndcg@{top}": library.nDCG @ top, "mrr": library.RR, f"hit@{top}": library.Success @ top}


def measure(dataset: Dataset, ranked: Mapping[str, Iterable[str]], k: int) -> Values:
    """Return every query's values for hits of searches for ``k``; where k is below 10 it takes the place of 10.

    Args:
        dataset: with the judgements.
        ranked: query id -> ids of its hits, best first; their order counts, not their scores.
        k: how many hits were asked for.

    Raises:
        MissingExtra: ir-measures is not installed.
    """
    wanted = _wanted(k)
    values = _calculated(dataset, ranked, wanted)
    if "recall@5" in values:
        values["recall_all@5"] = (values["recall@5"] == 1).astype(np.float64)
    return values


def deep_recall(dataset: Dataset, ranked: Mapping[str, Iterable[str]]) -> Values:
    """Return recall@30 of searches for 30 hits; arguments as for ``measure``."""
    return _calculated(dataset, ranked, {f"recall@{DEEP}": ir_measures().R @ DEEP})


def _calculated(
    dataset: Dataset, ranked: Mapping[str, Iterable[str]], wanted: Mapping[str, Any]
) -> dict[str, NDArray[np.float64]]:
    places = {query.id: place for place, query in enumerate(dataset.queries)}
    names = {measure: name for name, measure in wanted.items()}
    values = {name: np.zeros(len(places)) for name in wanted}
    qrels = {query: dict(grades) for query, grades in dataset.qrels.items()}
    run = {query: {found: float(-rank) for rank, found in enumerate(ids)} for query, ids in ranked.items()}
    for each in ir_measures().iter_calc(list(wanted.values()), qrels, run):
        values[names[each.measure]][places[each.query_id]] = each.value
    return values
