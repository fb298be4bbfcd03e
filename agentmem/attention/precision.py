"""Rows brought to the precision that a service computes in, in buffers that are used again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.buffers import BufferPool
from agentmem.validation import check_choice

PRECISIONS = ("float32", "float64")
STORED = ("float16", "bfloat16", *PRECISIONS)
"""dtypes that are converted; bfloat16 is that of ml_dtypes.  What has another one is left for ``attend`` to refuse."""


class Precision:
    """Converts rows to one dtype.

    Args:
        name: "float32" or "float64".
        buffers: where the converted rows lie.

    Raises:
        InvalidInput: another word.
    """

    def __init__(self, name: str, buffers: BufferPool) -> None:
        self.dtype = np.dtype(check_choice(name, "precision", PRECISIONS))
        self._buffers = buffers

    @contextmanager
    def rows(self, *given: object) -> Iterator[tuple[NDArray[Any], ...]]:
        """Give the arrays in this precision; buffers are taken back at the end, so no result may lie in them."""
        converted = tuple(self._converted(array) for array in given)
        try:
            yield converted
        finally:
            for array, came in zip(converted, given, strict=True):
                if array is not came and array.dtype == self.dtype:
                    self._buffers.give(array)

    def _converted(self, array: object) -> NDArray[Any]:
        came = np.asarray(array)
        if came.dtype == self.dtype or came.dtype.name not in STORED:
            return came
        buffer = self._buffers.take(came.shape, self.dtype)
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
            np.copyto(buffer, came, casting="unsafe")
        return buffer
