"""What every mechanism owes, whatever its formula: said once, asked of each family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from agentmem.attention import attend
from agentmem.errors import InvalidVector

Array = NDArray[Any]
Inputs = Callable[[int, int, int], dict[str, Any]]
"""(dim, n_queries, n_keys) -> params, weights, positions ... of ``attend``."""


def rows(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def weights_are_effective(name: str, inputs: dict[str, Any], backend: str, n_queries: int = 40, dim: int = 12) -> None:
    """With the identity as values the output is the weights, mean over heads where there are several."""
    n_keys = dim  # so that the values of every mechanism, those with a residual too, are as wide as its rows
    query, key = rows(1, n_queries, dim), rows(2, n_keys, dim)
    came = attend(query, key, rows(3, n_keys, dim), mechanism=name, return_weights=True, backend=backend, **inputs)
    assert came.weights is not None
    heads = len(came.weights) if came.weights.ndim == 3 else 1
    by_head = came.weights if came.weights.ndim == 3 else came.weights[None]
    identity = np.tile(np.eye(n_keys, dtype=np.float32), (1, heads))
    out = attend(query, key, identity, mechanism=name, backend=backend, **inputs).output
    np.testing.assert_allclose(out.reshape(n_queries, heads, n_keys).transpose(1, 0, 2), by_head, rtol=2e-4, atol=2e-6)


def nothing_to_see_gives_zeros(name: str, inputs: Inputs, backend: str, dim: int = 8) -> None:
    """No keys, or only masked ones: zeros, never NaN; no queries: no rows."""
    query, key = rows(4, 3, dim), rows(5, 6, dim)
    hidden = attend(
        query, key, mechanism=name, mask=np.zeros(6, bool), return_weights=True, backend=backend, **inputs(dim, 3, 6)
    )
    assert (hidden.output == 0).all()
    assert hidden.weights is not None
    assert (hidden.weights == 0).all()
    empty = attend(query, key[:0], mechanism=name, return_weights=True, backend=backend, **inputs(dim, 3, 0))
    assert (empty.output == 0).all()
    assert attend(query[:0], key, mechanism=name, backend=backend, **inputs(dim, 0, 6)).output.shape == (0, dim)


def masked_keys_are_absent(name: str, inputs: Inputs, backend: str, tolerance: float = 2e-5) -> None:
    """A mask over keys does what leaving them out does."""
    query, key, value = rows(6, 4, 8), rows(7, 33, 8), rows(8, 33, 8)
    mask = np.random.default_rng(9).random(33) < 0.6
    came = attend(query, key, value, mechanism=name, mask=mask, backend=backend, **inputs(8, 4, 33)).output
    without = attend(
        query, key[mask], value[mask], mechanism=name, backend=backend, **inputs(8, 4, int(mask.sum()))
    ).output
    np.testing.assert_allclose(came, without, rtol=1e-4, atol=tolerance)


def heads_in_front_are_heads_split(name: str, inputs: dict[str, Any], backend: str) -> None:
    """(n, heads · d) with heads as a parameter, and (heads, n, d), are the same numbers."""
    query, key, value = rows(10, 5, 12), rows(11, 31, 12), rows(12, 31, 6)

    def split(x: Array) -> Array:
        return np.ascontiguousarray(x.reshape(len(x), 3, -1).transpose(1, 0, 2))

    params = inputs.pop("params", {})
    merged = attend(query, key, value, mechanism=name, params={**params, "heads": 3}, backend=backend, **inputs)
    front = attend(split(query), split(key), split(value), mechanism=name, params=params, backend=backend, **inputs)
    np.testing.assert_allclose(front.output, split(merged.output), rtol=1e-5, atol=1e-6)


def bad_numbers_are_refused(name: str, inputs: Inputs, backend: str) -> None:
    """NaN and infinity are told by array and place, masked or not."""
    for which in ("query", "key", "value"):
        for bad in (np.nan, np.inf, -np.inf):
            arrays = {part: rows(13, 9, 8) for part in ("query", "key", "value")}
            arrays[which][4, 3] = bad
            for mask in (None, np.zeros(9, bool)):
                with pytest.raises(InvalidVector, match=rf"{which}: expected finite numbers, .* at \[4, 3\]"):
                    attend(**arrays, mechanism=name, mask=mask, backend=backend, **inputs(8, 9, 9))


def float64_is_kept(name: str, inputs: Inputs) -> None:
    """float64 comes back as float64, with more digits than float32 has."""
    arrays = [rows(seed, 9, 8).astype(np.float64) for seed in (14, 15, 16)]
    came = attend(*arrays, mechanism=name, **inputs(8, 9, 9))
    assert (came.output.dtype, came.backend) == (np.float64, "numpy")
    half = attend(*(x.astype(np.float32) for x in arrays), mechanism=name, **inputs(8, 9, 9))
    assert half.output.dtype == np.float32
    np.testing.assert_allclose(half.output, came.output, rtol=1e-3, atol=1e-4)
