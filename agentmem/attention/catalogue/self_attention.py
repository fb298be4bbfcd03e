"""Attention of a sequence to itself."""

from __future__ import annotations

from dataclasses import replace

from agentmem.attention.catalogue.shared import (
    BIASES,
    CAUSAL,
    CAUSAL_BY_PLACE,
    HEAD_DIM,
    OUTPUT,
    PROJECTIONS,
    SCALE,
    VALUE,
    heads,
)
from agentmem.attention.mechanism import Mechanism, Parameter, Weight

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
    Mechanism(
        name="relative-position-attention",
        category="self",
        summary="multi-head attention with a learned vector for each clipped distance, on keys and on values",
        formula="s_ij = q_i·(k_j + a^K_c) / √d_h, out_i = Σ_j a_ij (v_j + a^V_c), c = clip(p_j − p_i, ±distance)",
        form="relative",
        bias="relative",
        parameters=(
            heads(8),
            Parameter(
                name="distance", default=16, meaning="the farthest told apart; p_i − p_j is rounded, half up", minimum=1
            ),
            SCALE,
            CAUSAL_BY_PLACE,
        ),
        weights=(
            *PROJECTIONS,
            Weight(
                name="relative_key",
                shape=("2*distance+1", "head"),
                init="normal",
                meaning="a^K by p_j − p_i from −distance to distance, shared by the heads",
                required=True,
            ),
            Weight(
                name="relative_value",
                shape=("2*distance+1", "value_head"),
                init="zeros",
                meaning="a^V, likewise; none where absent",
            ),
        ),
        needs=("positions",),
        sequence=True,
        can_reorder=True,
        why="each distance has a learned vector that the query is compared with",
        complexity="O(n² d), and O(n · distance) numbers for the tables",
        best_for="what a step to the left or right means, learned: turns, lines, tokens",
        paper="Shaw 2018, arXiv:1803.02155",
    ),
    Mechanism(
        name="disentangled-attention",
        category="self",
        summary="content and position compared apart: content to content, content to position, position to content",
        formula="s_ij = [Qc_i·Kc_j + Qc_i·Kr_δ(i,j) + Kc_j·Qr_δ(j,i)] / √(3 d_h), δ = clip(p_i − p_j, −k … k−1) + k",
        form="disentangled",
        bias="disentangled",
        parameters=(
            heads(8),
            Parameter(
                name="distance",
                default=512,
                meaning="k: the farthest told apart; p_i − p_j is rounded, half up",
                minimum=1,
            ),
            replace(SCALE, meaning="factor on the sum; None: 1/√(3 head_dim)"),
            Parameter(
                name="reading",
                default="paper",
                meaning="Qr at δ(j,i) as the paper has it, or at δ(i,j) as its published code and weights do",
                choices=("paper", "code"),
            ),
        ),
        weights=(
            *PROJECTIONS,
            Weight(
                name="positions",
                shape=("2*distance", "dim"),
                init="normal",
                meaning="P: an embedding of each distance, shared by the heads",
                required=True,
            ),
            Weight(
                name="position_key",
                shape=("dim", "inner"),
                init="identity",
                meaning="W_K,r: Kr = P W_K,r; the identity where absent",
            ),
            Weight(
                name="position_query",
                shape=("dim", "inner"),
                init="identity",
                meaning="W_Q,r: Qr = P W_Q,r; the identity where absent",
            ),
        ),
        needs=("positions",),
        sequence=True,
        can_reorder=True,
        why="each distance has learned vectors that both the query and the key are compared with",
        complexity="O(n² d), and O(n · distance) numbers for the tables",
        best_for="weights of DeBERTa, and short sequences whose order carries meaning",
        paper="He 2020, arXiv:2006.03654",
    ),
    Mechanism(
        name="talking-heads-attention",
        category="self",
        summary="multi-head attention with learned mixing across heads, before the softmax and behind it",
        formula="A = softmax(P_l S), A′ = P_w A, out_h = A′_h V_h",
        form="talking",
        layout="talking",
        parameters=(heads(8), SCALE, CAUSAL),
        weights=(
            *PROJECTIONS,
            Weight(
                name="logits",
                shape=("heads", "heads"),
                init="identity",
                meaning="P_l: row h makes the logits of head h",
                required=True,
            ),
            Weight(
                name="shares",
                shape=("heads", "heads"),
                init="identity",
                meaning="P_w: row h makes the weights of head h",
                required=True,
            ),
        ),
        sequence=True,
        can_reorder=True,
        why="a learned mix of the heads' logits, and of their weights, which may be negative",
        complexity="O(n² (d + heads²)), by parts of the queries",
        best_for="few dimensions a head: what one head finds helps the others",
        paper="Shazeer 2020, arXiv:2003.02436",
    ),
    Mechanism(
        name="synthesizer-attention",
        category="self",
        summary="scores that are learned (random) or made of the query alone (dense), never of query and key",
        formula="out_i = Σ_t softmax_t(W_2 ReLU(W_1 x_i + b_1) + b_2 + R_i)_t v_t, by head; t: the t-th place",
        form="synthesizer",
        score="synthesized",
        parameters=(heads(8), CAUSAL_BY_PLACE),
        weights=(
            VALUE,
            OUTPUT,
            Weight(name="hidden", shape=("heads", "dim", "hidden"), init="normal", meaning="dense: W_1 of each head"),
            Weight(
                name="hidden_bias", shape=("heads", "hidden"), init="zeros", meaning="dense: b_1; none where absent"
            ),
            Weight(
                name="scores", shape=("heads", "hidden", "n_keys"), init="normal", meaning="dense: W_2 of each head"
            ),
            Weight(
                name="scores_bias", shape=("heads", "n_keys"), init="zeros", meaning="dense: b_2; none where absent"
            ),
            Weight(name="random", shape=("heads", "n_keys", "n_keys"), init="normal", meaning="random: R of each head"),
        ),
        takes=("positions",),
        rerank_needs=("positions",),
        sequence=True,
        can_reorder=True,
        why="a candidate's score goes by its place in the sequence and by the query, not by the candidate",
        complexity="O(n² d)",
        best_for="fixed lengths with a fixed pattern of what matters where",
        paper="Tay 2020, arXiv:2005.00743",
    ),
)
