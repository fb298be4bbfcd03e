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
"""What a kept record costs besides its text and metadata: strings, numbers, a tuple, a dictionary entry."""

_MAKE = Record._make

_Kept = tuple[str, "str | None", Any, Sequence[Any], int]
"""id, text, metadata (a flat dict, or JSON text where it is nested: callers may change what they get), the other fields
of ``Record``, and what all of it counts for in bytes."""


class KeptRecords:
    """Shared by all readers of a store, safe to use by several threads.

    Only committed rows may be added: the label of a version that was rolled back is given out again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[int, _Kept] = {}
        self._bytes = 0

    def get(self, labels: Sequence[int]) -> list[Record | None]:
        """Return the records with these labels, their metadata the caller's own; None for each that is not kept."""
        known = map(self._kept.get, labels)
        return [
            kept and _MAKE((kept[0], kept[1], kept[2].copy() if type(kept[2]) is dict else load(kept[2]), *kept[3]))
            for kept in known
        ]

    def add(self, rows: Sequence[Sequence[Any]], records: Sequence[Record]) -> None:
        """Keep records, each with the row that it was made from, whose third column is the metadata as text."""
        with self._lock:
            for row, record in zip(rows, records, strict=True):
                size = _OVERHEAD + len(row[1] or "") + len(row[2])
                if size > LARGEST or record.label in self._kept:
                    continue
                nested = any(isinstance(value, (dict, list)) for value in record.metadata.values())
                metadata = row[2] if nested else record.metadata.copy()
                self._kept[record.label] = (record.id, record.text, metadata, record[3:], size)
                self._bytes += size
            while self._bytes > BYTES:
                self._bytes -= self._kept.pop(next(iter(self._kept)))[4]

    def clear(self) -> None:
        """Forget everything, as after deleted text was overwritten on disk."""
        with self._lock:
            self._kept.clear()
            self._bytes = 0
