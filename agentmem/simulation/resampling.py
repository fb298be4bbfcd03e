"""Intervals of means and of their differences, by paired bootstrap; wins, ties and losses.

Queries are drawn with replacement, the same ones for every pipeline (Efron & Tibshirani 1993; Sakai 2006); or whole
namespaces are, since the questions about one conversation are not independent of each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ROUNDS = 5_000
"""Resamples; the ends of a 95% interval then move by about 2% of its width with the seed."""
BLOCK = 500
TIE = 1e-9
"""Values of one query that differ by less are a tie."""

Floats = NDArray[np.float64]
Interval = tuple[float, float]


def numbered(names: Sequence[object]) -> NDArray[np.int64]:
    """Return the place of each name among the distinct ones, int64 (n,)."""
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return np.array([places[name] for name in names], np.int64)


def resampled_means(values: Floats, seed: int, groups: NDArray[np.int64] | None = None) -> Floats:
    """Return the means of columns over resamples.

    Args:
        values: (queries, columns).
        seed: the same seed draws the same queries.
        groups: (queries,), numbers from 0: draw these as wholes.

    Returns:
        float64 (ROUNDS, columns).
    """
    generator = np.random.default_rng(seed)
    units = np.arange(len(values)) if groups is None else groups
    count = int(units.max()) + 1
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, units, values)
    sizes = np.bincount(units, minlength=count).astype(np.float64)
    means = np.empty((ROUNDS, values.shape[1]))
    for start in range(0, ROUNDS, BLOCK):
        drawn = generator.multinomial(count, np.full(count, 1 / count), size=BLOCK).astype(np.float64)
        means[start : start + BLOCK] = (drawn @ sums) / (drawn @ sizes)[:, None]
    return means


def interval(samples: Floats) -> Interval:
    """Return the middle 95% of samples; a sample that is not a number (a ratio to 0) counts as none."""
    known = samples[np.isfinite(samples)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, (2.5, 97.5))
    return float(low), float(high)


def relative(after: Floats, before: Floats) -> Floats:
    """Return after / before − 1, NaN where before is 0."""
    change: Floats = np.divide(after, before, out=np.full(np.shape(after), np.nan), where=before != 0) - 1
    return change


def wins(before: Floats, after: Floats) -> dict[str, int]:
    """Return for how many queries the second value is the better, the same, the worse one."""
    change = after - before
    win, loss = int((change > TIE).sum()), int((change < -TIE).sum())
    return {"win": win, "tie": len(change) - win - loss, "loss": loss}
