"""int8 codes of float32 rows: symmetric, one scale a row, so that a dot product is one integer sum and one product."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agentmem.index.part import CODE_ALIGN
from agentmem.records import Float32

CHUNK = 4096
"""Rows worked on at a time: temporary memory stays in the megabytes."""


def code_stride(dimension: int) -> int:
    """Return the bytes of one row of codes: ``dimension`` rounded up to a multiple of CODE_ALIGN."""
    return -(-dimension // CODE_ALIGN) * CODE_ALIGN


def quantise(vectors: Float32) -> tuple[NDArray[np.int8], Float32]:
    """Return codes and scales such that ``vectors ≈ scales[:, None] * codes[:, :dim]``.

    Args:
        vectors: float32 (n, dim), finite.

    Returns:
        int8 (n, stride), zero-padded, and float32 (n,): max|x| / 127 of each row, 0 for a row of zeros.
    """
    count, dimension = vectors.shape
    codes = np.zeros((count, code_stride(dimension)), np.int8)
    scales = np.zeros(count, np.float32)
    for start in range(0, count, CHUNK):
        chunk = vectors[start : start + CHUNK]
        largest = np.abs(chunk).max(axis=1, initial=0.0)
        scales[start : start + CHUNK] = largest / np.float32(127)
        inverse = np.divide(np.float32(127), largest, out=np.zeros_like(largest), where=largest > 0)
        scaled = np.minimum(np.abs(chunk) * inverse[:, None], np.float32(127))
        codes[start : start + CHUNK, :dimension] = np.copysign(np.rint(scaled), chunk)
    return codes, scales
