"""Reading around damage: every record of a broken database whose pages SQLite can still read.

Records are asked for by ranges of labels; a range that fails is halved until the labels that cannot be read stand
alone.  The change log tells which of those were live.  The file is only read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agentmem.errors import NotAStore, StoreBusy, StoreDamaged, StoreError
from agentmem.records import Float32, Record
from agentmem.storage.connection import open_at_rest
from agentmem.storage.jsontext import load
from agentmem.storage.migrations import recognise
from agentmem.storage.paths import literal
from agentmem.storage.schema import scope_token
from agentmem.storage.terms import Analyzer

_RANGE = 256
_MOST = 2**32
"""No store has had more versions or changes: a greater number was not written by one."""
_RECORDS = (
    "SELECT id, text, metadata, namespace, thread, position, session, speaker, created_at, updated_at, expires_at, "
    "importance, label, scope FROM records NOT INDEXED WHERE label"
)
_VECTORS = "SELECT label, vector, terms FROM embeddings WHERE label"
_LINKS = "SELECT kind, target FROM links WHERE source = ? ORDER BY kind, target"
_CHANGES = "SELECT seq, id, label, dead FROM changes WHERE seq"
_LAST_LABELS = (
    "SELECT seq FROM sqlite_sequence WHERE name = 'records'",
    "SELECT max(label) FROM changes",
    "SELECT max(label) FROM embeddings",
    "SELECT max(label) FROM records",
)
_LAST_CHANGES = ("SELECT max(seq) FROM changes", "SELECT max(seq) FROM records")
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0 ORDER BY name"
_TYPES: tuple[tuple[type, ...], ...] = (
    (str,), (str, type(None)), (str,), (str,), (str, type(None)), (float, type(None)), (str, type(None)),
    (str, type(None)), (float,), (float,), (float, type(None)), (float,), (int,), (str,),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recovered:
    """One record as far as it could be read.

    Attributes:
        record: its fields.
        links: (kind, target id) pairs.
        vector: float32 (dim,), or None.
        vector_lost: it may have had a vector, which cannot be read.
    """

    record: Record
    links: list[tuple[str, str]]
    vector: Float32 | None
    vector_lost: bool


@dataclass(slots=True)
class Losses:
    """What could not be read; complete when ``Recovery.records`` has come to its end.

    Attributes:
        ids: of records that were live by the change log.
        unknown: versions that cannot be read and of which the change log, itself damaged, says nothing.
        vectors: records read without their vector.
        links: records read without their links.
    """

    ids: list[str] = field(default_factory=list)
    unknown: int = 0
    vectors: int = 0
    links: int = 0


class Recovery:
    """A damaged database, opened to save what is left.

    Raises:
        NotAStore: nothing there, or another program's.
        StoreDamaged: SQLite can read none of it: the header or the schema is broken.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.losses = Losses()
        self._analyzer = Analyzer()
        self._connection = open_at_rest(path)
        try:
            self._connection.run("PRAGMA writable_schema = ON")  # SQLite then opens a file that was cut off.
            self._connection.run("PRAGMA cell_size_check = ON")
            self._recognise()
            self._last_label = self._greatest(_LAST_LABELS)
            dimension = self.config("dimension") or ""
            self._vector_bytes = 4 * int(dimension) if dimension.isdecimal() else None
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def config(self, key: str) -> str | None:
        """Return a configuration value; None where there is none, or none that can be read."""
        rows = self._ask("SELECT value FROM config WHERE key = ?", key)
        return rows[0][0] if rows and isinstance(rows[0][0], str) else None

    def damaged_tables(self) -> list[str]:
        """Return the tables that are damaged, or of which an index is."""
        names = [name for (name,) in self._connection.all(_TABLES)]
        return [name for name in names if self._ask(f"PRAGMA integrity_check({literal(name)})") != [("ok",)]]

    def records(self) -> Iterator[tuple[Recovered, float]]:
        """Yield each record that can be read, by ascending label, with the share of labels that are done."""
        self.losses = Losses()
        puts, dead = self._log()
        failed: list[int] = []
        for low in range(1, self._last_label + 1, _RANGE):
            high = min(low + _RANGE - 1, self._last_label)
            rows = self._read(_RECORDS, low, high, failed)
            vectors_failed: list[int] = []
            made = self._read(_VECTORS, low, high, vectors_failed) if rows else []
            vectors = {label: (vector, terms) for label, vector, terms in made}
            for row in rows:
                found = self._recovered(row, vectors, puts)
                if found is None:
                    failed.append(row[12])
                    continue
                puts.pop(found.record.label, None)
                yield found, high / self._last_label
        self.losses.ids = [id for label, id in sorted(puts.items()) if label not in dead]
        self.losses.unknown = len(set(failed) - puts.keys() - dead)

    def _recognise(self) -> None:
        destroyed = f"{self.path}: its header or schema is destroyed, so SQLite can read none of it; restore a backup"
        try:
            version = recognise(self._connection)
            tables = {name for (name,) in self._connection.all(_TABLES)}
        except NotAStore as error:
            raise NotAStore(f"{error}. If it was a store, its header is destroyed: restore a backup") from error
        except StoreDamaged as error:
            raise StoreDamaged(destroyed) from error
        if version == 0:
            raise NotAStore(f"{self.path} is an empty database, not a store")
        if "records" not in tables:
            raise StoreDamaged(destroyed)

    def _ask(self, sql: str, *values: object) -> list[Any] | None:
        """Return the rows of a query, or None where they cannot be read."""
        try:
            return self._connection.all(sql, values)
        except StoreBusy:
            raise
        except StoreError:
            return None

    def _greatest(self, queries: Sequence[str]) -> int:
        """Return the greatest answer that can be read, 0 where none can; noise that reads as a number is left out."""
        answers = [rows[0][0] for sql in queries if (rows := self._ask(sql))]
        return max((each for each in answers if isinstance(each, int) and each <= _MOST), default=0)

    def _read(self, sql: str, low: int, high: int, failed: list[int]) -> list[Any]:
        """Return the rows with keys from ``low`` to ``high``; keys that cannot be read are added to ``failed``.

        A single key is looked up: a range would look at the row behind it too, which may be on a damaged page.
        """
        rows = self._ask(f"{sql} = ?", low) if low == high else self._ask(f"{sql} BETWEEN ? AND ?", low, high)
        if rows is not None:
            return rows
        if low == high:
            failed.append(low)
            return []
        middle = (low + high) // 2
        return self._read(sql, low, middle, failed) + self._read(sql, middle + 1, high, failed)

    def _log(self) -> tuple[dict[int, str], set[int]]:
        """Return the id of each label that the change log names as written, and the labels that it names as dead."""
        puts: dict[int, str] = {}
        dead: set[int] = set()
        last = self._greatest(_LAST_CHANGES)
        for low in range(1, last + 1, _RANGE):
            for _, id, label, gone in self._read(_CHANGES, low, min(low + _RANGE - 1, last), []):
                if label is not None:
                    puts[label] = id
                if gone is not None:
                    dead.add(gone)
        return puts, dead

    def _recovered(self, row: tuple[Any, ...], vectors: dict[int, Any], puts: dict[int, str]) -> Recovered | None:
        """Return a row as a record; None where it cannot be one, or neither text nor vector is left of it."""
        *fields, scope = row
        if not all(isinstance(value, types) for value, types in zip(row, _TYPES, strict=True)):
            return None
        record = Record._make(fields)
        if not record.id or scope != scope_token(record.namespace) or puts.get(record.label, record.id) != record.id:
            return None
        try:
            record = record._replace(metadata=load(fields[2]))
        except ValueError:
            return None
        if not self._fits(record.text or "", vectors.get(record.label, (None, None))[1]):
            return None
        vector, vector_lost = self._vector(record.label, vectors)
        if not isinstance(record.metadata, dict) or (vector is None and not (record.text or "").strip()):
            return None
        self.losses.vectors += vector_lost
        return Recovered(record, self._links(record.id), vector, vector_lost)

    def _vector(self, label: int, vectors: dict[int, Any]) -> tuple[Float32 | None, bool]:
        """Return a record's vector, and whether there may have been one that cannot be read."""
        if label not in vectors:
            return None, True
        blob = vectors[label][0]
        if blob is None:
            return None, False
        if not isinstance(blob, bytes) or len(blob) % 4 or len(blob) != (self._vector_bytes or len(blob)):
            return None, True
        vector = np.frombuffer(blob, np.float32)
        return (vector, False) if np.isfinite(vector).all() else (None, True)

    def _fits(self, text: str, terms: object) -> bool:
        """Say whether a text is whole: SQLite reads what a cut took from the last page as zeros.

        It has as many words as it had; where these are lost as well, zeros at its end tell.
        """
        if isinstance(terms, bytes):
            return len(terms) == len(self._analyzer.encode(text))
        return not text.endswith("\0")

    def _links(self, id: str) -> list[tuple[str, str]]:
        rows = self._ask(_LINKS, id)
        if rows is None:
            self.losses.links += 1
        return rows or []
