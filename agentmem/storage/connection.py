"""One SQLite connection, prepared statements on it, and the one place where SQLite's errors become agentmem's."""

from __future__ import annotations

import ctypes
import os
import sqlite3
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn, cast
from urllib.parse import quote

from agentmem.errors import NotAStore, StoreBusy, StoreDamaged, StoreError, StoreReadOnly

MEMORY = ":memory:"
PAGE_BYTES = 4096
"""A commit writes every page that it touches to the log, and a single add touches ten."""
SYNCHRONOUS = {"normal": 1, "full": 2}

_CACHED_STATEMENTS = 256
_CACHE_KIB = 16_384
_MMAP_BYTES = (2 << 30) - (1 << 16)
_WAL_LIMIT_BYTES = 64 << 20
CHECKPOINT_PAGES = 4_000
"""A log of 16 MB is moved into the file: less often than by default, since each time costs two syncs of the disk."""

Trace = Callable[[str], object]
Prepare = Callable[[sqlite3.Connection], object]
"""Gives a new connection what it is to have besides: functions, temporary views."""


def damaged(path: str, what: str) -> StoreDamaged:
    """Return the error for a database that holds what it cannot hold; the message names the remedies."""
    return StoreDamaged(
        f"{path} is damaged ({what}); restore a backup, or save what can be read: "
        f"agentmem recover {path} --output memories.jsonl"
    )


def forked(path: str) -> StoreError:
    """Return the error for a store that was open in the process from which this one was forked."""
    return StoreError(
        f"{path} was open when this process was forked, and SQLite cannot use it on both sides of a fork; close the "
        "store before forking, or start the child anew (multiprocessing's 'spawn', or subprocess)"
    )


class _Inherited:
    """Stands in a forked child for a handle of its parent: it does nothing, and says so."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Any:
        raise forked(self._path)

    def close(self) -> None:
        """Leave the parent's handle alone."""


def translated(error: sqlite3.Error, path: str) -> StoreError:
    """Return agentmem's exception for one of SQLite's; the message names the path and the remedy."""
    text = str(error)
    lower = text.lower()
    if "locked" in lower or "busy" in lower:
        return StoreBusy(f"{path} is locked by another connection ({text}); retry, or open it with a longer timeout")
    if lower.startswith("could not decode"):
        return damaged(path, "a text in it is not UTF-8")
    if "malformed" in lower or "disk image" in lower:
        return damaged(path, text)
    if "not a database" in lower:
        return NotAStore(f"{path} is not an agentmem store: it is not an SQLite database; choose another path")
    if "readonly" in lower or "read-only" in lower:
        return StoreReadOnly(f"{path} cannot be written ({text}); open it where and as whom it may be written")
    if "unable to open" in lower:
        return NotAStore(
            f"{path} cannot be opened ({text}); check that its folder exists and may be read and written, "
            "and that this process may open more files"
        )
    if "disk is full" in lower:
        return StoreError(f"{path}: {text}; free some space and retry, nothing of this change was stored")
    return StoreError(f"{path}: SQLite reports: {text}")


def _fail(error: sqlite3.Error, path: str) -> NoReturn:
    """Raise agentmem's exception for one of SQLite's, which is its cause unless it quotes what is stored."""
    quotes = str(error).startswith("Could not decode")
    raise translated(error, path) from (None if quotes else error)


