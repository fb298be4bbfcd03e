"""Mixtures of experts: each expert is a group of attention heads with projections of its own."""

from __future__ import annotations

from agentmem.attention.catalogue.shared import SCALE, heads
from agentmem.attention.mechanism import Mechanism, Parameter, Weight

MECHANISMS = (
    Mechanism(
        name="moe-attention",
        category="moe",
        summary="Σ over the routed experts of g_i · Attn(q W_Q^i, K W_K, V W_V) W_O^i",
        form="experts",
        parameters=(
            Parameter(name="experts", default=4, meaning="number of experts", minimum=1),
            Parameter(name="experts_per_token", default=2, meaning="experts that a query is sent to", minimum=1),
            Parameter(name="capacity", default=1.25, meaning="room of an expert over an even share", minimum=1),
            Parameter(name="jitter", default=0.0, meaning="router noise ±jitter, seeded", minimum=0, maximum=0.99),
            Parameter(name="seed", default=0, meaning="of the jitter", minimum=0),
            heads(1),
            SCALE,
        ),
        weights=(
            Weight(name="router", shape=("dim", "experts"), init="normal", meaning="W_g", required=True),
            Weight(name="query", shape=("experts", "dim", "dim"), init="identity", meaning="W_Q of each expert"),
            Weight(name="key", shape=("dim", "dim"), init="identity", meaning="W_K, shared"),
            Weight(name="value", shape=("value_dim", "value_dim"), init="identity", meaning="W_V, shared"),
            Weight(
                name="output",
                shape=("experts", "value_dim", "value_dim"),
                init="identity",
                meaning="W_O of each expert",
            ),
        ),
        can_reorder=True,
        why="through the experts' own projections; identity experts reproduce scaled-dot's order",
        paper="Zhang 2022, arXiv:2210.05144; capacity and jitter: Fedus 2021, arXiv:2101.03961",
    ),
)
