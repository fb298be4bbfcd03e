"""Routing by the compiled kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.inputs import Floats


class RoutingKernels:
    """Routing of queries to experts."""

    _attention: Any

    def route(self, logits: Floats, k: int, capacity: int) -> tuple[NDArray[np.int32], Floats]:
        """Experts and gates of each query."""
        routed: tuple[NDArray[np.int32], Floats] = self._attention.route(logits, k, capacity)
        return routed
