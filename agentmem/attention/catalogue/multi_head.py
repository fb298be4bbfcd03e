"""Scaled dot-product attention with one head and with several."""

from __future__ import annotations

from agentmem.attention.catalogue.shared import CAUSAL, PROJECTIONS, SCALE, heads
from agentmem.attention.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        name="scaled-dot",
        category="multi-head",
        summary="softmax(scale · QKᵀ) V, one head",
        form="softmax",
        parameters=(SCALE, CAUSAL),
        can_reorder=False,
        why="the score is a multiple of the dot product",
        paper="Vaswani 2017, arXiv:1706.03762",
    ),
    Mechanism(
        name="standard-mha",
        category="multi-head",
        summary="Concat_h softmax(Q_h K_hᵀ / √d_h) V_h · W_O; projections are the identity unless given",
        form="softmax",
        parameters=(heads(8), SCALE, CAUSAL),
        weights=PROJECTIONS,
        can_reorder=True,
        why="each head has a softmax of its own, and learned projections change q·k; identity heads change little",
        paper="Vaswani 2017, arXiv:1706.03762",
    ),
)
