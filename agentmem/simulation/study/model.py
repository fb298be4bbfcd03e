"""The reranker: the query attends to its candidates, layer by layer, and ranks them by its similarity to each.

With x the query's unit vector, K (m, dim) those of its m candidates, and for each head W_Q, W_K, W_V and W_O::

    a = softmax(s · (x W_Q) (K W_K)ᵀ)         one distribution over the candidates for each head
    x ← unit(x + concat(a K W_V) W_O)         the residual, of unit length
    score = τ · K x                           after the last layer

This is cross-attention of a query to what it found, multi-head (Vaswani et al., NeurIPS 2017): graph attention over
the star of the query and its candidates.  W_O begins at zero, so that untrained it ranks as the vectors do.

The candidates are never projected: x W_Q W_Kᵀ is one vector a head, and a K W_V = (a K) W_V, so that a layer costs
2 · m · dim a head besides four small products of the query, in the place of 2 · m · dim · hidden.  The numbers are the
same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agentmem.simulation.study.configuration import Shape

SHARPNESS = 5.0
"""s at birth, of the similarity that a head of full width would see: a cosine lower by 0.2 weighs e times less."""
SCALE = 20.0
"""τ at birth."""
COMPONENTS = ("projection", "weights", "softmax", "aggregation", "concatenation")

Array = NDArray[np.floating]
Parameters = dict[str, Array]
Lap = Callable[[str], None]


def _nothing(_: str) -> None:
    """Take no time."""


class Layer(NamedTuple):
    """What one layer computed, kept for the way back: b queries, h heads of width e, m candidates, vectors of n.

    Attributes:
        x: (b, n) what came in.
        queries: (b, h, e) x W_Q.
        absorbed: (b, h, n) the same times W_Kᵀ.
        raw: (b, h, m) similarities before the sharpness.
        weights: (b, h, m) the softmax.
        dropped: (b, h, m) the weights that were used, or None where none were left out.
        pooled: (b, h, n) a K.
        joined: (b, h · e) the heads' outputs side by side.
        length: (b, 1) of the sum, before it was made a unit vector.
        out: (b, n) what goes on.
    """

    x: Array
    queries: Array
    absorbed: Array
    raw: Array
    weights: Array
    dropped: Array | None
    pooled: Array
    joined: Array
    length: Array
    out: Array


def initial(shape: Shape, dimension: int, seed: int, dtype: type[np.floating] = np.float32) -> Parameters:
    """Return parameters at birth: W_Q = W_K and W_V random with orthonormal columns a head, W_O zero.

    Args:
        shape: of the model.
        dimension: n, of the vectors.
        seed: of the projections.
        dtype: float64 where gradients are compared with differences.

    Returns:
        ``query``, ``key``, ``value`` (layers, heads, n, e), ``output`` (layers, hidden, n), ``sharpness`` (layers,
        heads), the logarithms of s, and ``scale`` (1,), that of τ.
    """
    rng = np.random.default_rng(seed)
    width = shape.hidden // shape.heads
    size = (shape.layers, shape.heads, dimension, width)
    key, value = (_orthonormal(rng.normal(size=size)).astype(dtype) for _ in range(2))
    sharpness = np.full(size[:2], np.log(SHARPNESS * max(dimension / width, 1.0)), dtype)
    return {
        "query": key.copy(),
        "key": key,
        "value": value,
        "output": np.zeros((shape.layers, shape.hidden, dimension), dtype),
        "sharpness": sharpness,
        "scale": np.array([np.log(SCALE)], dtype),
    }


def _orthonormal(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return matrices with orthonormal columns, or rows where those are fewer."""
    tall = drawn.shape[-2] >= drawn.shape[-1]
    basis: NDArray[np.float64] = np.linalg.qr(drawn if tall else drawn.swapaxes(-1, -2))[0]
    return basis if tall else basis.swapaxes(-1, -2)


def forward(
    parameters: Parameters, x: Array, keys: Array, missing: Array, keep: Array | None = None, lap: Lap = _nothing
) -> list[Layer]:
    """Let queries attend to their candidates.

    Args:
        parameters: see ``initial``.
        x: (b, n) unit vectors of the queries.
        keys: (b, m, n) unit vectors of the candidates, zeros where there are fewer than m.
        missing: (b, m), 0 for a candidate and −inf for none; every query has one.
        keep: (layers, b, h, m), what each weight is multiplied by in training: 0, or 1 / (1 − dropout).
        lap: called with the name of each of ``COMPONENTS`` when it is done.

    Returns:
        What each layer computed; the last one's ``out`` ranks.
    """
    layers = []
    for number in range(len(parameters["query"])):
        layer = _layer(parameters, number, x, keys, missing, None if keep is None else keep[number], lap)
        layers.append(layer)
        x = layer.out
    return layers


