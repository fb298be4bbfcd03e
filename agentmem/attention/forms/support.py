"""Softmax attention over a sparse support; Longformer, Star-Transformer and exact chunks, each put together from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from agentmem.attention.call import Call
from agentmem.attention.engine import Engine
from agentmem.attention.forms.projections import project, project_output
from agentmem.attention.inputs import Floats, require_finite, split_heads
from agentmem.attention.supports import Ints, Support, build, star
from agentmem.errors import InvalidInput

Result = tuple[Floats, Floats | None]


def _in_order(call: Call) -> tuple[Call, Ints, Ints | None]:
    """Return the call with its keys in the order of their positions, the row where each query stands, and that order.

    A query stands at the last key that is not behind it.  Without positions the keys are in order, and the queries are
    the last rows.
    """
    if not call.ordered:
        return call, np.arange(call.n_keys - call.n_queries, call.n_keys), None
    require_finite(query=call.query, key=call.key, value=call.value)
    of_queries, of_keys = call.positions
    order = np.argsort(of_keys, kind="stable").astype(np.int64)
    at = np.searchsorted(of_keys[order], of_queries, side="right").astype(np.int64) - 1
    mask = None if call.mask is None else np.ascontiguousarray(call.mask[..., order])
    key, value = (np.ascontiguousarray(x[..., order, :]) for x in (call.key, call.value))
    return replace(call, key=key, value=value, mask=mask), at, order


def _as_given(result: Result, order: Ints | None) -> Result:
    """Return the weights with their keys in the caller's order."""
    out, weights = result
    if weights is None or order is None:
        return result
    given = np.empty_like(weights)
    given[..., order] = weights
    return out, given


def _attend(engine: Engine, call: Call, support: Support) -> Result:
    """Project and attend over a support."""
    q, k, v = project(call)
    split_heads(call.heads, query=q, value=v)
    return engine.support(
        q,
        k,
        v,
        support=support,
        heads=call.heads,
        scale=call.params["scale"],
        mask=call.mask,
        want_weights=call.want_weights,
    )


def run_support(engine: Engine, call: Call) -> Result:
    """Project, attend over the declaration's support, project back."""
    call, at, order = _in_order(call)
    out, weights = _attend(engine, call, build(call.declared.support, at, call.n_keys, call.params))
    return _as_given((project_output(call, out), weights), order)


def run_longformer(engine: Engine, call: Call) -> Result:
    """As ``run_support``; queries among the global tokens go through projections of their own where there are any."""
    call, at, order = _in_order(call)
    support = build(call.declared.support, at, call.n_keys, call.params)
    out, weights = _attend(engine, call, support)
    own = {name.removesuffix("_global"): array for name, array in call.weights.items() if name.endswith("_global")}
    rows = np.flatnonzero((at >= 0) & (at < call.params["global_tokens"]))
    if own and len(rows):
        mask = call.mask
        if mask is not None and mask.ndim > 1:
            mask = np.ascontiguousarray(mask[..., rows, :])
        query = call.query[rows]
        everywhere = replace(call, query=query, mask=mask, weights={**call.weights, **own})
        seen, seen_weights = _attend(engine, everywhere, build("all", at[rows], call.n_keys, call.params))
        if seen.shape[-1] != out.shape[-1]:
            raise InvalidInput(
                f"weights['value_global']: expected rows of {out.shape[-1]} numbers as values have, "
                f"came {seen.shape[-1]}; make value and value_global equally wide"
            )
        out[rows] = seen
        if weights is not None and seen_weights is not None:
            weights[:, rows] = seen_weights
    return _as_given((project_output(call, out), weights), order)


def run_star(engine: Engine, call: Call) -> Result:
    """One cycle: the relay, at first the mean of all rows, attends all; then each row its neighbours, itself and it.

    Head by head, the relay takes along its mixture of projected keys and values, so that its share is one of the keys.
    """
    require_finite(query=call.query, key=call.key, value=call.value)
    call, at, order = _in_order(call)
    kept = np.ones(call.n_keys, bool) if call.mask is None else call.mask
    mean = (kept / max(kept.sum(), 1))[None].astype(call.query.dtype)
    start = mean @ call.key
    query, key = (np.concatenate([x, start], axis=-2) for x in (call.query, call.key))
    value = np.concatenate([call.value, mean @ call.value], axis=-2)
    q, k, v = project(replace(call, query=query, key=key, value=value))
    split_heads(call.heads, query=q, value=v)
    shared: dict[str, Any] = {
        "heads": call.heads,
        "scale": call.params["scale"],
        "mask": np.append(kept, kept.any()),
        "want_weights": call.want_weights,
    }
    queries, relay = (np.ascontiguousarray(part) for part in (q[..., :-1, :], q[..., -1:, :]))
    all_keys = build("all", np.array([call.n_keys]), call.n_keys + 1, call.params)
    relay_value, relay_weights = engine.support(relay, k, v, support=all_keys, **shared)
    relay_key, _ = engine.support(relay, k, k, support=all_keys, **shared)
    k, v = (np.concatenate([x[..., :-1, :], new], axis=-2) for x, new in ((k, relay_key), (v, relay_value)))
    out, weights = engine.support(queries, k, v, support=star(at, call.n_keys), **shared)
    if weights is not None and relay_weights is not None:
        of_keys = relay_weights[..., :-1] + relay_weights[..., -1:] * mean
        weights = weights[..., :-1] + weights[..., -1:] * of_keys
    return _as_given((project_output(call, out), weights), order)


def run_blockwise(engine: Engine, call: Call) -> Result:
    """Exact attention, a chunk of queries at a time over the keys in blocks."""
    require_finite(query=call.query, key=call.key, value=call.value)
    q, k, v = project(call)
    split_heads(call.heads, query=q, value=v)
    n_queries, n_keys, size, causal = call.n_queries, call.n_keys, call.params["chunk_size"], call.params["causal"]
    out = np.zeros((*q.shape[:-1], v.shape[-1]), q.dtype)
    weights = np.zeros((call.heads, n_queries, n_keys), q.dtype) if call.want_weights else None
    for first in range(0, n_queries, size):
        last = min(first + size, n_queries)
        seen = max(n_keys - n_queries + last, 0) if causal else n_keys
        mask = call.mask
        if mask is not None:
            mask = np.ascontiguousarray(mask[:seen] if mask.ndim == 1 else mask[..., first:last, :seen])
        part, w = engine.softmax(
            *(np.ascontiguousarray(x) for x in (q[..., first:last, :], k[..., :seen, :], v[..., :seen, :])),
            heads=call.heads,
            scale=call.params["scale"],
            causal=causal,
            block=size,
            mask=mask,
            want_weights=call.want_weights,
        )
        out[..., first:last, :] = part
        if weights is not None:
            weights[:, first:last, :seen] = w
    return project_output(call, out), weights
