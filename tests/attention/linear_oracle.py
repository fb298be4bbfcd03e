"""Linear attention as its papers write it, with every weight made, in the dtype of the inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def elu(x: Array) -> Array:
    return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))


def positive(x: Array, omega: Array, scale: float | None = None) -> Array:
    kind = x.dtype.type
    x = x * kind((x.shape[1] ** -0.5 if scale is None else scale) ** 0.5)
    return np.exp(x @ omega.T.astype(x.dtype) - (x * x).sum(1, keepdims=True) / 2) / kind(len(omega) ** 0.5)


def fourier(x: Array, omega: Array, sigma: float = 1.0) -> Array:
    kind = x.dtype.type
    unit = x / np.maximum(np.sqrt((x * x).sum(1, keepdims=True)), kind(1e-30))
    angles = unit @ (omega / sigma).T.astype(x.dtype)
    return np.concatenate([np.sin(angles), np.cos(angles)], 1) / kind(len(omega) ** 0.5)


def gated(n_queries: int, logits: Array) -> Array:
    """What key j weighs at query i by the recurrence S ← g_t S + (1 − g_t) φ(k_t) v_tᵀ, (n_queries, n_keys)."""
    gates = 1 / (1 + np.exp(-logits))
    factors = np.zeros((len(gates), len(gates)), logits.dtype)
    for t, gate in enumerate(gates):
        if t:
            factors[t] = gate * factors[t - 1]
        factors[t, t] = 1 - gate
    return factors[len(gates) - n_queries :]


def shares(scores: Array, value: Array, factor: Array | None = None, mask: Array | None = None) -> Array:
    """Σ_j s_ij v_j / Σ_j s_ij, zeros where the sum is not above zero."""
    if factor is not None:
        scores = scores * factor.astype(scores.dtype)
    if mask is not None:
        scores = scores * mask.astype(scores.dtype)
    total = scores.sum(1, keepdims=True)
    return np.divide(scores @ value, total, out=np.zeros((len(scores), value.shape[1]), scores.dtype), where=total > 0)


def seen(n_queries: int, n_keys: int) -> Array:
    """Causal order with ends aligned, as factors."""
    return np.tri(n_queries, n_keys, n_keys - n_queries)


def nystrom(query: Array, key: Array, value: Array, landmarks: int, iterations: int) -> Array:
    """By matrices, segments cut by hand; n must be a multiple of the landmarks."""
    scale = query.dtype.type(query.shape[1] ** -0.5)

    def soft(scores: Array) -> Array:
        exps = np.exp(scores - scores.max(1, keepdims=True))
        return exps / exps.sum(1, keepdims=True)

    q_marks, k_marks = (x.reshape(landmarks, -1, x.shape[1]).mean(1) for x in (query, key))
    a = soft(q_marks @ k_marks.T * scale)
    z = a.T / (np.abs(a).sum(0).max() * np.abs(a).sum(1).max())
    eye = np.eye(landmarks, dtype=query.dtype)
    for _ in range(iterations):
        az = a @ z
        z = z @ (13 * eye - az @ (15 * eye - az @ (7 * eye - az))) / 4
    return soft(query @ k_marks.T * scale) @ (z @ (soft(q_marks @ key.T * scale) @ value))
