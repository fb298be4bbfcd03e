"""Hyperbolic attention by the compiled kernels."""

from __future__ import annotations

from typing import Any

from agentmem.attention.inputs import Floats, Mask
from agentmem.attention.native.common import checked
from agentmem.attention.reference.hyperbolic import Space


class HyperbolicKernels:
    """Attention by distance, aggregated by the Einstein midpoint."""

    _hyperbolic: Any

    def hyperbolic(
        self, query: Floats, key: Floats, value: Floats, *, space: Space, mask: Mask | None, want_weights: bool
    ) -> tuple[Floats, Floats | None]:
        """Hyperbolic attention."""
        numbers = space.curvature, space.beta, space.clip, space.epsilon
        lorentz = space.model == "lorentz"
        out, weights, bad = self._hyperbolic.attend(
            query, key, value, *numbers, lorentz, space.tangent, mask, want_weights
        )
        checked(bad, query=query, key=key, value=value)
        return out, weights
