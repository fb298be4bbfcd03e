"""``score``: what a mechanism makes of each candidate, one number each, higher is better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.attention import forms
from agentmem.attention.attend import engine
from agentmem.attention.inputs import (
    Floats,
    floats,
    integers,
    projections,
    require_finite,
    require_width,
    same_dtype,
    split_heads,
)
from agentmem.attention.mechanism import Mechanism
from agentmem.attention.reference import normalised
from agentmem.attention.registry import get_mechanism
from agentmem.errors import InvalidInput

Weights = Mapping[str, object] | None


def _softmax(ran: forms.Engine, params: forms.Params, query: Floats, keys: Floats, weights: Weights) -> Floats:
    q, k, _, _ = forms.project(query[None], keys, keys, weights)
    heads = int(params.get("heads", 1))
    split_heads(heads, query=q)
    if heads == 1:
        scale = q.shape[1] ** -0.5 if params["scale"] is None else params["scale"]
        return ran.dots(np.ascontiguousarray(q[0]), np.ascontiguousarray(k), scale)
    shares = ran.softmax(q, k, k, heads=heads, scale=params["scale"], want_weights=True)[1]
    assert shares is not None
    return np.asarray(shares[:, 0].mean(0))


def _near(count: int, positions: object, groups: object, window: float) -> NDArray[np.bool_]:
    """Return bool (n, n): same group (none where negative), positions within ``window``; everyone is near itself."""
    if positions is None and groups is None:
        raise InvalidInput(
            "memory-attention needs the candidates' local context: groups= (their thread, -1 for none), positions= "
            "(their place in it), or both"
        )
    near = np.ones((count, count), bool)
    if groups is not None:
        group = integers("groups", groups, count)
        near &= (group[:, None] == group[None, :]) & (group[:, None] >= 0)
    if positions is not None:
        place = np.asarray(positions, np.float64)
        if place.shape != (count,):
            raise InvalidInput(f"positions: expected shape ({count},), one per key, came {place.shape}")
        place = np.where(np.isfinite(place), place, np.nan)
        near &= np.abs(place[:, None] - place[None, :]) <= window
    np.fill_diagonal(near, True)
    return near


def _memory(
    params: forms.Params, query: Floats, keys: Floats, positions: object, groups: object, weights: Weights
) -> Floats:
    heads, (count, dim) = params["heads"], keys.shape
    split_heads(heads, query=query[None])
    require_finite(query=query, keys=keys)
    near = _near(count, positions, groups, params["window"])
    q = normalised(query.astype(np.float64).reshape(heads, -1))
    k = normalised(keys.astype(np.float64).reshape(count, heads, dim // heads))
    logits = params["scale"] * np.einsum("hd,nhd->hn", q, k)
    return forms.memory_scores(params, logits, forms.memory_gates(heads, params, weights), near)


def _late_interaction(ran: forms.Engine, query: Floats, keys: Floats, groups: object, weights: Weights) -> Floats:
    """Keys of one group are one record's vectors; without groups every key is a record."""
    require_finite(query=query, keys=keys)
    unit = normalised(np.atleast_2d(query).astype(np.float64)).astype(np.float32)
    table = normalised(keys.astype(np.float64)).astype(np.float32)
    importance = projections(weights, {"tokens": (len(unit),)}).get("tokens", np.ones(len(unit)))
    group = np.arange(len(keys)) if groups is None else integers("groups", groups, len(keys))
    if len(group) and group.min() < 0:
        raise InvalidInput(f"groups: expected record numbers from 0, came {group.min()}")
    order = np.argsort(group, kind="stable")
    offsets = np.searchsorted(group[order], np.arange(group.max(initial=-1) + 2)).astype(np.int64)
    return ran.maxsim(unit, importance.astype(np.float32), table, None, offsets, order.astype(np.uint32), None)


def _scores(
    declared: Mechanism,
    ran: forms.Engine,
    params: forms.Params,
    query: Floats,
    keys: Floats,
    inputs: dict[str, Any],
) -> Floats:
    weights = inputs["weights"]
    if declared.form == "softmax":
        return _softmax(ran, params, query, keys, weights)
    if declared.form == "hyperbolic":
        return ran.hyperbolic_scores(query[None], keys, space=forms.space_of(params)).reshape(-1)
    if declared.form == "experts":
        return forms.run_experts(ran, params, query[None], keys, keys, weights=weights)[1].reshape(-1)
    if declared.form == "memory":
        return _memory(params, query, keys, inputs["positions"], inputs["groups"], weights)
    return _late_interaction(ran, query, keys, inputs["groups"], weights)


def score(
    query: object,
    keys: object,
    *,
    mechanism: str,
    params: Mapping[str, object] | None = None,
    positions: object = None,
    groups: object = None,
    weights: Weights = None,
    backend: str = "auto",
) -> NDArray[np.float32]:
    """Return each candidate's ranking score for one query; higher is better.

    =====================  =============================================================  ==========================
    mechanism              score                                                          can it reorder candidates?
    =====================  =============================================================  ==========================
    scaled-dot             scale · q·k                                                    no: the dot product
    flash-attention-v2     the same; with heads > 1 as standard-mha                       no; little with heads
    cross-attention        the same, after the projections                                through projections
    standard-mha           mean over heads of the softmax over the candidates             little; through projections
    hyperbolic-attention   −beta · distance                                               through the norms
    moe-attention          gated mean of the routed experts' weights                      through projections
    memory-attention       g · kNN weight + (1 − g) · its local context's attended weight yes: by thread neighbours
    late-interaction       Σ over the query's vectors of the best match in the record     yes
    =====================  =============================================================  ==========================

    Args:
        query: float32 or float64 (dim,); for late-interaction also (n_vectors, dim).
        keys: (n, dim), one row a candidate; for late-interaction one row a vector.
        mechanism: a name of ``mechanism_names()``.
        params: the mechanism's parameters.
        positions: numbers (n,), the place in the thread, NaN for none; for memory-attention.
        groups: integers (n,): the thread, negative for none, for memory-attention; the record that a vector belongs
            to, counted from 0, for late-interaction.
        weights: learned weights by name: "query" and "key" (and the experts' own); "gate" (heads,) for
            memory-attention; "tokens" (n_vectors,) for late-interaction.
        backend: "auto", "native" or "numpy"; memory-attention's scores are computed by NumPy under each.

    Returns:
        float32 (n,); for late-interaction with groups (largest group + 1,).

    Raises:
        UnknownMechanism: no such name.
        InvalidInput: arrays or parameters that do not fit; InvalidVector for dimensions, NaN and infinity.
        BackendUnavailable: the backend asked for cannot run.
    """
    declared = get_mechanism(mechanism)
    resolved = declared.resolve(params)
    q = floats("query", query, (1, 2) if declared.form == "maxsim" else (1,))
    k = floats("keys", keys, (2,))
    require_width(k, q.shape[-1], "keys")
    inputs = {"positions": positions, "groups": groups, "weights": weights}
    for name, given in inputs.items():
        if given is not None and name not in declared.takes:
            raise InvalidInput(f"{mechanism} takes no {name}; leave it out, or choose a mechanism that does")
    q, k = same_dtype(q, k)
    ran = engine(backend, np.float32 if declared.form in ("maxsim", "memory") else q.dtype)
    if len(k) == 0:
        return np.zeros(0, np.float32)
    return _scores(declared, ran, resolved, q, k, inputs).astype(np.float32, copy=False)
