"""What every reference stage shares: rows of length one, softmax over rows, heads apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.inputs import Floats

Float64 = NDArray[np.float64]


def normalised(x: Float64) -> Float64:
    """Return rows of length one; rows of zeros stay."""
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    unit: Float64 = np.divide(x, norm, out=np.zeros_like(x), where=norm > 0)
    return unit


def softmax_rows(scores: Float64) -> Float64:
    """Softmax over the last axis; a row of −inf alone gives zeros."""
    if scores.shape[-1] == 0:
        return scores
    top = scores.max(-1, keepdims=True)
    exps = np.exp(scores - np.where(np.isfinite(top), top, 0.0))
    total = exps.sum(-1, keepdims=True)
    weights: Float64 = np.divide(exps, total, out=np.zeros_like(exps), where=total > 0)
    return weights


def by_head(x: Floats, heads: int) -> Float64:
    """Return (n, heads · d) as (heads, n, d); three dimensions stay."""
    x = x.astype(np.float64)
    return x if x.ndim == 3 else x.reshape(len(x), heads, x.shape[1] // heads).transpose(1, 0, 2)


def keep_largest(scores: Float64, k: int) -> Float64:
    """Leave the k largest scores of each row, the earlier one on a tie; the rest become −inf."""
    order = np.argsort(-scores, axis=-1, kind="stable")[..., :k]
    kept = np.full_like(scores, -np.inf)
    np.put_along_axis(kept, order, np.take_along_axis(scores, order, -1), -1)
    return kept
