"""Attention of a sequence to itself."""

from __future__ import annotations

from agentmem.attention.catalogue.shared import BIASES, HEAD_DIM, PROJECTIONS, SCALE, heads
from agentmem.attention.mechanism import Mechanism

MECHANISMS = (
    Mechanism(
        name="causal-self-attention",
        category="self",
        summary="multi-head self-attention in which no row sees a later one",
        formula="out_i = Σ_{j ≤ i} softmax_j(q_i·k_j / √d_h) v_j, by head; j ≤ i by position, else by row",
        form="softmax",
        support="causal",
        parameters=(heads(8), HEAD_DIM, SCALE),
        weights=(*PROJECTIONS, *BIASES),
        takes=("positions",),
        rerank_needs=("positions",),
        sequence=True,
        can_reorder=True,
        why="as several heads do; and candidates later than the query score 0",
        best_for="decoding, and questions as of a time: nothing later is seen",
        paper="Vaswani 2017, arXiv:1706.03762",
    ),
    Mechanism(
        name="bidirectional-self-attention",
        category="self",
        summary="multi-head self-attention in which every row sees every row",
        formula="out_i = Σ_j softmax_j(q_i·k_j / √d_h) v_j, by head",
        form="softmax",
        parameters=(heads(8), HEAD_DIM, SCALE),
        weights=(*PROJECTIONS, *BIASES),
        sequence=True,
        can_reorder=True,
        why="each head has a softmax of its own, and learned projections change q·k; identity heads change little",
        best_for="encoding a whole sequence whose order is in the rows already, or does not matter",
        paper="Devlin 2018, arXiv:1810.04805; Vaswani 2017, arXiv:1706.03762",
    ),
)
