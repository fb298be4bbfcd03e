"""A pool of threads that grows and shrinks with its load: tasks waiting or running, over threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

GROW_ABOVE = 0.8
SHRINK_BELOW = 0.2

Task = tuple["Future[Any]", Callable[..., Any], tuple[Any, ...]]


class WorkerPool:
    """Threads that are started when they are needed; one stays, the others end when there is little to do.

    Args:
        most: threads at most.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._size = 0
        self._pending = 0

    @property
    def size(self) -> int:
        """Return the number of threads."""
        return self._size

    @property
    def load(self) -> float:
        """Return the tasks waiting or running over the threads; 0 without threads."""
        return self._pending / self._size if self._size else 0.0

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Have a function called by a thread of the pool."""
        if self._pid != os.getpid():
            self._reset()  # threads do not cross a fork
        future: Future[Any] = Future()
        with self._lock:
            grows = not self._size or (self._size < self.most and self._pending > GROW_ABOVE * self._size)
            self._pending += 1
            self._size += grows
        if grows:
            threading.Thread(target=self._work, args=(self._tasks,), name="agentmem-attention", daemon=True).start()
        self._tasks.put((future, function, arguments))
        return future

    def _work(self, tasks: SimpleQueue[Task | None]) -> None:
        while (task := tasks.get()) is not None:
            future, function, arguments = task
            running = future.set_running_or_notify_cancel()
            result, failure = None, None
            if running:
                try:
                    result = function(*arguments)
                except BaseException as error:
                    failure = error
            with self._lock:
                self._pending -= 1
                while self._size > 1 and self._pending < SHRINK_BELOW * self._size:
                    self._size -= 1
                    tasks.put(None)
            if failure is not None:
                future.set_exception(failure)
            elif running:
                future.set_result(result)
            del task, future, function, arguments, result, failure

    def close(self) -> None:
        """Let every thread end when its tasks are done; a later task starts a new one."""
        with self._lock:
            for _ in range(self._size):
                self._tasks.put(None)
            self._size = 0
