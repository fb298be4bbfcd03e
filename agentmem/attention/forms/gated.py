"""Gated cross-attention: what the queries read is let in through gates that start closed."""

from __future__ import annotations

import numpy as np

from agentmem.attention.call import Call
from agentmem.attention.engine import Engine
from agentmem.attention.forms.projections import project, project_output
from agentmem.attention.inputs import Floats, no_head_axis, split_heads
from agentmem.errors import InvalidInput

FEED_FORWARD = ("ffn_gate", "ffn_in", "ffn_out")


def run_gated(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """Return y ← y + tanh(α) · XAttn(y, x), then y + tanh(β) · relu(y W₁)² W₂ where the feed-forward part is given."""
    no_head_axis(call.declared.name, call.query, call.mask)
    q, k, v = project(call)
    split_heads(call.heads, query=q, value=v)
    read, weights = engine.softmax(
        q, k, v, heads=call.heads, scale=call.params["scale"], mask=call.mask, want_weights=call.want_weights
    )
    read = project_output(call, read)
    if read.shape[1] != call.query.shape[1]:
        raise InvalidInput(
            f"{call.declared.name} adds to the queries, of {call.query.shape[1]} dimensions; came "
            f"{read.shape[1]} from values and output projection; make them equal"
        )
    return _feed_forward(call, call.query + np.tanh(call.weights["gate"]) * read), weights


def _feed_forward(call: Call, rows: Floats) -> Floats:
    given = [name for name in FEED_FORWARD if name in call.weights]
    if not given:
        return rows
    if missing := [f"weights[{name!r}]" for name in FEED_FORWARD if name not in given]:
        raise InvalidInput(f"{call.declared.name}: the feed-forward part also needs {', '.join(missing)}")
    gate, first, second = (call.weights[name] for name in FEED_FORWARD)
    result: Floats = rows + np.tanh(gate) * (np.maximum(rows @ first, 0) ** 2 @ second)
    return result
