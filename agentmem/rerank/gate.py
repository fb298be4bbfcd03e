"""How far words are to be trusted against vectors, query by query: a bounded factor."""

from __future__ import annotations

import math

import numpy as np

from agentmem.rerank.constants import FULL_QUERY, GATE_BOUNDS, GATE_CENTRE, GATE_SLOPE
from agentmem.rerank.evidence import Background, Evidence, QueryFeatures


def standing(evidence: Evidence, background: Background) -> float:
    """Return how many background deviations the dense first hit stands above the background; NaN where unknown."""
    seen = evidence.dense[evidence.first_round & ~np.isnan(evidence.dense)]
    if not len(seen) or not background.known:
        return float("nan")
    return (float(seen.max()) - background.mean) / background.std


def lexical_gate(evidence: Evidence, background: Background) -> float:
    """Return the factor, within ``GATE_BOUNDS``, for the lexical and phrase heads of plain records.

    A dense first hit far above what unrelated vectors reach is seldom chance, so shared words add less; one that hardly
    stands out leaves the decision to the words.  1 where the background is not known.
    """
    height = standing(evidence, background)
    if math.isnan(height):
        return 1.0
    low, high = GATE_BOUNDS
    exponent = max(math.log2(low), min(math.log2(high), -GATE_SLOPE * (height - GATE_CENTRE)))
    return float(2.0**exponent)


def length_factor(query: QueryFeatures) -> float:
    """Return the factor, in (0, 1], by which the lexical evidence of a long query is scaled down."""
    return FULL_QUERY / max(FULL_QUERY, query.idf_sum)
