"""One search, from a validated query to hits: hooks, candidates, rerank, records."""

from __future__ import annotations

import pickle
import weakref
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress, count, repeat
from math import copysign
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agentmem import validation as check
from agentmem.candidates import Candidates, gather
from agentmem.core import StoreCore
from agentmem.errors import NotFound, StoreClosed
from agentmem.hooks import BY_DEFAULT, AttentionConfig, SearchContext
from agentmem.index.scope import Scope
from agentmem.index.scores import similarity
from agentmem.index.view import View
from agentmem.links import LinkedRecords
from agentmem.metrics import StopWatch
from agentmem.ranking import Ranker
from agentmem.records import Explanation, Feedback, Float32, Hit, Int64, Query
from agentmem.rerank.evidence import SOURCES
from agentmem.rerank.fusion import Ranking
from agentmem.rerank.learned import HeadTable, head_table, unit
from agentmem.rerank.query import TaskType
from agentmem.rerank.relevance import relevances
from agentmem.rerank.selection import best_by_rivals
from agentmem.storage.filters import Sql, compile_filter
from agentmem.storage.reader import Reader
from agentmem.telemetry import active

FILTER_CACHE = 32
"""Filters whose matching labels are kept, per store; an entry counts only at the seq at which it was made."""


class _KeptFilter:
    """The labels that a filter passes at one seq, and the scope made of them for as long as nothing expires."""

    def __init__(self, seq: int, labels: Int64) -> None:
        self.seq = seq
        self._labels = labels
        self._made: tuple[View, Scope] | None = None

    def scope(self, view: View, namespace: str | None, now: float) -> Scope:
        """Return the rows of a view at that seq that pass."""
        made = self._made
        if made is not None and made[0] is view and now < view.min_expiry:
            return made[1]
        scope = view.scope(namespace, now, self._labels)
        if now < view.min_expiry:
            self._made = (view, scope)
        return scope


class Origin:
    """The search that hits came from; all are equal, since it says nothing of a hit, and none outlives a pickle."""

    __slots__ = ("_query", "_store")

    def __init__(self, store: weakref.ref[StoreCore], query: Query) -> None:
        self._store = store
        self._query = query

    def used(self, hit: Hit) -> None:
        """Tell the store that a hit was of use."""
        store = self._store()
        if store is None:
            raise StoreClosed("the store that this hit came from is gone")
        judged = Feedback(check.wall_clock(), self._query.text, self._query.embedding, used=(hit.id,))
        with store.database.transaction() as writer, store.database.read() as reader:
            if reader.get([hit.id]) == [None]:
                raise NotFound(f"the record {hit.id!r} is gone")
            writer.add_feedback(judged)

    def __eq__(self, other: object) -> bool:
        """Say that it is the origin of a hit, as the other."""
        return isinstance(other, Origin)

    def __hash__(self) -> int:
        """Return the same number for all."""
        return hash(Origin)

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Become None in a pickle or a copy: the store stays behind."""
        return type(None), ()

    def __repr__(self) -> str:
        """Show the query's text."""
        return f"Origin({self._query.text!r})"


class Observation(NamedTuple):
    """The m candidates of a search that was not ranked.

    Attributes:
        ids: of the records; empty for one that was deleted meanwhile.
        labels: int64 (m,).
        table: what the heads say of them.
        dense: float32 (m,), their similarity to the query; NaN where there is none.
        vectors: float32 (m, dim), of unit length; zeros where there is none.
        embedding: float32 (dim,), the query's; None where it has none.
        task: the kind of task that its words point to.
        rivals: int64 (n_rivals, at most 10), the best candidates by other mechanisms, see ``best_by_rivals``.
    """

    ids: list[str]
    labels: Int64
    table: HeadTable
    dense: Float32
    vectors: Float32
    embedding: Float32 | None
    task: TaskType
    rivals: Int64


