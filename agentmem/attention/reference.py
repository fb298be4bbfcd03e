"""Every stage in plain float64 NumPy: the oracle of the kernels, and what runs where they are not built.

Inputs come validated; outputs are float64 and are rounded to the caller's dtype at the boundary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.inputs import Floats, Mask, require_finite

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """A hyperbolic space and its chart; see the parameters of "hyperbolic-attention"."""

    model: str
    curvature: float
    beta: float
    clip: float
    epsilon: float
    tangent: bool


@dataclass(frozen=True, slots=True)
class Points:
    """Rows placed in a space.

    Attributes:
        chart: the coordinates: in the Poincaré ball, or the spatial ones of the Lorentz model; (n, dim).
        height: 1 − c·|p|² in the ball, the time coordinate in the Lorentz model; (n,).
        gamma: the Lorentz factor; (n,).
        spatial: spatial Lorentz coordinates; (n, dim).
    """

    chart: Float64
    height: Float64
    gamma: Float64
    spatial: Float64


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


def place(space: Space, rows: Floats) -> Points:
    """Place rows in the space: through the exponential map at the origin where they are tangent vectors."""
    v, root = rows.astype(np.float64), np.sqrt(space.curvature)
    norm = np.linalg.norm(v, axis=-1)
    unit = np.divide(v, root * norm[:, None], out=np.zeros_like(v), where=norm[:, None] > 0)
    if space.tangent:
        length = root * np.minimum(norm, space.clip)
        time, spatial = np.cosh(length), np.sinh(length)[:, None] * unit
        edge = np.tanh(length / 2)
    elif space.model == "lorentz":
        return Points(v, np.sqrt(1 / space.curvature + norm**2), np.sqrt(1 + space.curvature * norm**2), v)
    else:
        edge = root * norm
    if space.model == "lorentz":
        return Points(spatial, time / root, time, spatial)
    edge = np.minimum(edge, 1 - space.epsilon)
    height = (1 - edge) * (1 + edge)
    ball = edge[:, None] * unit
    return Points(ball, height, (1 + edge**2) / height, 2 * ball / height[:, None])


def distances(space: Space, x: Points, y: Points) -> Float64:
    """Return the geodesic distances (n_x, n_y), from differences of coordinates."""
    square = np.empty((len(x.chart), len(y.chart)))
    for row, at in zip(square, x.chart, strict=True):
        row[:] = ((at - y.chart) ** 2).sum(-1)
    if space.model == "lorentz":
        excess = space.curvature / 2 * (square - (x.height[:, None] - y.height[None, :]) ** 2)
    else:
        excess = 2 * space.curvature * square / (x.height[:, None] * y.height[None, :])
    excess = np.maximum(excess, 0.0)
    result: Float64 = np.log1p(excess + np.sqrt(excess * (excess + 2))) / np.sqrt(space.curvature)
    return result


def from_klein(space: Space, klein: Float64) -> Float64:
    """Return Klein points as what the rows were: tangent vectors, or points of the chart."""
    edge = np.sqrt(space.curvature) * np.linalg.norm(klein, axis=-1, keepdims=True)
    t = np.minimum(edge, 1 - space.epsilon)
    shrunk = np.divide(t, edge, out=np.ones_like(t), where=edge > 0)
    root = np.sqrt((1 - t) * (1 + t))
    if space.tangent:
        factor = np.divide(np.arctanh(t), edge, out=np.ones_like(t), where=edge > 0)
    else:
        factor = shrunk / root if space.model == "lorentz" else shrunk / (1 + root)
    result: Float64 = klein * factor
    return result


class Reference:
    """The engine in NumPy; the native one has the same methods."""

    name = "numpy"

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

    def hyperbolic(
        self, query: Floats, key: Floats, value: Floats, *, space: Space, mask: Mask | None, want_weights: bool
    ) -> tuple[Floats, Floats | None]:
        """Return the Einstein midpoints of the values, and the weights (n_queries, n_keys)."""
        scores = self.hyperbolic_scores(query, key, space=space)
        require_finite(value=value)
        weights = softmax_rows(scores if mask is None else np.where(mask, scores, -np.inf))
        points = place(space, value)
        total = (weights @ points.gamma)[:, None]
        mixed = weights @ points.spatial
        klein = np.divide(mixed, total, out=np.zeros_like(mixed), where=total > 0)
        return from_klein(space, klein), weights if want_weights else None

    def hyperbolic_scores(self, query: Floats, key: Floats, *, space: Space) -> Floats:
        """Return −beta · distance, (n_queries, n_keys)."""
        require_finite(query=query, key=key)
        return -space.beta * distances(space, place(space, query), place(space, key))

    def dots(self, query: Floats, key: Floats, scale: float) -> Floats:
        """Return scale · key·query, (n,)."""
        require_finite(query=query, key=key)
        return scale * (key.astype(np.float64) @ query.astype(np.float64))

    def route(self, logits: Floats, k: int, capacity: int) -> tuple[NDArray[np.int32], Floats]:
        """Return each query's k likeliest experts and their gates; −1 and 0 where an expert was full.

        First choices are served before second ones, queries in order.
        """
        chosen = np.argsort(-logits, axis=1, kind="stable")[:, :k]
        gates = softmax_rows(np.take_along_axis(logits, chosen, 1).astype(np.float64))
        load = np.zeros(logits.shape[1], np.int64)
        for choice in range(k):
            for query in range(len(logits)):
                load[chosen[query, choice]] += 1
                if load[chosen[query, choice]] > capacity:
                    chosen[query, choice], gates[query, choice] = -1, 0.0
        return chosen.astype(np.int32), gates

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

    def maxsim(
        self,
        query: Floats,
        weights: Floats,
        table: NDArray[Any],
        scales: Floats | None,
        offsets: NDArray[np.int64],
        tokens: NDArray[Any],
        rows: NDArray[np.int64] | None,
    ) -> Floats:
        """Return each row's Σ_i weights_i · max over its tokens of query_i · table row."""
        picked = np.arange(len(offsets) - 1) if rows is None else rows
        scores = np.zeros(len(picked))
        for at, row in enumerate(picked):
            start, end = int(offsets[row]), int(offsets[row + 1])
            ids = tokens[start:end] if 0 <= start <= end <= len(tokens) else tokens[:0]
            ids = ids[ids < len(table)].astype(np.int64)
            if len(ids):
                vectors = table[ids].astype(np.float64)
                if scales is not None:
                    vectors *= scales[ids, None]
                scores[at] = weights.astype(np.float64) @ (query.astype(np.float64) @ vectors.T).max(1)
        return scores
