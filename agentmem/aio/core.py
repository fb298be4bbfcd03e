"""What the verbs of an async store share: the store below, its threads, and whether it is still open."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import update_wrapper
from typing import Any, Concatenate, ParamSpec, TypeVar

from agentmem.aio.calls import Call, lane_of, spawn
from agentmem.aio.turns import Turns
from agentmem.errors import InvalidInput, StoreClosed, StoreError
from agentmem.hooks import HookRegistry
from agentmem.store import MemoryStore
from agentmem.validation import check_count

P = ParamSpec("P")
R = TypeVar("R")


class _TurnedAway(Exception):
    """Leaves a thread with nothing done: a transaction has begun since the call had its turn."""


class AsyncCore:
    """The composition; see ``AsyncMemoryStore`` for the arguments."""

    def __init__(
        self,
        path_or_store: str | os.PathLike[str] | MemoryStore = "memory.db",
        *,
        max_concurrency: int = 8,
        **options: Any,
    ) -> None:
        threads = check_count(max_concurrency, "max_concurrency", low=1, high=1_000)
        self._store: MemoryStore | None = None
        self._options = options
        self._owns = not isinstance(path_or_store, MemoryStore)
        self._closed = self._done = False
        self._lock = threading.Lock()
        self._opening = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="agentmem")
        self._turns = Turns()
        self._timeout = 0.0
        self._path: str | os.PathLike[str] = ""
        if isinstance(path_or_store, MemoryStore):
            if options:
                raise InvalidInput(f"a store that is open keeps its options; leave out {', '.join(options)}")
            self._adopt(path_or_store)
        else:
            inspect.signature(MemoryStore).bind(path_or_store, **options)
            self._path = path_or_store

    def _adopt(self, store: MemoryStore) -> MemoryStore:
        self._timeout = store.database.timeout
        self._path = store.path
        self._store = store
        return store

    @property
    def store(self) -> MemoryStore:
        """Return the store below; opened, where it is not yet, unless an event loop is running in this thread.

        Raises:
            StoreError: that would block the loop; await a verb first, or enter the store with ``async with``.
            StoreClosed: it was closed.
        """
        if self._store is None:
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                return self._opened()
            raise StoreError("the store is not open yet: enter it with `async with`, or await one of its verbs first")
        return self._store

    @property
    def hooks(self) -> HookRegistry:
        """Return the hooks of the store below, which must be open; a coroutine runs on the event loop that searches."""
        return self.store.hooks

    def _opened(self) -> MemoryStore:
        """Return the store below, open; in a thread that may wait."""
        if self._store is not None:
            return self._store
        with self._opening:
            if self._closed:
                raise self._refusal()
            return self._store or self._adopt(MemoryStore(self._path, **self._options))

    def _refusal(self) -> StoreClosed:
        return StoreClosed(f"the store {self._path} is closed; open it again with AsyncMemoryStore(...)")

    async def _run(self, call: Callable[[MemoryStore], R], *, decided: bool = False) -> R:
        """Run a call in a thread.

        Args:
            call: gets the store below.
            decided: it changes the store: wait for transactions of other tasks, and leave no doubt when cancelled.
        """
        made = Call(asyncio.get_running_loop(), self._store)
        lane = lane_of(self._store)
        future = None if lane is None else lane.submit(made.bound(lambda: call(self._opened())))
        if future is not None:
            return await made.outcome(future, decided=decided)
        while True:
            waits = self._store is not None and (decided or self._path == ":memory:")
            if waits:
                await self._turns.take(self._timeout, str(self._path), hold=False)
            with suppress(_TurnedAway):
                return await made.outcome(self._submit(made, call, waits), decided=decided)

    async def _ready(self) -> MemoryStore:
        """Return the store below, open; without a thread, where it is."""
        return await self._run(lambda store: store) if self._store is None else self._store

    def _submit(self, made: Call, call: Callable[[MemoryStore], R], waits: bool) -> Future[R]:
        def run() -> R:
            if waits and self._turns.held:
                raise _TurnedAway
            return call(self._opened())

        with self._lock:
            if self._closed:
                raise self._refusal()
            return self._pool.submit(made.bound(run))

    async def _hold(self, run: Callable[[], None]) -> Future[None]:
        """Have a thread besides run something that has a turn to itself, for as long as it runs.

        Raises:
            StoreBusy: its turn has not come within the store's timeout.
            StoreClosed: it was closed.
        """
        await self._turns.take(self._timeout, str(self._path), hold=True)
        try:
            with self._lock:
                if self._closed:
                    raise self._refusal()
                held = spawn(run, "agentmem-transaction")
        except BaseException:
            self._turns.leave()
            raise
        held.add_done_callback(lambda _: self._turns.leave())
        return held

    async def close(self) -> None:
        """Close the store, unless it was given open: then let go of it.  Closing twice is fine.

        Waits for transactions of other tasks, and for what has begun; other calls from then on raise StoreClosed.

        Raises:
            InvalidInput: this task is in a transaction.
            StoreBusy: another task, or another thread, is in a transaction, and stays there.
        """
        if self._done:
            return
        store = self._store
        if store is not None:
            if lane_of(store) is not None:
                raise InvalidInput("the store cannot be closed inside a transaction; leave it first")
            await self._turns.take(self._timeout, store.path, hold=True)
        try:
            made = Call(asyncio.get_running_loop(), store)
            await made.outcome(spawn(self._shut, "agentmem-close"), decided=True)
        finally:
            if store is not None:
                self._turns.leave()

    def _shut(self) -> None:
        with self._lock:
            self._closed = True
        self._pool.shutdown(wait=True)
        if self._store is not None and self._owns:
            self._store.close()
        self._done = True


def reads(verb: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[AsyncCore, P], Coroutine[Any, Any, R]]:
    """Make a coroutine function of a verb of ``MemoryStore`` that changes nothing."""
    return _coroutine(verb, decided=False)


def writes(verb: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[AsyncCore, P], Coroutine[Any, Any, R]]:
    """Make a coroutine function of a verb of ``MemoryStore`` that changes the store."""
    return _coroutine(verb, decided=True)


def _coroutine(
    verb: Callable[Concatenate[Any, P], R], *, decided: bool
) -> Callable[Concatenate[AsyncCore, P], Coroutine[Any, Any, R]]:
    async def call(self: AsyncCore, /, *args: P.args, **kwargs: P.kwargs) -> R:
        def of(store: MemoryStore) -> R:
            result: R = getattr(store, verb.__name__)(*args, **kwargs)
            return result

        return await self._run(of, decided=decided)

    return update_wrapper(call, verb)
