"""A cancelled call has happened whole or not at all, and says which."""

import asyncio
import gc
import random

import pytest
from aio_kit import Doorkeeper, apart, looped, ticks, vectors

import agentmem
from agentmem import AsyncMemoryStore, MemoryStore
from agentmem.aio import COMMITTED, UNDONE


@pytest.fixture
def path(tmp_path):
    return tmp_path / "memory.db"


def opened(path, embedder=vectors, **options):
    return AsyncMemoryStore(path, **({"embedder": embedder, "merge": "manual"} | options))


async def until_refused(store):
    """Call the store until that raises: the thread that closes it comes to that soon."""
    while True:
        await store.count()


async def telling(awaitable):
    """Return how a call ended: its result, or what its CancelledError says."""
    try:
        return await awaitable
    except asyncio.CancelledError as error:
        return error.args[-1] if error.args else "withdrawn"


@looped
async def test_a_write_that_has_begun_is_finished_and_the_error_says_so(path):
    doorkeeper = Doorkeeper()
    async with opened(path, doorkeeper) as store:
        adding = asyncio.create_task(telling(store.add("slow book")))
        await doorkeeper.waiting()
        adding.cancel()
        await ticks(50)
        adding.cancel()
        await ticks(50)
        assert not adding.done()
        doorkeeper.go.set()
        assert await adding == COMMITTED
        assert await store.count() == 1


@looped
async def test_one_that_fails_afterwards_is_undone_and_the_error_says_so(path):
    doorkeeper = Doorkeeper()
    async with opened(path, doorkeeper) as store:
        await store.add("a book", id="book")
        adding = asyncio.create_task(telling(store.add("slow book", id="book")))
        await doorkeeper.waiting()
        adding.cancel()
        doorkeeper.go.set()
        assert await adding == UNDONE
        assert (await store.get("book")).text == "a book"


@looped
async def test_one_that_waits_for_a_thread_is_withdrawn_and_holds_none(path):
    doorkeeper = Doorkeeper()
    async with opened(path, doorkeeper, max_concurrency=1) as store:
        await store.count()
        first = asyncio.create_task(store.add("slow book"))
        await doorkeeper.waiting()
        waiting = [asyncio.create_task(telling(store.add(f"withdrawn {number}"))) for number in range(100)]
        await ticks(5)
        for task in waiting:
            task.cancel()
        assert await asyncio.gather(*waiting) == ["withdrawn"] * 100
        assert not first.done()
        doorkeeper.go.set()
        await first
        assert await store.count() == 1
        assert doorkeeper.calls == 2  # the first, and the word that tells the dimension


@looped
async def test_a_read_that_has_begun_is_left_alone(path):
    doorkeeper = Doorkeeper()
    async with opened(path, doorkeeper) as store:
        await store.add("a book")
        searching = asyncio.create_task(telling(store.search("slow book")))
        await doorkeeper.waiting()
        searching.cancel()
        assert await searching == "withdrawn"
        doorkeeper.go.set()
        assert len(await store.search("book")) == 1


@looped
async def test_a_coroutine_that_embeds_is_cancelled_with_the_call(path):
    state = []

    async def embed(texts):
        if texts[0].startswith("slow"):
            state.append("waits")
            try:
                await asyncio.Event().wait()
            finally:
                state.append("ended")
        return vectors(texts)

    async with opened(path, embed, max_concurrency=1) as store:
        for call in (store.add("slow book"), store.add_messages([{"content": "slow"}], thread="t")):
            state.clear()
            task = asyncio.create_task(telling(call))
            while not state:
                await asyncio.sleep(0)
            task.cancel()
            assert await task == UNDONE
            assert state == ["waits", "ended"]
        state.clear()
        searching = asyncio.create_task(telling(store.search("slow book")))
        while not state:
            await asyncio.sleep(0)
        searching.cancel()
        assert await searching == "withdrawn"
        assert await store.count() == 0  # its thread is free again


@looped
async def test_a_timeout_may_be_set_around_a_call(path):
    doorkeeper = Doorkeeper()
    async with opened(path, doorkeeper) as store:
        await store.add("a book")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(store.search("slow book"), 0.01)
        doorkeeper.go.set()