class _Best(NamedTuple):
    """Ranked rows, best first.

    Attributes:
        rows: int64 (m,).
        labels: int64 (m,).
        scores: float32 (m,).
        dense: float32 (m,), their similarity to the query's vector; NaN where there is none.
        explanations: m of them, or None for ever.
    """

    rows: Int64
    labels: Int64
    scores: Float32
    dense: Float32
    explanations: Iterable[Explanation | None]


class Searcher:
    """Runs searches for one store."""

    def __init__(self, core: StoreCore) -> None:
        self._core = core
        self._store = weakref.ref(core)
        self._ranker = Ranker(core)
        self._links = LinkedRecords()
        self._filters: dict[tuple[bytes | Sql, str | None], _KeptFilter] = {}

    def run(self, query: Query) -> list[Hit]:
        """Return the hits of a query."""
        core = self._core
        watch = StopWatch(core.metrics)
        snapshot = core.snapshot()  # of the index as it is before anything is embedded
        ctx = core.hooks.run("pre-retrieval", self._context(query))
        watch.lap("search.pre-retrieval")
        if ctx.embedding is None and ctx.text is not None and core.embedder is not None:
            vector = core.ingest.embed([ctx.text])[0]
            ctx.embedding = vector if vector.any() else None
            watch.lap("search.embed")
        with snapshot as (reader, view):
            key = self._cache_key(ctx) if core.cache.size and not core.database.in_transaction() else None
            if key is not None:
                kept = core.cache.get(key, view.seq, query.now)
                if kept is not None:
                    watch.stop("search.cached")
                    _tell(watch, ctx, cached=True)
                    return list(kept)
            hits, ctx = self._ranked(ctx, reader, view, watch)
            next_expiry = reader.next_expiry(query.now) if key is not None else None
        if core.hooks.registered("post-retrieval"):
            ctx.hits = hits
            ctx = core.hooks.run("post-retrieval", ctx)
            hits = ctx.hits
        hits = _page(hits, query)
        if key is not None:
            core.cache.put(key, tuple(hits), view.seq, query.now, next_expiry)
        watch.stop(f"search.total.{ctx.attention_config.mechanism}")
        _tell(watch, ctx, cached=False)
        core.merge_if_due(view)
        return hits

    def observe(self, query: Query) -> Observation:
        """Return what the heads say of the candidates of a search with a text, as pre-retrieval hooks leave it."""
        core = self._core
        snapshot = core.snapshot()
        ctx = core.hooks.run("pre-retrieval", self._context(query))
        if ctx.embedding is None and ctx.text is not None and core.embedder is not None:
            vector = core.ingest.embed([ctx.text])[0]
            ctx.embedding = vector if vector.any() else None
        with snapshot as (reader, view):
            scope = self.scope(reader, view, query.namespace, query.filter, query.now)
            found = gather(ctx, reader, view, scope, core, self._links)
            evidence, features = self._ranker.observe(ctx, view, scope, found)
            names = reader.ids_of(found.labels)
            ids = [names.get(label, "") for label in found.labels.tolist()]
            vectors = unit(view.vectors(found.rows))
        rivals = best_by_rivals(evidence, features)
        table = head_table(evidence, features)
        return Observation(ids, found.labels, table, evidence.dense, vectors, ctx.embedding, ctx.task_type, rivals)

    def _context(self, query: Query) -> SearchContext:
        breadth = (query.k + query.offset) * self._core.candidates
        config = AttentionConfig(query.mechanism)
        return SearchContext(query, query.text, query.embedding, breadth, query.ef, attention_config=config)

    def _ranked(
        self, ctx: SearchContext, reader: Reader, view: View, watch: StopWatch
    ) -> tuple[list[Hit], SearchContext]:
        core = self._core
        query = ctx.query
        scope = self.scope(reader, view, query.namespace, query.filter, query.now)
        watch.lap("search.scope")
        if ctx.embedding is not None and self._by_vectors_alone(ctx, reader, view):
            return self._nearest(ctx, ctx.embedding, reader, view, scope, watch), ctx
        found = gather(ctx, reader, view, scope, core, self._links)
        ctx.hierarchy = found.hierarchy
        if ctx.attention_config.mechanism == "auto":
            ctx.choices = self._ranker.choices(reader, view)
        watch.lap("search.candidates")
        ctx = core.hooks.run("intelligence", ctx)
        watch.lap("search.intelligence")
        ranking = self._ranker.rank(ctx, reader, view, scope, found)
        reordered = bool(core.hooks.registered("post-retrieval"))
        order = ranking.order if reordered else ranking.order[: query.k + query.offset]
        explanations: Iterable[Explanation | None] = repeat(None)
        if query.explain:
            explanations = [_explain(ranking, found, place, ctx) for place in order.tolist()]
        watch.lap("search.rerank")
        best = _Best(found.rows[order], found.labels[order], ranking.scores[order], ranking.dense[order], explanations)
        return self._hits(ctx, reader, view, best, watch), ctx

    def _by_vectors_alone(self, ctx: SearchContext, reader: Reader, view: View) -> bool:
        """Say whether the nearest vectors are the candidates, in their order, and nobody asks for more of them."""
        hooks, mechanism = self._core.hooks, ctx.attention_config.mechanism
        if mechanism != "dense" and (mechanism != "auto" or ctx.text is not None):
            return False
        if ctx.query.explain or hooks.registered("post-retrieval") or hooks.registered("intelligence") != BY_DEFAULT:
            return False
        return mechanism == "dense" or not (self._links.any(reader, view) and self._links.hierarchy(reader, view).kinds)

    def _nearest(
        self, ctx: SearchContext, embedding: Float32, reader: Reader, view: View, scope: Scope, watch: StopWatch
    ) -> list[Hit]:
        """Return the hits of a search by vectors alone: what ``gather`` and ``Ranker`` make, of those asked for."""
        query = ctx.query
        rows, scores = view.nearest(embedding, ctx.candidates, scope, ctx.ef, query.exact)
        watch.lap("search.candidates")
        self._core.hooks.run("intelligence", ctx)
        watch.lap("search.intelligence")
        rows, scores = rows[: query.k + query.offset], similarity(scores[: query.k + query.offset], view.metric)
        labels = view.labels(rows)
        watch.lap("search.rerank")
        return self._hits(ctx, reader, view, _Best(rows, labels, scores, scores, repeat(None)), watch)

    def _hits(self, ctx: SearchContext, reader: Reader, view: View, best: _Best, watch: StopWatch) -> list[Hit]:
        """Return the hits of ranked rows; records that are gone are left out."""
        rows, labels, scores, dense, explanations = best
        wanted: list[int] = labels.tolist()
        records = reader.fetch(wanted)
        watch.lap("search.fetch")
        if len(records) != len(wanted):
            live = {record.label for record in records}
            there = [label in live for label in wanted]
            rows, scores, dense, explanations = rows[there], scores[there], dense[there], compress(explanations, there)
        points: list[float] = scores.tolist()
        fields = zip(
            records,
            points,
            count(1),
            explanations,
            repeat(Origin(self._store, ctx.query)),
            _cosines(ctx.embedding, view, rows, dense),
            relevances(ctx.attention_config.mechanism, view.metric, points),
            strict=False,
        )
        return list(map(tuple.__new__, repeat(Hit), fields))

    def scope(
        self, reader: Reader, view: View, namespace: str | None, filter: Mapping[str, Any] | None, now: float
    ) -> Scope:
        """Return the rows that a search may find; labels that match a filter are kept until the next change."""
        if not filter:
            return view.scope(namespace, now)
        if self._core.database.in_transaction():
            return view.scope(namespace, now, reader.labels_where(filter, namespace, None))
        key = _key_of(filter, namespace)
        kept = self._filters.get(key)
        if kept is None or kept.seq != view.seq:
            kept = _KeptFilter(view.seq, reader.labels_where(filter, namespace, None))
            current = {other: each for other, each in self._filters.items() if each.seq == view.seq}
            self._filters = {**(current if len(current) < FILTER_CACHE else {}), key: kept}
        return kept.scope(view, namespace, now)

    def knn(
        self,
        queries: Float32,
        k: int,
        namespace: str | None,
        filter: Mapping[str, Any] | None,
        ef: int | None,
        exact: bool,
    ) -> tuple[NDArray[np.object_], Float32]:
        """Return ids and distances of the nearest records of each query vector."""
        core = self._core
        ids = np.full((len(queries), k), None, object)
        distances = np.full((len(queries), k), np.inf, np.float32)
        with core.snapshot() as (reader, view):
            scope = self.scope(reader, view, namespace, filter, check.wall_clock())
            rows, scores = view.nearest_many(queries, k, scope, ef, exact)
            there = rows >= 0
            labels = view.labels(rows[there])
            names = reader.ids_of(np.unique(labels))
            ids[there] = [names[label] for label in labels.tolist()]
            distances[there] = (-scores if core.identity.metric == "l2" else 1.0 - scores)[there]
        return ids, distances

    def _cache_key(self, ctx: SearchContext) -> tuple[Any, ...]:
        """Return what a result depends on besides the store's content: the query as hooks left it, and the hooks."""
        query = ctx.query
        return (
            ctx.text,
            None if ctx.embedding is None else ctx.embedding.tobytes(),
            ctx.candidates,
            ctx.ef,
            repr(ctx.attention_config),
            query.k,
            query.offset,
            _key_of(query.filter, query.namespace),
            query.exact,
            query.min_score,
            query.explain,
            self._core.hooks.version,
            self._core.calibrated.get(self._core.identity.generation),
        )


