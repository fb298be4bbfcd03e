"""What can be asked of a store, within one read transaction: every answer is of the same moment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from agentmem.errors import StoreError
from agentmem.records import Change, Feedback, Float32, Int64, Record
from agentmem.rows import Rows, rows_from_tuples
from agentmem.storage import feedback, manifest, staging, threads, weights
from agentmem.storage.connection import Connection, damaged
from agentmem.storage.filters import Sql, all_of, compile_filter, namespace_condition
from agentmem.storage.jsontext import load_all
from agentmem.storage.kept import KeptRecords
from agentmem.storage.manifest import SegmentRow
from agentmem.storage.threads import Place, Thread
from agentmem.storage.weights import WeightsRow

Filter = Mapping[str, Any]

_FIELDS = (
    "id, text, metadata, namespace, thread, position, session, speaker, created_at, updated_at, expires_at, "
    "importance, label"
)
_RECORDS = f"SELECT {_FIELDS} FROM records WHERE"
_ROWS = (
    "SELECT r.label, r.namespace, r.thread, r.session, r.speaker, r.position, r.created_at, r.expires_at, "
    "r.importance, e.vector, e.tokens, e.terms FROM records r JOIN embeddings e ON e.label = r.label "
    "WHERE r.label > ? ORDER BY r.label LIMIT ?"
)
_LINKS_FROM = (
    "SELECT s.label, links.kind, t.label FROM json_each(?) AS given CROSS JOIN records s ON s.label = given.value "
    "CROSS JOIN links ON links.source = s.id CROSS JOIN records t ON t.id = links.target LIMIT ?"
)
_COUNTED_TABLES = ("records", "embeddings", "links", "changes", "segments", "feedback", "weights", "reembedded")
_EXACT_LISTS = 32
_MAX_PLACEHOLDERS = 512


@lru_cache(maxsize=_MAX_PLACEHOLDERS + 1)
def _marks(count: int) -> tuple[str, tuple[None, ...]]:
    """Return the list of placeholders for ``count`` values and the NULLs (equal to nothing) that fill it up.

    Short lists have one for each value; longer ones a power of two, so that few prepared statements serve them all.
    """
    size = count if count <= _EXACT_LISTS else 1 << (count - 1).bit_length()
    return f"({', '.join('?' * size)})", (None,) * (size - count)


class Reader:
    """Reads on one connection; made by ``Database.read`` and valid inside its ``with`` block only.

    Expiry: methods that take ``now`` (epoch seconds) leave out what expired by then, ``now=None`` leaves out nothing;
    the others do not look at expiry.
    """

    __slots__ = ("_kept", "connection")

    def __init__(self, connection: Connection, kept: KeptRecords | None = None) -> None:
        """Read on a connection; ``kept``, records read before, is for one that sees committed rows only."""
        self.connection = connection
        self._kept = kept

    def seq(self) -> int:
        """Return the number of the last change, 0 for none."""
        return self.connection.all("SELECT max(seq) FROM changes")[0][0] or 0

    def fetch(self, labels: Sequence[int] | Int64) -> list[Record]:
        """Return the records with these labels, in their order; labels that are not live are left out."""
        wanted = labels.tolist() if isinstance(labels, np.ndarray) else [int(label) for label in labels]
        records = [] if self._kept is None else self._kept.get(wanted)
        if len(records) == len(wanted):
            return records
        found = {record[12]: record for record in records}
        rows = self._chunked(_RECORDS, "label", [label for label in wanted if label not in found])
        metadata = self._metadata(rows)
        if self._kept is not None:
            self._kept.add(rows, metadata)
        found.update((row[12], _record(row, parsed)) for row, parsed in zip(rows, metadata, strict=True))
        return [found[label] for label in wanted if label in found]

    def get(self, ids: Sequence[str]) -> list[Record | None]:
        """Return the records with these ids, in their order; None where there is none."""
        found = {record.id: record for record in self._records(self._chunked(_RECORDS, "id", ids))}
        return [found.get(id) for id in ids]

    def ids_of(self, labels: Sequence[int] | Int64) -> dict[int, str]:
        """Return the ids of the live records with these labels."""
        wanted = [int(label) for label in labels]
        return dict(self._chunked("SELECT label, id FROM records WHERE", "label", wanted))

    def _records(self, rows: Sequence[Any]) -> list[Record]:
        return [_record(row, metadata) for row, metadata in zip(rows, self._metadata(rows), strict=True)]

    def _metadata(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        try:
            return load_all([row[2] for row in rows])
        except ValueError as error:
            raise damaged(self.connection.path, f"the metadata of a record is not JSON: {error}") from error

    def _chunked(self, select: str, column: str, values: Sequence[Any]) -> list[Any]:
        rows: list[Any] = []
        for start in range(0, len(values), _MAX_PLACEHOLDERS):
            part = values[start : start + _MAX_PLACEHOLDERS]
            marks, filling = _marks(len(part))
            rows += self.connection.all(f"{select} {column} IN {marks}", (*part, *filling))
        return rows

    def vector(self, id: str) -> Float32 | None:
        """Return a record's vector as it was stored, float32 (dim,), read-only; None where there is none."""
        blob = self.connection.first(
            "SELECT vector FROM embeddings WHERE label = (SELECT label FROM records WHERE id = ?)", (id,)
        )
        return None if blob is None else np.frombuffer(blob, np.float32)

    def index_rows(self, after_label: int = 0, limit: int | None = None) -> Rows:
        """Return the live versions with a greater label, in ascending order, expired ones included.

        Args:
            after_label: exclusive.
            limit: how many at most; None for all.

        Raises:
            StoreError: the store has no "dimension" and "token_bytes" in its configuration yet.
        """
        dimension, width = self.config("dimension"), self.config("token_bytes")
        if dimension is None or width is None:
            raise StoreError(f"{self.connection.path} is not stamped with its dimension and token width yet")
        rows = self.connection.all(_ROWS, (int(after_label), -1 if limit is None else limit))
        return rows_from_tuples(rows, int(dimension), np.uint16 if int(width) == 2 else np.uint32)

    def dead_since(self, seq: int) -> Int64:
        """Return the labels that updates and deletes took out after a seq, int64, ascending by seq."""
        rows = self.connection.all("SELECT dead FROM changes WHERE seq > ? AND dead IS NOT NULL ORDER BY seq", (seq,))
        return _column(rows)

    def labels_where(self, filter: Filter | None, namespace: str | None, now: float | None) -> Int64:
        """Return the labels of the records that match, int64, ascending.

        Raises:
            InvalidFilter: see ``filters.compile_filter``.
        """
        where, values = _scope(filter, namespace, now)
        listed = self.connection.first(f"SELECT group_concat(label) FROM records WHERE {where}", values)
        labels = np.fromstring(listed, np.int64, sep=",") if listed else np.empty(0, np.int64)
        labels.sort()
        return labels

    def ids_where(self, filter: Filter | None, namespace: str | None, now: float | None = None) -> list[str]:
        """Return the ids of the records that match, by ascending label."""
        where, values = _scope(filter, namespace, now)
        rows = self.connection.all(f"SELECT label, id FROM records WHERE {where}", values)
        return [id for _, id in sorted(rows)]

    def count(self, filter: Filter | None, namespace: str | None, now: float | None) -> int:
        """Return the number of records that match."""
        if filter or now is None:
            where, values = _scope(filter, namespace, now)
            return int(self.connection.first(f"SELECT count(*) FROM records WHERE {where}", values))
        where, values = namespace_condition(namespace)
        alive = int(self.connection.first(f"SELECT count(*) FROM records WHERE {where}", values))
        expired = f"SELECT count(*) FROM records INDEXED BY records_expiry WHERE expires_at <= ? AND {where}"
        return alive - int(self.connection.first(expired, (now, *values)))

    def page(
        self, after_label: int, limit: int, filter: Filter | None, namespace: str | None, now: float | None
    ) -> list[Record]:
        """Return at most ``limit`` matching records with a greater label, by ascending label."""
        where, values = _scope(filter, namespace, now)
        sql = f"{_RECORDS} label > ? AND {where} ORDER BY label LIMIT ?"
        return self._records(self.connection.all(sql, (int(after_label), *values, limit)))

    def changes(self, since: int = 0, limit: int | None = None) -> list[Change]:
        """Return the changes after a seq, oldest first."""
        sql = "SELECT seq, op, id, at FROM changes WHERE seq > ? ORDER BY seq LIMIT ?"
        return [Change(*row) for row in self.connection.all(sql, (since, -1 if limit is None else limit))]

    def namespaces(self, prefix: str | None = None) -> list[tuple[str, int]]:
        """Return (namespace, number of records), by name; with a prefix only names that begin with it."""
        counted = "SELECT namespace, count(*) FROM records {} GROUP BY namespace ORDER BY namespace"
        if not prefix:
            return self.connection.all(counted.format(""))
        found = self.connection.all(counted.format("WHERE namespace >= ?"), (prefix,))
        return [row for row in found if row[0].startswith(prefix)]

    def threads(self, namespace: str, now: float, after: str | None = None, limit: int = 100) -> list[Thread]:
        """Return threads of exactly this namespace by name: the first ones, or those that follow ``after``."""
        return threads.listed(self.connection, namespace, now, after, limit)

    def loose(self, namespace: str, now: float) -> Thread | None:
        """Return the records of exactly this namespace that are in no thread, None where there are none."""
        return threads.loose(self.connection, namespace, now)

    def turns(
        self, namespace: str, thread: str | None, now: float, after: Place | None, limit: int, *, newest_first: bool
    ) -> list[Place]:
        """Return the places of a thread's records by time, beyond a place; None is the thread of those in none."""
        return threads.turns(self.connection, namespace, thread, now, after, limit, newest_first=newest_first)

    def has_links(self) -> bool:
        """Say whether any record has links."""
        return bool(self.connection.first("SELECT EXISTS (SELECT 1 FROM links)"))

    def links(self, id: str) -> list[tuple[str, str]]:
        """Return the links that a record has, as (kind, target id) pairs, sorted."""
        return self.connection.all("SELECT kind, target FROM links WHERE source = ? ORDER BY kind, target", (id,))

    def links_from(self, labels: Sequence[int] | Int64, limit: int) -> tuple[list[int], list[str], Int64]:
        """Return the links that records with these labels have: source labels, kinds, target labels.

        They come in the order of ``labels``, and of kind and target id for each; at most ``limit`` of them.
        """
        wanted = json.dumps([int(label) for label in labels])
        rows = self.connection.all(_LINKS_FROM, (wanted, limit))
        return [row[0] for row in rows], [row[1] for row in rows], np.array([row[2] for row in rows], np.int64)

    def expired(self, now: float) -> list[str]:
        """Return the ids of the records that expired by ``now``."""
        rows = self.connection.all("SELECT id FROM records WHERE expires_at <= ? ORDER BY label", (now,))
        return [id for (id,) in rows]

    def next_expiry(self, now: float) -> float | None:
        """Return when the next record expires after ``now``, or None."""
        found: float | None = self.connection.first("SELECT min(expires_at) FROM records WHERE expires_at > ?", (now,))
        return found

    def config(self, key: str) -> str | None:
        """Return a configuration value, or None."""
        found: str | None = self.connection.first("SELECT value FROM config WHERE key = ?", (key,))
        return found

    def check_generation(self, expected: int) -> None:
        """Refuse to go on when the store has another embedding model than the caller goes by.

        Raises:
            EmbedderMismatch: it was re-embedded.
        """
        staging.check_generation(self.connection.path, expected, staging.generation(self.connection))

    def segments(self) -> list[SegmentRow]:
        """Return the manifest, the base first."""
        return manifest.listed(self.connection)

    def feedback(self, limit: int | None = None) -> list[Feedback]:
        """Return the newest judged searches, oldest first."""
        return feedback.listed(self.connection, limit)

    def active_weights(self) -> int | None:
        """Return the number of the learned weights that searches use, or None."""
        return weights.active(self.connection)

    def weights_value(self, number: int) -> bytes | None:
        """Return learned weights as they were kept; None where there are none of that number."""
        return weights.value(self.connection, number)

    def all_weights(self) -> list[WeightsRow]:
        """Return all attempts to learn, oldest first."""
        return weights.listed(self.connection)

    def explain(self, filter: Filter | None, namespace: str | None) -> list[str]:
        """Return SQLite's plan of ``labels_where`` with these arguments, one line a step."""
        where, values = _scope(filter, namespace, None)
        rows = self.connection.all(f"EXPLAIN QUERY PLAN SELECT label FROM records WHERE {where}", values)
        return [row[3] for row in rows]

    def table_stats(self) -> dict[str, int]:
        """Return the number of rows of each table, and the database's size and free space in bytes."""
        stats = {name: int(self.connection.first(f"SELECT count(*) FROM {name}")) for name in _COUNTED_TABLES}
        page = int(self.connection.first("PRAGMA page_size"))
        stats["bytes"] = page * int(self.connection.first("PRAGMA page_count"))
        stats["free_bytes"] = page * int(self.connection.first("PRAGMA freelist_count"))
        return stats


def _scope(filter: Filter | None, namespace: str | None, now: float | None) -> Sql:
    conditions = [namespace_condition(namespace), compile_filter(filter, namespace)]
    if now is not None:
        conditions.append(("(expires_at IS NULL OR expires_at > ?)", (now,)))
    return all_of(conditions)


def _column(rows: Sequence[Any]) -> Int64:
    return np.fromiter((row[0] for row in rows), np.int64, len(rows))


def _record(row: Sequence[Any], metadata: dict[str, Any]) -> Record:
    return tuple.__new__(Record, (row[0], row[1], metadata, *row[3:]))
