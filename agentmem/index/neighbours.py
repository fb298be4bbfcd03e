"""The rows around a row in its thread, in order of (position, label), wherever the parts of a view keep them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from agentmem.index import kernels
from agentmem.index.scope import LivePart, Scope
from agentmem.index.tail import Tail
from agentmem.records import Int64

Neighbours = tuple[NDArray[np.int32], NDArray[np.int8], Int64]
"""owner (an index into the rows asked about), offset (rank distance, negative before), global row."""

_ROW_BITS = 32
"""Global rows are smaller than two to this power."""


@dataclass(frozen=True, slots=True)
class _Order:
    """A thread's global rows, in its order and ascending, the places of the latter, and the tail's rows that it has."""

    rows: Int64
    ascending: Int64
    places: Int64
    tail_rows: Int64


class SegmentThreads:
    """Where each thread lies in the segments of a view.

    It serves every view over the same segments, and keeps the order of threads that lie in several parts: while the
    tail gives the same array of rows, the order stands.
    """

    def __init__(self, segments: Sequence[LivePart]) -> None:
        self._segments = segments
        self._orders: dict[int, _Order] = {}

    @cached_property
    def _table(self) -> tuple[Int64, Int64, Int64]:
        """Every run of one thread's rows: keys ascending (earlier segments first), first global row, length."""
        keys, firsts, lengths = [], [], []
        for live in self._segments:
            column = live.part.thread_key
            bounds = np.flatnonzero(np.diff(column, prepend=0, append=0))
            starts = bounds[:-1]
            kept = column[starts] != 0
            keys.append(column[starts[kept]])
            firsts.append(starts[kept] + live.base)
            lengths.append(np.diff(bounds)[kept])
        all_keys = np.concatenate([np.empty(0, np.int64), *keys])
        order = np.argsort(all_keys, kind="stable")
        return all_keys[order], np.concatenate([all_keys[:0], *firsts])[order], np.concatenate(lengths)[order]

    @cached_property
    def split(self) -> frozenset[int]:
        """The threads that lie in more than one segment."""
        if len(self._segments) < 2:
            return frozenset()
        keys = self._table[0]
        return frozenset(keys[1:][keys[1:] == keys[:-1]].tolist())

    def order(self, key: int, tail: Tail, base: int) -> _Order:
        """Return the order of a thread over the segments and a tail whose first global row is ``base``."""
        tail_rows = tail.thread(key)
        known = self._orders.get(key)
        if known is not None and known.tail_rows is tail_rows:
            return known
        rows, positions = np.empty(0, np.int64), np.empty(0)
        for live, run in self._runs(key):
            rows, positions = _merged(rows, positions, run, live.part.position[run - live.base])
        rows, _ = _merged(rows, positions, tail_rows + base, tail.position[tail_rows])
        places = np.argsort(rows)
        order = _Order(rows, rows[places], places, tail_rows)
        self._orders[key] = order
        return order

    def _runs(self, key: int) -> Iterator[tuple[LivePart, Int64]]:
        """Return the segments that hold rows of a thread, with its global rows there."""
        if not self._segments:
            return
        keys, firsts, lengths = self._table
        low, high = np.searchsorted(keys, key, "left"), np.searchsorted(keys, key, "right")
        for first, length in zip(firsts[low:high].tolist(), lengths[low:high].tolist(), strict=True):
            live = next(live for live in reversed(self._segments) if live.base <= first)
            yield live, np.arange(first, first + length)


class Neighbourhood:
    """Answers for one view."""

    def __init__(self, parts: Sequence[LivePart], tail: Tail, threads: SegmentThreads) -> None:
        self._parts = parts
        self._tail = tail
        self._threads = threads

    def find(self, split: Sequence[tuple[int, Int64, Int64]], radius: int, scope: Scope) -> Neighbours:
        """Return the neighbours of rows.

        Args:
            split: (part, indices of the rows in the question, local rows) for each part that has some.
            radius: ranks to either side, 1 to 127.
            scope: only its rows are counted and returned.
        """
        found: list[Neighbours] = []
        shared: list[tuple[Int64, Int64, Int64]] = []
        whole = self._tail.n == 0 and not self._threads.split
        for number, owners, rows in split:
            part = self._parts[number].part
            if whole:
                found.append(self._within(scope, number, owners, rows, radius))
                continue
            keys = part.thread_key[rows]
            scattered = self._scattered(part, keys)
            if scattered.any():
                shared.append((owners[scattered], keys[scattered], rows[scattered] + self._parts[number].base))
                rows, owners = rows[~scattered], owners[~scattered]
            if len(rows):
                found.append(self._within(scope, number, owners, rows, radius))
        if shared:
            found.append(self._across(shared, radius, scope))
        if len(found) == 1:
            return found[0]
        if not found:
            return np.empty(0, np.int32), np.empty(0, np.int8), np.empty(0, np.int64)
        owner, offset, row = zip(*found, strict=True)
        return np.concatenate(owner), np.concatenate(offset), np.concatenate(row)

    def _scattered(self, part: object, keys: Int64) -> NDArray[np.bool_]:
        """Return which of the threads do not lie as adjacent rows of one segment."""
        if part is self._tail:
            return np.not_equal(keys, 0)
        split, tail = self._threads.split, self._tail.thread_keys()
        return np.fromiter((key in tail or key in split for key in keys.tolist()), np.bool_, len(keys))

    def _within(self, scope: Scope, number: int, owners: Int64, rows: Int64, radius: int) -> Neighbours:
        part = scope.parts[number]
        owner, offset, row = kernels.window(part.part.thread_key, part.mask, part.start, part.stop, rows, radius)
        return owners[owner].astype(np.int32), offset, row + part.base

    def _across(self, shared: Sequence[tuple[Int64, Int64, Int64]], radius: int, scope: Scope) -> Neighbours:
        """Lay the threads end to end and look there, as if they were one segment."""
        owners, keys, rows = (np.concatenate(column) for column in zip(*shared, strict=True))
        distinct, which = np.unique(keys, return_inverse=True)
        orders = [self._threads.order(key, self._tail, self._parts[-1].base) for key in distinct.tolist()]
        stops = np.cumsum([len(order.rows) for order in orders])
        starts = np.concatenate([np.zeros(1, np.int64), stops[:-1]])
        threads = np.repeat(np.arange(len(orders)), stops - starts)
        line = np.concatenate([order.rows for order in orders])
        ascending = np.concatenate([order.ascending for order in orders]) + (threads << _ROW_BITS)
        places = np.concatenate([order.places for order in orders]) + starts[threads]
        asked = places[np.searchsorted(ascending, rows + (which << _ROW_BITS))]
        mask = scope.holds(line).view(np.uint8)
        owner, offset, place = kernels.window(threads + 1, mask, 0, len(line), asked, radius)
        return owners[owner].astype(np.int32), offset, line[place]


def _merged(
    order: Int64, positions: NDArray[np.float64], rows: Int64, added: NDArray[np.float64]
) -> tuple[Int64, NDArray[np.float64]]:
    """Merge rows in order of position into others, after equal ones: labels of later parts are higher."""
    if not len(order):
        return rows, added
    places = np.searchsorted(positions, added, side="right")
    return np.insert(order, places, rows), np.insert(positions, places, added)
