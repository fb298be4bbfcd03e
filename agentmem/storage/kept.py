"""Records that were read lately, by label: a version never changes, so what was read of it once stays true."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import repeat
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
        self._rows: dict[int, Row] = {}
        self._flat: dict[int, dict[str, Any]] = {}
        """Metadata that has nothing nested, so that a copy is the caller's own; other metadata is parsed each time."""
        self._bytes = 0

    def get(self, labels: Sequence[int]) -> list[Record]:
        """Return those of the records with these labels that are kept, in their order, metadata the caller's own."""
        rows = [row for row in map(self._rows.get, labels) if row is not None]
        if not rows:
            return []
        columns: list[Any] = list(zip(*rows, strict=True))
        flat = map(self._flat.get, columns[12])
        columns[2] = [load(text) if own is None else own.copy() for own, text in zip(flat, columns[2], strict=True)]
        return list(map(tuple.__new__, repeat(Record), zip(*columns, strict=True)))

    def add(self, rows: Sequence[Row], metadata: Sequence[dict[str, Any]]) -> None:
        """Keep records; ``metadata`` is that of the rows, parsed."""
        with self._lock:
            for row, parsed in zip(rows, metadata, strict=True):
                size, text, label = _size(row), row[2], row[12]
                if size <= LARGEST and label not in self._rows:
                    self._rows[label] = row
                    self._bytes += size
                    if "[" not in text and text.count("{") == 1:
                        self._flat[label] = parsed.copy()
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


def _size(row: Row) -> int:
    return _OVERHEAD + len(row[1] or "") + len(row[2])
