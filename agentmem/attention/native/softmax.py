"""Softmax attention by the compiled kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.inputs import Floats, Mask, require_finite
from agentmem.attention.native.common import checked
from agentmem.attention.threads import num_threads


class SoftmaxKernels:
    """Softmax attention, dot products, and attention over rows of a matrix."""

    _attention: Any

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
        """Softmax attention in one pass over the keys."""
        head_dim = query.shape[-1] // (heads if query.ndim == 2 else 1)
        scale = head_dim**-0.5 if scale is None else scale
        out, weights, bad = self._attention.attend(
            query, key, value, heads, scale, causal, block, top_k, cosine, mask, want_weights, num_threads()
        )
        checked(bad, query=query, key=key, value=value)
        if mask is not None:
            require_finite(value=value)  # rows that no query keeps are never read
        return out, weights

    def dots(self, query: Floats, key: Floats, scale: float) -> Floats:
        """Return scale · key·query, (n,)."""
        scores: Floats
        scores, bad = self._attention.dots(query, key, scale)
        checked(bad, query=query, key=key)
        return scores

    def attend_rows(
        self, matrix: Floats, rows: NDArray[np.int64], query: Floats, scale: float | None
    ) -> tuple[Floats, Floats]:
        """Gather and attention; ``rows`` of the compiled module is the same without these checks."""
        out, weights, bad = self._attention.attend_rows(matrix, rows, query, scale)
        checked(bad, query=query, matrix_rows=matrix[rows[rows >= 0]])
        return out, weights
