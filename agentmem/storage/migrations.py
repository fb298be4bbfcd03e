"""Ordered migrations: each a function, applied once, recorded in the file, all of them within one transaction."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from agentmem import faults
from agentmem.errors import NotAStore, SchemaTooNew, StoreReadOnly
from agentmem.storage.connection import MEMORY, Connection, Trace, open_reader, roll_back
from agentmem.storage.schema import APPLICATION_ID, FULL_TEXT, SCHEMA_VERSION, TABLES
from agentmem.storage.terms import Analyzer

if TYPE_CHECKING:
    import sqlite_utils
    from sqlite_utils.migrations import Migrations


def _registered() -> Migrations:
    """Return the migrations, in order; sqlite-utils is imported only by who has to migrate."""
    from sqlite_utils.migrations import Migrations

    migrations = Migrations("agentmem")

    @migrations()
    def m001_first_schema(db: sqlite_utils.Database) -> None:
        for statement in (*TABLES, *FULL_TEXT):
            db.execute(statement)

    @migrations()
    def m002_stems_of_snowball_and_types_in_indexes(db: sqlite_utils.Database) -> None:
        """Make the stems of some words anew (``biology``, ``possibly``), and put types into indexes over metadata.

        Stems came from FTS5, which differs from Snowball's Porter there; segments hold them too.  Filters look at the
        type of a value as well: with both in the index they read no record.
        """
        _write_stems_anew(db)
        db.execute("DELETE FROM segments")
        indexes = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND name GLOB 'metadata_*'"
        for name, sql in db.execute(indexes).fetchall():
            start = sql.index("json_extract(")
            value = sql[start:-1]
            db.execute(f"DROP INDEX {name}")
            db.execute(f"{sql[:start]}{value}, {value.replace('json_extract', 'json_type', 1)})")

    @migrations()
    def m003_change_of_model(db: sqlite_utils.Database) -> None:
        """Vectors of the next embedding model wait in a table of their own; each model has its number."""
        db.execute("CREATE TABLE reembedded (label INTEGER PRIMARY KEY, vector BLOB)")
        db.execute("INSERT INTO config(key, value) VALUES ('generation', '1')")

    @migrations()
    def m004_memories_used(db: sqlite_utils.Database) -> None:
        """What was used of a search says less than what was accepted of it, and is kept apart."""
        db.execute("ALTER TABLE feedback ADD COLUMN used TEXT NOT NULL DEFAULT '[]'")

    return migrations


def _write_stems_anew(db: sqlite_utils.Database) -> None:
    analyzer = Analyzer()
    pages = "SELECT label, text FROM records WHERE label > ? AND text IS NOT NULL ORDER BY label LIMIT 1000"
    after = 0
    while page := db.execute(pages, (after,)).fetchall():
        terms = [(analyzer.encode(text), label) for label, text in page]
        db.conn.executemany("UPDATE embeddings SET terms = ? WHERE label = ?", terms)
        after = page[-1][0]


def inspect(path: str, timeout: float, trace: Trace | None, *, read_only: bool) -> None:
    """Refuse a path that is not, and (unless ``read_only``) may not become, a store.

    Nothing is written, but that SQLite rolls a journal back which a death left beside the file.

    Raises:
        NotAStore: a directory, a file that may not be read or written, no database, or another program's.
        SchemaTooNew: written by a newer agentmem.
    """
    if path == MEMORY:
        return
    if not os.path.exists(path):
        if read_only:
            raise NotAStore(f"{path} does not exist; open it without read_only=True to make it")
        return
    if os.path.isdir(path):
        raise NotAStore(f"{path} is a directory; give the path of a file in it, e.g. {os.path.join(path, 'memory.db')}")
    if not read_only and not os.access(path, os.W_OK):
        raise NotAStore(f"{path} may not be written; change its permissions, or open it with read_only=True")
    connection = _open_torecognise(path, timeout, trace, read_only=read_only)
    try:
        version = recognise(connection)
        if read_only and version != SCHEMA_VERSION:
            raise NotAStore(
                f"{path} has schema version {version}, which must be migrated; open it once without read_only=True"
            )
    finally:
        connection.close()


def _open_torecognise(path: str, timeout: float, trace: Trace | None, *, read_only: bool) -> Connection:
    """Open a reader; where a death cut the making of a store short, SQLite's journal is rolled back before."""
    try:
        return open_reader(path, timeout, trace)
    except StoreReadOnly as error:
        if not os.path.exists(f"{path}-journal"):
            raise
        if read_only:
            raise NotAStore(
                f"{path} was left half made, with a journal to roll back; open it once without read_only=True"
            ) from error
    roll_back(path, timeout, trace)
    return open_reader(path, timeout, trace)


def recognise(connection: Connection) -> int:
    """Return the schema version of a store, 0 for an empty database; raise for anything else."""
    path = connection.path
    application = connection.first("PRAGMA application_id")
    version = int(connection.first("PRAGMA user_version"))
    if application == APPLICATION_ID:
        if version > SCHEMA_VERSION:
            raise SchemaTooNew(
                f"{path} has schema version {version}, this agentmem knows {SCHEMA_VERSION}; upgrade agentmem"
            )
        return version
    if application or version or connection.first("SELECT count(*) FROM sqlite_master"):
        raise NotAStore(f"{path} is another program's SQLite database, not an agentmem store; choose another path")
    return 0


def migrate(connection: Connection) -> None:
    """Bring a store up to the newest schema; an empty database becomes a store.

    Several processes may do this at once: one migrates, the others wait for it (StoreBusy past their timeout).
    """
    if recognise(connection) == SCHEMA_VERSION:
        return
    import sqlite_utils

    connection.run("BEGIN IMMEDIATE")
    try:
        if recognise(connection) != SCHEMA_VERSION:
            database = sqlite_utils.Database(connection.raw, recursive_triggers=False, execute_plugins=False)
            faults.point("migrate:begun")
            _registered().apply(database)
            faults.point("migrate:applied")
            connection.run(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.run(f"PRAGMA user_version = {SCHEMA_VERSION}")
            faults.point("migrate:stamped")
        connection.run("COMMIT")
        faults.point("migrate:committed")
    except BaseException:
        if connection.in_transaction:
            connection.run("ROLLBACK")
        raise
