"""Attention by distance in hyperbolic space."""

from __future__ import annotations

import math

from agentmem.attention.call import Call
from agentmem.attention.engine import Engine
from agentmem.attention.forms.projections import project
from agentmem.attention.inputs import Floats, no_head_axis
from agentmem.attention.reference.hyperbolic import Space
from agentmem.errors import InvalidInput


def run_hyperbolic(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """Weights ∝ exp(−beta · distance), values aggregated by the Einstein midpoint."""
    no_head_axis(call.declared.name, call.query, call.mask)
    space = Space(**call.params)
    if call.weights and not space.tangent:
        raise InvalidInput(
            f"{call.declared.name}: weights project tangent vectors, and tangent=False says that rows are points; "
            "leave the weights out, or pass tangent vectors"
        )
    q, k, v = project(call)
    return engine.hyperbolic(q, k, v, space=space, mask=call.mask, want_weights=call.want_weights)


def curvature_for_depth(depth: int, *, branching: float = 2.0, radius: float = 4.0) -> float:
    """Return the curvature c at which a tree of that depth just fits within a radius: (depth · ln branching / radius)².

    At curvature −c the rim of a disc of radius r grows as exp(√c · r), as the leaves of a tree do with its depth: equal
    at √c · radius = depth · ln branching.  At the defaults depths of 4 to 8 give 0.5 to 1.9.

    Args:
        depth: levels below the root, at least 1.
        branching: children a node, above 1.
        radius: length of the tangent vectors of the leaves; the default is the mechanism's ``clip``.

    Raises:
        InvalidInput: a number out of range.

    Source: Krioukov 2010, arXiv:1006.5169, section II: a b-ary tree and the plane of curvature −ζ² grow alike where
    ζ = ln b, for edges of length 1; here they are radius / depth long.
    """
    if not (depth >= 1 and branching > 1 and radius > 0 and math.isfinite(depth * branching / radius)):
        raise InvalidInput(
            f"expected depth of at least 1, branching above 1 and radius above 0, came {depth}, {branching}, {radius}"
        )
    return float((depth * math.log(branching) / radius) ** 2)
