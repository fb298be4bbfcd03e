"""Which rows a search may find: a range and a mask for every part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from agentmem.index import kernels
from agentmem.index.ragged import distinct
from agentmem.index.segment import Segment
from agentmem.index.tail import Tail
from agentmem.records import Int64

Mask = NDArray[np.uint8]

SPARSE_SHARE = 16
"""A label set of fewer than one row in this many is kept as a list of rows besides the mask."""


@dataclass(frozen=True)
class PartScope:
    """The rows of one part that a search may find.

    Attributes:
        part: the part.
        base: the global number of its first row.
        start, stop: the range that holds them all.
        mask: uint8 (n,), 1 for the rows in scope, or None when the whole range is.
        count: how many they are.
        rows: int64 ascending, the rows themselves where they are few, or None.
    """

    part: Segment | Tail
    base: int
    start: int
    stop: int
    mask: Mask | None
    count: int
    rows: Int64 | None = None

    @cached_property
    def texts(self) -> tuple[int, int]:
        """How many rows in scope have a text, and how many terms their texts have."""
        return kernels.count_texts(self.part.lengths, self.start, self.stop, self.mask)

    @cached_property
    def nodes(self) -> Mask | None:
        """Which graph nodes a walk may collect, uint8 (n,): rows in scope, representatives of such; None for all."""
        part = self.part
        graph = part.graph if isinstance(part, Segment) else None
        if self.count == part.n or graph is None:
            return None
        whole = self.start == 0 and self.stop == part.n
        if whole and graph.group_offsets is None:
            return self.mask
        nodes = np.zeros(part.n, np.uint8)
        window = slice(self.start, self.stop)
        nodes[window] = 1 if self.mask is None else self.mask[window]
        if graph.group_offsets is not None and graph.group_rows is not None:
            representatives = np.flatnonzero(np.diff(graph.group_offsets))
            firsts = graph.group_offsets[representatives]
            nodes[representatives] = np.maximum.reduceat(nodes[graph.group_rows], firsts)
        return nodes

    def all_rows(self) -> Int64:
        """Return the part's rows in scope, int64, ascending."""
        if self.mask is None:
            return np.arange(self.start, self.stop)
        return np.flatnonzero(self.mask[self.start : self.stop]) + self.start

    def holds(self, rows: Int64) -> NDArray[np.bool_]:
        """Return which of the part's rows are in scope, bool (m,)."""
        inside = (rows >= self.start) & (rows < self.stop)
        return inside if self.mask is None else inside & (self.mask[rows] != 0)


@dataclass(frozen=True, slots=True)
class Scope:
    """The rows that a search may find.

    Attributes:
        parts: one for each part of the view, in its order.
        count: rows in scope.
        population: the live rows of the namespace, expired or not and whatever the filter: what lexical statistics
            are taken over, so that a filter does not change the scores.
    """

    parts: tuple[PartScope, ...]
    count: int
    population: tuple[PartScope, ...]

    def holds(self, rows: Int64) -> NDArray[np.bool_]:
        """Return which global rows are in scope, bool (m,)."""
        result = np.zeros(len(rows), np.bool_)
        for part in self.parts:
            local = rows - part.base
            inside = np.flatnonzero((local >= 0) & (local < part.part.n))
            if len(inside):
                result[inside] = part.holds(local[inside])
        return result

    def rows(self) -> Int64:
        """Return all global rows in scope, int64, ascending."""
        return np.concatenate([part.all_rows() + part.base for part in self.parts])


@dataclass(frozen=True)
class LivePart:
    """A part of a view and which of its rows are alive.

    Attributes:
        part: the part.
        base: the global number of its first row.
        alive: uint8 (n,), or None when all rows are.
        n_dead: how many are not.
        min_expiry: no live row expires before this time.
    """

    part: Segment | Tail
    base: int
    alive: Mask | None = None
    n_dead: int = 0
    min_expiry: float = field(default=np.inf)

    @cached_property
    def whole(self) -> PartScope:
        """All live rows."""
        return PartScope(self.part, self.base, 0, self.part.n, self.alive, self.part.n - self.n_dead)

    def without(self, rows: Int64) -> LivePart:
        """Return the part with some of its rows dead; rows may be dead already."""
        part = self.part
        alive = np.ones(part.n, np.uint8) if self.alive is None else self.alive.copy()
        alive[rows] = 0
        n_dead = part.n - int(np.count_nonzero(alive))
        if n_dead == self.n_dead:
            return self
        min_expiry = self.min_expiry
        if (part.expires_at[rows] <= min_expiry).any() and min_expiry < np.inf:
            min_expiry = float(np.min(part.expires_at, where=alive.view(np.bool_), initial=np.inf))
        return LivePart(part, self.base, alive, n_dead, min_expiry)

    def grown(self, tail: Tail) -> LivePart:
        """Return the tail with the rows that were appended to it, all alive."""
        fresh = tail.n - self.part.n
        alive = self.alive
        if alive is not None:
            alive = np.concatenate([alive, np.ones(fresh, np.uint8)])
        added = tail.expires_at[self.part.n :]
        min_expiry = min(self.min_expiry, float(np.min(added, initial=np.inf)))
        return LivePart(tail, self.base, alive, self.n_dead, min_expiry)


