"""Mixtures of experts: a router sends each query to a few experts, which are attention heads with own projections."""

from __future__ import annotations

import math

import numpy as np

from agentmem.attention.call import Call
from agentmem.attention.engine import Engine
from agentmem.attention.inputs import Floats, no_head_axis, require_finite, split_heads
from agentmem.errors import InvalidInput


def run_experts(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """Route each query to its experts; the weights are the gated mean of their heads' (n_queries, n_keys).

    A query that finds no room at an expert loses that expert's part: its gates then sum to less than one.
    """
    query, key, value, learned, params, mask = call.query, call.key, call.value, call.weights, call.params, call.mask
    no_head_axis(call.declared.name, query, mask)
    n, experts, chosen_each, heads = len(query), params["experts"], params["experts_per_token"], params["heads"]
    if chosen_each > experts:
        raise InvalidInput(f"moe-attention: experts_per_token is {chosen_each}, but there are {experts} experts")
    split_heads(heads, query=query, value=value)
    require_finite(query=query)
    routed = query
    if params["jitter"]:
        rng = np.random.default_rng(params["seed"])
        routed = query * rng.uniform(1 - params["jitter"], 1 + params["jitter"], query.shape).astype(query.dtype)
    capacity = math.ceil(params["capacity"] * n * chosen_each / experts)
    chosen, gates = engine.route(np.ascontiguousarray(routed @ learned["router"]), chosen_each, capacity)
    k = key @ learned["key"] if "key" in learned else key
    v = value @ learned["value"] if "value" in learned else value
    out = np.zeros((n, value.shape[1]), query.dtype)
    total = np.zeros((n, len(key)), query.dtype)
    for expert in np.unique(chosen[chosen >= 0]).tolist():
        at, choice = np.nonzero(chosen == expert)
        q = query[at] @ learned["query"][expert] if "query" in learned else query[at]
        kept = mask[at] if mask is not None and mask.ndim == 2 else mask
        part, w = engine.softmax(q, k, v, heads=heads, scale=params["scale"], mask=kept, want_weights=True)
        assert w is not None
        gate = gates[at, choice][:, None]
        out[at] += gate * (part @ learned["output"][expert] if "output" in learned else part)
        total[at] += gate * w.mean(0)
    return out, total if call.want_weights else None
