"""What can be changed in a store, within one write transaction: versions are written, never changed in place."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Literal

from agentmem.errors import DuplicateId, InvalidInput
from agentmem.records import Feedback, NewRecord
from agentmem.storage import feedback, manifest, staging, weights
from agentmem.storage.connection import Connection
from agentmem.storage.jsontext import dump
from agentmem.storage.manifest import SegmentRow
from agentmem.storage.paths import field_of
from agentmem.storage.schema import hex_key, scope_token

OnConflict = Literal["error", "replace", "skip"]

_COLUMNS = (
    "label, id, namespace, scope, thread, position, session, speaker, created_at, updated_at, expires_at, importance, "
    "seq, metadata, text"
)
_VALUES = f"({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_INSERT = f"INSERT INTO records{_VALUES}"
_STAGING = f"CREATE TEMP TABLE IF NOT EXISTS staged({_COLUMNS})"
_STAGE = f"INSERT INTO temp.staged{_VALUES}"
_INSERT_STAGED = f"INSERT INTO records({_COLUMNS}) SELECT {_COLUMNS} FROM temp.staged ORDER BY rowid"
_STAGED_ROWS = 5_000
_MANY_ROWS = 1_000
_EMBED = "INSERT INTO embeddings(label, vector, tokens, terms) VALUES (?, ?, ?, ?)"
_LOG = "INSERT INTO changes(seq, op, id, label, dead, at) VALUES (?, ?, ?, ?, ?, ?)"
_LINK = "INSERT OR IGNORE INTO links(source, kind, target) VALUES (?, ?, ?)"
_COUNTERS = (
    "SELECT (SELECT seq FROM sqlite_sequence WHERE name = 'records'), (SELECT max(seq) FROM changes), "
    "(SELECT value FROM config WHERE key = 'generation')"
)
_POSITION = "SELECT max(position) FROM records WHERE namespace = ? AND thread = ?"

MAX_INDEXED_PATH = 1_000
"""It stands in the schema, which every connection reads."""

_Old = tuple[int, float, float | None]
"""label, created_at and expires_at of a version that is about to be replaced"""


class Writer:
    """Writes on the one connection that may; made by ``Database.transaction`` and valid inside its ``with`` block only.

    Args:
        connection: in a write transaction.
        savepoint: makes what happens within it all or nothing.
    """

    __slots__ = ("_label", "_most_rows", "_savepoint", "_seq", "connection")

    def __init__(self, connection: Connection, savepoint: Callable[[], AbstractContextManager[object]]) -> None:
        self.connection = connection
        self._savepoint = savepoint
        self._label = self._seq = self._most_rows = 0

    def refresh(self) -> int:
        """Read the last label and the last seq given out: a transaction begins, or a part of one was undone.

        Returns:
            The generation of the embedding model.
        """
        label, seq, generation = self.connection.all(_COUNTERS)[0]
        self._label, self._seq = label or 0, seq or 0
        return int(generation)

    def begin(self, generation: int | None) -> None:
        """Begin a transaction.

        Args:
            generation: of the embedding model that the caller goes by; None for one that writes no vectors.

        Raises:
            EmbedderMismatch: the store was re-embedded.
        """
        found = self.refresh()
        if generation is not None:
            staging.check_generation(self.connection.path, generation, found)

    def commit(self) -> None:
        """Commit the transaction, and let go of the table in which FTS5 gathered the words of many rows.

        That table grows with the words of a statement, never shrinks, and is looked through at every commit: after
        some thousand rows a single add takes a sixth longer.  It goes with the schema, which is read anew.
        """
        self.connection.run("COMMIT")
        if self._most_rows >= _MANY_ROWS:
            self._most_rows = 0
            self.connection.run("PRAGMA writable_schema = RESET")

    def insert(self, record: NewRecord) -> int:
        """Add one record; return its label.

        Raises:
            DuplicateId: the id exists.
            InvalidInput: a link to an id that does not exist; nothing was written.
        """
        if not record.links:
            return self._write([record], [None])[0]
        with self._savepoint():
            label = self._write([record], [None])[0]
            self._write_links([record])
        return label

    def insert_many(
        self, records: Iterable[NewRecord], on_conflict: OnConflict = "error", *, keep_created_at: bool = False
    ) -> list[tuple[str, int | None]]:
        """Add many records, all or none; return (id, label) for each, in order.

        Args:
            records: they may link to each other.
            on_conflict: with an id that exists, or came before in the batch: "error" raises, "replace" lets the later
                one win, "skip" the earlier one (its label is None in the answer).
            keep_created_at: those that replace keep the time of the record that they replace.

        Raises:
            DuplicateId: an id exists, with "error".
            InvalidInput: a link to an id that does not exist.
        """
        batch = list(records)
        with self._savepoint():
            chosen, old = self._chosen(batch, on_conflict, keep_created_at)
            labels = self._write(chosen, old)
            self._write_links(chosen)
        written = {record.id: label for record, label in zip(chosen, labels, strict=True)}
        if on_conflict == "skip":
            return [(record.id, written.pop(record.id, None)) for record in batch]
        return [(record.id, written[record.id]) for record in batch]

    def _chosen(
        self, batch: list[NewRecord], on_conflict: OnConflict, keep_created_at: bool
    ) -> tuple[list[NewRecord], list[_Old | None]]:
        """Return the records to write and the versions that they replace."""
        if on_conflict == "error":
            return batch, [None] * len(batch)
        if on_conflict == "replace":
            chosen = list({record.id: record for record in batch}.values())
            old = [self._old(record.id) for record in chosen]
            if keep_created_at:
                chosen = [
                    record if before is None else record._replace(created_at=before[1])
                    for record, before in zip(chosen, old, strict=True)
                ]
            return chosen, old
        if on_conflict == "skip":
            first: dict[str, NewRecord] = {}
            for record in batch:
                first.setdefault(record.id, record)
            fresh = [record for record in first.values() if self._old(record.id) is None]
            return fresh, [None] * len(fresh)
        raise InvalidInput(f"on_conflict must be 'error', 'replace' or 'skip', got {on_conflict!r}")

    def upsert(self, record: NewRecord, *, keep_created_at: bool = False, keep_expiry: bool = False) -> int:
        """Add a record, or put it in the place of the one with its id, whose links stay; return the new label.

        Args:
            record: to write; its links are added to those that are there.
            keep_created_at: the new version keeps the old one's creation time.
            keep_expiry: the new version keeps the old one's expiry.
        """
        with self._savepoint():
            before = self._old(record.id)
            if before is not None and keep_created_at:
                record = record._replace(created_at=before[1])
            if before is not None and keep_expiry:
                record = record._replace(expires_at=before[2])
            label = self._write([record], [before])[0]
            self._write_links([record])
        return label

    def delete(self, ids: Iterable[str]) -> int:
        """Delete records, the links from and to them, and what feedback says of them; return how many there were.

        Unknown ids are passed over.
        """
        doomed = [(id, old[0]) for id in dict.fromkeys(ids) if (old := self._old(id)) is not None]
        if not doomed:
            return 0
        connection = self.connection
        seq = self._seq
        now = time.time()
        with self._savepoint():
            self._remove([label for _, label in doomed])
            connection.many("DELETE FROM links WHERE source = ?", ((id,) for id, _ in doomed))
            connection.many("DELETE FROM links WHERE target = ?", ((id,) for id, _ in doomed))
            feedback.forget(connection, [id for id, _ in doomed])
            connection.many(_LOG, [(seq + 1 + i, "delete", id, None, dead, now) for i, (id, dead) in enumerate(doomed)])
            self._seq = seq + len(doomed)
        return len(doomed)

    def _old(self, id: str) -> _Old | None:
        rows: list[_Old] = self.connection.all("SELECT label, created_at, expires_at FROM records WHERE id = ?", (id,))
        return rows[0] if rows else None

    def _remove(self, labels: Sequence[int]) -> None:
        self._most_rows = max(self._most_rows, len(labels))
        listed = json.dumps(labels)
        self.connection.run("DELETE FROM records WHERE label IN (SELECT value FROM json_each(?))", (listed,))
        self.connection.run("DELETE FROM embeddings WHERE label IN (SELECT value FROM json_each(?))", (listed,))

    def _write(self, records: Sequence[NewRecord], old: Sequence[_Old | None]) -> list[int]:
        """Write new versions, each under a new label; ``old`` are the versions that they replace."""
        last_label, last_seq = self._label, self._seq
        dead = [before and before[0] for before in old]
        replaced = [label for label in dead if label is not None]
        if replaced:
            self._remove(replaced)
        try:
            self._insert_rows([_values(record, last_label + i, last_seq + i) for i, record in enumerate(records, 1)])
        except sqlite3.IntegrityError as error:
            if "records.id" not in str(error):
                raise
            raise self._duplicate(records) from error
        self.connection.many(
            _EMBED,
            [
                (last_label + i, r.vector if r.vector is None else r.vector.tobytes(), r.tokens, r.terms)
                for i, r in enumerate(records, 1)
            ],
        )
        now = time.time()
        self.connection.many(
            _LOG,
            [
                (last_seq + i, "put", record.id, last_label + i, label, now)
                for i, (record, label) in enumerate(zip(records, dead, strict=True), 1)
            ],
        )
        self._label, self._seq = last_label + len(records), last_seq + len(records)
        return list(range(last_label + 1, self._label + 1))

    def _insert_rows(self, rows: Sequence[tuple[object, ...]]) -> None:
        """Insert rows into ``records``; many of them by way of a temporary table.

        FTS5 writes out its buffer whenever a statement with triggers begins: one statement for thousands of rows is
        ten times as fast as thousands of statements.
        """
        if len(rows) == 1:
            self.connection.run(_INSERT, rows[0])
            return
        self._most_rows = max(self._most_rows, len(rows))
        self.connection.run(_STAGING)
        for start in range(0, len(rows), _STAGED_ROWS):
            self.connection.many(_STAGE, rows[start : start + _STAGED_ROWS])
            try:
                self.connection.run(_INSERT_STAGED)
            finally:
                self.connection.run("DELETE FROM temp.staged")

    def _duplicate(self, records: Sequence[NewRecord]) -> DuplicateId:
        """Return the error that names the first id that exists or comes twice.

        A statement that failed has undone only itself: rows of this batch stand until the savepoint is rolled back.
        """
        seen: set[str] = set()
        for record in records:
            before = self._old(record.id)
            if record.id in seen or (before is not None and before[0] <= self._label):
                return DuplicateId(f"a record with id {record.id!r} exists already; use upsert, or on_conflict")
            seen.add(record.id)
        return DuplicateId("two records have the same id")

    def _write_links(self, records: Sequence[NewRecord]) -> None:
        linked = [record for record in records if record.links]
        if not linked:
            return
        pairs = [(record.id, kind, target) for record in linked for kind, target in record.links]
        for source, kind, target in dict.fromkeys(pairs):
            self._link(source, kind, target)

    def _link(self, source: str, kind: str, target: str) -> None:
        if self._old(target) is None:
            raise InvalidInput(f"link ({kind!r}, {target!r}) of record {source!r}: no record with id {target!r}")
        self.connection.run(_LINK, (source, kind, target))

    def link(self, source: str, kind: str, target: str) -> None:
        """Link two records; a link that is there already stays as it is.

        Raises:
            InvalidInput: one of the two does not exist.
        """
        if self._old(source) is None:
            raise InvalidInput(f"link ({kind!r}, {target!r}): no record with id {source!r}")
        self._link(source, kind, target)

    def unlink(self, source: str, kind: str, target: str) -> bool:
        """Remove a link; return whether it was there."""
        sql = "DELETE FROM links WHERE source = ? AND kind = ? AND target = ?"
        return self.connection.run(sql, (source, kind, target)) > 0

    def unlink_all(self, source: str) -> int:
        """Remove all links that a record has (not those to it); return how many."""
        return self.connection.run("DELETE FROM links WHERE source = ?", (source,))

    def next_position(self, namespace: str, thread: str) -> float:
        """Return one more than the greatest position in a thread, 0.0 for a thread that has none."""
        greatest = self.connection.first(_POSITION, (namespace, thread))
        return 0.0 if greatest is None else float(greatest) + 1.0

    def set_config(self, key: str, value: str) -> None:
        """Set a configuration value."""
        self.connection.run("INSERT OR REPLACE INTO config(key, value) VALUES (?, ?)", (key, value))

    def put_segment(self, row: SegmentRow) -> None:
        """Publish a segment."""
        manifest.put(self.connection, row)

    def drop_segment(self, name: str) -> bool:
        """Withdraw a segment; return whether it was listed."""
        return manifest.drop(self.connection, name)

    def create_metadata_index(self, path: str) -> None:
        """Index the values at a metadata path and their types, so that filters on it read no record.

        Doing it twice does nothing.

        Raises:
            InvalidInput: one of the record's own fields, a path that SQLite cannot index, or a very long one.
        """
        field = field_of(path)
        if len(path) > MAX_INDEXED_PATH:
            raise InvalidInput(f"a path that is indexed has at most {MAX_INDEXED_PATH} characters, got {len(path)}")
        if field.kind != "json":
            raise InvalidInput(
                f"create_metadata_index takes a path into metadata; {path!r} is one of the record's own fields"
            )
        if not field.indexable:
            raise InvalidInput(
                f"path {path!r} cannot be indexed: a key is empty or holds a quote, backslash or control character"
            )
        name = f"metadata_{hex_key(field.value)}"
        self.connection.run(f"CREATE INDEX IF NOT EXISTS {name} ON records({field.value}, {field.type})")

    def add_feedback(self, judged: Feedback) -> None:
        """Keep a judged search."""
        feedback.add(self.connection, judged)

    def add_weights(self, at: float, mechanism: str, value: bytes, report: str) -> int:
        """Keep learned weights aside; return their number."""
        return weights.add(self.connection, at, mechanism, value, report)

    def activate_weights(self, number: int | None, at: float) -> None:
        """Have searches use these weights, or none."""
        weights.activate(self.connection, number, at)
        self.refresh()


def _values(record: NewRecord, label: int, seq: int) -> tuple[object, ...]:
    return (
        label,
        record.id,
        record.namespace,
        scope_token(record.namespace),
        record.thread,
        record.position,
        record.session,
        record.speaker,
        record.created_at,
        record.updated_at,
        record.expires_at,
        record.importance,
        seq,
        dump(record.metadata),
        record.text,
    )
