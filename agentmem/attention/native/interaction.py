"""Late interaction by the compiled kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.inputs import Floats


class InteractionKernels:
    """Late interaction over token ids."""

    late: Any

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
        """Return each row's score, from arrays that fit; see ``reference.interaction``."""
        scores: Floats = self.late(query, weights, table, scales, offsets, tokens, rows)
        return scores
