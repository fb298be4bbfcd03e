"""Buffers that are used again, so that calls of the same shapes allocate nothing for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from agentmem.errors import InvalidInput


class BufferPool:
    """Arrays by shape and dtype; thread-safe.

    Args:
        max_bytes: of the arrays that wait at most; what is given back beyond that is dropped.

    Raises:
        InvalidInput: a number below 0.
    """

    def __init__(self, max_bytes: int = 64 << 20) -> None:
        if type(max_bytes) is not int or max_bytes < 0:
            raise InvalidInput(f"max_bytes: expected a whole number, at least 0, came {max_bytes!r}")
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._waiting: dict[tuple[tuple[int, ...], Any], list[NDArray[Any]]] = {}
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """Return the bytes of the arrays that wait."""
        return self._bytes

    def take(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array of that shape, C-contiguous, its content undefined."""
        key = (shape, np.dtype(dtype))
        with self._lock:
            waiting = self._waiting.get(key)
            if waiting:
                array = waiting.pop()
                self._bytes -= array.nbytes
                return array
        return np.empty(shape, dtype)

    def give(self, array: NDArray[Any]) -> None:
        """Take an array back that nobody uses any more, such as a result's output."""
        if not array.flags.c_contiguous or not array.flags.writeable or array.base is not None:
            return
        with self._lock:
            if self._bytes + array.nbytes <= self.max_bytes:
                self._waiting.setdefault((array.shape, array.dtype), []).append(array)
                self._bytes += array.nbytes

    @contextmanager
    def borrow(self, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> Iterator[NDArray[Any]]:
        """Lend an array for a ``with`` block."""
        array = self.take(shape, dtype)
        try:
            yield array
        finally:
            self.give(array)

    def clear(self) -> None:
        """Drop every array that waits."""
        with self._lock:
            self._waiting.clear()
            self._bytes = 0
