"""Slices of several lengths, kept as one array and the offsets between them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.records import Int64


def take_ragged(offsets: Int64, data: NDArray[Any], order: Int64) -> tuple[Int64, NDArray[Any]]:
    """Return the slices ``data[offsets[i]:offsets[i + 1]]`` for i in ``order``, as offsets and data of their own."""
    starts = offsets[order]
    sizes = offsets[order + 1] - starts
    result = np.zeros(len(order) + 1, np.int64)
    np.cumsum(sizes, out=result[1:])
    return result, data[np.repeat(starts - result[:-1], sizes) + np.arange(result[-1])]
