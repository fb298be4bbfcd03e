"""The store for asyncio: the same verbs as coroutines, run by threads of its own, never by the event loop."""

from agentmem.aio.calls import COMMITTED, UNDONE
from agentmem.aio.store import AsyncMemoryStore

__all__ = ["COMMITTED", "UNDONE", "AsyncMemoryStore"]
