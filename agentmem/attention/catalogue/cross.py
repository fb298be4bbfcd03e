"""Attention from one source to another."""

from __future__ import annotations

from agentmem.attention.catalogue.shared import BIASES, HEAD_DIM, PROJECTIONS, SCALE, heads
from agentmem.attention.mechanism import Mechanism, Parameter, Weight

MECHANISMS = (
    Mechanism(
        name="cross-attention",
        category="cross",
        summary="queries from one source, keys and values from another; projections are the identity unless given",
        formula="out_i = Σ_j softmax_j(W_Q x_i · W_K y_j / √d_h) W_V y_j, by head; x one source, y the other",
        form="softmax",
        parameters=(heads(1), HEAD_DIM, SCALE),
        weights=(*PROJECTIONS, *BIASES),
        can_reorder=True,
        why="only through learned projections or several heads; with one identity head the order is the dot product's",
        complexity="O(n_queries · n_keys · d)",
        best_for="questions put to documents: rows of one source that look up rows of another",
        paper="Vaswani 2017, arXiv:1706.03762; Bahdanau 2014, arXiv:1409.0473",
    ),
    Mechanism(
        name="memory-attention",
        category="cross",
        summary="g · Attn(q, nearest top_k of the memory) + (1 − g) · Attn(q, local context), g = σ(gate)",
        form="memory",
        parameters=(
            heads(1),
            Parameter(name="top_k", default=32, meaning="how many of the memory's keys a query attends", minimum=1),
            Parameter(name="gate", default=0.0, meaning="bias b of the gate g = σ(b), each head's unless weights say"),
            Parameter(name="scale", default=10.0, meaning="factor on the cosine of query and key", positive=True),
            Parameter(name="window", default=3.0, meaning="reach of the local context in positions", minimum=0),
        ),
        needs=("context",),
        takes=("positions", "segment_ids"),
        weights=(Weight(name="gate", shape=("heads",), init="zeros", meaning="b of each head's gate g = σ(b)"),),
        can_reorder=True,
        why="a candidate is judged with its neighbours in the same thread",
        paper="Wu 2022, arXiv:2203.08913; QK normalisation: Henry 2020, arXiv:2010.04245",
    ),
)
