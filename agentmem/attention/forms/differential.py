"""Differential attention: what two softmaxes have in common is noise, and is taken away."""

from __future__ import annotations

import math

import numpy as np

from agentmem.attention.call import Call
from agentmem.attention.engine import Engine
from agentmem.attention.forms.projections import by_row, project_output
from agentmem.attention.forms.softmax import is_causal, projected_heads
from agentmem.attention.inputs import Floats, require_finite, split_heads
from agentmem.errors import InvalidInput

EPSILON = 1e-5
"""Added to the mean square before its root, as in the paper's code."""


def lambda_init(layer: int) -> float:
    """Return λ_init = 0.8 − 0.6 · exp(−0.3 · (layer − 1)), layers counted from 1."""
    return 0.8 - 0.6 * math.exp(-0.3 * (layer - 1))


def run_differential(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """[softmax(Q₁K₁ᵀ/√d) − λ softmax(Q₂K₂ᵀ/√d)] V, each head's rows to mean square 1, times 1 − λ_init.

    The weights are the difference, before that norm.
    """
    require_finite(query=call.query, key=call.key, value=call.value)
    heads = call.heads
    q, k, v = projected_heads(call)
    split_heads(2 if q.ndim == 3 else 2 * heads, query=q.reshape(-1, q.shape[-1]))
    out, weights = _half(engine, call, q, k, v, 0)
    less, less_weights = _half(engine, call, q, k, v, 1)
    factor, start = _lambda(call, q.shape[-1] // (2 if q.ndim == 3 else 2 * heads)), lambda_init(call.params["layer"])
    out = out - out.dtype.type(factor) * less
    if weights is not None and less_weights is not None:
        weights = weights - weights.dtype.type(factor) * less_weights
    rows = out if out.ndim == 3 else by_row(out, heads)
    rows = rows / np.sqrt((rows * rows).mean(-1, keepdims=True) + rows.dtype.type(EPSILON))
    if "norm" in call.weights:
        rows = rows * _gain(call.weights["norm"], rows.shape[-1])
    return project_output(call, rows.dtype.type(1 - start) * rows.reshape(out.shape)), weights


def _half(engine: Engine, call: Call, q: Floats, k: Floats, v: Floats, half: int) -> tuple[Floats, Floats | None]:
    """Attend with the first or the second half of each head's queries and keys."""
    first, second = (_half_rows(x, call.heads, half) for x in (q, k))
    return engine.softmax(
        first,
        second,
        v,
        heads=call.heads,
        scale=call.params["scale"],
        causal=is_causal(call),
        mask=call.mask,
        want_weights=call.want_weights,
    )


def _half_rows(x: Floats, heads: int, half: int) -> Floats:
    split = x if x.ndim == 3 else by_row(x, heads)
    width = split.shape[-1] // 2
    rows = np.ascontiguousarray(split[..., half * width : (half + 1) * width])
    return rows if x.ndim == 3 else rows.reshape(len(x), heads * width)


def _lambda(call: Call, half_head: int) -> float:
    """Return λ = exp(λ_q1 · λ_k1) − exp(λ_q2 · λ_k2) + λ_init."""
    learned = call.weights
    terms = []
    for half in ("1", "2"):
        pair = [learned.get(f"lambda_{side}{half}", np.zeros(half_head)) for side in ("q", "k")]
        for side, vector in zip("qk", pair, strict=True):
            if len(vector) != half_head:
                expected = f"expected half a head, {half_head} numbers"
                raise InvalidInput(f"weights['lambda_{side}{half}']: {expected}, came {len(vector)}")
        terms.append(math.exp(float(pair[0].astype(np.float64) @ pair[1].astype(np.float64))))
    return terms[0] - terms[1] + lambda_init(call.params["layer"])


def _gain(norm: Floats, value_head: int) -> Floats:
    if len(norm) != value_head:
        raise InvalidInput(f"weights['norm']: expected a head's {value_head} numbers, came {len(norm)}")
    return norm
