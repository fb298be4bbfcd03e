"""Mixtures of experts: each expert is a group of attention heads with its own projections of queries and outputs."""

from __future__ import annotations

import numpy as np

from agentmem.attention.call import Call
from agentmem.attention.engine import Engine
from agentmem.attention.forms.routes import ROUTES
from agentmem.attention.inputs import Floats, Mask, no_head_axis, require_finite, split_heads
from agentmem.attention.reference.common import softmax_rows


def run_experts(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """Route each query to its experts; the weights are the gated mean of their heads' (n_queries, n_keys).

    A query that finds no room at an expert loses that expert's part: its gates then sum to less.
    """
    key, value = _checked(call)
    out = np.zeros((call.n_queries, call.value.shape[1]), engine.dtype)
    total = np.zeros((call.n_queries, call.n_keys), engine.dtype) if call.want_weights else None
    for expert, at, gates in ROUTES[call.declared.route](engine, call):
        mask = call.mask[at] if call.mask is not None and call.mask.ndim == 2 else call.mask
        part, w = _expert(engine, call, expert, call.query[at], key, value, mask)
        out[at] += gates * part
        if total is not None and w is not None:
            total[at] += gates * w
    return out, total


def run_soft_experts(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """Each expert's slots are means of all queries, and each query takes a mean of all slots' outputs."""
    key, value = _checked(call)
    logits = call.query.astype(np.float64) @ call.weights["router"].astype(np.float64)
    slots = softmax_rows(np.ascontiguousarray(logits.T)) @ call.query
    taken = softmax_rows(logits)
    each = call.params["slots"]
    out = np.zeros((call.n_queries, call.value.shape[1]))
    total = np.zeros((call.n_queries, call.n_keys)) if call.want_weights else None
    for expert in range(call.params["experts"]) if call.n_queries else ():
        at = slice(expert * each, (expert + 1) * each)
        part, w = _expert(engine, call, expert, slots[at].astype(call.query.dtype), key, value, call.mask)
        out += taken[:, at] @ part
        if total is not None and w is not None:
            total += taken[:, at] @ w
    return out, total


def _checked(call: Call) -> tuple[Floats, Floats]:
    """Return the keys and values that all experts share, projected."""
    query, key, value, learned, heads = call.query, call.key, call.value, call.weights, call.params["heads"]
    no_head_axis(call.declared.name, query, call.mask)
    split_heads(heads, query=query, value=value)
    require_finite(query=query, key=key, value=value)
    return (
        key @ learned["key"] if "key" in learned else key,
        value @ learned["value"] if "value" in learned else value,
    )


def _expert(
    engine: Engine, call: Call, expert: int, rows: Floats, key: Floats, value: Floats, mask: Mask | None
) -> tuple[Floats, Floats | None]:
    """Return one expert's attention, and its weights, mean over heads."""
    learned, params = call.weights, call.params
    q = rows @ learned["query"][expert] if "query" in learned else rows
    part, w = engine.softmax(
        q, key, value, heads=params["heads"], scale=params["scale"], mask=mask, want_weights=call.want_weights
    )
    part = part @ learned["output"][expert] if "output" in learned else part
    return part, None if w is None else w.mean(0)
