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
        self._records: dict[int, Record] = {}
        """The metadata is nobody else's: a copy where it has nothing nested, else the JSON text, to be parsed anew."""
        self._sizes: dict[int, int] = {}
        self._bytes = 0

    def get(self, labels: Sequence[int]) -> list[Record | None]:
        """Return the records with these labels, their metadata the caller's own; None for each that is not kept."""
        found: list[Record | None] = []
        for record in map(self._records.get, labels):
            if record is not None:
                kept: Any = record[2]
                record = record_of(record, kept.copy() if type(kept) is dict else load(kept))
            found.append(record)
        return found

    def add(self, rows: Sequence[Row], records: Sequence[Record]) -> None:
        """Keep records, which were made of these rows."""
        with self._lock:
            for row, record in zip(rows, records, strict=True):
                label, metadata = row[12], row[2]
                size = _OVERHEAD + len(row[1] or "") + len(metadata)
                if size <= LARGEST and label not in self._records:
                    flat = "[" not in metadata and metadata.count("{") == 1
                    self._records[label] = record_of(row, record[2].copy() if flat else metadata)
                    self._sizes[label] = size
                    self._bytes += size
            while self._bytes > BYTES:
                oldest = next(iter(self._records))
                del self._records[oldest]
                self._bytes -= self._sizes.pop(oldest)

    def clear(self) -> None:
        """Forget everything, as after deleted text was overwritten on disk."""
        with self._lock:
            self._records.clear()
            self._sizes.clear()
            self._bytes = 0


def record_of(row: Row, metadata: Any) -> Record:
    """Return the record of a row, or of another record, with other metadata."""
    return tuple.__new__(Record, (row[0], row[1], metadata, *row[3:]))
