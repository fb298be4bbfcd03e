"""Softmax attention in plain float64 NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.bias import Bias, bucket
from agentmem.attention.inputs import Floats, Mask, require_finite
from agentmem.attention.reference.common import Float64, by_head, keep_largest, normalised, softmax_rows


def biased(scores: Float64, bias: Bias) -> Float64:
    """Return the scores (heads, n_queries, n_keys) with what ``bias`` adds; −inf for keys of a later place."""
    if bias.matrix is not None:
        scores = scores + bias.matrix
    if bias.places is None:
        return scores
    distance = bias.places[0][:, None] - bias.places[1][None, :]
    if bias.slopes is not None:
        scores = scores - bias.slopes[:, None, None] * np.abs(distance)
    if bias.query_table is not None:
        scores = scores + np.take_along_axis(bias.query_table, bucket(distance, bias.buckets)[None], 2)
    if bias.key_table is not None:
        turned = np.take_along_axis(bias.key_table, bucket(-distance, bias.buckets).T[None], 2)
        scores = scores + turned.transpose(0, 2, 1)
    return np.where(distance < 0, -np.inf, scores) if bias.causal else scores


def _bucketed(weights: Float64, bias: Bias) -> Float64:
    """Return Σ_j weights_ij · bucket_values[bucket(i − j)], (heads, n_queries, value_dim)."""
    assert bias.places is not None
    assert bias.bucket_values is not None
    at = bucket(bias.places[0][:, None] - bias.places[1][None, :], bias.buckets)
    added: Float64 = np.einsum("hij,ijd->hid", weights, bias.bucket_values.astype(np.float64)[at])
    return added


def _hashed(shape: tuple[int, ...], seed: int) -> NDArray[np.uint32]:
    """Return a hash (lowbias32) of each place in an array (heads, n_queries, n_keys)."""
    factors = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
    head, i, j = (
        at.astype(np.uint32) * np.uint32(f) for at, f in zip(np.indices(shape, sparse=True), factors, strict=True)
    )
    x = np.uint32(seed) + head + i + j
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    hashed: NDArray[np.uint32] = x ^ (x >> np.uint32(16))
    return hashed


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
        """Softmax attention over (n, heads · d) or (heads, n, d); weights are (heads, n_queries, n_keys).

        Key and value may have fewer heads, each of which then serves as many heads of the query, in order.
        ``block`` and ``block_q`` change the order of summation only, and nothing here.  ``out`` is where an engine may
        put the output; this one does not.
        """
        require_finite(query=query, key=key, value=value)
        q = by_head(query, heads)
        groups = len(key) if key.ndim == 3 else key.shape[1] // q.shape[2]
        k, v = (by_head(x, groups).repeat(heads // groups, 0) for x in (key, value))
        if cosine:
            q, k = normalised(q), normalised(k)
        scores = q @ k.transpose(0, 2, 1) * (q.shape[-1] ** -0.5 if scale is None else scale)
        if bias is not None:
            scores = biased(scores, bias)
        if mask is not None:
            scores = np.where(mask, scores, -np.inf)
        if causal:
            n_queries, n_keys = scores.shape[1:]
            scores = np.where(np.tri(n_queries, n_keys, n_keys - n_queries, dtype=bool), scores, -np.inf)
        if 0 < top_k < scores.shape[-1]:
            scores = keep_largest(scores, top_k)
        weights = softmax_rows(scores)
        if dropout:
            weights *= np.where(_hashed(weights.shape, seed) < np.float32(dropout) * 2.0**32, 0, 1 / (1 - dropout))
        mixed = weights @ v
        if bias is not None and bias.bucket_values is not None:
            mixed += _bucketed(weights, bias)
        if query.ndim == 2:
            mixed = mixed.transpose(1, 0, 2).reshape(len(query), heads * v.shape[-1])
        return mixed, weights if want_weights else None

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
