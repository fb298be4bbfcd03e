"""Turns: one transaction at a time, first come, first served, among the tasks of any number of event loops."""

from __future__ import annotations

import asyncio
import threading
from asyncio import AbstractEventLoop
from collections import deque
from concurrent.futures import Future

from agentmem.aio.calls import done
from agentmem.errors import StoreBusy


class Turns:
    """Who comes next: a transaction has its turn to itself, and a write waits for its turn before it takes a thread.

    Writes that have had their turn may still run when a transaction has its own: the database's lock is between them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Future[None], bool, AbstractEventLoop]] = deque()
        self._held = False

    @property
    def held(self) -> bool:
        """Say whether a transaction has its turn."""
        return self._held

    async def take(self, timeout: float, path: str, *, hold: bool) -> None:
        """Wait for a turn; one that is held lasts until ``leave``.

        Raises:
            StoreBusy: it has not come within so many seconds.
        """
        future: Future[None] = Future()
        with self._lock:
            self._waiting.append((future, hold, asyncio.get_running_loop()))
            self._admit()
        if future.done():
            return
        try:
            await done(future, timeout)
        except BaseException:
            if not future.cancel() and hold:
                self.leave()
            raise
        if future.cancel():
            raise StoreBusy(f"{path}: another task has been in a transaction for {timeout:g} s; retry")

    def leave(self) -> None:
        """End a turn that was held."""
        with self._lock:
            self._held = False
            self._admit()

    def _admit(self) -> None:
        while self._waiting and not self._held:
            future, hold, loop = self._waiting.popleft()
            if not loop.is_closed() and future.set_running_or_notify_cancel():
                self._held = hold
                future.set_result(None)
