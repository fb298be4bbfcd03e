"""Attention by distance in hyperbolic space."""

from __future__ import annotations

from agentmem.attention.mechanism import Mechanism, Parameter

MECHANISMS = (
    Mechanism(
        name="hyperbolic-attention",
        category="hyperbolic",
        summary="weights ∝ exp(−beta · distance), values aggregated by the Einstein midpoint",
        form="hyperbolic",
        parameters=(
            Parameter(name="model", default="poincare", meaning="chart of the space", choices=("poincare", "lorentz")),
            Parameter(name="curvature", default=1.0, meaning="c: the curvature is −c", positive=True, maximum=10),
            Parameter(name="beta", default=1.0, meaning="inverse temperature of the distance", positive=True),
            Parameter(name="clip", default=4.0, meaning="longest tangent vector kept", positive=True, maximum=10),
            Parameter(name="epsilon", default=1e-5, meaning="margin to the ball's rim", minimum=1e-7, maximum=0.1),
            Parameter(name="tangent", default=True, meaning="rows are tangent vectors, not points of the chart"),
        ),
        can_reorder=True,
        why="only through the norms, as a depth; with rows of equal norm the order is the cosine's",
        paper="Gulcehre 2018, arXiv:1805.09786",
    ),
)
