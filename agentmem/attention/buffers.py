"""Buffers: those of the caller, to write into, and those that are used again, so that nothing is allocated for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from agentmem.errors import InvalidInput


def deliver(output: NDArray[Any], out: object) -> NDArray[Any]:
    """Return ``output``, in ``out`` where that is given; what lies there already is not copied.

    Raises:
        InvalidInput: ``out`` is no array of the output's shape and dtype, or may not be written.
    """
    if out is None or out is output:
        return output
    if not isinstance(out, np.ndarray) or out.shape != output.shape or out.dtype != output.dtype:
        came = f"{out.dtype} of shape {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise InvalidInput(f"out: expected {output.dtype} of shape {output.shape}, came {came}")
    if not out.flags.writeable:
        raise InvalidInput("out: expected an array that may be written, came a read-only one")
    np.copyto(out, output)
    return out


def room(out: object, dtype: Any, *read: NDArray[Any] | None) -> NDArray[Any] | None:
    """Return ``out`` where a kernel may write to it while it reads other arrays, else None.

    Args:
        out: what a caller gave.
        dtype: of the output.
        read: the arrays that are read, or None.
    """
    if not isinstance(out, np.ndarray) or out.dtype != dtype:
        return None
    fits = out.flags.c_contiguous and out.flags.aligned and out.flags.writeable
    return out if fits and not any(np.may_share_memory(out, array) for array in read if array is not None) else None


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
