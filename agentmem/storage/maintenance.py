"""Care of the database file: checking it, compacting it, and emptying its write-ahead log."""

from __future__ import annotations

from agentmem import faults
from agentmem.errors import StoreBusy, StoreDamaged
from agentmem.storage.connection import Connection

_ORPHANS = (
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
)


def tables(connection: Connection) -> list[str]:
    """Return what SQLite's quick check and the comparison of tables find wrong, one line each."""
    problems = [f"database: {line}" for (line,) in connection.all("PRAGMA quick_check") if line != "ok"]
    for what, sql in _ORPHANS:
        count = connection.first(sql)
        if count:
            problems.append(f"database: {count} {what}")
    return problems


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
