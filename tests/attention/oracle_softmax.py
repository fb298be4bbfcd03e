"""Plain versions of the softmax mechanisms, head by head, in the dtype of their inputs; no code of the package."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def shares(scores: Array, seen: Array | None = None) -> Array:
    """Softmax of (n_queries, n_keys) over the keys that are seen; rows that see none are zeros."""
    seen = np.ones(scores.shape, bool) if seen is None else np.broadcast_to(seen, scores.shape)
    out = np.zeros_like(scores)
    for i, row in enumerate(scores):
        if seen[i].any():
            exps = np.exp(row[seen[i]] - row[seen[i]].max())
            out[i, seen[i]] = exps / exps.sum()
    return out


def split(x: Array, n: int) -> list[Array]:
    """Rows into n heads."""
    return np.split(x, n, axis=1)


def root(head: Array) -> Any:
    """1/√d of a head's rows, in their dtype."""
    return head.dtype.type(head.shape[1] ** -0.5)


def rotary(query: Array, key: Array, value: Array, *, n: int, place: Array, halves: bool, causal: bool) -> Array:
    """Pairs as complex numbers, turned by e^{i p θ}."""

    def turned(x: Array, at: Array) -> Array:
        dim = x.shape[1]
        first, second = (x[:, : dim // 2], x[:, dim // 2 :]) if halves else (x[:, ::2], x[:, 1::2])
        turn = np.exp(1j * at[:, None] * 10_000.0 ** (-2 * np.arange(dim // 2) / dim))
        return (first + 1j * second) * turn.astype(np.result_type(x.dtype, np.complex64))

    of_queries = place[len(place) - len(query) :]
    seen = place[None] <= of_queries[:, None] if causal else None
    outs = []
    for q, k, v in zip(split(query, n), split(key, n), split(value, n), strict=True):
        scores = (turned(q, of_queries) @ turned(k, place).conj().T).real * root(q)
        outs.append(shares(scores, seen) @ v)
    return np.concatenate(outs, 1)


def alibi(query: Array, key: Array, value: Array, *, n: int, place: Array, causal: bool) -> Array:
    """− 2^(−8h/n) · |i − j| on the scores of head h."""
    of_queries = place[len(place) - len(query) :]
    distance = of_queries[:, None] - place[None]
    outs = []
    for h, (q, k, v) in enumerate(zip(split(query, n), split(key, n), split(value, n), strict=True)):
        slope = 2.0 ** (-8 * (h + 1) / n)
        scores = q @ k.T * root(q) - (slope * np.abs(distance)).astype(q.dtype)
        outs.append(shares(scores, distance >= 0 if causal else None) @ v)
    return np.concatenate(outs, 1)


def grouped(query: Array, key: Array, value: Array, *, n: int, groups: int) -> Array:
    """Query head h with key and value head h · groups // n."""
    ks, vs = split(key, groups), split(value, groups)
    picked = [(q, ks[h * groups // n], vs[h * groups // n]) for h, q in enumerate(split(query, n))]
    return np.concatenate([shares(q @ k.T * root(q)) @ v for q, k, v in picked], 1)


def relative(
    query: Array, key: Array, of_keys: Array, of_values: Array, value: Array, *, n: int, place: Array, causal: bool
) -> Array:
    """Shaw's sums, a key vector and a value vector for each pair."""
    far = len(of_keys) // 2
    of_queries = place[len(place) - len(query) :]
    step = (np.clip(place[None] - of_queries[:, None], -far, far) + far).astype(int)
    seen = place[None] <= of_queries[:, None] if causal else None
    outs = []
    for q, k, v in zip(split(query, n), split(key, n), split(value, n), strict=True):
        a = shares((q[:, None] * (k[None] + of_keys[step])).sum(-1) * root(q), seen)
        outs.append((a[:, :, None] * (v[None] + of_values[step])).sum(1))
    return np.concatenate(outs, 1)


def disentangled(query: Array, key: Array, table: Array, value: Array, *, n: int, place: Array, turned: bool) -> Array:
    """DeBERTa's three terms; ``turned`` reads the last at δ(i, j)."""
    k_max = len(table) // 2
    of_queries = place[len(place) - len(query) :]
    delta = (np.clip(of_queries[:, None] - place[None], -k_max, k_max - 1) + k_max).astype(int)
    back = (np.clip(place[None] - of_queries[:, None], -k_max, k_max - 1) + k_max).astype(int)
    outs = []
    for q, k, t, v in zip(split(query, n), split(key, n), split(table, n), split(value, n), strict=True):
        scores = q @ k.T + (q[:, None] * t[delta]).sum(-1) + (k[None] * t[delta if turned else back]).sum(-1)
        outs.append(shares(scores * q.dtype.type((3 * q.shape[1]) ** -0.5)) @ v)
    return np.concatenate(outs, 1)


def talking(query: Array, key: Array, logits: Array, mixed: Array, value: Array, *, n: int) -> Array:
    """A = softmax(P_l S), A′ = P_w A, with every matrix written out."""
    scores = np.stack([q @ k.T * root(q) for q, k in zip(split(query, n), split(key, n), strict=True)])
    a = np.stack([shares(s) for s in np.einsum("gh,hij->gij", logits, scores)])
    told = np.einsum("gh,hij->gij", mixed, a)
    return np.concatenate([w @ v for w, v in zip(told, split(value, n), strict=True)], 1)


def synthesizer(query: Array, hidden: Array, scores: Array, random: Array, value: Array, *, n: int) -> Array:
    """softmax(W_2 ReLU(W_1 x) + R) by head; queries are the last rows."""
    outs = []
    for h, v in enumerate(split(value, n)):
        dense = np.maximum(query @ hidden[h], 0) @ scores[h]
        outs.append(shares(dense + random[h][len(value) - len(query) :]) @ v)
    return np.concatenate(outs, 1)


def differential(query: Array, key: Array, value: Array, *, n: int, factor: float) -> Array:
    """A₁ − λ A₂ times the values, before the norm."""
    outs = []
    for q, k, v in zip(split(query, n), split(key, n), split(value, n), strict=True):
        first, second = (shares(a @ b.T * root(a)) for a, b in zip(split(q, 2), split(k, 2), strict=True))
        outs.append((first - q.dtype.type(factor) * second) @ v)
    return np.concatenate(outs, 1)
