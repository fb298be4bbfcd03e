"""Attention by distance in hyperbolic space."""

from __future__ import annotations

from dataclasses import replace

from agentmem.attention.catalogue.shared import PROJECTIONS
from agentmem.attention.mechanism import Mechanism, Parameter

MANIFOLD = tuple(replace(weight, meaning=f"{weight.meaning}; inner is manifold_dim") for weight in PROJECTIONS[:3])

MECHANISMS = (
    Mechanism(
        name="hyperbolic-attention",
        category="hyperbolic",
        summary="weights ∝ exp(−beta · distance), values aggregated by the Einstein midpoint",
        formula="a_ij = SM −beta · d(exp q_i, exp k_j); the output is Σ a_ij γ_j v_j / Σ a_ij γ_j in the Klein model",
        form="hyperbolic",
        score="distance",
        parameters=(
            Parameter(name="model", default="poincare", meaning="chart of the space", choices=("poincare", "lorentz")),
            Parameter(name="curvature", default=1.0, meaning="c: the curvature is −c", positive=True, maximum=10),
            Parameter(name="beta", default=1.0, meaning="inverse temperature of the distance", positive=True),
            Parameter(name="clip", default=4.0, meaning="longest tangent vector kept", positive=True, maximum=10),
            Parameter(name="epsilon", default=1e-5, meaning="margin to the ball's rim", minimum=1e-7, maximum=0.1),
            Parameter(name="tangent", default=True, meaning="rows are tangent vectors, not points of the chart"),
        ),
        weights=MANIFOLD,
        can_reorder=True,
        why="through learned projections, or the norms, as a depth; rows of equal norm keep the cosine's order",
        best_for="memories of a hierarchy whose norms carry depth; curvature_for_depth() has the curvature",
        paper="Gulcehre 2018, arXiv:1805.09786",
    ),
)