@looped
async def test_closing_waits_for_what_has_begun_though_nobody_else_does(path):
    doorkeeper = Doorkeeper()
    store = opened(path, doorkeeper)
    await store.count()
    adding = asyncio.create_task(telling(store.add("slow book")))
    await doorkeeper.waiting()
    closing = asyncio.create_task(telling(store.close()))
    await ticks(50)
    assert not closing.done()
    with pytest.raises(agentmem.StoreClosed):
        await until_refused(store)
    closing.cancel()
    adding.cancel()
    await ticks(50)
    doorkeeper.go.set()
    assert await adding == COMMITTED
    assert await closing == COMMITTED
    with MemoryStore(path, embedder=doorkeeper) as below:
        assert below.count() == 1


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_loop_that_is_closed_early_leaves_whole_writes_and_a_store_that_works(path):
    doorkeeper = Doorkeeper()
    store = opened(path, doorkeeper, max_concurrency=1)
    loop = asyncio.new_event_loop()

    async def begin():
        await store.count()
        tasks = [loop.create_task(store.add("slow book")), loop.create_task(store.add("withdrawn"))]
        await doorkeeper.waiting()
        return tasks

    tasks = loop.run_until_complete(begin())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    for task in tasks:
        task._log_destroy_pending = False
    del tasks, task
    gc.collect()
    doorkeeper.go.set()
    assert asyncio.run(store.count()) == 1
    asyncio.run(store.close())


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_coroutine_on_a_loop_that_was_closed_does_not_hold_its_thread(path):
    started = []

    async def embed(texts):
        if texts[0].startswith("slow"):
            started.append(True)
            await asyncio.Event().wait()
        return vectors(texts)

    store = opened(path, embed, max_concurrency=1)
    loop = asyncio.new_event_loop()
    task = loop.create_task(store.add("slow book"))

    async def begin():
        while not started:
            await asyncio.sleep(0)

    loop.run_until_complete(begin())
    others = asyncio.all_tasks(loop)
    loop.close()
    for each in others:
        each._log_destroy_pending = False
    del task, each, others
    gc.collect()
    assert asyncio.run(store.count()) == 0
    asyncio.run(store.close())


async def quick(texts):
    await asyncio.sleep(0)
    return vectors(texts)


class Work:
    """Random writes of one task to ids of its own, each cancelled or not; ``model`` is what must be there."""

    def __init__(self, store, name, seed):
        self.store = store
        self.random = random.Random(f"{seed} {name}")
        self.ids = [f"{name} {number}" for number in range(6)]
        self.model = {}
        self.ends = []

    def change(self):
        """Return (a coroutine, the model when it has happened)."""
        kind = self.random.choice(("put", "put", "many", "delete", "whole", "whole"))
        some = self.random.sample(self.ids, 3)
        text = f"text {self.random.random()}"
        if kind == "put":
            return self.store.upsert(text, id=some[0]), self.model | {some[0]: text}
        if kind == "many":
            done = self.store.add_many([text] * 3, ids=some, on_conflict="replace")
            return done, self.model | dict.fromkeys(some, text)
        left = {id: text for id, text in self.model.items() if id not in some[:2]}
        if kind == "delete":
            return self.store.delete(*some[:2]), left
        return self.whole(some, text), left | {some[2]: text}

    async def whole(self, some, text):
        async with self.store.transaction():
            await self.store.delete(some[0])
            await asyncio.gather(self.store.delete(some[1]), self.store.upsert(text, id=some[2]))
            if self.random.random() < 0.2:
                raise KeyError

    async def run(self, changes):
        for _ in range(changes):
            coroutine, after = self.change()
            task = asyncio.create_task(telling(coroutine))
            if self.random.random() < 0.5:
                await ticks(self.random.randrange(40))
                task.cancel()
                if self.random.random() < 0.3:
                    await ticks(self.random.randrange(5))
                    task.cancel()
            try:
                end = await task
            except KeyError:
                end = UNDONE
            except asyncio.CancelledError:  # before it had even started
                end = "withdrawn"
            finally:
                coroutine.close()
            self.ends.append(end if end in (UNDONE, "withdrawn", COMMITTED) else "done")
            if self.ends[-1] in ("done", COMMITTED):
                self.model = after
            mine = {id: record.text for id in self.ids if (record := (await self.store.get_many([id]))[0])}
            assert mine == self.model, (end, coroutine)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("embedder", [vectors, quick])
def test_random_cancellations_against_a_model(path, seed, embedder):
    async def main():
        async with opened(path, embedder, max_concurrency=2, timeout=30.0) as store:
            works = [Work(store, name, seed) for name in ("a", "b", "c", "d")]
            await asyncio.gather(*(apart(work.run(25)) for work in works))
            ends = [end for work in works for end in work.ends]
            assert {"done", "withdrawn"} < set(ends)
            assert await store.count() == sum(len(work.model) for work in works)
            assert (await store.check()).ok
            return {id: text for work in works for id, text in work.model.items()}

    model = asyncio.run(asyncio.wait_for(main(), 120))
    with MemoryStore(path, embedder=embedder) as below:
        assert {record.id: record.text for record in below.iterate()} == model
