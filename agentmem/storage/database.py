"""The door to storage: one SQLite file, many readers, one writer at a time.

Every thread reads on a connection of its own, taken from a pool; all writing goes through one connection behind a lock.
A store in memory has a single connection, which the lock guards for reading too.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from threading import get_ident

from agentmem.errors import InvalidInput, StoreBusy, StoreClosed, StoreError, StoreReadOnly
from agentmem.storage import copies, maintenance
from agentmem.storage.checkpoints import Checkpointer
from agentmem.storage.connection import (
    MEMORY,
    SYNCHRONOUS,
    Connection,
    Prepare,
    Trace,
    forked,
    open_reader,
    open_writer,
    uri,
)
from agentmem.storage.kept import KeptRecords
from agentmem.storage.migrations import inspect, migrate
from agentmem.storage.reader import Reader
from agentmem.storage.writer import Writer
from agentmem.validation import check_choice, check_number, check_path


class Database:
    """An open store; made by ``Database.open``.  Safe to share between threads; close it before a fork."""

    def __init__(
        self,
        path: str,
        writer: Connection | None,
        timeout: float,
        trace: Trace | None,
        prepare: Prepare | None = None,
    ) -> None:
        self.path = path
        self._timeout = timeout
        self._trace = trace
        self._prepare = prepare
        self._pid = os.getpid()
        self._closed = False
        self._generation: int | None = None
        self._lock = threading.RLock()
        self._owner = 0
        self._depth = 0
        self._pool: list[tuple[Connection, Reader]] = []
        self._kept = KeptRecords()
        self._connection = writer
        self._own_reader = None if writer is None else Reader(writer)
        self._writer = None if writer is None else Writer(writer, self.transaction)
        self._checkpointer = None
        if writer is not None and path != MEMORY:
            self._checkpointer = Checkpointer(lambda: Connection(uri(path, "rw"), path=path, timeout=timeout))

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        read_only: bool = False,
        timeout: float = 5.0,
        durability: str = "normal",
        trace: Trace | None = None,
        prepare: Prepare | None = None,
    ) -> Database:
        """Open a store; a path where nothing is becomes a new one.

        Args:
            path: of the file, or ":memory:".
            read_only: refuse changes; the store must exist.
            timeout: seconds to wait for another writer before StoreBusy.
            durability: "normal" survives a killed process, and after a power loss lacks at most the last commits;
                "full" syncs every commit.
            trace: called with every SQL statement.
            prepare: called with each connection that reads or writes, before anything else does.

        Raises:
            InvalidInput: an argument out of range, or a path that no file can have.
            NotAStore: a directory, another program's file, or a path that cannot be opened.
            SchemaTooNew: written by a newer agentmem; left untouched.
            StoreDamaged: SQLite reports a malformed database.
            StoreBusy: another process held the lock while the store had to be made or migrated.
        """
        path = check_path(path)
        check_choice(durability, "durability", SYNCHRONOUS)
        timeout = check_number(timeout, "timeout", low=0.0, high=threading.TIMEOUT_MAX)
        if read_only and path == MEMORY:
            raise InvalidInput("a store in memory is new and empty; it cannot be opened read-only")
        inspect(path, timeout, trace, read_only=read_only)
        if read_only:
            return cls(path, None, timeout, trace, prepare)
        connection = open_writer(path, timeout, durability, trace, prepare)
        try:
            migrate(connection)
        except BaseException:
            connection.close()
            raise
        return cls(path, connection, timeout, trace, prepare)

    @property
    def inherited(self) -> bool:
        """Say whether another process opened it, from which this one was forked: then it cannot be used here."""
        return self._pid != os.getpid()

    @property
    def timeout(self) -> float:
        """Return the seconds to wait for another writer."""
        return self._timeout

    @property
    def read_only(self) -> bool:
        """Say whether changes are refused."""
        return self._connection is None

    def hold_to(self, generation: int) -> None:
        """Refuse write transactions from now on where the store has another embedding model than this one's number."""
        self._generation = generation

    def read(self) -> _Read:
        """Return a context manager that gives a Reader bound to one read transaction.

        Inside this thread's own write transaction the reader sees what it has written so far.
        """
        return _Read(self)

    def transaction(self) -> _Transaction:
        """Return a context manager that gives the Writer; it commits at its end, and undoes everything on an exception.

        Within a transaction of the same thread it is a part of that one, and undoes only itself.

        What the store is held to (``hold_to``) is what it was when this was called, not when the block is entered: a
        caller may embed in between.

        Raises:
            StoreBusy: another thread or process held the lock past the timeout.
            StoreReadOnly: the store was opened read-only.
            EmbedderMismatch: it was re-embedded.
        """
        self._usable()
        if self._writer is None:
            raise self._refusal()
        return _Transaction(self, self._writer)

    @contextmanager
    def synced_transaction(self) -> Iterator[Writer]:
        """Give a writer like ``transaction``, and sync the commit under any durability: it outlives a power loss.

        Raises:
            InvalidInput: inside a transaction; and what ``transaction`` raises.
        """
        with self._alone() as connection:
            level = connection.first("PRAGMA synchronous")
            connection.run("PRAGMA synchronous = FULL")
            try:
                with self.transaction() as writer:
                    yield writer
            finally:
                connection.run(f"PRAGMA synchronous = {level}")

    def in_transaction(self) -> bool:
        """Say whether this thread is inside a write transaction."""
        return self._owner == get_ident()

    def integrity(self) -> list[str]:
        """Return what is wrong with the database, one line each; empty when all is well.

        SQLite's quick check; rows without their counterpart in other tables, metadata that is not JSON, vectors of a
        wrong size or with NaN; and the full-text index compared with the records, which needs the write lock and is
        left out of a store that is opened read-only.
        """
        with self.read() as reader:
            problems = maintenance.tables(reader.connection)
        if self.read_only:
            return problems
        with self.transaction() as writer:
            return problems + maintenance.full_text(writer.connection)

    def backup(self, target: str, progress: copies.Progress) -> int:
        """Copy the database as it is now to a new file, while others may read and write; return the bytes written.

        Raises:
            InvalidInput: see ``copies.check_target``; or inside a transaction.
            StoreError: it cannot be written; nothing is left behind.
        """
        if self.in_transaction():
            raise InvalidInput("a backup cannot be made inside a transaction; leave it first")
        with self.read() as reader:
            reader.seq()  # The snapshot begins with the first read.
            return copies.backup(reader.connection, target, progress)

    def vacuum(self) -> None:
        """Compact the file; deleted text leaves it for good.

        Raises:
            StoreBusy: another process writes, or a reader keeps the write-ahead log in use.
            InvalidInput: inside a transaction.
        """
        self._kept.clear()
        with self._alone() as connection:
            maintenance.vacuum(connection)

    def checkpoint(self) -> bool:
        """Move the write-ahead log into the file; return whether all of it could be moved."""
        with self._alone() as connection:
            return maintenance.checkpoint(connection)

    def close(self) -> None:
        """Close every connection; one that another thread is reading with closes when it is done.  Twice is fine.

        In a forked child nothing is closed: the connections are its parent's.

        Raises:
            StoreBusy: another thread is in a transaction.
            InvalidInput: this thread is.
        """
        if self._closed or self.inherited:
            self._closed = True
            return
        if self.in_transaction():
            raise InvalidInput(f"{self.path} cannot be closed inside a transaction; leave it first")
        if not self._lock.acquire(timeout=self._timeout):
            raise StoreBusy(f"{self.path} cannot be closed: another thread is in a transaction")
        try:
            self._closed = True
            if self._checkpointer is not None:
                self._checkpointer.close()
            while self._pool:
                self._pool.pop()[0].close()
            if self._connection is not None:
                self._connection.close()
        finally:
            self._lock.release()

    def _usable(self) -> None:
        if self._closed:
            raise StoreClosed(f"{self.path} was closed; open it again")
        if self._pid != os.getpid():
            raise forked(self.path)

    def _refusal(self) -> StoreReadOnly:
        return StoreReadOnly(f"{self.path} was opened read-only; open it without read_only=True to change it")

    @contextmanager
    def _alone(self) -> Iterator[Connection]:
        """Give the writing connection outside of any transaction, with the lock held."""
        self._usable()
        if self._connection is None:
            raise self._refusal()
        self._acquire()
        try:
            if self._depth:
                raise InvalidInput("this cannot be done inside a transaction; leave it first")
            with nullcontext() if self._checkpointer is None else self._checkpointer.pause:
                yield self._connection
        finally:
            self._lock.release()

    def _acquire(self) -> None:
        self._usable()
        if not self._lock.acquire(timeout=self._timeout):
            raise StoreBusy(f"{self.path}: another thread held the write lock for {self._timeout:g} s; retry")
        if self._closed:
            self._lock.release()
            self._usable()

    def _take(self) -> tuple[Connection, Reader]:
        try:
            return self._pool.pop()
        except IndexError:
            connection = open_reader(self.path, self._timeout, self._trace, self._prepare)
            return connection, Reader(connection, self._kept)

    def _give(self, pooled: tuple[Connection, Reader]) -> None:
        self._pool.append(pooled)
        if self._closed:
            while self._pool:
                self._pool.pop()[0].close()


