"""One configuration: trained, stopped, and then measured on the test split, which is read once."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from agentmem.simulation.study.configuration import Configuration, Shape
from agentmem.simulation.study.model import COMPONENTS, Parameters, forward, initial, scores
from agentmem.simulation.study.pools import Pools, Searched
from agentmem.simulation.study.quality import NDCG, change, compare
from agentmem.simulation.study.statistics import describe
from agentmem.simulation.study.training import Asked, ask, train

SHARE = 0.25
"""Of the training queries, for the sample efficiency."""
TIMED = 200
"""Forward passes of one query that are timed."""


def measure_one(configuration: Configuration, searched: Searched, other: Searched | None = None) -> dict[str, Any]:
    """Return what one configuration comes to, ready for JSON.

    Args:
        configuration: to measure.
        searched: its corpus.
        other: another set's, of the same width: its test split shows what carries over.
    """
    started = time.perf_counter()
    shape = configuration.shape
    fitted = train(shape, searched.train, searched.dev, configuration.seed)
    little = train(shape, searched.train, searched.dev, configuration.seed, SHARE)
    latency = latencies(fitted.parameters, searched.dev)
    test = searched.test().open()
    asked = ask(fitted.parameters, test)
    quality = compare(test, asked.scores)
    few = compare(test, ask(little.parameters, test).scores)
    seen = compare(searched.train, ask(fitted.parameters, searched.train).scores)
    dev = compare(searched.dev, ask(fitted.parameters, searched.dev).scores)
    elsewhere = None
    if other is not None:
        strange = other.test().open()
        elsewhere = compare(strange, ask(fitted.parameters, strange).scores)
    whole, part = quality[NDCG]["after"] - quality[NDCG]["before"], few[NDCG]["after"] - few[NDCG]["before"]
    return {
        "key": configuration.key,
        **configuration.as_json(),
        **quality,
        "equal_weights": compare(test, ask(_level(fitted.parameters), test).scores)[NDCG],
        "cosine": _cosine(asked),
        "weights": describe(asked.weights),
        "weights_at_birth": describe(ask(initial(shape, test.x.shape[1], configuration.seed), test).weights),
        "convergence_epochs": fitted.epoch,
        "final_loss": fitted.train_losses[fitted.epoch - 1] if fitted.epoch else fitted.dev_losses[0],
        "train_losses": fitted.train_losses,
        "dev_losses": fitted.dev_losses,
        "dev_ndcgs": fitted.dev_ndcgs,
        "dev": dev,
        "train": seen,
        "sample_efficiency": {"share": SHARE, NDCG: few[NDCG], "ratio": part / whole if whole > 0 else None},
        "generalisation": quality[NDCG]["after"] / seen[NDCG]["after"],
        "transfer": elsewhere,
        "latency_us": latency,
        "memory": memory(shape, fitted.parameters, test.rows.shape[1], searched.size),
        "distractors": searched.distractors,
        "seconds": time.perf_counter() - started,
    }


def _level(parameters: Parameters) -> Parameters:
    """Return the parameters with a sharpness of 0: every candidate weighs the same, and nothing else is changed."""
    return parameters | {"sharpness": np.full_like(parameters["sharpness"], -np.inf)}


def _cosine(asked: Asked) -> dict[str, float | None]:
    """Return the mean cosine of query and relevant candidates, of the queries that have some."""
    known = ~np.isnan(asked.before)
    if not known.any():
        return change(0.0, 0.0)
    return change(float(asked.before[known].mean()), float(asked.after[known].mean()))


def latencies(parameters: Parameters, pools: Pools) -> dict[str, float]:
    """Return the median microseconds of one query's forward pass, by component, and in all with the final scores."""
    taken: dict[str, list[float]] = {name: [] for name in (*COMPONENTS, "total")}
    for number in range(TIMED + 1):
        x, keys, missing, _ = pools.batch(np.array([number % len(pools)]))
        spent = dict.fromkeys(COMPONENTS, 0.0)
        started = last = time.perf_counter()

        def lap(name: str, spent: dict[str, float] = spent) -> None:
            nonlocal last
            now = time.perf_counter()
            spent[name] += now - last
            last = now

        scores(parameters, forward(parameters, x, keys, missing, lap=lap)[-1].out, keys, missing)
        spent["total"] = time.perf_counter() - started
        if number:
            for name, seconds in spent.items():
                taken[name].append(seconds)
    return {name: float(np.median(seconds)) * 1e6 for name, seconds in taken.items()}


def memory(shape: Shape, parameters: Parameters, candidates: int, size: int) -> dict[str, float]:
    """Return bytes: of the projections, of one query's attention weights, of W_O, in all, and a vector stored."""
    projections = sum(parameters[name].nbytes for name in ("query", "key", "value", "sharpness", "scale"))
    weights = shape.layers * shape.heads * candidates * parameters["query"].itemsize
    output = parameters["output"].nbytes
    total = projections + weights + output
    return {
        "projections": projections,
        "weights": weights,
        "output": output,
        "total": total,
        "bytes_a_vector": total / size,
    }
