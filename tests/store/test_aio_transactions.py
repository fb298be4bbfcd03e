"""A transaction of the async store is one commit, one thread, and one task's at a time."""

import asyncio
import gc
import threading
from functools import partial

import pytest
from aio_kit import Doorkeeper, apart, looped, ticks, vectors

import agentmem
from agentmem import AsyncMemoryStore, MemoryStore


@pytest.fixture
def path(tmp_path):
    return tmp_path / "memory.db"


def opened(path, embedder=vectors, **options):
    return AsyncMemoryStore(path, **({"embedder": embedder, "merge": "manual"} | options))


async def texts(store):
    return {record.text async for record in store.iterate()}


@looped
async def test_what_is_done_inside_is_one_commit_seen_inside_only(path):
    async with opened(path) as store:
        inside = asyncio.Event()
        leave = asyncio.Event()

        async def change():
            async with store.transaction():
                await store.add("a")
                await asyncio.gather(store.add("b"), asyncio.wait_for(store.add("c"), 60))
                assert await texts(store) == {"a", "b", "c"}
                assert len(await store.search("a")) == 3
                inside.set()
                await leave.wait()

        changing = asyncio.create_task(change())
        await inside.wait()
        assert await store.count() == 0
        assert await store.search("a") == []
        leave.set()
        await changing
        assert await texts(store) == {"a", "b", "c"}


@looped
async def test_an_exception_undoes_it_and_goes_on(path):
    async with opened(path) as store:

        async def change(text, then):
            async with store.transaction():
                await store.add(text)
                await then()

        async def fail():
            raise KeyError("why")

        with pytest.raises(KeyError, match="why"):
            await change("a", fail)
        with pytest.raises(agentmem.NotFound):
            await change("b", partial(store.get, "none"))
        assert await store.count() == 0
        async with store.transaction():
            await store.add("c")
            with pytest.raises(agentmem.InvalidInput):
                await store.add(None)
        assert await texts(store) == {"c"}


@looped
async def test_a_part_of_it_undoes_only_itself_and_is_one_tasks_at_a_time(path):
    async with opened(path) as store:

        async def part(name, error):
            async with store.transaction():
                await store.add(f"{name} 1")
                await ticks(5)
                await store.add(f"{name} 2")
                if error:
                    raise KeyError

        async with store.transaction():
            await store.add("whole")
            done = await asyncio.gather(
                *(part(str(n), n % 2) for n in range(6)), store.add("beside"), return_exceptions=True
            )
        assert [type(each) for each in done[:6]] == [type(None), KeyError] * 3
        kept = {f"{n} {step}" for n in (0, 2, 4) for step in (1, 2)}
        assert await texts(store) == {"whole", "beside"} | kept


@looped
async def test_writes_and_transactions_of_others_wait_and_take_no_thread(path):
    async with opened(path, max_concurrency=2, timeout=30.0) as store:
        order = []

        async def whole(name):
            async with store.transaction():
                order.append(f"{name} begins")
                await store.add(name)
                await ticks(20)
                order.append(f"{name} ends")

        async def single(name):
            await store.add(name)

        async with store.transaction():
            tasks = []
            for make in (single, single, single, whole, whole, single):
                tasks.append(apart(make(f"task {len(tasks)}")))
            await ticks(50)
            assert not any(task.done() for task in tasks)
            beside = apart(store.count())
            assert await beside == 0  # a thread is free for it
            await store.add("mine")
        await asyncio.gather(*tasks)
        assert order == ["task 3 begins", "task 3 ends", "task 4 begins", "task 4 ends"]
        assert await texts(store) == {"mine", *(f"task {n}" for n in range(6))}


@looped
async def test_waiting_ends_with_the_timeout_of_the_store(path):
    async with opened(path, timeout=0.05) as store:
        held, leave = asyncio.Event(), asyncio.Event()

        async def hold():
            async with store.transaction():
                held.set()
                await leave.wait()

        holding = asyncio.create_task(hold())
        await held.wait()
        with pytest.raises(agentmem.StoreBusy, match="another task"):
            await store.add("a")
        with pytest.raises(agentmem.StoreBusy, match="another task"):
            async with store.transaction():
                pytest.fail("it is held by another")
        with pytest.raises(agentmem.StoreBusy):
            await store.close()
        leave.set()
        await holding
        await store.add("b")
        assert await texts(store) == {"b"}


@looped
async def test_a_thread_that_uses_the_same_store_keeps_it_out(path):
    with MemoryStore(path, embedder=vectors, timeout=0.05, merge="manual") as below:
        async with AsyncMemoryStore(below) as store:
            with below.transaction():
                with pytest.raises(agentmem.StoreBusy):
                    async with store.transaction():
                        pytest.fail("a thread holds it")
                with pytest.raises(agentmem.StoreBusy):
                    await store.add("a")
            async with store.transaction():
                await store.add("b")
                with pytest.raises(agentmem.StoreBusy):
                    below.add("c")
            assert await texts(store) == {"b"}


