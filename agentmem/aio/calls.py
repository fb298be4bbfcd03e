"""One call on its way through a thread: how an event loop waits for it, and how it waits for coroutines."""

from __future__ import annotations

import asyncio
import threading
from asyncio import AbstractEventLoop, CancelledError, run_coroutine_threadsafe
from collections.abc import Awaitable, Callable, Coroutine
from concurrent import futures
from concurrent.futures import Future
from contextlib import suppress
from contextvars import ContextVar, copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from agentmem.waiting import waiter

R = TypeVar("R")

COMMITTED = "committed"
"""Last argument of the CancelledError of a write that had begun, and has happened."""
UNDONE = "undone"
"""Last argument of the CancelledError of a write that had begun, and has not happened."""
LOOK_S = 0.5
"""A thread that waits for an event loop looks so often whether the loop was closed, which nothing else tells."""


class Lane:
    """A thread for as long as it works for one transaction, or waits for one coroutine: what is called from within
    goes to this very thread.

    Args:
        key: the store that it works for.
    """

    def __init__(self, key: object) -> None:
        self.key = key
        self.open = True
        self._lock = threading.Lock()
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def submit(self, call: Callable[[], R]) -> Future[R] | None:
        """Have the thread call a function; None where it serves no longer."""
        future: Future[R] = Future()
        with self._lock:
            if not self.open:
                return None
            self._jobs.put(partial(_fill, future, call))
        return future

    def end(self) -> None:
        """Have the thread go its way after what was submitted so far.  More than once is fine."""
        with self._lock:
            self.open = False
        self._jobs.put(None)

    def serve(self, loop: AbstractEventLoop) -> None:
        """Do what is submitted, until the end.

        Raises:
            RuntimeError: the event loop was closed, so that the end will never come.
        """
        while True:
            try:
                job = self._jobs.get(timeout=LOOK_S)
            except Empty:
                if loop.is_closed():
                    self.end()
                    raise RuntimeError("the event loop was closed before what it had begun was done") from None
                continue
            if job is None:
                return
            job()


def _fill(future: Future[R], call: Callable[[], R]) -> None:
    """Give a future the outcome of a call, unless it was cancelled before."""
    if future.set_running_or_notify_cancel():
        try:
            result = call()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)


def spawn(call: Callable[[], R], name: str) -> Future[R]:
    """Call a function in a thread of its own, which does not keep the interpreter from ending."""
    future: Future[R] = Future()
    threading.Thread(target=_fill, args=(future, call), name=name, daemon=True).start()
    return future


_lanes: ContextVar[tuple[Lane, ...]] = ContextVar("agentmem.lanes", default=())


def enter_lane(lane: Lane) -> None:
    """Have this context, and tasks that are made in it, go by a lane until its end."""
    forget_lanes()
    _lanes.set((*_lanes.get(), lane))


def forget_lanes() -> None:
    """Let go of the lanes of this context that have ended."""
    _lanes.set(tuple(lane for lane in _lanes.get() if lane.open))


def lane_of(key: object) -> Lane | None:
    """Return the innermost open lane of this context that belongs to a store."""
    return next((lane for lane in reversed(_lanes.get()) if lane.key is key and lane.open), None)


class Call:
    """One call: made by a task of an event loop, run by a thread.

    Args:
        loop: of the task; coroutines that the call meets run there.
        key: the store.
    """

    def __init__(self, loop: AbstractEventLoop, key: object) -> None:
        self._loop = loop
        self._key = key
        self._cancelled = False
        self._awaited: asyncio.Task[Any] | None = None

    def bound(self, function: Callable[[], R]) -> Callable[[], R]:
        """Return a function that calls the given one in a copy of this context, with coroutines run on the loop.

        It raises CancelledError where the loop was closed before it came to that.
        """
        context = copy_context()
        context.run(waiter.set, self.wait)

        def begin() -> R:
            if self._loop.is_closed():
                raise CancelledError
            return context.run(function)

        return begin

    def wait(self, awaitable: Awaitable[R]) -> R:
        """Run an awaitable on the loop; in the call's thread, which meanwhile does what comes from the awaitable.

        Raises:
            CancelledError: the call was cancelled; nothing that catches an Exception keeps it from unwinding.
        """
        lane = Lane(self._key)
        outside = _lanes.get()
        enter_lane(lane)
        coroutine = self._awaiting(awaitable)
        try:
            running = run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # the loop was closed
            coroutine.close()
            _forget(awaitable)
            raise
        finally:
            _lanes.set(outside)
        running.add_done_callback(lambda _: lane.end())
        lane.serve(self._loop)
        try:
            return running.result()
        except futures.CancelledError:
            raise CancelledError from None

    async def _awaiting(self, awaitable: Awaitable[R]) -> R:
        if self._cancelled:
            _forget(awaitable)
            raise CancelledError
        self._awaited = asyncio.current_task()
        try:
            return await awaitable
        finally:
            self._awaited = None

    def cancel(self) -> None:
        """Cancel the coroutine that the call waits for, if it waits for one, and those that it would wait for."""
        self._cancelled = True
        if self._awaited is not None:
            self._awaited.cancel()

    async def outcome(self, future: Future[R], *, decided: bool) -> R:
        """Wait for the call.

        A call that is cancelled before its thread has begun is withdrawn: it never happens.  One that has begun goes on
        in its thread, without whoever waited for it, unless it is to be ``decided``: then the CancelledError comes when
        it has ended, and its last argument is ``COMMITTED`` or ``UNDONE``.
        """
        try:
            await done(future)
        except BaseException as error:
            if not future.cancel():
                self.cancel()
                if decided and isinstance(error, CancelledError):
                    await _end_of(future)
                    happened = not future.cancelled() and future.exception() is None
                    error.args = (*error.args, COMMITTED if happened else UNDONE)
            raise
        return future.result()


def _forget(awaitable: Awaitable[Any]) -> None:
    """Close a coroutine that nobody will await."""
    if isinstance(awaitable, Coroutine):
        awaitable.close()


async def done(future: Future[Any], timeout: float | None = None) -> None:
    """Wait on the running loop until a thread's future is done, or so many seconds; the future is left as it is."""
    loop = asyncio.get_running_loop()
    waiting = loop.create_future()
    future.add_done_callback(partial(_wake, loop, waiting))
    timer = None if timeout is None else loop.call_later(timeout, _set, waiting)
    try:
        await waiting
    finally:
        if timer is not None:
            timer.cancel()


def _wake(loop: AbstractEventLoop, waiting: asyncio.Future[None], _: Future[Any]) -> None:
    with suppress(RuntimeError):  # the loop was closed: nobody waits there any more
        loop.call_soon_threadsafe(_set, waiting)


def _set(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


async def _end_of(future: Future[Any]) -> None:
    """Wait for a thread's future, whatever is cancelled."""
    while not future.done():
        with suppress(CancelledError):
            await done(future)
