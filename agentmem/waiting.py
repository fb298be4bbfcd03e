"""Awaitables met in synchronous code, from hooks and embedders: where they run, and how a thread waits for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

waiter: ContextVar[Callable[[Awaitable[Any]], Any] | None] = ContextVar("agentmem.waiter", default=None)
"""How a thread that works for an event loop waits: the awaitable runs on that loop.  Set for the length of a call."""


def wait(awaitable: Awaitable[T]) -> T:
    """Run an awaitable to its end, and return its result.

    It runs on the event loop that this thread works for, if any; else on a loop of its own, and in a thread of its own
    where this one has a running loop.
    """
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    async def run() -> T:
        return await awaitable

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        on_loop = waiter.get()
        if on_loop is not None:
            result: T = on_loop(awaitable)
            return result
        return asyncio.run(run())
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, run()).result()
