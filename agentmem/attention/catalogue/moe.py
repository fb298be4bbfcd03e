"""Mixtures of experts: each expert is a group of attention heads with projections of its own."""

from __future__ import annotations

from agentmem.attention.catalogue.shared import SCALE, heads
from agentmem.attention.mechanism import Mechanism, Parameter, Weight

EXPERTS = Parameter(name="experts", default=4, meaning="number of experts, E", minimum=1)
JITTER = (
    Parameter(name="jitter", default=0.0, meaning="router noise ±jitter, seeded", minimum=0, maximum=0.99),
    Parameter(name="seed", default=0, meaning="of the jitter", minimum=0),
)
PROJECTIONS = (
    Weight(name="query", shape=("experts", "dim", "dim"), init="identity", meaning="W_Q of each expert"),
    Weight(name="key", shape=("dim", "dim"), init="identity", meaning="W_K, shared"),
    Weight(name="value", shape=("value_dim", "value_dim"), init="identity", meaning="W_V, shared"),
    Weight(name="output", shape=("experts", "value_dim", "value_dim"), init="identity", meaning="W_O of each expert"),
)
ROUTER = Weight(name="router", shape=("dim", "experts"), init="normal", meaning="W_g", required=True)
WHY = "through the experts' own projections; identity experts reproduce scaled-dot's order"


def capacity(default: float) -> Parameter:
    """Return the room of an expert."""
    meaning = "room of an expert over an even share of the choices"
    return Parameter(name="capacity", default=default, meaning=meaning, minimum=1)


MECHANISMS = (
    Mechanism(
        name="moe-attention",
        category="moe",
        summary="each query is answered by its likeliest experts, under gates, as far as these have room",
        formula="Σ over the top experts_per_token of g_i Attn(q W_Q^i, K W_K, V W_V) W_O^i, g their softmax",
        form="experts",
        route="top-k",
        parameters=(
            EXPERTS,
            Parameter(name="experts_per_token", default=2, meaning="experts that a query is sent to", minimum=1),
            capacity(1.5),
            *JITTER,
            heads(1),
            SCALE,
        ),
        weights=(ROUTER, *PROJECTIONS),
        can_reorder=True,
        why=WHY,
        complexity="O(experts_per_token n² d)",
        best_for="queries of several kinds, each with heads of its own",
        paper="Zhang 2022, arXiv:2210.05144; capacity and jitter: Fedus 2021, arXiv:2101.03961",
    ),
    Mechanism(
        name="soft-moe-attention",
        category="moe",
        summary="experts answer slots, which are means of all queries; each query takes a mean of all slots",
        formula="X̃ = SM_tokens(XΦ)ᵀ X; Y = SM_slots(XΦ) · Attn_i(X̃_i W_Q^i, K W_K, V W_V) W_O^i",
        form="soft-experts",
        route="soft",
        parameters=(
            EXPERTS,
            Parameter(name="slots", default=1, meaning="slots of each expert", minimum=1),
            heads(1),
            SCALE,
        ),
        weights=(
            Weight(name="router", shape=("dim", "experts*slots"), init="normal", meaning="Φ", required=True),
            *PROJECTIONS,
        ),
        masks="keys",
        can_reorder=True,
        why=WHY,
        complexity="O(experts slots n d)",
        best_for="many queries at once, none of which may be dropped",
        paper="Puigcerver 2023, arXiv:2308.00951",
    ),
    Mechanism(
        name="switch-attention",
        category="moe",
        summary="each query is answered by its likeliest expert alone, times that expert's probability",
        formula="p_i Attn(q W_Q^i, K W_K, V W_V) W_O^i, i = argmax p, p = SM(q W_g); zero past the expert's capacity",
        form="experts",
        route="switch",
        parameters=(EXPERTS, capacity(1.25), *JITTER, heads(1), SCALE),
        weights=(ROUTER, *PROJECTIONS),
        can_reorder=True,
        why=WHY,
        best_for="the cost of one expert, whatever their number",
        paper="Fedus 2021, arXiv:2101.03961",
    ),
    Mechanism(
        name="expert-choice-attention",
        category="moe",
        summary="each expert takes the queries that want it most, all experts as many",
        formula="S = SM(X W_g); expert i takes the top ⌈capacity · n / E⌉ of column i; Σ_i S_i Attn_i(q)",
        form="experts",
        route="expert-choice",
        parameters=(EXPERTS, capacity(2.0), heads(1), SCALE),
        weights=(ROUTER, *PROJECTIONS),
        can_reorder=True,
        why=WHY,
        complexity="O(capacity n² d)",
        best_for="even load without a loss for it; some queries get many experts, some none",
        paper="Zhou 2022, arXiv:2202.09368",
    ),
)
