"""Care of the database file: checking it, compacting it, and emptying its write-ahead log."""

from __future__ import annotations

from typing import Literal

import numpy as np

from agentmem import faults
from agentmem.errors import StoreBusy, StoreDamaged
from agentmem.storage.connection import Connection

_WRONG = (
    (
        "records without a row in embeddings",
        "SELECT count(*) FROM records WHERE label NOT IN (SELECT label FROM embeddings)",
    ),
    (
        "rows in embeddings without a record",
        "SELECT count(*) FROM embeddings WHERE label NOT IN (SELECT label FROM records)",
    ),
    (
        "links with an end that does not exist",
        "SELECT count(*) FROM links "
        "WHERE source NOT IN (SELECT id FROM records) OR target NOT IN (SELECT id FROM records)",
    ),
    (
        "records whose version is not in the change log",
        "SELECT count(*) FROM records r LEFT JOIN changes c ON c.seq = r.seq WHERE c.label IS NOT r.label",
    ),
    (
        "records whose metadata is not a JSON object",
        "SELECT count(*) FROM records "
        "WHERE CASE WHEN json_valid(metadata) THEN json_type(metadata) <> 'object' ELSE 1 END",
    ),
    (
        "vectors of another length than the store's dimension",
        "SELECT count(*) FROM embeddings "
        "WHERE length(vector) <> 4 * (SELECT CAST(value AS INTEGER) FROM config WHERE key = 'dimension')",
    ),
    (
        "token or stem ids that are cut off",
        "SELECT count(*) FROM embeddings WHERE length(terms) % 4 <> 0 "
        "OR length(tokens) % (SELECT CAST(value AS INTEGER) FROM config WHERE key = 'token_bytes') <> 0",
    ),
)
_VECTORS = "SELECT label, vector FROM embeddings WHERE label > ? ORDER BY label LIMIT ?"
_BATCH = 4_096


def tables(connection: Connection, check: Literal["quick_check", "integrity_check"] = "quick_check") -> list[str]:
    """Return what SQLite's check finds, else what comparing the tables and reading the vectors finds, one line each.

    Args:
        connection: of the database.
        check: SQLite's own; "integrity_check" also compares each table with its indexes.
    """
    broken = [f"database: {line}" for (line,) in connection.all(f"PRAGMA {check}") if line != "ok"]
    if broken:
        return broken
    counts = [(what, connection.first(sql)) for what, sql in _WRONG]
    counts.append(("vectors with NaN or infinity", _not_finite(connection)))
    return [f"database: {count} {what}" for what, count in counts if count]


def _not_finite(connection: Connection) -> int:
    """Return the number of vectors that hold NaN or infinity; those that are cut off are not looked at."""
    count = after = 0
    while rows := connection.all(_VECTORS, (after, _BATCH)):
        after = rows[-1][0]
        vectors = [blob for _, blob in rows if blob is not None and len(blob) % 4 == 0]
        count += sum(not np.isfinite(np.frombuffer(blob, np.float32)).all() for blob in vectors)
    return count


def full_text(connection: Connection) -> list[str]:
    """Return what FTS5 finds when it compares its index with the records; needs a write transaction."""
    try:
        connection.run("INSERT INTO records_fts(records_fts, rank) VALUES ('integrity-check', 1)")
    except StoreDamaged as error:
        return [f"full-text index: it differs from the records ({error.__cause__}); vacuum rebuilds it"]
    return []


def vacuum(connection: Connection) -> None:
    """Rewrite the file without free space and without traces of deleted text, and empty the write-ahead log.

    Raises:
        StoreBusy: an open read transaction stands in the way of the last step; what was done stays.
    """
    faults.point("vacuum:begun")
    connection.run("DELETE FROM reembedded WHERE label NOT IN (SELECT label FROM records)")
    if full_text(connection):
        connection.run("INSERT INTO records_fts(records_fts) VALUES ('rebuild')")
    connection.run("INSERT INTO records_fts(records_fts) VALUES ('optimize')")
    faults.point("vacuum:text-optimized")
    connection.run("VACUUM")
    faults.point("vacuum:rewritten")
    if not checkpoint(connection):
        raise StoreBusy(
            f"{connection.path}: a reader keeps the write-ahead log from being emptied; retry when it is done"
        )
    faults.point("vacuum:log-emptied")


def checkpoint(connection: Connection) -> bool:
    """Move the write-ahead log into the file; return whether all of it could be moved."""
    busy, _, _ = connection.all("PRAGMA wal_checkpoint(TRUNCATE)")[0]
    return not busy
