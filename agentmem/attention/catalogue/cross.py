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
        name="perceiver-attention",
        category="cross",
        summary="learned latents read all keys once, and the queries read the latents",
        formula="Z = SM(L Xᵀ scale) X; SM(Q Zᵀ scale) Z",
        form="latent",
        parameters=(
            heads(1),
            SCALE,
            Parameter(name="latents", default=512, meaning="rows of L", minimum=1),
        ),
        weights=(Weight(name="latents", shape=("latents", "dim"), init="normal", meaning="L", required=True),),
        masks="keys",
        can_reorder=True,
        why="keys are seen through latents that were learned: two keys read by the same latent weigh as it read them",
        complexity="O(n latents d)",
        best_for="many queries over one long context, with latents learned for it",
        paper="Jaegle 2021, arXiv:2103.03206; decoding: Jaegle 2021, arXiv:2107.14795",
    ),
    Mechanism(
        name="gated-cross-attention",
        category="cross",
        summary="queries plus what they read, through tanh gates that start closed; then a gated feed-forward part",
        formula="y + tanh(α) XAttn(y, x); then y + tanh(β) relu(y W₁)² W₂; α = β = 0 at the start",
        form="gated",
        parameters=(heads(1), SCALE),
        weights=(
            Weight(name="gate", shape=("1",), init="zeros", meaning="α", required=True),
            *PROJECTIONS,
            Weight(
                name="ffn_gate", shape=("1",), init="zeros", meaning="β; all three of the feed-forward part or none"
            ),
            Weight(name="ffn_in", shape=("dim", "4*dim"), init="normal", meaning="W₁"),
            Weight(name="ffn_out", shape=("4*dim", "dim"), init="normal", meaning="W₂"),
        ),
        can_reorder=True,
        why="only through learned projections or several heads; the gates and the feed-forward part weigh no key",
        best_for="letting a new source into rows that must stay as they are until it is learned",
        paper="Alayrac 2022, arXiv:2204.14198",
    ),
    Mechanism(
        name="hierarchical-cross-attention",
        category="cross",
        summary="softmax over groups by the mean of their keys, times softmax within each group",
        formula="a_gj = SM_g(scale q·c_g) SM_{j in g}(scale q·k_j), c_g the mean of the group's keys",
        form="hierarchy",
        parameters=(heads(1), SCALE),
        needs=("segment_ids",),
        masks="keys",
        can_reorder=True,
        why="a key is weighed within its group, and the groups by their means",
        best_for="memories in sessions or documents: the right group first, then the right row of it",
        paper="Yang 2016, Hierarchical Attention Networks, NAACL",
    ),
    Mechanism(
        name="memory-attention",
        category="cross",
        summary="g · Attn(q, nearest top_k of the memory) + (1 − g) · Attn(q, local context), g = σ(gate)",
        formula="g_h SM_top-k(s q̂·k̂_j) v_j + (1 − g_h) SM_near(s q̂·k̂_j) v_j, g_h = σ(b_h)",
        form="memory",
        parameters=(
            heads(1),
            Parameter(name="top_k", default=32, meaning="how many of the memory's keys a query attends", minimum=1),
            Parameter(name="gate", default=0.0, meaning="bias b of the gate g = σ(b), each head's unless weights say"),
            Parameter(name="scale", default=10.0, meaning="factor on the cosine of query and key", positive=True),
            Parameter(name="window", default=3.0, meaning="reach of the local context in positions", minimum=0),
        ),
        takes=("context", "positions", "segment_ids"),
        weights=(Weight(name="gate", shape=("heads",), init="zeros", meaning="b of each head's gate g = σ(b)"),),
        can_reorder=True,
        why="a candidate is judged with its neighbours in the same thread",
        complexity="O(n² d)",
        best_for="memories that belong to threads: what stands near a match gains by it",
        paper="Wu 2022, arXiv:2203.08913; QK normalisation: Henry 2020, arXiv:2010.04245",
    ),
)