def _key_of(filter: Mapping[str, Any] | None, namespace: str | None) -> tuple[bytes | Sql, str | None]:
    """Return what tells a filter from every other one: its pickled bytes, which are equal for equal values only.

    What cannot be pickled is told apart by its SQL; making that takes five times as long.
    """
    try:
        return pickle.dumps(filter, pickle.HIGHEST_PROTOCOL), namespace
    except (pickle.PicklingError, AttributeError, TypeError, ValueError, RecursionError):
        return compile_filter(filter, namespace), namespace


def _tell(watch: StopWatch, ctx: SearchContext, *, cached: bool) -> None:
    telemetry = active()
    if telemetry is not None:
        telemetry.searched(watch, ctx.text, ctx.query.namespace, ctx.attention_config.mechanism, cached)


def _page(hits: list[Hit], query: Query) -> list[Hit]:
    """Return the hits asked for, ranked by their place among all."""
    if query.min_score is not None:
        hits = [hit for hit in hits if hit.score >= query.min_score]
    page = hits[query.offset : query.offset + query.k]
    return [hit if hit[2] == rank else hit._replace(rank=rank) for rank, hit in enumerate(page, query.offset + 1)]


def _cosines(embedding: Float32 | None, view: View, rows: Int64, dense: Float32) -> Sequence[float | None]:
    """Return the cosine of the query's vector and each row's; None where one of them has none, or one of length 0."""
    if embedding is None:
        return [None] * len(rows)
    cosines: NDArray[np.floating] = dense
    if view.metric != "cosine":
        vectors, query = view.vectors(rows).astype(np.float64), embedding.astype(np.float64)
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors) * (query @ query))
        cosines = np.divide(vectors @ query, lengths, out=np.full(len(rows), np.nan), where=lengths > 0)
    return [None if each != each else each if -1.0 <= each <= 1.0 else copysign(1.0, each) for each in cosines.tolist()]


def _explain(ranking: Ranking, found: Candidates, place: int, ctx: SearchContext) -> Explanation:
    sources = tuple(name for name, bit in SOURCES.items() if found.sources[place] & bit)
    return Explanation(ranking.explain(place), sources, ctx.attention_config.mechanism, ctx.reason)
