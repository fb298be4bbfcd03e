"""The boundary: every array is checked here once; errors say what was expected, what came, and the remedy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.errors import InvalidInput, InvalidVector

Floats = NDArray[Any]
"""float32 or float64."""
Mask = NDArray[np.bool_]


def floats(name: str, array: object, ndims: tuple[int, ...]) -> Floats:
    """Return ``array`` as an aligned C-contiguous float32 or float64 array; no copy where it is one.

    Raises:
        InvalidInput: another type, dtype or number of dimensions, or rows of no length.
    """
    came = array if type(array) is np.ndarray else np.asarray(array)
    if came.dtype != np.float32 and came.dtype != np.float64:
        raise InvalidInput(f"{name}: expected float32 or float64, came {came.dtype}; convert with astype(np.float32)")
    if came.ndim not in ndims:
        expected = " or ".join(f"{ndim} dimensions" for ndim in ndims)
        raise InvalidInput(f"{name}: expected {expected}, came shape {came.shape}; reshape it")
    if came.shape[-1] == 0:
        raise InvalidVector(f"{name}: expected rows of at least one number, came shape {came.shape}")
    flags = came.flags
    return came if flags.c_contiguous and flags.aligned else np.require(came, requirements=["C", "A"])


def integers(name: str, array: object, count: int) -> NDArray[np.int64]:
    """Return ``array`` as int64 of shape (count,).

    Raises:
        InvalidInput: not integers, or another shape.
    """
    came = np.asarray(array)
    if came.dtype.kind not in "iu" or came.shape != (count,):
        raise InvalidInput(
            f"{name}: expected integers of shape ({count},), one per key, came {came.dtype} of shape {came.shape}"
        )
    return came.astype(np.int64)


def distinct(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the numbers in order, each once; np.unique hashes them first, and takes several times as long."""
    ordered = np.sort(numbers)
    first = np.ones(len(ordered), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first]


def same_dtype(*arrays: Floats) -> tuple[Floats, ...]:
    """Return the arrays in one dtype: float64 where any of them is."""
    if all(array.dtype == arrays[0].dtype for array in arrays):
        return arrays
    dtype = np.result_type(*arrays)
    return tuple(array if array.dtype == dtype else array.astype(dtype) for array in arrays)


def require_finite(**arrays: Floats | None) -> None:
    """Raise InvalidVector for the first array that holds NaN or infinity, saying where."""
    for name, array in arrays.items():
        if array is not None and not np.isfinite(array).all():
            where = np.argwhere(~np.isfinite(array))[0].tolist()
            raise InvalidVector(f"{name}: expected finite numbers, came NaN or infinity at {where}; clean the vectors")


def require_width(key: Floats, dim: int, name: str = "key") -> None:
    """Raise InvalidVector unless the rows of ``key`` are ``dim`` long."""
    if key.shape[-1] != dim:
        raise InvalidVector(f"{name}: expected rows of {dim} numbers as in query, came shape {key.shape}")


def triple(query: object, key: object, value: object, grouped: bool = False) -> tuple[Floats, Floats, Floats]:
    """Return query, key and value (key where None), of one dtype and of shapes that fit together.

    ``grouped`` keys and values may have fewer heads than the query, a divisor of its number.

    Raises:
        InvalidInput: the arrays do not fit; InvalidVector where it is the dimension.
    """
    q, k = floats("query", query, (2, 3)), floats("key", key, (2, 3))
    v = k if value is None else floats("value", value, (2, 3))
    fits = q.ndim == k.ndim == v.ndim and k.shape[:-1] == v.shape[:-1]
    if fits and q.shape[:-2] != k.shape[:-2]:
        fits = grouped and len(k) > 0 and len(q) % len(k) == 0
    if not fits:
        raise InvalidInput(
            "expected query (n_queries, dim), key (n_keys, dim), value (n_keys, value_dim), or all three with n_heads "
            f"in front; came query {q.shape}, key {k.shape}, value {v.shape}"
        )
    require_width(k, q.shape[-1])
    if v is k:
        q, k = same_dtype(q, k)
        return q, k, k
    q, k, v = same_dtype(q, k, v)
    return q, k, v


def keep_mask(mask: object, heads: int, n_queries: int, n_keys: int) -> Mask | None:
    """Return ``mask`` C-contiguous, True = keep, of shape (n_keys,), (n_queries, n_keys) or (heads, n_queries, n_keys).

    Raises:
        InvalidInput: not bool, or another shape.
    """
    if mask is None:
        return None
    came = np.asarray(mask)
    full = (heads, n_queries, n_keys)
    if came.dtype != np.bool_ or came.shape not in (full[2:], full[1:], full):
        raise InvalidInput(
            f"mask: expected bool (True = keep) of shape {full[2:]}, {full[1:]} or {full}, "
            f"came {came.dtype} of shape {came.shape}"
        )
    return np.ascontiguousarray(came)


def split_heads(heads: int, **arrays: Floats) -> None:
    """Raise InvalidInput unless every row can be split into that many heads."""
    for name, array in arrays.items():
        if array.ndim == 2 and array.shape[-1] % heads:
            raise InvalidInput(
                f"{name}: {heads} heads do not divide {array.shape[-1]} dimensions; choose a divisor, or pad"
            )


def no_head_axis(mechanism: str, query: Floats, mask: Mask | None) -> None:
    """Raise InvalidInput where query or mask has heads in front."""
    if query.ndim == 3 or (mask is not None and mask.ndim == 3):
        raise InvalidInput(f"{mechanism} has no head axis: expected arrays of 2 dimensions, and masks of at most 2")