class Connection:
    """A connection for one thread at a time; statements are prepared once and kept.

    Args:
        target: a path, ":memory:", or a "file:" URI.
        path: what error messages name.
        timeout: seconds to wait for locks that other connections hold.
        trace: sees every SQL statement, or None.

    Raises:
        NotAStore: it cannot be opened.
        StoreError: it was open when this process was forked.
    """

    __slots__ = ("__weakref__", "_cursor", "file", "path", "raw")

    def __init__(self, target: str, *, path: str, timeout: float, trace: Trace | None = None) -> None:
        self.path = path
        self.file = _file(path)
        if self.file in _inherited:
            raise forked(path)
        try:
            self.raw = sqlite3.connect(
                target,
                timeout=timeout,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=_CACHED_STATEMENTS,
                uri=target.startswith("file:"),
            )
        except sqlite3.Error as error:
            _fail(error, path)
        if trace is not None:
            self.raw.set_trace_callback(trace)
        self._cursor = self.raw.cursor()
        _connections.add(self)

    @property
    def in_transaction(self) -> bool:
        """Say whether a transaction is open."""
        return self.raw.in_transaction

    def run(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Execute one statement; return the number of rows that it changed (-1 where that means nothing)."""
        try:
            return self._cursor.execute(sql, values).rowcount
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            _fail(error, self.path)

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Execute one statement for each row of values."""
        try:
            self._cursor.executemany(sql, rows)
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            _fail(error, self.path)

    def all(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return every row of a query, as tuples."""
        try:
            return self._cursor.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            _fail(error, self.path)

    def first(self, sql: str, values: Sequence[Any] = ()) -> Any:
        """Return the first column of the only row of a query, or None where there is no row."""
        rows = self.all(sql, values)
        return rows[0][0] if rows else None

    def close(self) -> None:
        """Close the connection."""
        self.raw.close()
        _connections.discard(self)


def _file(path: str) -> tuple[int, int] | None:
    """Return what SQLite knows a file by, or None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


_inherited: set[tuple[int, int] | None] = set()
"""Files that were open when this process was forked: SQLite believes that it holds locks on them, which its parent
holds.  Opened anew, the file would be written without them."""
_connections: weakref.WeakSet[Connection] = weakref.WeakSet()


def _abandon() -> None:
    """In a forked child: let nothing ever use, finalise or close the parent's handles.

    SQLite would empty and remove a write-ahead log that is another process's by now.  A reference that nobody gives
    back keeps the handles from that, at the interpreter's end too.
    """
    for connection in list(_connections):
        _inherited.add(connection.file)
        for handle in (connection.raw, connection._cursor):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(handle))
        connection.raw = connection._cursor = cast(Any, _Inherited(connection.path))
    _inherited.discard(None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_abandon)


def uri(path: str, mode: str) -> str:
    """Return the SQLite URI of a path, e.g. with mode "ro" or "rw" or "ro&immutable=1"."""
    return f"file:{quote(Path(path).absolute().as_posix())}?mode={mode}"


def open_writer(
    path: str, timeout: float, durability: str, trace: Trace | None, prepare: Prepare | None = None
) -> Connection:
    """Open a connection that may write, in WAL mode; a file that is missing is made, for its owner only."""
    if path == MEMORY:
        connection = Connection(MEMORY, path=path, timeout=timeout, trace=trace)
    else:
        _create(path)
        connection = Connection(uri(path, "rw"), path=path, timeout=timeout, trace=trace)
    try:
        connection.run(f"PRAGMA page_size = {PAGE_BYTES}")
        mode = connection.first("PRAGMA journal_mode = WAL")
        if mode not in ("wal", "memory"):
            raise NotAStore(
                f"{path}: its file system cannot hold a shared write-ahead log (mode {mode!r}); use a local disk"
            )
        connection.run(f"PRAGMA synchronous = {SYNCHRONOUS[durability]}")
        connection.run(f"PRAGMA journal_size_limit = {_WAL_LIMIT_BYTES}")
        connection.run(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        _tune(connection, prepare)
    except BaseException:
        connection.close()
        raise
    return connection


def open_reader(path: str, timeout: float, trace: Trace | None, prepare: Prepare | None = None) -> Connection:
    """Open a connection that cannot write.

    In a folder that may not be written and where no write-ahead log lies, nobody can be writing: the file is then
    opened as immutable, which needs no lock files beside it.
    """
    connection = Connection(uri(path, "ro"), path=path, timeout=timeout, trace=trace)
    try:
        connection.all("PRAGMA schema_version")
    except (NotAStore, StoreReadOnly):
        connection.close()
        if os.access(os.path.dirname(path) or ".", os.W_OK) or os.path.exists(f"{path}-wal"):
            raise
        connection = Connection(uri(path, "ro&immutable=1"), path=path, timeout=timeout, trace=trace)
    except BaseException:
        connection.close()
        raise
    try:
        _tune(connection, prepare)
        connection.run("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def roll_back(path: str, timeout: float, trace: Trace | None) -> None:
    """Let SQLite undo the change that a journal beside the file guards; a connection that cannot write is refused."""
    connection = Connection(uri(path, "rw"), path=path, timeout=timeout, trace=trace)
    try:
        connection.all("PRAGMA schema_version")
    finally:
        connection.close()


def open_at_rest(path: str) -> Connection:
    """Open a file that nobody writes, to read only, and leave nothing beside it.

    It is opened as immutable, which takes no locks and makes no files, unless a log lies beside it that belongs to it.
    """
    logged = any(os.path.exists(f"{path}-{log}") for log in ("wal", "journal"))
    connection = Connection(uri(path, "ro" if logged else "ro&immutable=1"), path=path, timeout=0.0)
    connection.run("PRAGMA query_only = ON")
    return connection


def _tune(connection: Connection, prepare: Prepare | None) -> None:
    connection.run(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.run(f"PRAGMA mmap_size = {_MMAP_BYTES}")
    connection.run("PRAGMA temp_store = MEMORY")
    if prepare is not None:
        try:
            prepare(connection.raw)
        except sqlite3.Error as error:
            _fail(error, connection.path)


def _create(path: str) -> None:
    """Make an empty file with mode 0600 unless there is one.

    An existing file is never opened here: closing a descriptor of it would drop the locks that SQLite holds in this
    process.
    """
    if os.path.exists(path):
        return
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise NotAStore(
            f"{path} cannot be created: {error.strerror}; choose a folder that exists and may be written"
        ) from error
