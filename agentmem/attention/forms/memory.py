"""Memory-attention: the nearest memories, gated with the local context."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.call import Call, Weights
from agentmem.attention.engine import Engine
from agentmem.attention.forms.neighbours import Neighbours, neighbours
from agentmem.attention.inputs import Floats, integers, no_head_axis, require_finite, split_heads
from agentmem.attention.mechanism import Mechanism
from agentmem.attention.native.common import checked
from agentmem.attention.reference.common import keep_largest, softmax_rows
from agentmem.attention.weights import checked_weights, sizes_of
from agentmem.errors import InvalidInput

NEAR_QUERIES = 64
"""Queries whose local contexts are attended together: as few as share most of their neighbours."""


def gates(heads: int, default: float, weights: Mapping[str, Floats]) -> NDArray[np.float64]:
    """Return g = σ(b), one a head: b from weights["gate"], else the parameter."""
    bias = weights.get("gate", np.full(heads, default))
    result: NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * bias.astype(np.float64)))
    return result


def run_memory(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """Gate the nearest memories with the local context.

    The local context is ``context`` where given; its keys are not among those of the memory, and the weights are the
    memory's part, g · a, by head.  Else it is the query's neighbours among the keys, and the weights are both parts.
    """
    query, key, value, heads, params = call.query, call.key, call.value, call.heads, call.params
    no_head_axis(call.declared.name, query, call.mask)
    split_heads(heads, query=query, value=value)
    gate = gates(heads, params["gate"], call.weights)
    scale = params["scale"]
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
    shares = None if w is None else (gate[:, None, None] * w).astype(w.dtype)
    if call.context is None:
        near, local = _attend_neighbours(engine, call)
        if shares is not None and local is not None:
            shares += ((1 - gate)[:, None, None] * local).astype(shares.dtype)
    else:
        near, _ = engine.softmax(query, *call.context, heads=heads, scale=scale, cosine=True)
    wide = np.repeat(gate, value.shape[1] // heads)
    return (wide * far + (1 - wide) * near).astype(far.dtype), shares


def _attend_neighbours(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """Return softmax attention over each query's neighbours, zeros where it has none, and its weights by head."""
    near = neighbours(call.positions, call.segment_ids, call.params["window"])
    heads, n_queries, n_keys = call.heads, call.n_queries, call.n_keys
    out = np.zeros((n_queries, call.value.shape[1]), call.query.dtype)
    weights = np.zeros((heads, n_queries, n_keys), call.query.dtype) if call.want_weights else None
    having = np.flatnonzero(near.last > near.first)
    having = having[np.argsort(near.first[having], kind="stable")]
    for start in range(0, len(having), NEAR_QUERIES):
        rows = having[start : start + NEAR_QUERIES]
        low, high = near.first[rows].min(), near.last[rows].max()
        keys, at = near.order[low:high], np.arange(low, high)
        mask = (at >= near.first[rows, None]) & (at < near.last[rows, None])
        if call.mask is not None:
            mask &= call.mask[keys] if call.mask.ndim == 1 else call.mask[np.ix_(rows, keys)]
        out[rows], w = engine.softmax(
            call.query[rows],
            call.key[keys],
            call.value[keys],
            heads=heads,
            scale=call.params["scale"],
            cosine=True,
            mask=mask,
            want_weights=call.want_weights,
        )
        if weights is not None and w is not None:
            weights[:, rows[:, None], keys[None, :]] = w
    return out, weights


def _near_candidates(count: int, positions: object, segment_ids: object, window: float) -> Neighbours:
    """Return each candidate's neighbours among the others; one without a place or thread has none."""
    if positions is None and segment_ids is None:
        raise InvalidInput(
            "memory-attention needs the candidates' local context: segment_ids= (their thread, -1 for none), "
            "positions= (their place in it), or both"
        )
    place, segment = np.zeros(count), None
    if segment_ids is not None:
        segment = integers("segment_ids", segment_ids, count)
    if positions is not None:
        place = np.asarray(positions, np.float64)
        if place.shape != (count,):
            raise InvalidInput(f"positions: expected shape ({count},), one per key, came {place.shape}")
    return neighbours((place, place), None if segment is None else (segment, segment), window)


def _cosines(query: Floats, keys: Floats) -> NDArray[np.float64]:
    """Return the cosines by head, (heads, n), of query (heads, d) and keys (n, heads, d); 0 for rows of zeros.

    Products are in the inputs' dtype: copies of the keys in float64 would be most of the work.
    """
    with np.errstate(over="ignore"):
        dots = (keys.transpose(1, 0, 2) @ query[:, :, None])[:, :, 0].astype(np.float64)
        squares = np.einsum("nhd,nhd->hn", keys, keys).astype(np.float64)
        squares *= np.einsum("hd,hd->h", query, query).astype(np.float64)[:, None]
    checked(not np.isfinite(squares).all())
    cosines: NDArray[np.float64] = np.divide(dots, np.sqrt(squares), out=np.zeros_like(dots), where=squares > 0)
    return cosines


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

    p is the softmax of the top_k largest logits, a the softmax of the logits within the candidate's own context, which
    holds itself.
    """
    resolved = declared.resolve(params)
    heads, window, (count, dim) = int(resolved["heads"] or 1), float(resolved["window"] or 0), keys.shape
    split_heads(heads, query=query[None])
    require_finite(query=query, keys=keys)
    near = _near_candidates(count, positions, segment_ids, window)
    learned = checked_weights(declared, weights, sizes_of(declared, resolved, dim, dim, count), np.float64)
    gate = gates(heads, float(resolved["gate"] or 0), learned)
    logits = float(resolved["scale"] or 0) * _cosines(query.reshape(heads, -1), keys.reshape(count, heads, -1))
    memory = softmax_rows(keep_largest(logits, int(resolved["top_k"] or 0)))
    reach = near.first[:, None] + np.arange(int((near.last - near.first).max(initial=0)))
    inside = reach < near.last[:, None]
    around = near.order[np.minimum(reach, max(count - 1, 0))]
    local = memory.copy()  # what a candidate without neighbours has: itself alone
    having = near.last > near.first
    for row, share, result in zip(logits, memory, local, strict=True):
        mixed = (softmax_rows(np.where(inside, row[around], -np.inf)) * share[around]).sum(1)
        result[having] = mixed[having]
    scores: NDArray[np.float64] = (gate[:, None] * memory + (1 - gate[:, None]) * local).mean(0)
    return scores.astype(np.float32)
