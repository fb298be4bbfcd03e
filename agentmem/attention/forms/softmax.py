"""Softmax attention with one head or several."""

from __future__ import annotations

from agentmem.attention.call import Call
from agentmem.attention.engine import Engine
from agentmem.attention.forms.projections import project, project_output
from agentmem.attention.inputs import Floats, split_heads


def run_softmax(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """Project, attend with ``heads`` heads, project back."""
    q, k, v = project(call)
    split_heads(call.heads, query=q, value=v)
    out, weights = engine.softmax(
        q,
        k,
        v,
        heads=call.heads,
        scale=call.params.get("scale"),
        causal=bool(call.params.get("causal", False)),
        block=call.params.get("block_size", 0),
        mask=call.mask,
        want_weights=call.want_weights,
    )
    return project_output(call, out), weights
