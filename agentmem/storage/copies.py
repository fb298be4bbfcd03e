"""Copies of a database, made by SQLite itself: backups, and the private copy on which a backup is verified."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

from agentmem.errors import InvalidInput, NotAStore, StoreDamaged, StoreError
from agentmem.files import sync_folder
from agentmem.storage import maintenance, manifest
from agentmem.storage.connection import MEMORY, Connection, open_at_rest, translated
from agentmem.storage.migrations import migrate, recognise

STEP_PAGES = 1_024
PRIVATE_COPY = ""
"""SQLite's name for a temporary database, which is gone when it is closed."""

Progress = Callable[[float], None]


def check_target(target: str, source: str) -> None:
    """Refuse a path to which no backup of the database ``source`` can go.

    Raises:
        InvalidInput: ":memory:", the database itself, or a path where something is.
    """
    if target == MEMORY:
        raise InvalidInput("a backup goes to a file, not to ':memory:'; give the path of a new file")
    if source != MEMORY and os.path.realpath(target) == os.path.realpath(source):
        raise InvalidInput(f"{target} is the store itself; give the path of a new file")
    if os.path.lexists(target):
        raise InvalidInput(f"{target} exists already; a backup overwrites nothing: give the path of a new file")


def backup(source: Connection, target: str, progress: Progress) -> int:
    """Copy a database, as one read transaction sees it, to a new file with mode 0600; return the bytes written.

    It is written under a temporary name beside ``target``, synced, and renamed: what lies at ``target`` is whole.  Its
    journal mode is "delete", so that it is one file, whoever reads it.

    Args:
        source: with a read transaction that has begun to read, or in memory.
        target: see ``check_target``.
        progress: told the share that is done.

    Raises:
        InvalidInput: see ``check_target``.
        StoreError: it cannot be written; nothing is left behind.
    """
    check_target(target, source.path)
    path = Path(target)
    try:
        handle, partial = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".partial", dir=path.parent)
    except OSError as error:
        raise StoreError(
            f"{target} cannot be written: {error.strerror}; choose a folder that may be written"
        ) from error
    os.close(handle)
    try:
        _copy(source, partial, target, progress)
        os.rename(partial, target)
    except BaseException:
        for name in (partial, f"{partial}-journal"):
            Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return os.stat(target).st_size


def _copy(source: Connection, partial: str, target: str, progress: Progress) -> None:
    copy = Connection(partial, path=target, timeout=0.0)
    try:
        _copy_pages(source, copy, progress)
        copy.all("PRAGMA journal_mode = DELETE")
        manifest.clear(copy)
    finally:
        copy.close()


def _copy_pages(source: Connection, copy: Connection, progress: Progress) -> None:
    def report(_: int, remaining: int, total: int) -> None:
        progress(1.0 - remaining / max(total, 1))

    try:
        source.raw.backup(copy.raw, pages=STEP_PAGES, progress=report)
    except sqlite3.Error as error:
        raise translated(error, copy.path) from error


def verify(path: str) -> tuple[int, list[str]]:
    """Return how many records a backup holds, and what is wrong with it; the file is only read.

    All is checked on a private copy, which is brought up to the newest schema first, as opening the file would do.

    Raises:
        NotAStore: nothing there, or no store.
        SchemaTooNew: written by a newer agentmem.
    """
    source, copy = open_at_rest(path), Connection(PRIVATE_COPY, path=path, timeout=0.0)
    try:
        if recognise(source) == 0:
            raise NotAStore(f"{path} is an empty database, not a backup of a store")
        _copy_pages(source, copy, lambda _: None)
        migrate(copy)
        problems = maintenance.tables(copy, "integrity_check") or maintenance.full_text(copy)
        records = int(copy.first("SELECT count(*) FROM records"))
    except StoreDamaged as error:
        return 0, [f"database: {error}"]
    finally:
        copy.close()
        source.close()
    return records, problems
