"""The verbs that read a store: records, counts, pages, changes, and statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agentmem import validation as check
from agentmem.core import StoreCore
from agentmem.errors import NotFound
from agentmem.prometheus import store_page
from agentmem.records import Change, Float32, Record
from agentmem.telemetry import RETURNED, told
from agentmem.weights import active_weights

Filter = Mapping[str, Any]


class ReadingVerbs(StoreCore):
    """get, get_many, vector, links, count, iterate, changes, namespaces, stats, metrics_text, info, explain_plan."""

    def get(self, id: str) -> Record:
        """Return the record with this id.

        Raises:
            NotFound: there is none, or it has expired.
        """
        record = self.get_many([id])[0]
        if record is None:
            raise NotFound(f"no record with id {id!r}")
        return record

    @told(RETURNED)
    def get_many(self, ids: Sequence[str]) -> list[Record | None]:
        """Return the records with these ids, in their order; None where there is none or it has expired."""
        now = check.wall_clock()
        with self.database.read() as reader:
            found = reader.get([check.check_id(id) for id in check.check_list(ids, "ids")])
        return [None if r is None or (r.expires_at is not None and r.expires_at <= now) else r for r in found]

    def vector(self, id: str) -> Float32 | None:
        """Return the record's vector as it was stored, float32 (dim,), or None where it has none.

        Raises:
            NotFound: no record with that id.
            EmbedderMismatch: the store was re-embedded.
        """
        with self.database.read() as reader:
            reader.check_generation(self.identity.generation)
            if reader.get([check.check_id(id)])[0] is None:
                raise NotFound(f"no record with id {id!r}")
            return reader.vector(id)

    def links(self, id: str) -> list[tuple[str, str]]:
        """Return the record's links as (kind, target id) pairs.

        Raises:
            NotFound: no record with that id.
        """
        with self.database.read() as reader:
            if reader.get([check.check_id(id)])[0] is None:
                raise NotFound(f"no record with id {id!r}")
            return reader.links(id)

    def count(self, filter: Filter | None = None, namespace: str | None = None) -> int:
        """Return the number of live records that match."""
        filter, namespace = check.check_scope(filter, namespace)
        with self.database.read() as reader:
            return reader.count(filter, namespace, check.wall_clock())

    def iterate(
        self, filter: Filter | None = None, namespace: str | None = None, batch: int = 1_000
    ) -> Iterator[Record]:
        """Yield live records in the order of their versions, page by page.

        No snapshot is pinned between pages: a record changed while iterating may come again with its new content, and
        one deleted meanwhile may have come already.
        """
        batch = check.check_count(batch, "batch", low=1)
        filter, namespace = check.check_scope(filter, namespace)
        after = 0
        while True:
            with self.database.read() as reader:
                page = reader.page(after, batch, filter, namespace, check.wall_clock())
            yield from page
            if len(page) < batch:
                return
            after = page[-1].label

    def changes(self, since: int = 0, limit: int | None = None) -> list[Change]:
        """Return the committed changes after a seq, oldest first; deletes among them.

        Args:
            since: a seq, 0 for all changes.
            limit: how many at most; None for all.
        """
        since = check.check_count(since, "since", low=0, high=check.MAX_INTEGER)
        limit = None if limit is None else check.check_count(limit, "limit", low=0, high=check.MAX_INTEGER)
        with self.database.read() as reader:
            return reader.changes(since, limit)

    @property
    def seq(self) -> int:
        """Return the number of the last committed change."""
        with self.database.read() as reader:
            return reader.seq()

    def namespaces(self, prefix: str | None = None) -> dict[str, int]:
        """Return {namespace: number of records}, all or those that begin with a prefix."""
        prefix = None if prefix is None else check.check_string(prefix, "prefix")
        with self.database.read() as reader:
            return dict(reader.namespaces(prefix))

    def stats(self) -> dict[str, Any]:
        """Return counts, the index's parts, the result cache, how differently heads judge, latencies in microseconds.

        ``heads.diversity`` is the mean Jensen-Shannon divergence of pairs of heads, in bits: 0 where all weigh the
        candidates alike, 1 where no two weigh the same one; of recent searches by memory-heads, one in
        ``heads.every``; None where none was looked at.
        """
        with self.snapshot() as (reader, view):
            return {
                "records": reader.count(None, None, check.wall_clock()),
                "seq": reader.seq(),
                "index": view.describe(),
                "cache": self.cache.summary(),
                "heads": self.diversity.summary(),
                "latency": self.metrics.summary(),
            }

    def metrics_text(self) -> str:
        """Return ``stats`` in Prometheus' text format, version 0.0.4: no text, no id, no namespace is in it."""
        return store_page(self.stats())

    def info(self) -> dict[str, Any]:
        """Return what the store is and what it holds: identity, tables, segments, the index's problems, weights."""
        with self.snapshot() as (reader, view):
            identity = self.identity
            ranking = active_weights(reader, identity)
            return {
                "path": self.path,
                "uuid": identity.uuid,
                "embedder": identity.embedder,
                "dimension": identity.dimension,
                "metric": identity.metric,
                "records": reader.count(None, None, check.wall_clock()),
                "seq": reader.seq(),
                "namespaces": len(reader.namespaces()),
                "tables": reader.table_stats(),
                "index": view.describe(),
                "problems": list(self.index.problems),
                "weights": {"active": ranking.number, "ignored": ranking.ignored},
            }

    def explain_plan(self, filter: Filter | None = None, namespace: str | None = None) -> dict[str, Any]:
        """Return how a search with this filter and namespace would go: SQLite's plan, rows in scope, scan or graph."""
        filter, namespace = check.check_scope(filter, namespace)
        now = check.wall_clock()
        with self.snapshot() as (reader, view):
            labels = None if filter is None else reader.labels_where(filter, namespace, now)
            scope = view.scope(namespace, now, labels)
            return {
                "sqlite": reader.explain(filter, namespace),
                "rows": scope.count,
                "parts": view.plan(scope),
            }
