"""Heads that talk: learned mixing across heads, of the logits before the softmax and of the weights behind it."""

from __future__ import annotations

import numpy as np

from agentmem.attention.call import Call
from agentmem.attention.engine import Engine
from agentmem.attention.forms.projections import by_head, project_output
from agentmem.attention.forms.scored import parts, softmax_of
from agentmem.attention.forms.softmax import projected_heads
from agentmem.attention.inputs import Floats, require_finite


def run_talking(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """A = softmax(P_l · S), A′ = P_w · A, some queries at a time."""
    require_finite(query=call.query, key=call.key, value=call.value)
    q, k, v = (np.ascontiguousarray(by_head(x, call.heads)) for x in projected_heads(call))
    scale = call.params["scale"] or q.shape[2] ** -0.5
    nothing = np.zeros((call.heads, call.n_keys, 1), v.dtype)
    out = np.empty((*q.shape[:2], v.shape[2]), v.dtype)
    shares = []
    for part in parts(call):
        logits = scale * np.tensordot(call.weights["logits"], q[:, part] @ k.transpose(0, 2, 1), 1)
        _, weights = softmax_of(engine, call, part, logits, nothing, want_weights=True)
        assert weights is not None
        told = np.tensordot(call.weights["shares"], weights, 1)
        out[:, part] = told @ v
        if call.want_weights:
            shares.append(told)
    if call.query.ndim == 2:
        out = out.transpose(1, 0, 2).reshape(call.n_queries, v.shape[0] * v.shape[2])
    return project_output(call, out), np.concatenate(shares, 1) if call.want_weights else None
