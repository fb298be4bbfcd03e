"""Plain one-function versions of each computation, in the dtype of their inputs: in float64 the oracle, in float32 the
yardstick of what rounding costs.  They share no code with the package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
ODD = (1, 31, 32, 33, 97)


def softmax(query: Array, key: Array, value: Array, scale: float | None = None, mask: Array | None = None) -> Array:
    """One head: (n_queries, d), (n, d), (n, dv) -> (n_queries, dv); a query that keeps nothing gets zeros."""
    factor = query.dtype.type(query.shape[1] ** -0.5 if scale is None else scale)
    out = np.zeros((len(query), value.shape[1]), query.dtype)
    for i, q in enumerate(query):
        kept = np.ones(len(key), bool) if mask is None else np.broadcast_to(mask, (len(query), len(key)))[i]
        if kept.any():
            scores = (key[kept] * q).sum(1) * factor
            exps = np.exp(scores - scores.max())
            out[i] = (exps / exps.sum()) @ value[kept]
    return out


def heads(query: Array, key: Array, value: Array, n: int, **kwargs: Any) -> Array:
    """The same by n heads, concatenated."""
    split = (np.split(x, n, axis=1) for x in (query, key, value))
    return np.concatenate([softmax(q, k, v, **kwargs) for q, k, v in zip(*split, strict=True)], axis=1)


def exponential(v: Array, c: float) -> Array:
    """Tangent rows at the origin -> the Poincaré ball of curvature -c, lengths kept."""
    norm = np.maximum(np.linalg.norm(v, axis=1, keepdims=True), v.dtype.type(1e-30))
    root = v.dtype.type(c**0.5)
    return np.tanh(root * norm / 2) * v / (root * norm)


def poincare(query: Array, key: Array, c: float) -> Array:
    """Distances of points of the ball, (n_queries, n)."""
    kind = query.dtype.type
    square = ((query[:, None] - key[None]) ** 2).sum(-1)
    room = (1 - kind(c) * (query**2).sum(-1))[:, None] * (1 - kind(c) * (key**2).sum(-1))[None]
    excess = 2 * kind(c) * square / room
    return np.log1p(excess + np.sqrt(excess * (excess + 2))) / kind(c**0.5)


def einstein(weights: Array, points: Array, c: float) -> Array:
    """The Einstein midpoint of points of the ball, in the Klein model."""
    klein = 2 * points / (1 + points.dtype.type(c) * (points**2).sum(-1, keepdims=True))
    gamma = 1 / np.sqrt(1 - points.dtype.type(c) * (klein**2).sum(-1))
    return (weights * gamma) @ klein / (weights * gamma).sum(1, keepdims=True)


def hyperbolic(query: Array, key: Array, value: Array, c: float = 1.0, beta: float = 1.0) -> Array:
    """Hyperbolic attention between tangent rows; the output is a tangent row."""
    scores = -query.dtype.type(beta) * poincare(exponential(query, c), exponential(key, c), c)
    exps = np.exp(scores - scores.max(1, keepdims=True))
    klein = einstein(exps / exps.sum(1, keepdims=True), exponential(value, c), c)
    norm = np.maximum(np.linalg.norm(klein, axis=1, keepdims=True), 1e-30)
    return np.arctanh(c**0.5 * norm) / (c**0.5 * norm) * klein


def lorentz(query: Array, key: Array, value: Array, c: float = 1.0, beta: float = 1.0) -> Array:
    """The same on the hyperboloid: d = arcosh(-c <x, y>) / √c, and the midpoint as the weighted sum of its points."""
    kind = query.dtype.type
    root = kind(c**0.5)

    def sheet(v: Array) -> tuple[Array, Array]:
        norm = np.maximum(np.linalg.norm(v, axis=1, keepdims=True), kind(1e-30))
        return np.cosh(root * norm) / root, np.sinh(root * norm) * v / (root * norm)

    (t_q, x_q), (t_k, x_k), (t_v, x_v) = sheet(query), sheet(key), sheet(value)
    inner = t_q @ t_k.T - x_q @ x_k.T
    scores = -kind(beta) * np.arccosh(np.maximum(kind(c) * inner, 1)) / root
    exps = np.exp(scores - scores.max(1, keepdims=True))
    klein = exps @ x_v / (exps @ t_v)
    norm = np.maximum(np.linalg.norm(klein, axis=1, keepdims=True), kind(1e-30))
    return np.arctanh(norm) / norm * klein / root


def assert_within_budget(came: Array, compute: Callable[..., Array], *inputs: Array, **kwargs: Any) -> None:
    """At most four times the error of plain float32, plus four roundings of the output for |value|."""
    exact = compute(*(x.astype(np.float64) for x in inputs), **kwargs)
    plain = compute(*(x.astype(np.float32) for x in inputs), **kwargs)
    largest = compute(*(x.astype(np.float64) for x in (*inputs[:-1], np.abs(inputs[-1]))), **kwargs).max(initial=0.0)
    budget = 4 * (np.abs(plain - exact).max(initial=0.0) + np.finfo(np.float32).eps * largest)
    assert came.shape == exact.shape
    assert np.isfinite(came).all()
    assert np.abs(came - exact).max(initial=0.0) <= budget
