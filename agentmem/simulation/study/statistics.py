"""What attention weights look like, and whether that is what the published study calls healthy."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from agentmem.rerank.diversity import divergence, entropy

SPARSE = 0.01
"""A weight below it counts as none."""
TARGETS = {
    "entropy": (3.0, np.inf),
    "gini": (-np.inf, 0.5),
    "sparsity": (0.15, 0.20),
    "diversity": (0.7, np.inf),
}
"""Statistic -> (low, high) of the target."""


def gini(weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the Gini coefficient over the last axis: 0 where all are equal, 1 − 1/m where one has everything."""
    size = weights.shape[-1]
    ordered = np.sort(weights.astype(np.float64), axis=-1)
    places = np.arange(1, size + 1)
    total = ordered.sum(axis=-1)
    result: NDArray[np.float64] = (2 * (ordered * places).sum(axis=-1) / total - size - 1) / size
    return result


def sparsity(weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the share of weights below ``SPARSE``."""
    result: NDArray[np.float64] = (weights < SPARSE).mean(axis=-1)
    return result


def describe(blocks: Iterable[NDArray[np.floating]]) -> dict[str, float | None]:
    """Return the means over layers, queries and heads.

    Args:
        blocks: float (layers, queries, heads, m), as ``training.ask`` returns them.

    Returns:
        ``entropy`` in nats, ``gini``, ``sparsity`` and ``diversity``: the Jensen-Shannon divergence of the heads of a
        layer, mean over their pairs, in bits; None for one head.
    """
    kept: dict[str, list[NDArray[np.float64]]] = {name: [] for name in TARGETS}
    for weights in blocks:
        for name, measure in (("entropy", entropy), ("gini", gini), ("sparsity", sparsity)):
            kept[name].append(measure(weights).ravel())
        if weights.shape[2] > 1:
            kept["diversity"].append(divergence(weights).ravel())
    return {name: float(np.concatenate(values).mean()) if values else None for name, values in kept.items()}


def verdict(name: str, value: float | None) -> str:
    """Return "met", "missed", or "–" where there is nothing to judge."""
    if value is None:
        return "–"
    low, high = TARGETS[name]
    if name == "sparsity":
        return "met" if low <= value <= high else "missed"
    return "met" if low < value < high else "missed"
