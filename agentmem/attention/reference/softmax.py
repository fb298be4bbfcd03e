"""Softmax attention in plain float64 NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.inputs import Floats, Mask, require_finite
from agentmem.attention.reference.common import by_head, keep_largest, normalised, softmax_rows


class SoftmaxReference:
    """Softmax attention, dot products, and attention over rows of a matrix."""

    def softmax(
        self,
        query: Floats,
        key: Floats,
        value: Floats,
        *,
        heads: int = 1,
        scale: float | None = None,
        causal: bool = False,
        block: int = 0,
        top_k: int = 0,
        cosine: bool = False,
        mask: Mask | None = None,
        want_weights: bool = False,
    ) -> tuple[Floats, Floats | None]:
        """Softmax attention over (n, heads · d) or (heads, n, d); weights are (heads, n_queries, n_keys).

        ``block`` changes the order of summation only, and nothing here.
        """
        require_finite(query=query, key=key, value=value)
        q, k, v = by_head(query, heads), by_head(key, heads), by_head(value, heads)
        if cosine:
            q, k = normalised(q), normalised(k)
        scores = q @ k.transpose(0, 2, 1) * (q.shape[-1] ** -0.5 if scale is None else scale)
        if mask is not None:
            scores = np.where(mask, scores, -np.inf)
        if causal:
            n_queries, n_keys = scores.shape[1:]
            scores = np.where(np.tri(n_queries, n_keys, n_keys - n_queries, dtype=bool), scores, -np.inf)
        if 0 < top_k < scores.shape[-1]:
            scores = keep_largest(scores, top_k)
        weights = softmax_rows(scores)
        out = weights @ v
        if query.ndim == 2:
            out = out.transpose(1, 0, 2).reshape(len(query), heads * v.shape[-1])
        return out, weights if want_weights else None

    def dots(self, query: Floats, key: Floats, scale: float) -> Floats:
        """Return scale · key·query, (n,)."""
        require_finite(query=query, key=key)
        return scale * (key.astype(np.float64) @ query.astype(np.float64))

    def attend_rows(
        self, matrix: Floats, rows: NDArray[np.int64], query: Floats, scale: float | None
    ) -> tuple[Floats, Floats]:
        """Gather and attention: query (b, dim), rows (b, m), −1 for no row; scale None for 1/√dim."""
        gathered = matrix[np.maximum(rows, 0)].astype(np.float64)
        require_finite(query=query, gathered=gathered)
        scale = matrix.shape[1] ** -0.5 if scale is None else scale
        scores = scale * np.einsum("bmd,bd->bm", gathered, query.astype(np.float64))
        weights = softmax_rows(np.where(rows >= 0, scores, -np.inf))
        return np.einsum("bm,bmd->bd", weights, gathered), weights