class _Read:
    """One read transaction.

    Attributes:
        private: once entered, that it sees what this thread has not committed yet.
    """

    __slots__ = ("_database", "_locked", "_pooled", "private")

    def __init__(self, database: Database) -> None:
        self._database = database
        self._locked = self.private = False
        self._pooled: tuple[Connection, Reader] | None = None

    def __enter__(self) -> Reader:
        database = self._database
        database._usable()
        own = database._own_reader
        if own is not None and database._owner == get_ident():
            self.private = True
            return own
        if own is not None and database.path == MEMORY:
            database._acquire()
            self._locked = True
            return own
        pooled = database._take()
        try:
            pooled[0].run("BEGIN")
        except BaseException:
            pooled[0].close()
            raise
        self._pooled = pooled
        return pooled[1]

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if self._locked:
            self._database._lock.release()
        elif self._pooled is not None:
            try:
                self._pooled[0].run("COMMIT")
            except BaseException:
                self._pooled[0].close()
                raise
            self._database._give(self._pooled)


class _Transaction:
    """One write transaction, or a part of one."""

    __slots__ = ("_database", "_depth", "_generation", "_writer")

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._writer = writer
        self._generation = database._generation
        self._depth = 0

    def __enter__(self) -> Writer:
        database, writer = self._database, self._writer
        connection = writer.connection
        if database._owner != get_ident():
            database._acquire()
        if database._depth:
            if not connection.in_transaction:
                raise StoreError(
                    f"{database.path}: SQLite has undone this transaction after an error; leave it and retry"
                )
            connection.run(f"SAVEPOINT part_{database._depth}")
        else:
            try:
                connection.run("BEGIN IMMEDIATE")
                writer.begin(self._generation)
            except BaseException:
                if connection.in_transaction:
                    connection.run("ROLLBACK")
                database._lock.release()
                raise
            database._owner = get_ident()
        self._depth = database._depth
        database._depth += 1
        return writer

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        database = self._database
        connection = self._writer.connection
        database._depth = self._depth
        if self._depth:
            self._end_part(connection, undo=kind is not None)
            return
        try:
            if kind is None:
                self._writer.commit()
                if database._checkpointer is not None:
                    database._checkpointer.committed()
        finally:
            try:
                if connection.in_transaction:
                    connection.run("ROLLBACK")
            finally:
                database._owner = 0
                database._lock.release()

    def _end_part(self, connection: Connection, *, undo: bool) -> None:
        """End a savepoint, unless SQLite has rolled everything back already (a full disk may make it do so)."""
        if not connection.in_transaction:
            return
        if undo:
            connection.run(f"ROLLBACK TO part_{self._depth}")
            self._writer.refresh()
        connection.run(f"RELEASE part_{self._depth}")
