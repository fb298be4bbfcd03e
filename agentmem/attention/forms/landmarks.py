"""Softmax attention through a few rows that stand for all: Nyström's landmarks, Linformer's mixed rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.call import Call
from agentmem.attention.engine import Engine
from agentmem.attention.forms.heads import apart, together
from agentmem.attention.inputs import Floats, require_finite, split_heads
from agentmem.attention.reference.common import softmax_rows


def run_nystrom(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """SM(Q K̃ᵀ) A⁺ SM(Q̃ Kᵀ) V with A = SM(Q̃ K̃ᵀ); masked keys are left out before the landmarks are made."""
    heads, params = call.heads, call.params
    split_heads(heads, query=call.query, value=call.value)
    require_finite(query=call.query, key=call.key, value=call.value)
    kept = slice(None) if call.mask is None else np.flatnonzero(call.mask)
    q = apart(call.query, heads)
    k, v = (np.ascontiguousarray(apart(x, heads)[:, kept]) for x in (call.key, call.value))
    scale = q.shape[-1] ** -0.5 if params["scale"] is None else params["scale"]
    weights = np.zeros((heads, call.n_queries, call.n_keys), q.dtype) if call.want_weights else None
    if not k.shape[1] or not call.n_queries:
        return together(np.zeros((heads, call.n_queries, v.shape[-1]), q.dtype), call.query), weights
    q_marks, k_marks = segment_means(q, params["landmarks"]), segment_means(k, params["landmarks"])
    between = softmax_rows(scale * (q_marks @ k_marks.transpose(0, 2, 1)))
    inverse = _exact(between, q.dtype) if params["inverse"] == "exact" else _iterative(between, params["iterations"])
    q_marks, k_marks = q_marks.astype(q.dtype), k_marks.astype(q.dtype)
    gathered, last = engine.softmax(q_marks, k, v, heads=heads, scale=scale, want_weights=call.want_weights)
    through = (inverse @ gathered.astype(np.float64)).astype(q.dtype)
    out, first = engine.softmax(q, k_marks, through, heads=heads, scale=scale, want_weights=call.want_weights)
    if weights is not None and first is not None and last is not None:
        weights[:, :, kept] = first @ (inverse @ last.astype(np.float64))
    return together(out, call.query), weights


def segment_means(x: Floats, landmarks: int) -> NDArray[np.float64]:
    """Return the means of consecutive segments of (heads, n, d), as equal in length as can be, at most n of them."""
    n = x.shape[1]
    count = min(landmarks, n)
    starts = np.arange(count) * n // count
    means: NDArray[np.float64] = np.add.reduceat(x, starts, axis=1, dtype=np.float64)
    means /= np.diff(starts, append=n)[:, None]
    return means


def _exact(matrix: NDArray[np.float64], dtype: np.dtype[np.floating]) -> NDArray[np.float64]:
    """Pseudo-inverse; singular values that are rounding errors of the caller's dtype count as zero."""
    smallest = max(matrix.shape[1:]) * float(np.finfo(dtype).eps)
    return np.linalg.pinv(matrix, rcond=smallest).astype(np.float64, copy=False)


def _iterative(matrix: NDArray[np.float64], iterations: int) -> NDArray[np.float64]:
    """The paper's iteration: Z ← Z (13 I − A Z (15 I − A Z (7 I − A Z))) / 4 from Aᵀ / (|A|_1 |A|_∞)."""
    absolute = np.abs(matrix)
    norms = absolute.sum(-2).max(-1) * absolute.sum(-1).max(-1)
    z: NDArray[np.float64] = matrix.transpose(0, 2, 1) / norms[:, None, None]
    eye = np.eye(matrix.shape[1])
    for _ in range(iterations):
        az = matrix @ z
        z = z @ (13 * eye - az @ (15 * eye - az @ (7 * eye - az))) / 4
    return z


def run_linformer(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """SM(Q (E K)ᵀ) (F V); a masked key adds nothing to the mixed rows, a query without any key gets zeros."""
    heads, key_mix, value_mix = call.heads, call.weights["key_mix"], call.weights["value_mix"]
    split_heads(heads, query=call.query, value=call.value)
    require_finite(query=call.query, key=call.key, value=call.value)
    if call.mask is not None:
        key_mix, value_mix = (mix * call.mask.astype(mix.dtype) for mix in (key_mix, value_mix))
    k, v = key_mix @ call.key, value_mix @ call.value
    out, w = engine.softmax(call.query, k, v, heads=heads, scale=call.params["scale"], want_weights=call.want_weights)
    return out, None if w is None else w @ value_mix
