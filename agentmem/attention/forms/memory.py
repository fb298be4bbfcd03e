"""Memory-attention: the nearest memories, gated with the local context."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.call import Call, Weights
from agentmem.attention.engine import Engine
from agentmem.attention.inputs import Floats, integers, no_head_axis, require_finite, split_heads
from agentmem.attention.mechanism import Mechanism
from agentmem.attention.reference.common import keep_largest, normalised, softmax_rows
from agentmem.attention.weights import checked_weights, sizes_of
from agentmem.errors import InvalidInput


def gates(heads: int, default: float, weights: Mapping[str, Floats]) -> NDArray[np.float64]:
    """Return g = σ(b), one a head: b from weights["gate"], else the parameter."""
    bias = weights.get("gate", np.full(heads, default))
    result: NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * bias.astype(np.float64)))
    return result


def run_memory(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """Gate the nearest memories with the local context; weights are the memory's part, g · a, by head."""
    if call.context is None:
        raise InvalidInput("memory-attention needs context=(key, value), the local context that the gate mixes in")
    query, key, value, heads, params = call.query, call.key, call.value, call.heads, call.params
    no_head_axis(call.declared.name, query, call.mask)
    split_heads(heads, query=query, value=value)
    gate = gates(heads, params["gate"], call.weights)
    scale, near_key, near_value = params["scale"], *call.context
    far, w = engine.softmax(
        query,
        key,
        value,
        heads=heads,
        scale=scale,
        top_k=params["top_k"],
        cosine=True,
        mask=call.mask,
        want_weights=call.want_weights,
    )
    near, _ = engine.softmax(query, near_key, near_value, heads=heads, scale=scale, cosine=True)
    wide = np.repeat(gate, value.shape[1] // heads)
    out = (wide * far + (1 - wide) * near).astype(far.dtype)
    return out, None if w is None else (gate[:, None, None] * w).astype(w.dtype)


def _near(count: int, positions: object, segment_ids: object, window: float) -> NDArray[np.bool_]:
    """Return bool (n, n): same segment (none where negative), positions within ``window``; each is near itself."""
    if positions is None and segment_ids is None:
        raise InvalidInput(
            "memory-attention needs the candidates' local context: segment_ids= (their thread, -1 for none), "
            "positions= (their place in it), or both"
        )
    near = np.ones((count, count), bool)
    if segment_ids is not None:
        segment = integers("segment_ids", segment_ids, count)
        near &= (segment[:, None] == segment[None, :]) & (segment[:, None] >= 0)
    if positions is not None:
        place = np.asarray(positions, np.float64)
        if place.shape != (count,):
            raise InvalidInput(f"positions: expected shape ({count},), one per key, came {place.shape}")
        place = np.where(np.isfinite(place), place, np.nan)
        near &= np.abs(place[:, None] - place[None, :]) <= window
    np.fill_diagonal(near, True)
    return near


def memory_scores(
    declared: Mechanism,
    query: Floats,
    keys: Floats,
    params: Mapping[str, object] | None,
    positions: object,
    segment_ids: object,
    weights: Weights,
) -> NDArray[np.float32]:
    """Return each candidate's score: g · p_j + (1 − g) · Σ over its context of a_i p_i, averaged over heads.

    p is the softmax of the top_k largest logits, a the softmax of the logits within the candidate's own context.
    """
    resolved = declared.resolve(params)
    heads, window, (count, dim) = int(resolved["heads"] or 1), float(resolved["window"] or 0), keys.shape
    split_heads(heads, query=query[None])
    require_finite(query=query, keys=keys)
    near = _near(count, positions, segment_ids, window)
    learned = checked_weights(declared, weights, sizes_of(declared, resolved, dim, dim, count), np.float64)
    gate = gates(heads, float(resolved["gate"] or 0), learned)
    q = normalised(query.astype(np.float64).reshape(heads, -1))
    k = normalised(keys.astype(np.float64).reshape(count, heads, dim // heads))
    logits = float(resolved["scale"] or 0) * np.einsum("hd,nhd->hn", q, k)
    kept = keep_largest(logits, int(resolved["top_k"] or 0))
    memory = softmax_rows(kept)
    local = np.stack([softmax_rows(np.where(near, row, -np.inf)) @ p for row, p in zip(logits, memory, strict=True)])
    scores: NDArray[np.float64] = (gate[:, None] * memory + (1 - gate[:, None]) * local).mean(0)
    return scores.astype(np.float32)
