"""``AsyncMemoryStore``: the verbs of ``MemoryStore`` as coroutines."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from functools import partial
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any

from agentmem import validation as check
from agentmem.aio.core import AsyncCore, reads, writes
from agentmem.aio.transaction import AsyncTransaction
from agentmem.care import VerifyReport
from agentmem.reading import Filter
from agentmem.records import Hit, Record
from agentmem.store import MemoryStore

if TYPE_CHECKING:
    from agentmem.rerank.weights import HeadWeights
    from agentmem.weights import WeightsEntry

MERGE_LOOK_S = 0.25
"""``wait_for_merge`` holds a thread for so long at a time."""


class AsyncMemoryStore(AsyncCore):
    """A ``MemoryStore`` for asyncio: its verbs as coroutines, run by threads, so that no event loop ever waits for it.

    Args:
        path_or_store: as for ``MemoryStore``; or one that is open, which others may use meanwhile, and which ``close``
            leaves open.
        max_concurrency: calls that run at the same time; the others wait, without a thread.  A transaction has a thread
            besides.
        options: as for ``MemoryStore``.

    A path is opened by ``async with``, or else by the first verb that is awaited.  Tasks of several event loops may
    share one object.

    **Coroutines.**  A hook or an embedder may be a coroutine function: it runs on the event loop of the task that
    called, and may call the store itself.

    **Cancellation.**  A call that is cancelled while it waits for a thread is withdrawn, and never happens.  A write
    that has begun is not interrupted, but where it waits for a coroutine: ``asyncio.CancelledError`` is raised when it
    has ended, whole or not at all, and then its last argument is ``agentmem.aio.COMMITTED`` or ``agentmem.aio.UNDONE``.
    A read that has begun ends in its thread, and nobody waits for it.

    Raises:
        InvalidInput: an argument that cannot be used; those of the store are looked at when it is opened.
    """

    get = reads(MemoryStore.get)
    get_many = reads(MemoryStore.get_many)
    vector = reads(MemoryStore.vector)
    links = reads(MemoryStore.links)
    count = reads(MemoryStore.count)
    changes = reads(MemoryStore.changes)
    namespaces = reads(MemoryStore.namespaces)
    stats = reads(MemoryStore.stats)
    info = reads(MemoryStore.info)
    explain_plan = reads(MemoryStore.explain_plan)

    search = reads(MemoryStore.search)
    knn = reads(MemoryStore.knn)

    add = writes(MemoryStore.add)
    upsert = writes(MemoryStore.upsert)
    add_many = writes(MemoryStore.add_many)
    add_messages = writes(MemoryStore.add_messages)
    update = writes(MemoryStore.update)
    delete = writes(MemoryStore.delete)
    delete_where = writes(MemoryStore.delete_where)
    purge_expired = writes(MemoryStore.purge_expired)
    create_metadata_index = writes(MemoryStore.create_metadata_index)

    feedback = writes(MemoryStore.feedback)
    feedback_log = reads(MemoryStore.feedback_log)
    learn = writes(MemoryStore.learn)
    calibrate = writes(MemoryStore.calibrate)
    reembed = writes(MemoryStore.reembed)

    merge = writes(MemoryStore.merge)
    optimize = writes(MemoryStore.optimize)
    vacuum = writes(MemoryStore.vacuum)
    backup = writes(MemoryStore.backup)
    check = writes(MemoryStore.check)

    async def search_many(
        self, texts: Sequence[str] | None = None, *, embeddings: Any = None, **options: Any
    ) -> list[list[Hit]]:
        """Return ``search``'s hits for each of several queries; see ``MemoryStore.search_many``."""
        return await self._run(lambda store: store.search_many(texts, embeddings=embeddings, **options))

    async def seq(self) -> int:
        """Return the number of the last committed change."""
        return await self._run(lambda store: store.seq)

    async def used(self, hit: Hit) -> None:
        """Tell the store that a hit was of use: ``hit.used()``, which would block the event loop.

        Raises:
            InvalidInput, NotFound, StoreClosed, StoreReadOnly: as for ``Hit.used``.
        """
        await self._run(lambda _: hit.used(), decided=True)

    async def iterate(
        self, filter: Filter | None = None, namespace: str | None = None, batch: int = 1_000
    ) -> AsyncIterator[Record]:
        """Yield live records in the order of their versions, page by page; see ``MemoryStore.iterate``."""
        batch = check.check_count(batch, "batch", low=1)
        records = await self._run(lambda store: store.iterate(filter, namespace, batch))
        while page := await self._run(lambda _: list(islice(records, batch))):
            for record in page:
                yield record

    async def wait_for_merge(self, timeout: float | None = None) -> bool:
        """Wait until the background merge that this store started, if one is running, has ended.

        Args:
            timeout: seconds at most; None for no end.

        Returns:
            Whether none is running now.
        """
        left = float("inf") if timeout is None else check.check_number(timeout, "timeout", low=0.0)
        while not (ended := await self._run(partial(MemoryStore.wait_for_merge, timeout=min(left, MERGE_LOOK_S)))):
            left -= MERGE_LOOK_S
            if left <= 0:
                break
        return ended

    @staticmethod
    async def verify(path: str | os.PathLike[str]) -> VerifyReport:
        """Check a backup, or any store that no process has open; see ``MemoryStore.verify``."""
        return await asyncio.to_thread(MemoryStore.verify, path)

    @property
    def weights(self) -> AsyncWeights:
        """The learned weights: ``history()``, ``active()``, ``get()``, ``install()`` and ``rollback()``."""
        return AsyncWeights(self)

    def transaction(self) -> AsyncTransaction:
        """Make several changes one commit: ``async with store.transaction():``; an exception undoes them all.

        What this task calls in the block is part of it, and what tasks call that are made there, for as long as the
        block lasts; a part of it may be a transaction of its own, which undoes only itself.  Writes and transactions
        of other tasks wait until it has ended, for the store's ``timeout`` at most; their searches go on and see
        nothing of it.

        Raises:
            StoreBusy: another task, thread or process was in a transaction past the timeout.
            StoreReadOnly: the store was opened read-only.
        """
        return AsyncTransaction(self)

    async def __aenter__(self) -> AsyncMemoryStore:
        """Open the store, and return this; leaving the block closes it."""
        await self._run(lambda store: store.database)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the store."""
        await self.close()

    def __repr__(self) -> str:
        """Show the store below, or the path of one that is not open yet."""
        return f"AsyncMemoryStore({str(self._path)!r})" if self._store is None else f"Async{self._store!r}"


class AsyncWeights:
    """The learned weights of one store, as ``store.weights``; see ``StoreWeights``."""

    def __init__(self, core: AsyncCore) -> None:
        self._core = core

    async def history(self) -> list[WeightsEntry]:
        """Return every attempt to learn, oldest first."""
        return await self._core._run(lambda store: store.weights.history())

    async def active(self) -> WeightsEntry | None:
        """Return the attempt whose weights searches rank by; None for the constants."""
        return await self._core._run(lambda store: store.weights.active())

    async def get(self, number: int | None = None) -> HeadWeights:
        """Return weights by number; by default those that are active."""
        return await self._core._run(lambda store: store.weights.get(number))

    async def install(self, weights: HeadWeights, note: str = "installed") -> int:
        """Have searches rank by given weights, from the next one on; return their number."""
        return await self._core._run(lambda store: store.weights.install(weights, note), decided=True)

    async def rollback(self) -> WeightsEntry | None:
        """Go back to the weights that ranked before the active ones; return those, None for the constants."""
        return await self._core._run(lambda store: store.weights.rollback(), decided=True)
