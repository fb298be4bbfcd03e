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
_OVERHEAD = 1000
"""What a kept record costs besides its text and metadata: strings, numbers, tuples, dictionaries."""

Row = Sequence[Any]
"""The fields of ``Record`` in their order, metadata as JSON text."""


class KeptRecords:
    """Shared by all readers of a store, safe to use by several threads.

    Only committed rows may be added: the label of a version that was rolled back is given out again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[int, tuple[Record, dict[str, Any] | str, int]] = {}
        """Records, metadata of which nobody else has a part, and bytes.

        Metadata is a copy where it has nothing nested; else it is the JSON text, which is parsed each time.
        """
        self._bytes = 0

    def get(self, labels: Sequence[int]) -> list[Record | None]:
        """Return the records with these labels, their metadata the caller's own; None for each that is not kept."""
        found: list[Record | None] = []
        for kept in map(self._kept.get, labels):
            if kept is None:
                found.append(None)
            else:
                record, metadata, _ = kept
                found.append(record_of(record, load(metadata) if type(metadata) is str else metadata.copy()))
        return found

    def add(self, rows: Sequence[Row], records: Sequence[Record]) -> None:
        """Keep records, which were made of these rows."""
        with self._lock:
            for row, record in zip(rows, records, strict=True):
                text, label = row[2], row[12]
                size = _OVERHEAD + len(row[1] or "") + len(text)
                if size <= LARGEST and label not in self._kept:
                    nested = "[" in text or text.count("{") > 1
                    self._kept[label] = (record, text if nested else record[2].copy(), size)
                    self._bytes += size
            while self._bytes > BYTES:
                self._bytes -= self._kept.pop(next(iter(self._kept)))[2]

    def clear(self) -> None:
        """Forget everything, as after deleted text was overwritten on disk."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0


def record_of(row: Row, metadata: Any) -> Record:
    """Return the record of a row, or of another record, with other metadata."""
    return tuple.__new__(Record, (row[0], row[1], metadata, *row[3:]))
