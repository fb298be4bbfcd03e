"""Records that were read lately, by label: a version never changes, so what was read of it once stays true."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from agentmem.records import Record
from agentmem.storage.jsontext import load

BYTES = 8 << 20
"""So much text and metadata is kept at most; the oldest goes first."""
LARGEST = 64 << 10
"""A record with more than this is read anew each time."""
_OVERHEAD = 800
"""What a kept record costs besides its text and metadata: strings, numbers, a tuple, entries of dictionaries."""

Row = Sequence[Any]
"""The fields of ``Record`` in their order, metadata as JSON text."""


class KeptRecords:
    """Shared by all readers of a store, safe to use by several threads.

    Only committed rows may be added: the label of a version that was rolled back is given out again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[int, Row] = {}
        self._flat: dict[int, dict[str, Any]] = {}
        """Metadata that was parsed and has nothing nested, so that a copy is the caller's own."""
        self._bytes = 0

    def get(self, labels: Sequence[int]) -> list[Record | None]:
        """Return the records with these labels, their metadata the caller's own; None for each that is not kept."""
        found: list[Record | None] = []
        for label in labels:
            row = self._rows.get(label)
            if row is None:
                found.append(None)
                continue
            metadata = self._flat.get(label)
            own = self._parsed(label, row[2]) if metadata is None else metadata.copy()
            found.append(record_of(row, own))
        return found

    def _parsed(self, label: int, text: str) -> dict[str, Any]:
        metadata: dict[str, Any] = load(text)
        if not any(isinstance(value, (dict, list)) for value in metadata.values()):
            self._flat[label] = metadata.copy()
        return metadata

    def add(self, rows: Sequence[Row]) -> None:
        """Keep records."""
        with self._lock:
            for row in rows:
                size = _size(row)
                if size <= LARGEST and row[12] not in self._rows:
                    self._rows[row[12]] = row
                    self._bytes += size
            while self._bytes > BYTES:
                oldest = next(iter(self._rows))
                self._bytes -= _size(self._rows.pop(oldest))
                self._flat.pop(oldest, None)

    def clear(self) -> None:
        """Forget everything, as after deleted text was overwritten on disk."""
        with self._lock:
            self._rows.clear()
            self._flat.clear()
            self._bytes = 0


def record_of(row: Row, metadata: dict[str, Any]) -> Record:
    """Return the record of a row with its metadata parsed."""
    return tuple.__new__(Record, (row[0], row[1], metadata, *row[3:]))


def _size(row: Row) -> int:
    return _OVERHEAD + len(row[1] or "") + len(row[2])
