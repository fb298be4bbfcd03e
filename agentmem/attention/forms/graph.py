"""Attention over the edges of a graph with additive scores: GAT and GATv2."""

from __future__ import annotations

import numpy as np

from agentmem.attention.call import Call
from agentmem.attention.engine import Engine
from agentmem.attention.forms.projections import project
from agentmem.attention.inputs import Floats, distinct, split_heads
from agentmem.attention.supports import Ints, Support, packed, pieces
from agentmem.errors import InvalidInput


def neighbours(edges: Ints, n_queries: int, n_keys: int, self_loops: bool) -> Support:
    """Return the keys that an edge joins to each query; a loop joins a query to its own row."""
    query, key = edges.T
    if self_loops:
        own = np.arange(max(n_queries - n_keys, 0), n_queries)
        query, key = np.concatenate([query, own]), np.concatenate([key, own + n_keys - n_queries])
    codes = distinct(query * max(n_keys, 1) + key)
    return packed(pieces(codes // max(n_keys, 1), codes % max(n_keys, 1), 1), n_queries)


def _vector(call: Call, name: str, heads: int, head_dim: int) -> Floats:
    vector = call.weights[name]
    if len(vector) != heads * head_dim:
        raise InvalidInput(
            f"weights[{name!r}]: expected {heads} heads of {head_dim} numbers, shape ({heads * head_dim},), "
            f"came {vector.shape}"
        )
    return vector.reshape(heads, head_dim)


def _part(rows: Floats, vector: Floats) -> Floats:
    """Return each head's a·x as rows of one number a head, laid out as ``rows`` are."""
    heads, head_dim = vector.shape
    if rows.ndim == 3:
        return np.ascontiguousarray(np.einsum("hnd,hd->hn", rows, vector)[..., None])
    part: Floats = np.einsum("nhd,hd->nh", rows.reshape(-1, heads, head_dim), vector)
    return part


def run_graph(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """Project and attend along the edges.

    GAT's a·[q ‖ k] is one number of the query plus one of the key: LeakyReLU of their sum is GATv2's score in one
    dimension.
    """
    if call.edges is None:
        raise InvalidInput(f"{call.declared.name} needs edges, integers (n_edges, 2)")
    q, k, v = project(call)
    heads, second = call.heads, call.params["version"] == 2
    split_heads(heads, query=q, value=v)
    attention = _vector(call, "attention", heads, q.shape[-1] // (heads if q.ndim == 2 else 1))
    if second and "attention_query" in call.weights:
        raise InvalidInput("weights['attention_query']: version 2 has one vector, attention; leave it out")
    if not second:
        of_query = "attention_query" in call.weights
        vector = _vector(call, "attention_query", *attention.shape) if of_query else np.zeros_like(attention)
        q, k, attention = _part(q, vector), _part(k, attention), np.ones((heads, 1), q.dtype)
    return engine.support(
        q,
        k,
        v,
        support=neighbours(call.edges, call.n_queries, call.n_keys, call.params["self_loops"]),
        heads=heads,
        additive=attention,
        slope=call.params["slope"],
        mask=call.mask,
        want_weights=call.want_weights,
    )
