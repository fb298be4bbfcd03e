"""Positions: the rows' own numbers, and the sinusoidal code that is added to rows where a mechanism sees no order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agentmem.errors import InvalidInput


def row_order(n_queries: int, n_keys: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the positions that ``attend`` goes by where none are given: the queries are the last rows.

    Returns:
        float64 (n_queries,) and (n_keys,).
    """
    keys = np.arange(n_keys, dtype=np.float64)
    return np.arange(n_keys - n_queries, n_keys, dtype=np.float64), keys


def sinusoidal(positions: object, dim: int, theta: float = 10_000.0) -> NDArray[np.float32]:
    """Return sin and cos of each position at dim / 2 wavelengths, in alternation: PE(p, 2i) = sin(p / theta^(2i/dim)).

    Args:
        positions: finite numbers (n,).
        dim: even, at least 2.
        theta: the longest wavelength over 2π.

    Returns:
        float32 (n, dim).

    Raises:
        InvalidInput: an odd dimension, or positions that are not finite numbers of one dimension.

    Source: Vaswani 2017, arXiv:1706.03762, section 3.5.
    """
    place = np.asarray(positions, np.float64)
    if dim < 2 or dim % 2:
        raise InvalidInput(f"dim: expected an even number, at least 2, came {dim}")
    if place.ndim != 1 or not np.isfinite(place).all():
        raise InvalidInput(f"positions: expected finite numbers of one dimension, came shape {place.shape}")
    angle = place[:, None] * theta ** (-np.arange(0, dim, 2) / dim)
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(len(place), dim).astype(np.float32)
