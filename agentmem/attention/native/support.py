"""Attention over a support by the compiled kernels."""

from __future__ import annotations

from typing import Any

from agentmem.attention.inputs import Floats, Mask, require_finite
from agentmem.attention.native.common import checked
from agentmem.attention.supports import Support


class SupportKernels:
    """Softmax over a few runs of keys a query."""

    _support: Any

    def support(
        self,
        query: Floats,
        key: Floats,
        value: Floats,
        *,
        support: Support,
        heads: int = 1,
        scale: float | None = None,
        additive: Floats | None = None,
        slope: float = 0.2,
        mask: Mask | None = None,
        want_weights: bool = False,
    ) -> tuple[Floats, Floats | None]:
        """Attention over a support, at a cost proportional to it."""
        require_finite(query=query, key=key, value=value)  # rows outside every support are never read
        head_dim = query.shape[-1] // (heads if query.ndim == 2 else 1)
        scale = head_dim**-0.5 if scale is None else scale
        largest = int(support.sizes.max(initial=0))
        out, weights, bad = self._support.attend(
            query, key, value, heads, support.offsets, support.runs, largest, scale, additive, slope, mask, want_weights
        )
        checked(bad)
        return out, weights