@looped
async def test_it_is_refused_where_the_store_is_read_only_or_closed(path):
    async with opened(path) as store:
        await store.add("a")
    with pytest.raises(agentmem.StoreClosed):
        async with store.transaction():
            pytest.fail("closed")
    async with opened(path, read_only=True) as store:
        with pytest.raises(agentmem.StoreReadOnly):
            async with store.transaction():
                pytest.fail("read-only")
        assert await store.count() == 1


@looped
async def test_closing_inside_is_refused_and_from_outside_waits(path):
    store = opened(path)
    async with store.transaction():
        await store.add("a")
        with pytest.raises(agentmem.InvalidInput, match="inside a transaction"):
            await store.close()
        closing = apart(store.close())
        await ticks(20)
        assert not closing.done()
        await store.add("b")
    await closing
    with MemoryStore(path, embedder=vectors) as below:
        assert below.count() == 2


@looped
async def test_a_task_made_inside_that_outlives_it_writes_by_itself(path):
    async with opened(path) as store:
        ended = asyncio.Event()

        async def later():
            await ended.wait()
            return await store.add("later")

        async def change():
            async with store.transaction():
                left.append(asyncio.create_task(later()))
                await store.add("undone")
                raise KeyError

        left = []
        with pytest.raises(KeyError):
            await change()
        ended.set()
        await left[0]
        assert await texts(store) == {"later"}


@looped
async def test_two_stores_do_not_mix(path, tmp_path):
    async with opened(path) as one, opened(tmp_path / "other.db") as other:

        async def change():
            async with one.transaction():
                await one.add("undone")
                await other.add("kept")
                async with other.transaction():
                    await other.add("kept too")
                    await one.add("undone too")
                raise KeyError

        with pytest.raises(KeyError):
            await change()
        assert (await texts(one), await texts(other)) == (set(), {"kept", "kept too"})


@looped
async def test_in_memory_too_and_others_read_when_it_has_ended(path):
    async with opened(":memory:", timeout=30.0) as store:
        async with store.transaction():
            await store.add("a")
            reading = apart(store.count())
            await ticks(20)
            assert not reading.done()
            assert await store.count() == 1
        assert await reading == 1


@looped
async def test_a_cancelled_task_undoes_it(path):
    doorkeeper = Doorkeeper()
    async with opened(path, doorkeeper) as store:

        async def change():
            async with store.transaction():
                await store.add("a")
                await store.add("slow b")

        changing = asyncio.create_task(change())
        await doorkeeper.waiting()
        changing.cancel()
        await ticks(20)
        assert not changing.done()  # a write has begun
        doorkeeper.go.set()
        with pytest.raises(asyncio.CancelledError):
            await changing
        assert await store.count() == 0
        await store.add("c")
        assert await texts(store) == {"c"}


@looped
async def test_cancelled_while_it_waits_it_leaves_the_turn_to_the_next(path):
    async with opened(path) as store:

        async def whole(name):
            async with store.transaction():
                await store.add(name)

        async with store.transaction():
            waiting = [apart(whole(name)) for name in ("a", "b", "c")]
            await ticks(20)
            waiting[0].cancel()
            waiting[1].cancel()
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in done] == [asyncio.CancelledError, asyncio.CancelledError, type(None)]
        assert await texts(store) == {"c"}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_loop_that_is_closed_in_the_middle_undoes_it(path):
    store = opened(path)
    loop = asyncio.new_event_loop()
    inside = asyncio.Event()

    async def change():
        async with store.transaction():
            await store.add("undone")
            inside.set()
            await asyncio.Event().wait()

    task = loop.create_task(change())
    loop.run_until_complete(inside.wait())
    loop.close()
    task._log_destroy_pending = False
    del task
    gc.collect()
    other = asyncio.new_event_loop()
    try:
        other.run_until_complete(store.add("kept"))
        assert other.run_until_complete(texts(store)) == {"kept"}
        other.run_until_complete(store.close())
    finally:
        other.close()


def test_tasks_of_two_loops_take_turns(path):
    store = opened(path, timeout=30.0)
    seen = []

    async def work(name):
        for number in range(10):
            async with store.transaction():
                before = await store.count()
                await store.add(f"{name} {number}")
                await ticks(3)
                seen.append(await store.count() - before)

    threads = [threading.Thread(target=asyncio.run, args=(work(name),)) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 30
    assert asyncio.run(store.count()) == 30
    asyncio.run(store.close())
