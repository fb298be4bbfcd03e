"""Hyperbolic attention in plain float64 NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agentmem.attention.inputs import Floats, Mask, require_finite
from agentmem.attention.reference.common import Float64, softmax_rows


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


class HyperbolicReference:
    """Attention by distance, aggregated by the Einstein midpoint."""

    def hyperbolic(
        self, query: Floats, key: Floats, value: Floats, *, space: Space, mask: Mask | None, want_weights: bool
    ) -> tuple[Floats, Floats | None]:
        """Return the Einstein midpoints of the values, and the weights (n_queries, n_keys)."""
        require_finite(query=query, key=key, value=value)
        scores = -space.beta * distances(space, place(space, query), place(space, key))
        weights = softmax_rows(scores if mask is None else np.where(mask, scores, -np.inf))
        points = place(space, value)
        total = (weights @ points.gamma)[:, None]
        mixed = weights @ points.spatial
        klein = np.divide(mixed, total, out=np.zeros_like(mixed), where=total > 0)
        return from_klein(space, klein), weights if want_weights else None
