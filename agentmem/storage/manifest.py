"""The manifest of segments: which derived index files count, as rows of the database that they derive from."""

from __future__ import annotations

import time
from dataclasses import astuple, dataclass, fields
from typing import Literal

from agentmem.storage.connection import Connection


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """One published segment.

    Attributes:
        name: of the file, in the store's index folder.
        kind: "base" or "delta".
        seq: of the last change that it covers.
        max_label: the greatest label that it covers.
        n_rows: rows in it.
        bytes: size of the file.
        checksum: of its header.
        published_at: epoch seconds; filled in by ``put`` where it is 0.
    """

    name: str
    kind: Literal["base", "delta"]
    seq: int
    max_label: int
    n_rows: int
    bytes: int
    checksum: int
    published_at: float = 0.0


_COLUMNS = ", ".join(field.name for field in fields(SegmentRow))
_LIST = f"SELECT {_COLUMNS} FROM segments ORDER BY kind, seq, name"
_PUT = f"INSERT OR REPLACE INTO segments({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_DROP = "DELETE FROM segments WHERE name = ?"


def listed(connection: Connection) -> list[SegmentRow]:
    """Return the manifest, the base first."""
    return [SegmentRow(*row) for row in connection.all(_LIST)]


def put(connection: Connection, row: SegmentRow) -> None:
    """Publish a segment with the transaction that is open."""
    connection.run(_PUT, (*astuple(row)[:-1], row.published_at or time.time()))


def drop(connection: Connection, name: str) -> bool:
    """Withdraw a segment; return whether it was listed."""
    return connection.run(_DROP, (name,)) > 0


def clear(connection: Connection) -> None:
    """Withdraw all segments: the database is a copy, beside which none of their files lie."""
    connection.run("DELETE FROM segments")
