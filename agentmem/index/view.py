"""A view: segments and tail as one, at one moment of the store's history.  The only class the store talks to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.index import kernels, lexical, planner
from agentmem.index.lexical import Lexical
from agentmem.index.neighbours import Neighbourhood, Neighbours, SegmentThreads
from agentmem.index.scope import LivePart, PartScope, Scope, filtered, namespace_scope, unexpired, whole_scope
from agentmem.index.scores import prepared
from agentmem.index.segment import Segment
from agentmem.index.tail import Tail
from agentmem.records import Float32, Int64, Metric
from agentmem.rows import Rows


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of m rows; see ``Rows`` for what they mean."""

    labels: Int64
    thread_key: Int64
    session_key: Int64
    speaker_key: Int64
    position: NDArray[np.float64]
    created_at: NDArray[np.float64]
    importance: Float32


KEPT_FILTERS = 8
"""A view keeps the scopes of so many label sets."""
COLUMN_TYPES = (np.int64, np.int64, np.int64, np.int64, np.float64, np.float64, np.float32)
_columns_of = attrgetter(*(field.name for field in fields(Columns)))


class View:
    """Immutable, safe to share between threads.

    Rows are numbered through all parts, segments first and the tail last: a number stays good while the tail grows,
    until the segments change.

    Attributes:
        seq: the store's seq that the view is of.
        dimension: of the vectors.
        metric: "cosine", "ip" or "l2"; scores are higher-is-better under each.
        min_expiry: no row expires before this time, epoch seconds.
    """

    def __init__(
        self, live: Sequence[LivePart], dimension: int, metric: Metric, seq: int, threads: SegmentThreads
    ) -> None:
        """Put parts together, the tail last; use ``View.of``."""
        self.seq = seq
        self.dimension = dimension
        self.metric: Metric = metric
        self._live = tuple(live)
        self._threads = threads
        self._filters: dict[tuple[int, str | None], tuple[Int64, Scope]] = {}
        self._bases = np.array([part.base for part in live], np.int64)
        self.min_expiry = min(part.min_expiry for part in live)

    @classmethod
    def empty(cls, dimension: int, metric: Metric, token_dtype: Any = np.uint16) -> View:
        """Return a view of nothing, at seq 0."""
        return cls.of((), dimension, metric, token_dtype, seq=0)

    @classmethod
    def of(
        cls, segments: Sequence[Segment], dimension: int, metric: Metric, token_dtype: Any = np.uint16, *, seq: int
    ) -> View:
        """Return the view of segments, in ascending order of label, and an empty tail.

        Args:
            segments: the base first.
            dimension: of the vectors.
            metric: of the store.
            token_dtype: uint16 or uint32.
            seq: of the view.
        """
        live, base = [], 0
        for segment in segments:
            live.append(LivePart(segment, base, min_expiry=segment.min_expiry))
            base += segment.n
        tail = LivePart(Tail.empty(dimension, metric, token_dtype), base)
        return cls([*live, tail], dimension, metric, seq, SegmentThreads(tuple(live)))

    def apply(self, rows: Rows, dead: Int64, seq: int) -> View:
        """Return the view after a change; this one stays as it is.

        Args:
            rows: the new rows, their labels above all that are here.
            dead: int64, labels that are dead now, in any order; unknown ones are ignored.
            seq: of the new view.
        """
        live = list(self._live)
        if len(rows):
            live[-1] = live[-1].grown(self._tail.append(rows))
        if len(dead):
            for number, part in enumerate(live):
                local = part.part.rows_of(dead)
                local = local[local >= 0]
                if len(local):
                    live[number] = part.without(local)
        return View(live, self.dimension, self.metric, seq, self._threads)

    @property
    def parts(self) -> tuple[Segment | Tail, ...]:
        """The parts, the tail last."""
        return tuple(part.part for part in self._live)

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The parts but for the tail."""
        return tuple(part for part in self.parts if isinstance(part, Segment))

    @cached_property
    def n_live(self) -> int:
        """How many rows are alive, expired ones included."""
        return sum(part.part.n - part.n_dead for part in self._live)

    @property
    def tail_rows(self) -> int:
        """How many rows the tail has, dead ones included."""
        return self._tail.n

    @property
    def _tail(self) -> Tail:
        tail = self._live[-1].part
        assert isinstance(tail, Tail)
        return tail

    @cached_property
    def _whole(self) -> Scope:
        return whole_scope(self._live)

    @cached_property
    def _neighbourhood(self) -> Neighbourhood:
        return Neighbourhood(self._live, self._tail, self._threads)

    def scope(self, namespace: str | None, now: float, labels: Int64 | None = None) -> Scope:
        """Return the rows that a search may find.

        Args:
            namespace: exact; with a trailing "/" the branch below it; None for everything.
            now: epoch seconds; rows that expire at or before it are left out.
            labels: int64, the labels that a filter allows, in any order, or None for no filter.  The same array asked
                for again is looked up, so it must not change.
        """
        if namespace is None and labels is None and now < self.min_expiry:
            return self._whole
        if labels is None:
            return unexpired(self._live, namespace_scope(self._live, namespace), now)
        key = (id(labels), namespace)
        kept = self._filters.get(key)
        if kept is None:
            if len(self._filters) >= KEPT_FILTERS:
                self._filters.clear()
            kept = self._filters[key] = (labels, filtered(namespace_scope(self._live, namespace), labels))
        return unexpired(self._live, kept[1], now)

    def nearest(
        self, query: Float32, k: int, scope: Scope, ef: int | None = None, exact: bool = False
    ) -> tuple[Int64, Float32]:
        """Return the rows in scope with the ``k`` best scores, best first, ties by lower label, and the scores.

        Args:
            query: float32 (dim,), of any length.
            k: how many rows at most; fewer come back only where there are fewer rows with a vector.
            scope: from ``scope``.
            ef: breadth of a graph walk, 100 by default.
            exact: score every row in float32 rather than walk a graph or choose by int8 codes.
        """
        return planner.nearest(self.metric, self.prepared(query), k, scope, ef or planner.DEFAULT_EF, exact)

    def nearest_many(
        self,
        queries: Float32,
        k: int,
        scope: Scope,
        ef: int | None = None,
        exact: bool = False,
        threads: int = 1,
    ) -> tuple[Int64, Float32]:
        """Return ``nearest`` for each of ``queries`` (m, dim): rows (m, k) padded with -1, scores with -inf."""
        ready = prepared(queries, self.metric)
        return planner.nearest_many(self.metric, ready, k, scope, ef or planner.DEFAULT_EF, exact, threads)

    def lexical(self, terms: NDArray[np.uint32], k: int, scope: Scope) -> Lexical:
        """Return the ``k`` best rows in scope by BM25 for stem ids, uint32 (t,)."""
        return lexical.search(terms, k, scope)

    def dense_scores(self, query: Float32, rows: Int64) -> Float32:
        """Return the exact scores of rows, float32 (m,); NaN for a row without a vector."""
        query = self.prepared(query)
        result = np.empty(len(rows), np.float32)
        for number, which, local in self._split(rows):
            part = self._live[number].part
            scores = kernels.scores_of(part, self.metric, query, local)
            there = part.has_vector[local]
            if not there.all():
                scores[there == 0] = np.nan
            result[which] = scores
        return result

    def vectors(self, rows: Int64) -> Float32:
        """Return the vectors of rows, float32 (m, dim): of length one under cosine, zeros where there is none."""
        return self._column("vectors", rows)

    def labels(self, rows: Int64) -> Int64:
        """Return the labels of rows, int64 (m,)."""
        return self._column("labels", rows)

    def rows_of(self, labels: Int64) -> Int64:
        """Return the rows of labels, int64 (m,), -1 for those that are absent or dead."""
        result = np.full(len(labels), -1, np.int64)
        for part in self._live:
            rows = part.part.rows_of(labels)
            found = np.flatnonzero(rows >= 0)
            if part.alive is not None:
                found = found[part.alive[rows[found]] != 0]
            result[found] = rows[found] + part.base
        return result

    def columns(self, rows: Int64) -> Columns:
        """Return the columns of rows."""
        results: tuple[NDArray[Any], ...] = tuple([np.empty(len(rows), dtype) for dtype in COLUMN_TYPES])
        split = self._split(rows)
        for number, which, local in split:
            kernels.take(_columns_of(self._live[number].part), local, None if len(split) == 1 else which, results)
        return Columns(*results)

    def parts_of(self, rows: Int64) -> list[tuple[Int64 | slice, Segment | Tail, Int64]]:
        """Return where rows lie: for each part that has some, their places in ``rows``, the part, its own numbers.

        The places are those of all where one part has all.
        """
        split = self._split(rows)
        if len(split) == 1:
            number, _, local = split[0]
            return [(slice(None), self._live[number].part, local)]
        return [(which, self._live[number].part, local) for number, which, local in split]

    def has_vector(self, rows: Int64) -> NDArray[np.bool_]:
        """Return which rows have a vector, bool (m,)."""
        there: NDArray[np.bool_] = self._column("has_vector", rows) != 0
        return there

    def sole(self, scope: Scope) -> PartScope | None:
        """Return what a scope has of the only part with rows; None where there are more."""
        return scope.parts[0] if len(self._live) == 2 and self._tail.n == 0 else None

    def in_scope(self, scope: Scope, rows: Int64) -> NDArray[np.bool_]:
        """Return which rows are in scope, bool (m,)."""
        return scope.holds(rows)

    def rows_in(self, scope: Scope) -> Int64:
        """Return all rows in scope, int64 ascending."""
        return scope.rows()

    def live_labels(self) -> Int64:
        """Return the labels of all live rows, expired ones included, in no promised order."""
        return self.labels(self._whole.rows())

    def sample(self, count: int, seed: int) -> Int64:
        """Return at most ``count`` live rows with a vector, drawn without replacement, int64 ascending."""
        rows = self._whole.rows()
        rows = rows[self.has_vector(rows)]
        return np.sort(np.random.default_rng(seed).choice(rows, min(count, len(rows)), replace=False))

    def neighbours(self, rows: Int64, radius: int, scope: Scope) -> Neighbours:
        """Return the rows in scope around each row in its thread, ranked by (position, label), none position last.

        Ranks count rows in scope only.  Rows without a thread have no neighbours.

        Args:
            rows: int64 (m,).
            radius: ranks to either side, 1 to 127.
            scope: from ``scope``.

        Returns:
            owner int32 (an index into ``rows``), offset int8 (-radius..radius, never 0), row int64, in any order.
        """
        return self._neighbourhood.find(self._split(rows), radius, scope)

    def audit(self, sample: int, k: int, ef: int | None, seed: int) -> float:
        """Return recall@k of ``nearest`` against an exact scan, on live vectors drawn at random as queries.

        A row counts as found when it scores no worse than the exact k-th; 1.0 where there is no vector.
        """
        scope = self._whole
        drawn = self.sample(sample, seed)
        if not len(drawn):
            return 1.0
        queries = self.vectors(drawn)
        found = self.nearest_many(queries, k, scope, ef)[1]
        wanted = self.nearest_many(queries, k, scope, exact=True)[1]
        expected = np.isfinite(wanted).sum()
        worst = np.min(wanted, axis=1, where=np.isfinite(wanted), initial=np.inf)
        slack = 1e-5 * np.abs(worst) + 1e-6
        return float((found >= (worst - slack)[:, None]).sum() / expected)

    def describe(self) -> dict[str, Any]:
        """Return what the view is made of: for each part kind, rows, dead rows, bytes, and whether it has a graph."""
        return {
            "seq": self.seq,
            "rows": self.n_live,
            "parts": [
                {
                    "kind": "tail" if part.part is self._tail else "segment",
                    "rows": part.part.n,
                    "dead": part.n_dead,
                    "graph": isinstance(part.part, Segment) and part.part.graph is not None,
                    "bytes": sum(value.nbytes for value in vars(part.part).values() if isinstance(value, np.ndarray)),
                }
                for part in self._live
            ],
        }

    def plan(self, scope: Scope) -> list[dict[str, Any]]:
        """Return how each part would be searched in a scope: its rows, how many are in scope, "graph" or "scan"."""
        return [
            {
                "rows": part.part.n,
                "in_scope": part.count,
                "search": "scan" if planner.walked_graph(part) is None else "graph",
            }
            for part in scope.parts
        ]

    def prepared(self, query: Float32) -> Float32:
        """Return a query, float32 (dim,), as the rows' vectors are compared with: of length one under cosine."""
        query = np.ascontiguousarray(query, np.float32)
        if self.metric != "cosine":
            return query
        square = float(query @ query)
        if 1e-30 < square < 1e30:
            scaled: Float32 = query * np.float32(1.0 / math.sqrt(square))
            return scaled
        only: Float32 = prepared(query.reshape(1, -1), "cosine")[0]
        return only

    def _split(self, rows: Int64) -> Sequence[tuple[int, Int64, Int64]]:
        """Return, for each part that has some of the rows: its number, their places in ``rows``, its own numbers."""
        if len(rows) == 0:
            return ()
        if len(self._live) == 2 and self._tail.n == 0:
            return ((0, np.arange(len(rows)), rows),)
        numbers = np.searchsorted(self._bases, rows, side="right") - 1
        first = int(numbers[0])
        if (numbers == first).all():
            return ((first, np.arange(len(rows)), rows - self._bases[first]),)
        split = []
        for number in np.unique(numbers).tolist():
            which = np.flatnonzero(numbers == number)
            split.append((number, which, rows[which] - self._bases[number]))
        return split

    def _column(self, name: str, rows: Int64) -> NDArray[Any]:
        return self._gathered(name, len(rows), self._split(rows))

    def _gathered(self, name: str, count: int, split: Sequence[tuple[int, Int64, Int64]]) -> NDArray[Any]:
        """Gather a column of ``count`` rows from the parts that they are split over."""
        if len(split) == 1:
            number, _, local = split[0]
            gathered: NDArray[Any] = getattr(self._live[number].part, name)[local]
            return gathered
        like = getattr(self._tail, name)
        result = np.empty((count, *like.shape[1:]), like.dtype)
        for number, which, local in split:
            result[which] = getattr(self._live[number].part, name)[local]
        return result
