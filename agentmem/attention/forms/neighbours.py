"""The local context of a query: the keys near it in position, within its own segment."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Pair = tuple[NDArray[np.float64], NDArray[np.float64]]
Segments = tuple[NDArray[np.int64], NDArray[np.int64]] | None


class Neighbours(NamedTuple):
    """Where each query's keys stand.

    Attributes:
        order: key rows by segment, then position, int64 (n_keys,).
        first: int64 (n_queries,); the neighbours of query i are order[first_i : last_i].
        last: int64 (n_queries,); equal to ``first`` where there are none.
    """

    order: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]


def neighbours(positions: Pair, segment_ids: Segments, window: float) -> Neighbours:
    """Return, for each query, the keys of its segment at most ``window`` places away.

    Args:
        positions: of queries and of keys; NaN, infinity and a negative segment mean near nothing.
        segment_ids: of queries and of keys; None where all are of one.
        window: reach on either side.
    """
    (of_query, of_key), counts = positions, [len(x) for x in positions]
    segments = segment_ids or (np.zeros(counts[0], np.int64), np.zeros(counts[1], np.int64))
    edges = np.unique(np.concatenate([of_key, of_query - window, of_query + window]))
    queried, held = (
        np.where(~np.isfinite(place) | (segment < 0), -1, np.unique(np.concatenate(segments)).searchsorted(segment))
        for place, segment in zip(positions, segments, strict=True)
    )
    length = len(edges) + 1
    keys = np.where(held < 0, -1, held * length + edges.searchsorted(of_key))
    order = np.argsort(keys, kind="stable")
    low = queried * length + edges.searchsorted(of_query - window)
    high = queried * length + edges.searchsorted(of_query + window)
    first = keys[order].searchsorted(low, side="left")
    last = np.where(queried < 0, first, keys[order].searchsorted(high, side="right"))
    return Neighbours(order, first, last)