def _layer(
    parameters: Parameters, number: int, x: Array, keys: Array, missing: Array, keep: Array | None, lap: Lap
) -> Layer:
    key, value = parameters["key"][number], parameters["value"][number]
    queries = (x @ parameters["query"][number]).swapaxes(0, 1)
    absorbed = (queries.swapaxes(0, 1) @ key.swapaxes(1, 2)).swapaxes(0, 1)
    lap("projection")
    raw = absorbed @ keys.swapaxes(1, 2)
    logits = raw * np.exp(parameters["sharpness"][number])[:, None] + missing[:, None]
    lap("weights")
    weights = softmax(logits)
    lap("softmax")
    dropped = None if keep is None else weights * keep
    pooled = (weights if dropped is None else dropped) @ keys
    lap("aggregation")
    seen = (pooled.swapaxes(0, 1) @ value).swapaxes(0, 1)
    lap("projection")
    joined = seen.reshape(len(x), -1)
    total = x + joined @ parameters["output"][number]
    length = np.linalg.norm(total, axis=1, keepdims=True)
    out = total / length
    lap("concatenation")
    return Layer(x, queries, absorbed, raw, weights, dropped, pooled, joined, length, out)


def softmax(logits: Array) -> Array:
    """Return the softmax over the last axis; −inf weighs nothing, and every row has something else."""
    weights: Array = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def scores(parameters: Parameters, x: Array, keys: Array, missing: Array) -> Array:
    """Return τ · K x of vectors that have attended, (b, m); −inf where there is no candidate."""
    found: Array = (keys @ x[:, :, None])[:, :, 0] * np.exp(parameters["scale"]) + missing
    return found


def loss(
    parameters: Parameters, x: Array, keys: Array, missing: Array, target: Array, keep: Array | None = None
) -> tuple[float, Parameters]:
    """Return the listwise loss, −Σ target · ln softmax(score) (ListNet: Cao et al., ICML 2007), and its gradient.

    Args:
        parameters: see ``initial``.
        x: as for ``forward``.
        keys: as for ``forward``.
        missing: as for ``forward``.
        target: (b, m), each row adds up to 1: the candidate's share of the grades.
        keep: as for ``forward``.

    Returns:
        The mean over the queries, in nats, and its gradient for each of the parameters.
    """
    layers = forward(parameters, x, keys, missing, keep)
    found = scores(parameters, layers[-1].out, keys, missing)
    shares = softmax(found)
    value = float(-(target * np.log(np.where(target > 0, shares, 1))).sum() / len(x))
    gradient = {name: np.empty_like(each) for name, each in parameters.items()}
    to_scores = (shares - target) / len(x)
    gradient["scale"][0] = (to_scores * np.where(np.isfinite(found), found, 0)).sum()
    to_x: Array = np.exp(parameters["scale"]) * (to_scores[:, None] @ keys)[:, 0]
    for number in range(len(layers) - 1, -1, -1):
        factor = None if keep is None else keep[number]
        to_x = _back(parameters, gradient, number, layers[number], keys, factor, to_x)
    return value, gradient


def _back(
    parameters: Parameters,
    gradient: Parameters,
    number: int,
    layer: Layer,
    keys: Array,
    keep: Array | None,
    to_out: Array,
) -> Array:
    """Fill in a layer's gradient and return that of what came in."""
    query, key, value = (parameters[name][number] for name in ("query", "key", "value"))
    to_total = (to_out - layer.out * (layer.out * to_out).sum(axis=1, keepdims=True)) / layer.length
    np.matmul(layer.joined.T, to_total, out=gradient["output"][number])
    to_joined = to_total @ parameters["output"][number].T
    to_seen = to_joined.reshape(len(to_total), len(query), -1).swapaxes(0, 1)
    np.matmul(layer.pooled.transpose(1, 2, 0), to_seen, out=gradient["value"][number])
    to_pooled = (to_seen @ value.swapaxes(1, 2)).swapaxes(0, 1)
    to_weights = to_pooled @ keys.swapaxes(1, 2)
    if keep is not None:
        to_weights *= keep
    to_logits = layer.weights * (to_weights - (layer.weights * to_weights).sum(axis=-1, keepdims=True))
    sharpness = np.exp(parameters["sharpness"][number])
    gradient["sharpness"][number] = (to_logits * layer.raw).sum(axis=(0, 2)) * sharpness
    to_absorbed = ((to_logits * sharpness[:, None]) @ keys).swapaxes(0, 1)
    to_queries = to_absorbed @ key
    np.matmul(to_absorbed.swapaxes(1, 2), layer.queries.swapaxes(0, 1), out=gradient["key"][number])
    np.matmul(layer.x.T, to_queries, out=gradient["query"][number])
    through: Array = to_total + (to_queries @ query.swapaxes(1, 2)).sum(axis=0)
    return through
