"""Checkpoints beside the writer: a thread moves the write-ahead log into the file, so that no commit waits for it.

A checkpoint syncs the disk twice.  SQLite makes one within the commit that finds ``connection.CHECKPOINT_PAGES`` pages
in the log; that stays as the bound, and has little left to do where this thread has been at work.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from agentmem.errors import StoreError
from agentmem.storage.connection import Connection

log = logging.getLogger("agentmem.storage")

COMMITS = 100
"""After so many commits of a writer (some 900 pages, where each is one record) its log is moved."""
IDLE_S = 5.0
"""A thread that is not called for so long ends; the next call starts another."""


class Checkpointer:
    """Belongs to one writer; safe to call from any thread.

    Args:
        connect: opens a connection of the thread's own, which may write.
    """

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._commits = 0
        self._lock = threading.Lock()
        self._called = threading.Event()
        self._thread: threading.Thread | None = None
        self.pause = threading.Lock()
        """Who holds it keeps checkpoints away, as those must who need the log for themselves."""

    def committed(self) -> None:
        """Count a commit; every ``COMMITS`` of them call the thread."""
        self._commits += 1
        if self._commits % COMMITS:
            return
        with self._lock:
            self._called.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="agentmem-checkpoint", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Wait for a checkpoint that is being made, and end the thread."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._called.set()
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        try:
            connection = self._connect()
        except StoreError as error:
            log.warning("checkpoints are left to the commits: %s", error)
            return
        try:
            while self._wanted():
                with self.pause:
                    connection.all("PRAGMA wal_checkpoint(PASSIVE)")
        except StoreError as error:
            log.warning("a checkpoint failed, and is left to the commits: %s", error)
        finally:
            connection.close()

    def _wanted(self) -> bool:
        """Wait to be called; False when this thread is to end."""
        called = self._called.wait(IDLE_S)
        with self._lock:
            self._called.clear()
            mine = self._thread is threading.current_thread()
            if mine and not called:
                self._thread = None
            return mine and called
