"""Rows apart by heads, and back."""

from __future__ import annotations

import numpy as np

from agentmem.attention.inputs import Floats


def apart(x: Floats, heads: int) -> Floats:
    """Return (n, heads · d) as C-contiguous (heads, n, d); three dimensions stay."""
    if x.ndim == 3:
        return x
    if heads == 1:
        return x[None]
    return np.ascontiguousarray(x.reshape(len(x), heads, -1).transpose(1, 0, 2))


def together(x: Floats, like: Floats) -> Floats:
    """Return (heads, n, d) as ``like`` is: with heads in front, or (n, heads · d)."""
    if like.ndim == 3:
        return x
    return np.ascontiguousarray(x.transpose(1, 0, 2)).reshape(x.shape[1], x.shape[0] * x.shape[2])
