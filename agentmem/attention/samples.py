"""Seeded inputs that fit any declaration: for benchmarks, for the command line, and for tests of every mechanism."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from agentmem.attention.mechanism import Mechanism
from agentmem.attention.weights import AttentionWeights

SEGMENT = 16
"""Rows of one segment."""
NEIGHBOURS = 4
"""Edges of a query besides the one to its own row."""
EITHER = {"synthesizer-attention": ("hidden", "scores")}
"""Of the mechanisms that need one set of weights or another, the set that is given."""


def sample(
    declared: Mechanism,
    n_queries: int,
    n_keys: int,
    dim: int,
    *,
    value_dim: int | None = None,
    params: Mapping[str, object] | None = None,
    seed: int = 0,
    dtype: str = "float32",
) -> dict[str, Any]:
    """Return arguments of ``attend`` for a mechanism: rows of the standard normal, and every input that it needs.

    The queries are the last rows of the sequence; positions are in row order, segments are of 16 rows, each query has
    edges to its own row and to some others, the local context is of 16 rows, and learned weights that are required are
    initialised as declared.

    Args:
        declared: the mechanism.
        n_queries: at most n_keys.
        n_keys: rows of keys and values.
        dim: length of query and key rows.
        value_dim: length of value rows; dim where None.
        params: the mechanism's parameters.
        seed: the same seed, the same numbers.
        dtype: "float32" or "float64".
    """
    rng = np.random.default_rng(seed)
    width = dim if value_dim is None else value_dim

    def rows(count: int, length: int) -> Any:
        return rng.standard_normal((count, length)).astype(dtype)

    given: dict[str, Any] = {
        "query": rows(n_queries, dim),
        "key": rows(n_keys, dim),
        "value": rows(n_keys, width),
        "mechanism": declared.name,
        "params": params,
    }
    needs = {*declared.needs, *declared.rerank_needs}
    own = np.arange(n_keys - n_queries, n_keys)
    if "positions" in needs:
        given["positions"] = np.arange(n_keys)
    if "segment_ids" in needs:
        given["segment_ids"] = np.arange(n_keys) // SEGMENT
    if "edges" in needs:
        to = np.concatenate([own[:, None], rng.integers(0, max(n_keys, 1), (n_queries, NEIGHBOURS))], axis=1)
        given["edges"] = np.stack([np.repeat(np.arange(n_queries), NEIGHBOURS + 1), to.ravel()], axis=1)
    if "context" in needs:
        given["context"] = (rows(SEGMENT, dim), rows(SEGMENT, width))
    required = [weight.name for weight in declared.weights if weight.required]
    required += EITHER.get(declared.name, ())
    if required:
        made = AttentionWeights.init(declared.name, dim=dim, value_dim=width, n_keys=n_keys, params=params, seed=seed)
        given["weights"] = {name: made[name].astype(dtype) for name in required}
    return given
