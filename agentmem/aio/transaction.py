"""A transaction of an async store: a thread that does what comes from within the block, and nothing else."""

from __future__ import annotations

import asyncio
from asyncio import CancelledError
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from types import TracebackType

from agentmem.aio.calls import UNDONE, Call, Lane, done, enter_lane, forget_lanes, lane_of
from agentmem.aio.core import AsyncCore
from agentmem.store import MemoryStore


class _Undone(Exception):
    """Leaves a transaction that is to be undone."""


class AsyncTransaction:
    """One transaction, on one thread: of its own, or that of the transaction that it is a part of."""

    def __init__(self, core: AsyncCore) -> None:
        self._core = core
        self._undone = False

    async def __aenter__(self) -> None:
        """Begin; where the task is cancelled meanwhile, nothing has begun."""
        store = await self._core._ready()
        self._loop = asyncio.get_running_loop()
        self._call = Call(self._loop, store)
        self._lane = Lane(store)
        begun: Future[None] = Future()
        hold = self._call.bound(partial(self._hold, store, begun))
        outer = lane_of(store)
        held = None if outer is None else outer.submit(hold)
        self._held = await self._core._hold(hold) if held is None else held
        try:
            await done(begun)
        except BaseException:
            self._undone = True
            self._held.cancel()
            self._lane.end()
            raise
        begun.result()
        enter_lane(self._lane)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit, or undo after an exception; a task that is cancelled meanwhile is told which, as for any write."""
        self._undone = kind is not None
        self._lane.end()
        forget_lanes()
        if kind is not GeneratorExit:
            with suppress(_Undone):
                await self._call.outcome(self._held, decided=True)
            if isinstance(error, CancelledError):
                error.args = (*error.args, UNDONE)

    def _hold(self, store: MemoryStore, begun: Future[None]) -> None:
        """Do in one transaction what comes from within the block; in its thread."""
        try:
            with store.transaction():
                begun.set_result(None)
                self._lane.serve(self._loop)
                if self._undone:
                    raise _Undone
        except BaseException as error:
            if not begun.done():
                begun.set_exception(error)
            raise
        finally:
            self._lane.end()
