"""Attention over a support in plain float64 NumPy."""

from __future__ import annotations

import numpy as np

from agentmem.attention.inputs import Floats, Mask, require_finite
from agentmem.attention.reference.common import Float64, by_head, softmax_rows
from agentmem.attention.supports import Support


class SupportReference:
    """Softmax over a few runs of keys a query, query by query."""

    def support(
        self,
        query: Floats,
        key: Floats,
        value: Floats,
        *,
        support: Support,
        heads: int = 1,
        scale: float | None = None,
        additive: Floats | None = None,
        slope: float = 0.2,
        mask: Mask | None = None,
        want_weights: bool = False,
    ) -> tuple[Floats, Floats | None]:
        """Attend over (n, heads · d) or (heads, n, d); weights are (heads, n_queries, n_keys).

        Scores are scale · q·k, or additive · LeakyReLU(q + k) where ``additive`` (heads, d) is given.  A key that a
        support holds twice has two shares.
        """
        require_finite(query=query, key=key, value=value)
        q, k, v = by_head(query, heads), by_head(key, heads), by_head(value, heads)
        n_queries, n_keys = q.shape[1], k.shape[1]
        factor = q.shape[-1] ** -0.5 if scale is None else scale
        a = None if additive is None else additive.astype(np.float64)
        kept = None if mask is None else np.broadcast_to(mask, (len(q), n_queries, n_keys))
        out = np.zeros((*q.shape[:2], v.shape[-1]))
        weights = np.zeros((len(q), n_queries, n_keys)) if want_weights else None
        for i in range(n_queries):
            seen = support.keys(i)
            scores = _scores(q[:, i], k[:, seen], factor, a, slope)
            if kept is not None:
                scores = np.where(kept[:, i, seen], scores, -np.inf)
            shares = softmax_rows(scores)
            out[:, i] = (shares[:, None] @ v[:, seen])[:, 0]
            if weights is not None:
                for of_head, share in zip(weights[:, i], shares, strict=True):
                    np.add.at(of_head, seen, share)
        if query.ndim == 2:
            out = out.transpose(1, 0, 2).reshape(n_queries, heads * v.shape[-1])
        return out, weights


def _scores(q: Float64, k: Float64, scale: float, additive: Float64 | None, slope: float) -> Float64:
    """Scores (heads, n) of one query (heads, d) with keys (heads, n, d)."""
    scores: Float64
    if additive is None:
        scores = scale * (k @ q[:, :, None])[:, :, 0]
    else:
        sums = q[:, None] + k
        scores = (np.maximum(sums, slope * sums) @ additive[:, :, None])[:, :, 0]
    return scores
