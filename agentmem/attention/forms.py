"""How each form of mechanism is put together from the stages of an engine: projections, routing, gates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.inputs import Floats, Mask, floats, projections, require_finite, require_width, split_heads
from agentmem.attention.reference import Space, softmax_rows
from agentmem.errors import InvalidInput

Params = Mapping[str, Any]
Weights = Mapping[str, object] | None


class Engine(Protocol):
    """The stages that exist twice: in NumPy (``reference.Reference``) and compiled (``attend.Native``)."""

    @property
    def name(self) -> str:
        """What ``AttentionResult.backend`` says."""

    def softmax(
        self,
        query: Floats,
        key: Floats,
        value: Floats,
        *,
        heads: int = 1,
        scale: float | None = None,
        causal: bool = False,
        block: int = 0,
        top_k: int = 0,
        cosine: bool = False,
        mask: Mask | None = None,
        want_weights: bool = False,
    ) -> tuple[Floats, Floats | None]:
        """Softmax attention."""

    def hyperbolic(
        self, query: Floats, key: Floats, value: Floats, *, space: Space, mask: Mask | None, want_weights: bool
    ) -> tuple[Floats, Floats | None]:
        """Hyperbolic attention."""

    def hyperbolic_scores(self, query: Floats, key: Floats, *, space: Space) -> Floats:
        """−beta · distance, (n_queries, n_keys)."""

    def dots(self, query: Floats, key: Floats, scale: float) -> Floats:
        """Return scale · key·query, (n,)."""

    def route(self, logits: Floats, k: int, capacity: int) -> tuple[NDArray[np.int32], Floats]:
        """Experts and gates of each query."""

    def attend_rows(
        self, matrix: Floats, rows: NDArray[np.int64], query: Floats, scale: float | None
    ) -> tuple[Floats, Floats]:
        """Gather and attention."""

    def maxsim(
        self,
        query: Floats,
        weights: Floats,
        table: NDArray[Any],
        scales: Floats | None,
        offsets: NDArray[np.int64],
        tokens: NDArray[Any],
        rows: NDArray[np.int64] | None,
    ) -> Floats:
        """Late interaction."""


def head_count(params: Params, query: Floats) -> int:
    """Return the heads: those of a three-dimensional query, else the parameter."""
    return query.shape[0] if query.ndim == 3 else int(params.get("heads", 1))


def project(
    query: Floats, key: Floats, value: Floats, weights: Weights
) -> tuple[Floats, Floats, Floats, Floats | None]:
    """Return the projected query, key and value, and the output projection; the identity where weights are silent."""
    if not weights:
        return query, key, value, None
    if query.ndim == 3:
        raise InvalidInput("weights: expected query, key and value of 2 dimensions, came 3; project them beforehand")
    dim, value_dim = query.shape[1], value.shape[1]
    learned = projections(
        weights, {"query": (dim, None), "key": (dim, None), "value": (value_dim, None), "output": (None, None)}
    )
    learned = {name: array.astype(query.dtype) for name, array in learned.items()}
    q, k, v = (x @ learned[n] if n in learned else x for n, x in (("query", query), ("key", key), ("value", value)))
    if k.shape[1] != q.shape[1]:
        raise InvalidInput(
            f"weights: projected query rows are {q.shape[1]} long, key rows {k.shape[1]}; make them equal"
        )
    output = learned.get("output")
    if output is not None and len(output) != v.shape[1]:
        raise InvalidInput(f"weights['output']: expected {v.shape[1]} rows, came {len(output)}")
    return q, k, v, output


def run_softmax(
    engine: Engine,
    params: Params,
    query: Floats,
    key: Floats,
    value: Floats,
    *,
    mask: Mask | None = None,
    weights: Weights = None,
    want_weights: bool = False,
) -> tuple[Floats, Floats | None]:
    """Project, attend with ``heads`` heads, project back."""
    q, k, v, output = project(query, key, value, weights)
    heads = head_count(params, q)
    split_heads(heads, query=q, value=v)
    out, w = engine.softmax(
        q,
        k,
        v,
        heads=heads,
        scale=params["scale"],
        causal=bool(params.get("causal", False)),
        block=params.get("block_size", 0),
        mask=mask,
        want_weights=want_weights and "block_size" not in params,
    )
    return (out if output is None else out @ output), w


def space_of(params: Params) -> Space:
    """Return the parameters of "hyperbolic-attention" as a space."""
    return Space(**params)


@lru_cache(maxsize=16)
def seeded_expert_weights(dim: int, value_dim: int, experts: int, seed: int, random: bool) -> dict[str, Floats]:
    """Return the router, and orthogonal projections where ``random`` asks for them; read-only, float32."""
    rng = np.random.default_rng(seed)
    made: dict[str, Floats] = {"router": rng.standard_normal((dim, experts)) / math.sqrt(dim)}
    if random:

        def orthogonal(*shape: int) -> Floats:
            return np.linalg.qr(rng.standard_normal(shape))[0]

        made |= {"query": orthogonal(experts, dim, dim), "key": orthogonal(dim, dim)}
        made |= {"value": orthogonal(value_dim, value_dim), "output": orthogonal(experts, value_dim, value_dim)}
    made = {name: array.astype(np.float32) for name, array in made.items()}
    for array in made.values():
        array.flags.writeable = False
    return made


def expert_weights(params: Params, dim: int, value_dim: int, weights: Weights, dtype: Any) -> dict[str, Floats]:
    """Return router and projections: seeded, overridden by those given."""
    experts = params["experts"]
    shapes: dict[str, tuple[int | None, ...]] = {
        "router": (dim, experts),
        "query": (experts, dim, dim),
        "key": (dim, dim),
        "value": (value_dim, value_dim),
        "output": (experts, value_dim, value_dim),
    }
    made = seeded_expert_weights(dim, value_dim, experts, params["seed"], params["init"] == "random")
    return {name: array.astype(dtype, copy=False) for name, array in (made | projections(weights, shapes)).items()}


def run_experts(
    engine: Engine,
    params: Params,
    query: Floats,
    key: Floats,
    value: Floats,
    *,
    mask: Mask | None = None,
    weights: Weights = None,
) -> tuple[Floats, Floats]:
    """Route each query to its experts; returns output and the gated mean weights of their heads (n_queries, n_keys).

    A query that finds no room at an expert loses that expert's part: its gates then sum to less than one.
    """
    n, experts, chosen_each, heads = len(query), params["experts"], params["experts_per_token"], params["heads"]
    if chosen_each > experts:
        raise InvalidInput(f"moe-attention: experts_per_token is {chosen_each}, but there are {experts} experts")
    split_heads(heads, query=query, value=value)
    require_finite(query=query)
    learned = expert_weights(params, query.shape[1], value.shape[1], weights, query.dtype)
    routed = query
    if params["jitter"]:
        rng = np.random.default_rng(params["seed"])
        noise = rng.uniform(1 - params["jitter"], 1 + params["jitter"], query.shape)
        routed = query * noise.astype(query.dtype)
    capacity = math.ceil(params["capacity"] * n * chosen_each / experts)
    chosen, gates = engine.route(np.ascontiguousarray(routed @ learned["router"]), chosen_each, capacity)
    k = key @ learned["key"] if "key" in learned else key
    v = value @ learned["value"] if "value" in learned else value
    out = np.zeros((n, value.shape[1]), query.dtype)
    total = np.zeros((n, len(key)), query.dtype)
    for expert in np.unique(chosen[chosen >= 0]).tolist():
        at, choice = np.nonzero(chosen == expert)
        q = query[at] @ learned["query"][expert] if "query" in learned else query[at]
        kept = mask[at] if mask is not None and mask.ndim == 2 else mask
        part, w = engine.softmax(q, k, v, heads=heads, scale=params["scale"], mask=kept, want_weights=True)
        assert w is not None
        gate = gates[at, choice][:, None]
        out[at] += gate * (part @ learned["output"][expert] if "output" in learned else part)
        total[at] += gate * w.mean(0)
    return out, total


def memory_gates(heads: int, params: Params, weights: Weights) -> NDArray[np.float64]:
    """Return g = σ(b), one a head: b from weights["gate"], else the parameter."""
    bias = projections(weights, {"gate": (heads,)}).get("gate", np.full(heads, params["gate"]))
    gates: NDArray[np.float64] = 0.5 * (1 + np.tanh(0.5 * bias.astype(np.float64)))
    return gates


def run_memory(
    engine: Engine,
    params: Params,
    query: Floats,
    key: Floats,
    value: Floats,
    *,
    context: tuple[object, object] | None = None,
    mask: Mask | None = None,
    weights: Weights = None,
    want_weights: bool = False,
) -> tuple[Floats, Floats | None]:
    """Gate the nearest memories with the local context; weights are the memory's part, g · a, by head."""
    if context is None:
        raise InvalidInput("memory-attention needs context=(key, value), the local context that the gate mixes in")
    near_key, near_value = (floats(f"context[{at}]", array, (2,)) for at, array in enumerate(context))
    require_width(near_key, query.shape[1], "context[0]")
    if near_value.shape != (len(near_key), value.shape[1]):
        raise InvalidInput(
            f"context[1]: expected shape {(len(near_key), value.shape[1])}, one value per context key, "
            f"came {near_value.shape}"
        )
    heads = params["heads"]
    split_heads(heads, query=query, value=value)
    gates = memory_gates(heads, params, weights)
    far, w = engine.softmax(
        query,
        key,
        value,
        heads=heads,
        scale=params["scale"],
        top_k=params["top_k"],
        cosine=True,
        mask=mask,
        want_weights=want_weights,
    )
    near, _ = engine.softmax(
        query,
        near_key.astype(query.dtype),
        near_value.astype(query.dtype),
        heads=heads,
        scale=params["scale"],
        cosine=True,
    )
    wide = np.repeat(gates, value.shape[1] // heads)
    out = (wide * far + (1 - wide) * near).astype(far.dtype)
    return out, None if w is None else (gates[:, None, None] * w).astype(w.dtype)


def memory_scores(params: Params, logits: Floats, gates: Floats, near: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return each candidate's score: g · p_j + (1 − g) · Σ over its context of a_i p_i, averaged over heads.

    p is the softmax of the top_k largest logits, a the softmax of the logits within the candidate's own context.

    Args:
        params: of "memory-attention".
        logits: (heads, n) scaled cosines.
        gates: (heads,).
        near: bool (n, n), row j: the local context of candidate j, itself among it.
    """
    heads, n = logits.shape
    kept = np.full((heads, n), -np.inf)
    order = np.argsort(-logits, axis=1, kind="stable")[:, : params["top_k"]]
    np.put_along_axis(kept, order, np.take_along_axis(logits, order, 1).astype(np.float64), 1)
    memory = softmax_rows(kept)
    local = np.stack(
        [softmax_rows(np.where(near, row, -np.inf)) @ p for row, p in zip(logits, memory, strict=True)]
    ).reshape(heads, n)
    scores: NDArray[np.float64] = (gates[:, None] * memory + (1 - gates[:, None]) * local).mean(0)
    return scores
