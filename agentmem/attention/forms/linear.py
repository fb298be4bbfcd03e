"""Linear attention: φ(q)ᵀ Σ φ(k) vᵀ over φ(q)ᵀ Σ φ(k), by blocks of rows, in time and memory that grow with n.

A query whose denominator is not above zero, such as one that sees no key, gets zeros.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.call import Call
from agentmem.attention.engine import Engine
from agentmem.attention.forms.features import MAPS, Features
from agentmem.attention.forms.heads import apart, together
from agentmem.attention.inputs import Floats, Mask, require_finite, split_heads
from agentmem.attention.native.common import checked
from agentmem.errors import InvalidInput

BLOCK, CAUSAL_BLOCK = 1024, 128
"""Rows taken at a time: so that features stay in the cache; so that a causal block's square costs no more than sums."""

LOWEST = -1e300
"""The logarithm of no key's factor: less than any key's, and a number."""
FEW_QUERIES = 16
"""Up to so many queries take their shares of the keys one by one: sums over keys pay only where many share them."""
LOWER = np.tri(CAUSAL_BLOCK, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Decay:
    """A gated memory of one head: a key adds a share, and each later key leaves a part of it.

    Attributes:
        adds: 1 − g_j, (n_keys,).
        faded: Σ_{l < j} log g_l, (n_keys + 1,).
    """

    adds: NDArray[np.float64]
    faded: NDArray[np.float64]

    def shares(self, now: NDArray[np.int64], then: slice) -> NDArray[np.float64]:
        """Return (1 − g_j) Π g_l over j < l ≤ t, for t in ``now`` and j in ``then``; of no meaning where j is later."""
        faded = self.faded[1:]
        shares: NDArray[np.float64] = self.adds[then] * np.exp(
            np.minimum(faded[now][:, None] - faded[then][None, :], 0.0)
        )
        return shares

    def left(self, at: slice) -> NDArray[np.float64]:
        """Return what each key of a block leaves of all that was before the block, (rows, 1)."""
        left: NDArray[np.float64] = np.exp(self.faded[1:][at] - self.faded[at.start])[:, None]
        return left


@dataclass(frozen=True, slots=True)
class _Head:
    """One head: φ, the values, which keys there are, and how they fade."""

    features: Features
    value: Floats
    mask: Mask | None
    decay: Decay | None

    def keys(self, at: slice) -> tuple[Floats, float]:
        """Return φ(k), zero for keys that are masked, and the logarithm of its factor, which those do not sway."""
        if self.mask is None:
            return self.features.key(at)
        kept = np.flatnonzero(self.mask[at])
        seen, log = self.features.key(at.start + kept)
        phi = np.zeros((at.stop - at.start, seen.shape[1]), seen.dtype)
        phi[kept] = seen
        return phi, max(log, LOWEST)

    def values(self, at: slice, dtype: Any) -> Floats:
        """Return [v, 1], so that one product gives numerator and denominator."""
        wide = np.ones((at.stop - at.start, self.value.shape[1] + 1), dtype)
        wide[:, :-1] = self.value[at]
        return wide


class _Sums:
    """Σ φ(k_j) [v_j, 1] over the keys so far: ``total`` · e^log, in float64."""

    def __init__(self, features: int, width: int) -> None:
        self.total: NDArray[np.float64] = np.zeros((features, width))
        self.log = -math.inf

    def add(self, phi: Floats, wide: Floats, log: float, left: float = 1.0) -> None:
        """Add the keys of one block; ``left`` is what remains of the sums so far."""
        top = max(self.log, log)
        self.total = left * math.exp(self.log - top) * self.total + math.exp(log - top) * (phi.T @ wide)
        self.log = top

    def seen_by(self, phi: Floats, log: float) -> Floats:
        """Return φ(q) · sums, (rows, value_dim + 1), as a multiple of e^log."""
        product: Floats = phi @ (math.exp(self.log - log) * self.total).astype(phi.dtype)
        return product


def run_linear(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """Attend by feature maps; weights (heads, n_queries, n_keys), φ(q)·φ(k_j) as shares, are made on request only."""
    heads, causal = call.heads, bool(call.params.get("causal", False))
    split_heads(heads, query=call.query, value=call.value)
    require_finite(query=call.query, key=call.key, value=call.value)
    q, k, v = (apart(x, heads) for x in (call.query, call.key, call.value))
    decays = _decays(call, heads, causal)
    out = np.zeros((heads, call.n_queries, v.shape[-1]), call.query.dtype)
    weights = np.zeros((heads, call.n_queries, call.n_keys), out.dtype) if call.want_weights else None
    with np.errstate(over="ignore", invalid="ignore"):  # found in the output, and told by name
        for h in range(heads) if call.n_keys and call.n_queries else ():
            head = _Head(MAPS[call.declared.feature](engine, call, q[h], k[h]), v[h], call.mask, decays[h])
            if weights is None and call.n_queries > FEW_QUERIES:
                (_causal if causal else _whole)(head, out[h])
                continue
            shares = _shares(head, call.n_queries, causal)
            out[h] = shares @ v[h]
            if weights is not None:
                weights[h] = shares
    checked(not np.isfinite(out).all())
    return together(out, call.query), weights


def _decays(call: Call, heads: int, causal: bool) -> list[Decay | None]:
    if "gate" not in call.weights:
        if "gate_bias" in call.weights:
            raise InvalidInput(f"{call.declared.name}: weights['gate_bias'] needs weights['gate']")
        return [None] * heads
    if not causal or call.key.ndim == 3:
        raise InvalidInput(f"{call.declared.name}: a gate needs params causal=True and arrays of 2 dimensions")
    bias = call.weights.get("gate_bias", np.zeros(heads)).astype(np.float64)
    logits = call.key.astype(np.float64) @ call.weights["gate"].astype(np.float64) + bias
    stays, adds = -np.logaddexp(0, -logits), np.exp(-np.logaddexp(0, logits))
    faded = np.concatenate([np.zeros((1, heads)), np.cumsum(stays, axis=0)])
    return [Decay(adds[:, h], faded[:, h]) for h in range(heads)]


def _blocks(start: int, stop: int, size: int) -> list[slice]:
    return [slice(at, min(at + size, stop)) for at in range(start, stop, size)]


def _divided(wide: Floats) -> Floats:
    total = wide[:, -1:]
    mean: Floats = np.divide(wide[:, :-1], total, out=np.zeros_like(wide[:, :-1]), where=total > 0)
    return mean


def _whole(head: _Head, out: Floats) -> None:
    sums: _Sums | None = None
    for at in _blocks(0, len(head.value), BLOCK):
        phi, log = head.keys(at)
        sums = sums or _Sums(phi.shape[1], head.value.shape[1] + 1)
        sums.add(phi, head.values(at, phi.dtype), log)
    assert sums is not None, "no keys"
    for at in _blocks(0, len(out), BLOCK):
        out[at] = _divided(sums.seen_by(head.features.query(at), sums.log))


def _causal(head: _Head, out: Floats) -> None:
    """Query i sees the keys up to i + n_keys − n_queries: those before its block by their sums, the others singly."""
    ahead, decay = len(head.value) - len(out), head.decay
    sums: _Sums | None = None
    for near in _blocks(0, max(ahead, 0), BLOCK) + _blocks(max(ahead, 0), len(head.value), CAUSAL_BLOCK):
        phi, log = head.keys(near)
        wide = head.values(near, phi.dtype)
        sums = sums or _Sums(phi.shape[1], wide.shape[1])
        if near.start >= ahead:
            at = slice(near.start - ahead, near.stop - ahead)
            phi_q, top = head.features.query(at), max(sums.log, log)
            local, far = phi_q @ phi.T, sums.seen_by(phi_q, top)
            local *= LOWER[: len(local), : len(local)]
            if decay is not None:
                local *= decay.shares(np.arange(near.start, near.stop), near).astype(local.dtype)
                far *= decay.left(near).astype(far.dtype)
            out[at] = _divided(far + math.exp(log - top) * (local @ wide))
        if decay is None:
            sums.add(phi, wide, log)
        else:
            last = np.array([near.stop - 1])
            sums.add(phi * decay.shares(last, near).T.astype(phi.dtype), wide, log, float(decay.left(near)[-1, 0]))


def _shares(head: _Head, n_queries: int, causal: bool) -> Floats:
    """Return every query's share of every key, (n_queries, n_keys)."""
    n_keys, phi_q = len(head.value), head.features.query(slice(0, n_queries))
    shares, factor = np.empty((n_queries, n_keys), phi_q.dtype), np.empty(n_keys)
    for at in _blocks(0, n_keys, BLOCK):
        phi, factor[at] = head.keys(at)
        shares[:, at] = phi_q @ phi.T
    shares *= np.exp(factor - factor.max()).astype(shares.dtype)
    if causal:
        now = np.arange(n_keys - n_queries, n_keys)
        shares[now[:, None] < np.arange(n_keys)] = 0
        if head.decay is not None:
            shares *= head.decay.shares(np.maximum(now, 0), slice(0, n_keys)).astype(shares.dtype)
    total = shares.sum(1, keepdims=True, dtype=np.float64)
    shares *= np.divide(1.0, total, out=np.zeros_like(total), where=total > 0).astype(shares.dtype)
    return shares
