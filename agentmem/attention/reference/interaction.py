"""Late interaction in plain float64 NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.inputs import Floats


class InteractionReference:
    """Late interaction over token ids."""

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
        """Return each row's Σ_i weights_i · max over its tokens of query_i · table row."""
        picked = np.arange(len(offsets) - 1) if rows is None else rows
        scores = np.zeros(len(picked))
        for at, row in enumerate(picked):
            start, end = int(offsets[row]), int(offsets[row + 1])
            ids = tokens[start:end] if 0 <= start <= end <= len(tokens) else tokens[:0]
            ids = ids[ids < len(table)].astype(np.int64)
            if len(ids):
                vectors = table[ids].astype(np.float64)
                if scales is not None:
                    vectors *= scales[ids, None]
                scores[at] = weights.astype(np.float64) @ (query.astype(np.float64) @ vectors.T).max(1)
        return scores
