"""Late interaction in plain float64 NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.inputs import Floats


def coded(query: Floats) -> tuple[Floats, Floats]:
    """Return the rows of a query as whole numbers from −127 to 127, and their scales, both of a row's dtype.

    A row's scale is max |x| / 127; a row so short that its inverse is not finite becomes zeros with the scale 0.
    """
    largest = np.abs(query).max(1, initial=0)
    with np.errstate(divide="ignore", over="ignore"):
        inverse = query.dtype.type(127) / largest
    fits = np.isfinite(inverse) & (inverse > 0)
    codes = np.rint(query * np.where(fits, inverse, 0)[:, None])
    return codes, np.where(fits, largest / query.dtype.type(127), 0)


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
        """Return each row's Σ_i weights_i · max over its tokens of query_i · table row; NaN without tokens.

        With int8 codes the query is coded too; see ``coded``.
        """
        factors = weights.astype(np.float64)
        if table.dtype == np.int8:
            query, query_scales = coded(query)
            factors *= query_scales
        picked = np.arange(len(offsets) - 1) if rows is None else rows
        scores = np.full(len(picked), np.nan)
        for at, row in enumerate(picked):
            start, end = int(offsets[row]), int(offsets[row + 1])
            ids = tokens[start:end] if 0 <= start <= end <= len(tokens) else tokens[:0]
            ids = ids[ids < len(table)].astype(np.int64)
            if len(ids):
                vectors = table[ids].astype(np.float64)
                if scales is not None:
                    vectors *= scales[ids, None]
                scores[at] = factors @ (query.astype(np.float64) @ vectors.T).max(1)
        return scores
