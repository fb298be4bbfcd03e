"""Attention by distance in hyperbolic space."""

from __future__ import annotations

from agentmem.attention.call import Call
from agentmem.attention.engine import Engine
from agentmem.attention.inputs import Floats, no_head_axis
from agentmem.attention.reference.hyperbolic import Space


def run_hyperbolic(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """Weights ∝ exp(−beta · distance), values aggregated by the Einstein midpoint."""
    no_head_axis(call.declared.name, call.query, call.mask)
    return engine.hyperbolic(
        call.query, call.key, call.value, space=Space(**call.params), mask=call.mask, want_weights=call.want_weights
    )
