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
        out, weights, bad = self._run_hyperbolic(query, key, value, space, mask, want_weights)
        checked(bad, query=query, key=key, value=value)
        return out, weights

    def hyperbolic_scores(self, query: Floats, key: Floats, *, space: Space) -> Floats:
        """−beta · distance, (n_queries, n_keys)."""
        scores: Floats
        _, scores, bad = self._run_hyperbolic(query, key, None, space, None, True)
        checked(bad, query=query, key=key)
        return scores

    def _run_hyperbolic(
        self, query: Floats, key: Floats, value: Floats | None, space: Space, mask: Mask | None, want_weights: bool
    ) -> Any:
        numbers = space.curvature, space.beta, space.clip, space.epsilon
        lorentz = space.model == "lorentz"
        return self._hyperbolic.attend(query, key, value, *numbers, lorentz, space.tangent, mask, want_weights)
