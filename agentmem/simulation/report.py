"""An evaluation as JSON holds it: means, intervals, comparisons with the first pipeline, categories, latencies."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.simulation.datasets import Dataset, LabelledQuery
from agentmem.simulation.evaluate import Evaluation
from agentmem.simulation.resampling import Floats, interval, numbered, relative, resampled_means, wins

Samples = Sequence[Mapping[str, Floats]]
"""Of each pipeline: measure -> means over the resamples."""


def headlines(measures: Sequence[str], k: int) -> list[str]:
    """Return the measures that pipelines are compared by: recall and NDCG at the depth searched (at most 10), MRR."""
    return [name for name in measures if name in {f"recall@{min(k, 10)}", f"ndcg@{min(k, 10)}", "mrr"}]


def report(
    dataset: Dataset, evaluations: Sequence[Evaluation], *, k: int, vectors: str, seed: int = 0, folds: bool = False
) -> dict[str, Any]:
    """Return what ``agentmem evaluate --json`` prints.

    ============================  =====================================================================
    ``dataset, split, vectors``   what was measured; ``documents``, ``queries``: how many
    ``k, seed, folds``            hits a search; of the bootstrap; left out in turn: "namespace" or None
    ``pipelines``                 name -> figures:
    … ``recall@10, ndcg@10 …``    means over the queries; see ``agentmem.simulation.measures``
    … ``ci95``                    measure -> [low, high] of the mean
    … ``p50_us, p95_us``          of whole searches; ``stages``: of each stage
    … ``unanswered``              queries without a vector, where the mechanism needs one
    … ``categories, namespaces``  name -> ``queries`` and means, where queries have them
    … ``against``                 of all but the first: what ``_against`` returns
    … ``exact``                   of "hnsw": graph walks, overlap and difference with an exact scan
    ============================  =====================================================================

    Args:
        dataset: that was asked.
        evaluations: of one or more pipelines; the others are compared with the first.
        k: the depth of the searches.
        vectors: "given", or the embedder's name.
        seed: of the bootstrap.
        folds: whether each namespace was asked without having been trained on.
    """
    by_query = _samples(evaluations, seed, None)
    by_namespace = None
    if len(dataset.namespaces) > 1:
        by_namespace = _samples(evaluations, seed, numbered([query.namespace for query in dataset.queries]))
    pipelines = {}
    for place, each in enumerate(evaluations):
        pipelines[each.pipeline.name] = {
            **each.metrics,
            "ci95": {name: list(interval(means)) for name, means in by_query[place].items()},
            **_latencies(each),
            "unanswered": len(each.run.unanswered),
            "categories": _means_by(dataset, each, lambda query: query.category),
            "namespaces": _means_by(dataset, each, lambda query: query.namespace),
        }
        if place:
            pipelines[each.pipeline.name]["against"] = _against(evaluations, place, by_query, by_namespace, k)
        if each.loss is not None:
            pipelines[each.pipeline.name]["exact"] = _exact(each, k)
    return {
        "dataset": dataset.name,
        "split": dataset.split,
        "vectors": vectors,
        "documents": len(dataset.documents),
        "queries": len(dataset.queries),
        "k": k,
        "seed": seed,
        "folds": "namespace" if folds else None,
        "pipelines": pipelines,
    }


def _samples(evaluations: Sequence[Evaluation], seed: int, groups: NDArray[np.int64] | None) -> Samples:
    """Return resampled means; the same queries are drawn for every pipeline and measure."""
    table = np.stack([values for each in evaluations for values in each.values.values()], axis=1)
    means = iter(resampled_means(table, seed, groups).T)
    return [{name: next(means) for name in each.values} for each in evaluations]


def _latencies(evaluation: Evaluation) -> dict[str, Any]:
    stages = {}
    for stage, seconds in evaluation.run.laps.items():
        p50, p95 = np.percentile(seconds, (50, 95)) * 1e6
        stages[stage] = {"p50_us": float(p50), "p95_us": float(p95)}
    whole = stages.pop("total", {"p50_us": None, "p95_us": None})
    return {**whole, "stages": stages}


def _means_by(
    dataset: Dataset, evaluation: Evaluation, key: Callable[[LabelledQuery], str | None]
) -> dict[str, dict[str, float]]:
    """Return name -> means over the queries of that name; nothing for queries without one."""
    rows: dict[str, list[int]] = {}
    for row, query in enumerate(dataset.queries):
        name = key(query)
        if name is not None:
            rows.setdefault(name, []).append(row)
    return {
        name: {"queries": len(chosen), **{each: float(v[chosen].mean()) for each, v in evaluation.values.items()}}
        for name, chosen in sorted(rows.items())
    }


def _against(
    evaluations: Sequence[Evaluation], place: int, by_query: Samples, by_namespace: Samples | None, k: int
) -> dict[str, Any]:
    """Return, for each headline measure, how a pipeline differs from the first.

    ``difference`` and ``relative`` (to the first one's mean; None where that is 0), the 95% interval of each by
    queries and, in ``namespaces``, by namespaces; ``win``, ``tie``, ``loss``: numbers of queries.
    """
    first, other = evaluations[0], evaluations[place]
    result: dict[str, Any] = {"pipeline": first.pipeline.name}
    for name in headlines(list(other.values), k):
        before, after = first.metrics[name], other.metrics[name]
        result[name] = {
            "difference": after - before,
            "relative": after / before - 1 if before else None,
            **_change(by_query[0][name], by_query[place][name]),
            **wins(first.values[name], other.values[name]),
        }
        if by_namespace is not None:
            result[name]["namespaces"] = _change(by_namespace[0][name], by_namespace[place][name])
    return result


def _change(before: Floats, after: Floats) -> dict[str, Any]:
    low, high = interval(relative(after, before))
    return {
        "ci95": list(interval(after - before)),
        "relative_ci95": None if math.isnan(low) else [low, high],
    }


def _exact(evaluation: Evaluation, k: int) -> dict[str, Any]:
    """Return what approximate search loses: the share of exact hits found, and differences of the headlines."""
    loss = evaluation.loss
    assert loss is not None
    differences = {
        name: evaluation.metrics[name] - float(loss.values[name].mean())
        for name in headlines(list(evaluation.values), k)
    }
    return {"graph_walks": loss.walks, f"overlap@{k}": loss.overlap, **differences}
