"""Softmax attention by the compiled kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.bias import Bias
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
        block_q: int = 0,
        top_k: int = 0,
        cosine: bool = False,
        bias: Bias | None = None,
        dropout: float = 0.0,
        seed: int = 0,
        mask: Mask | None = None,
        want_weights: bool = False,
        out: Floats | None = None,
    ) -> tuple[Floats, Floats | None]:
        """Softmax attention in one pass over the keys, written to ``out`` where that has the output's shape."""
        head_dim = query.shape[-1] // (heads if query.ndim == 2 else 1)
        scale = head_dim**-0.5 if scale is None else scale
        added = None if bias is None else _as_tuple(bias)
        blocks = block, block_q
        options = top_k, cosine, mask, added, dropout, seed, want_weights, out, num_threads()
        output, weights, sums, bad = self._attention.attend(query, key, value, heads, scale, causal, *blocks, *options)
        checked(bad, query=query, key=key, value=value)
        if bias is not None and bias.bucket_values is not None:
            part = sums @ bias.bucket_values
            output += part if output.ndim == 3 else part.transpose(1, 0, 2).reshape(output.shape)
        if mask is not None:
            require_finite(value=value)  # rows that no query keeps are never read
        return output, weights

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


def _as_tuple(bias: Bias) -> tuple[Any, ...]:
    """Return ``bias`` as the kernel takes it."""
    wants_sums = bias.bucket_values is not None
    tables = bias.buckets, bias.query_table, bias.key_table, bias.matrix, wants_sums
    return *(bias.places or (None, None)), bias.causal, bias.slopes, *tables
