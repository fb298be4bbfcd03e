"""Masks as small predicates that are put together with ``&``, ``|`` and ``~``; True = keep.

::

    keep = masks.causal() & masks.window(128) | masks.first(4)
    attend(query, key, mask=keep.array(n_queries, n_keys), mechanism="scaled-dot")

A predicate sees the position of a query row and of a key row.  Queries are the last rows of the sequence, as in
``attend``: with fewer queries than keys, query 0 is row n_keys − n_queries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.inputs import Mask
from agentmem.errors import InvalidInput

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Keep:
    """A predicate over positions.

    Attributes:
        test: (query positions, key positions), broadcast against each other, to bool.
    """

    test: Callable[[Rows, Rows], Any]

    def __and__(self, other: Keep) -> Keep:
        """Keep what both keep."""
        return Keep(lambda i, j: self.test(i, j) & other.test(i, j))

    def __or__(self, other: Keep) -> Keep:
        """Keep what either keeps."""
        return Keep(lambda i, j: self.test(i, j) | other.test(i, j))

    def __invert__(self) -> Keep:
        """Keep what it does not keep."""
        return Keep(lambda i, j: ~self.test(i, j))

    def array(self, n_queries: int, n_keys: int) -> Mask:
        """Return the mask, bool (n_queries, n_keys).

        Raises:
            InvalidInput: lengths below 0.
        """
        _count(n_queries, "n_queries", 0)
        _count(n_keys, "n_keys", 0)
        queries = np.arange(n_keys - n_queries, n_keys, dtype=np.int64)[:, None]
        kept = self.test(queries, np.arange(n_keys, dtype=np.int64)[None])
        return np.ascontiguousarray(np.broadcast_to(kept, (n_queries, n_keys)))


def _count(value: int, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InvalidInput(f"{name}: expected a whole number, at least {least}, came {value!r}")
    return int(value)


def causal() -> Keep:
    """Keep the keys up to the query's own position."""
    return Keep(lambda i, j: j <= i)


def window(before: int, after: int | None = None) -> Keep:
    """Keep the keys within ``before`` places before the query and ``after`` behind it (as many where None).

    Raises:
        InvalidInput: a number below 0.
    """
    back = _count(before, "before", 0)
    ahead = back if after is None else _count(after, "after", 0)
    return Keep(lambda i, j: (j >= i - back) & (j <= i + ahead))


def first(count: int) -> Keep:
    """Keep the first ``count`` keys: a prefix, or what stands before the padding.

    Raises:
        InvalidInput: a number below 0.
    """
    kept = _count(count, "count", 0)
    return Keep(lambda i, j: j < kept)


def segments(ids: object) -> Keep:
    """Keep the keys of the query's own segment; a negative id is of none.

    Args:
        ids: integers (n_keys,), one a row of the sequence.

    Raises:
        InvalidInput: not such integers.
    """
    came = np.asarray(ids)
    if came.ndim != 1 or came.dtype.kind not in "iu":
        raise InvalidInput(f"ids: expected integers of one dimension, came {came.dtype} of shape {came.shape}")
    return Keep(lambda i, j: (came[i] == came[j]) & (came[j] >= 0))


def padding(lengths: object, n_keys: int) -> Mask:
    """Return bool (batch, n_keys) that keeps the first ``lengths`` keys of each sequence of a batch.

    Args:
        lengths: whole numbers (batch,), from 0 to n_keys.
        n_keys: to which the sequences are padded.

    Raises:
        InvalidInput: not such numbers.
    """
    came = np.asarray(lengths)
    if came.ndim != 1 or came.dtype.kind not in "iu" or (came.size and not 0 <= came.min() <= came.max() <= n_keys):
        raise InvalidInput(f"lengths: expected whole numbers from 0 to {n_keys} of one dimension, came {came.tolist()}")
    kept: Mask = np.arange(n_keys) < came[:, None]
    return kept
