"""Late interaction by the compiled kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.inputs import Floats


class InteractionKernels:
    """Late interaction over token ids."""

    _maxsim: Any

    def maxsim(
        self,
        query: Floats,
        weights: Floats,
        table: NDArray[Any],
        scales: Floats | None,
        offsets: NDArray[np.int64],
        tokens: NDArray[Any],
        rows: NDArray[np.int64] | None,
    ) -> Floats:
        """Late interaction."""
        scores: Floats = self._maxsim.maxsim(query, weights, table, scales, offsets, tokens, rows)
        return scores
