"""Heads that talk: learned mixing across heads, of the logits before the softmax and of the weights behind it."""

from __future__ import annotations

import numpy as np

from agentmem.attention.call import Call
from agentmem.attention.engine import Engine
from agentmem.attention.forms.projections import by_row, project_output
from agentmem.attention.forms.softmax import is_causal, projected_heads
from agentmem.attention.inputs import Floats, require_finite


def run_talking(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """A = softmax(P_l · S), A′ = P_w · A; no (n_queries, n_keys) array unless weights are wanted.

    A mixed logit is the dot product of one long query, the heads' queries each times its factor, with the whole key
    row; and a mixed weight mixes outputs of the whole value row, of which each head keeps its own slice.
    """
    require_finite(query=call.query, key=call.key, value=call.value)
    heads, logits, shares = call.heads, call.weights["logits"], call.weights["shares"]
    q, k, v = (_merged(x) for x in projected_heads(call))
    n_queries, head_dim = len(q), q.shape[1] // heads
    mixed = np.einsum("gh,nhd->gnhd", logits, by_row(q, heads)).reshape(heads, n_queries, q.shape[1])
    out, weights = engine.softmax(
        np.ascontiguousarray(mixed),
        k[None],
        v[None],
        heads=heads,
        scale=call.params["scale"] or head_dim**-0.5,
        causal=is_causal(call),
        mask=call.mask,
        want_weights=call.want_weights,
    )
    told = np.einsum("gh,hngd->gnd", shares, out.reshape(heads, n_queries, heads, v.shape[1] // heads), optimize=True)
    if call.query.ndim == 2:
        told = told.transpose(1, 0, 2).reshape(n_queries, v.shape[1])
    return project_output(call, told), None if weights is None else np.tensordot(shares, weights, 1)


def _merged(x: Floats) -> Floats:
    """Return (heads, n, d) as (n, heads · d)."""
    return x if x.ndim == 2 else np.ascontiguousarray(x.transpose(1, 0, 2)).reshape(x.shape[1], len(x) * x.shape[2])
