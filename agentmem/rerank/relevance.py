"""Relevance: a score as a share of certainty in [0, 1] that a hit is right.

``1 / (1 + exp(-(slope * score + offset)))`` (Platt 1999), fitted once for each mechanism in ``CALIBRATION`` by
``benchmarks/relevance.py`` on the ten best hits of CoSQA's training queries, and of WordNet's for ``hierarchy-heads``;
docs/quality.md says how far it is off on other sets.  Where a set has more right answers than these, or fewer, or an
embedder whose cosines are of another size, the share is off, the order is not.  A mechanism that is not in the table
has ``(1 + score / (1 + |score|)) / 2``: between 0 and 1 and in the order of the scores, and nothing more is claimed.
Learned weights, and factors for heads, change what scores mean; the share is then off, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, tanh
from types import MappingProxyType
from typing import NamedTuple

from agentmem.records import Metric


class Line(NamedTuple):
    """The log odds of a score are ``slope * score + offset``; the slope is positive."""

    slope: float
    offset: float


CALIBRATION: Mapping[str, Line] = MappingProxyType(
    {
        "dense": Line(11.5, -10.2),
        "lexical": Line(0.276, -6.29),
        "rrf": Line(165.0, -7.14),
        "convex": Line(10.3, -10.8),
        "memory-heads": Line(0.0665, -6.64),
        "late-interaction": Line(4.89, -6.17),
        "prf": Line(14.5, -13.6),
        "hierarchy-heads": Line(0.0126, -3.78),
    }
)
"""``benchmarks/results/relevance_fit.json`` holds the figures that these are rounded from."""


def relevances(mechanism: str, metric: Metric, scores: Sequence[float]) -> list[float]:
    """Return the relevance of scores.

    Args:
        mechanism: that ranked.
        metric: of the store; under "l2" the dense score, minus a distance, counts as the cosine that unit vectors of
            that distance have.
        scores: higher is better; -inf has none.
    """
    line = CALIBRATION.get(mechanism)
    if line is None:
        return [(1.0 + score / (1.0 + abs(score))) / 2.0 if score > -inf else 0.0 for score in scores]
    if mechanism == "dense" and metric == "l2":
        scores = [1.0 - score * score / 2.0 for score in scores]
    slope, offset = line.slope / 2.0, line.offset / 2.0
    return [0.5 + 0.5 * tanh(slope * score + offset) for score in scores]
