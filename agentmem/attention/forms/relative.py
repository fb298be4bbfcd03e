"""Relative positions by learned tables: Shaw's, and DeBERTa's disentangled content and position."""

from __future__ import annotations

import numpy as np

from agentmem.attention.bias import Bias
from agentmem.attention.call import Call
from agentmem.attention.engine import Engine
from agentmem.attention.forms.projections import by_head, project_output
from agentmem.attention.forms.softmax import is_causal, projected_heads
from agentmem.attention.inputs import Floats, require_finite
from agentmem.errors import InvalidInput


def run_relative(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """Shaw: a learned vector by clipped distance, added to the key; another to the value."""
    require_finite(query=call.query, key=call.key, value=call.value)
    q, k, v = projected_heads(call)
    split = by_head(q, call.heads)
    table = call.weights["relative_key"]
    if table.shape[1] != split.shape[2]:
        raise InvalidInput(f"weights['relative_key']: expected rows of {split.shape[2]} numbers, came {table.shape[1]}")
    values = call.weights.get("relative_value")
    value_head = v.shape[-1] // (1 if v.ndim == 3 else call.heads)
    if values is not None and values.shape[1] != value_head:
        raise InvalidInput(f"weights['relative_value']: expected rows of {value_head} numbers, came {values.shape[1]}")
    scale = call.params["scale"] or split.shape[2] ** -0.5
    bias = Bias(
        places=call.positions,
        causal=is_causal(call),
        query_table=np.ascontiguousarray(scale * (split @ table[::-1].T)),  # the tables go by j − i, buckets by i − j
        bucket_values=None if values is None else np.ascontiguousarray(values[::-1]),
    )
    out, weights = engine.softmax(
        q, k, v, heads=call.heads, scale=scale, bias=bias, mask=call.mask, want_weights=call.want_weights
    )
    return project_output(call, out), weights


def run_disentangled(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """DeBERTa: content to content, content to position and position to content, each a dot product of its own."""
    require_finite(query=call.query, key=call.key, value=call.value)
    q, k, v = projected_heads(call)
    embedded = _reached(call)
    to_key, to_query = (
        _position(embedded, call.weights.get(name), q.shape[-1], name) for name in ("position_key", "position_query")
    )
    if call.params["reading"] == "code":  # the row of i − j, where buckets of keys go by j − i: one more, at the end
        to_key, to_query = np.concatenate([to_key, to_key[-1:]]), np.concatenate([to_query, to_query[-1:]])[::-1]
    position_key, position_query = (by_head(x, 1 if q.ndim == 3 else call.heads) for x in (to_key, to_query))
    head_dim = position_key.shape[2]
    scale = call.params["scale"] or (3 * head_dim) ** -0.5
    bias = Bias(
        places=call.positions,
        query_table=np.ascontiguousarray(scale * (by_head(q, call.heads) @ position_key.transpose(0, 2, 1))),
        key_table=np.ascontiguousarray(scale * (by_head(k, call.heads) @ position_query.transpose(0, 2, 1))),
    )
    out, weights = engine.softmax(
        q, k, v, heads=call.heads, scale=scale, bias=bias, mask=call.mask, want_weights=call.want_weights
    )
    return project_output(call, out), weights


def _reached(call: Call) -> Floats:
    """Return the rows of the position embedding that the distances reach: far fewer than all, for a short sequence."""
    table = call.weights["positions"]
    of_queries, of_keys = call.positions
    if not len(of_queries) or not len(of_keys):
        return table
    farthest = max(of_queries.max() - of_keys.min(), of_keys.max() - of_queries.min())
    middle = len(table) // 2
    reach = int(min(middle, farthest + 2))
    return table[middle - reach : middle + reach]


def _position(embedded: Floats, projection: Floats | None, expected: int, name: str) -> Floats:
    rows = embedded if projection is None else embedded @ projection
    if rows.shape[1] != expected:
        raise InvalidInput(
            f"weights[{name!r}]: expected {expected} columns as the projected query has, came {rows.shape[1]}"
        )
    return rows