def whole_scope(parts: Sequence[LivePart]) -> Scope:
    """Return the scope of all live rows, expired ones included."""
    scopes = tuple(part.whole for part in parts)
    return Scope(scopes, sum(scope.count for scope in scopes), scopes)


def namespace_scope(parts: Sequence[LivePart], namespace: str | None) -> Scope:
    """Return the scope of the live rows of a namespace, expired ones included.

    Args:
        parts: of the view.
        namespace: exact; with a trailing "/" the branch below it; None for everything.
    """
    scopes = tuple(_in_namespace(part, namespace) for part in parts)
    return Scope(scopes, sum(scope.count for scope in scopes), scopes)


def filtered(scope: Scope, labels: Int64) -> Scope:
    """Return a scope narrowed to the rows of some labels, int64, in any order."""
    scopes = tuple(_allowed(part, labels) for part in scope.parts)
    return Scope(scopes, sum(part.count for part in scopes), scope.population)


def unexpired(parts: Sequence[LivePart], scope: Scope, now: float) -> Scope:
    """Return a scope without the rows that expire at or before ``now``, epoch seconds."""
    if all(now < part.min_expiry for part in parts):
        return scope
    scopes = tuple(_unexpired(part, live, now) for part, live in zip(scope.parts, parts, strict=True))
    return Scope(scopes, sum(part.count for part in scopes), scope.population)


def _in_namespace(live: LivePart, namespace: str | None) -> PartScope:
    part = live.part
    if namespace is None:
        return live.whole
    if isinstance(part, Tail):
        inside = part.namespace_mask(namespace)
        if live.alive is not None:
            inside &= live.alive
        return PartScope(part, live.base, 0, part.n, inside, int(np.count_nonzero(inside)))
    branch = namespace.endswith("/")
    start, stop = part.prefix_range(namespace) if branch else part.namespace_range(namespace)
    mask = live.alive
    count = stop - start if mask is None else int(np.count_nonzero(mask[start:stop]))
    return PartScope(part, live.base, start, stop, mask, count)


def _unexpired(scope: PartScope, live: LivePart, now: float) -> PartScope:
    if now < live.min_expiry or scope.count == 0:
        return scope
    expires_at = scope.part.expires_at
    if scope.rows is not None:
        return _listed(scope, scope.rows[expires_at[scope.rows] > now])
    window = slice(scope.start, scope.stop)
    mask = np.zeros(scope.part.n, np.uint8)
    np.greater(expires_at[window], now, out=mask[window].view(np.bool_))
    return _masked(scope, mask)


def _allowed(scope: PartScope, labels: Int64) -> PartScope:
    if scope.count == 0:
        return scope
    part = scope.part
    if len(labels) * SPARSE_SHARE < part.n:
        rows = distinct(part.rows_of(labels))
        return _listed(scope, rows[scope.holds(rows)])
    return _masked(scope, _label_mask(part, labels))


def _listed(scope: PartScope, rows: Int64) -> PartScope:
    mask = np.zeros(scope.part.n, np.uint8)
    mask[rows] = 1
    return PartScope(scope.part, scope.base, scope.start, scope.stop, mask, len(rows), rows)


def _label_mask(part: Segment | Tail, labels: Int64) -> Mask:
    last = int(part.labels.max())
    labels = labels[(labels >= 0) & (labels <= last)]
    if last < 64 * part.n:
        by_label = np.zeros(last + 1, np.uint8)
        by_label[labels] = 1
        return by_label[part.labels]
    rows = part.rows_of(labels)
    mask = np.zeros(part.n, np.uint8)
    mask[rows[rows >= 0]] = 1
    return mask


def _masked(scope: PartScope, mask: Mask) -> PartScope:
    """Narrow a scope by a mask, which is this function's to change."""
    if scope.mask is not None:
        mask &= scope.mask
    count = int(np.count_nonzero(mask[scope.start : scope.stop]))
    return PartScope(scope.part, scope.base, scope.start, scope.stop, mask, count)
