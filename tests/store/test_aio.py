"""The async store has the verbs of the store, and the event loop goes on whatever they do."""

import asyncio
import inspect
import threading

import numpy as np
import pytest
from aio_kit import DIM, Doorkeeper, looped, ticks, vectors

import agentmem
from agentmem import AsyncMemoryStore, MemoryStore
from agentmem.aio.store import AsyncWeights
from agentmem.weights import StoreWeights

INTERNAL = {"snapshot", "merge_if_due"}
NOT_COROUTINES = {"iterate", "transaction"}


def verbs(cls):
    """Return the public methods of a class by name."""
    names = {name for base in cls.__mro__[:-1] for name in vars(base) if not name.startswith("_")}
    return {name: getattr(cls, name) for name in names - INTERNAL if callable(getattr(cls, name))}


def parameters(verb):
    return list(inspect.signature(verb).parameters.values())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "memory.db"


def opened(path, embedder=vectors, **options):
    return AsyncMemoryStore(path, **({"embedder": embedder, "merge": "manual"} | options))


@pytest.mark.parametrize(("sync", "asynchronous"), [(MemoryStore, AsyncMemoryStore), (StoreWeights, AsyncWeights)])
def test_every_verb_is_there_with_the_same_arguments(sync, asynchronous):
    theirs, ours = verbs(sync), verbs(asynchronous)
    assert len(theirs) > 4
    assert theirs.keys() <= ours.keys()
    assert ours.keys() - theirs.keys() <= {"seq", "used"}
    for name, verb in theirs.items():
        assert parameters(ours[name]) == parameters(verb), name
        if name not in NOT_COROUTINES:
            assert inspect.iscoroutinefunction(ours[name]), name
        assert ours[name].__doc__, name
    assert inspect.isasyncgenfunction(AsyncMemoryStore.iterate)


@looped
async def test_the_verbs_do_what_the_store_does(path):
    async with opened(path) as store:
        first = await store.add("a book", namespace="users/1", metadata={"n": 1})
        more = await store.add_many(["a train", "a garden"], namespace="users/2")
        turns = await store.add_messages([{"role": "user", "content": "hello"}], thread="t")
        assert (await store.get(first)).text == "a book"
        assert [each and each.text for each in await store.get_many([more[1], "none"])] == ["a garden", None]
        assert (await store.update(first, text="a long book", links=[("like", more[0])])).text == "a long book"
        assert await store.links(first) == [("like", more[0])]
        assert await store.count(namespace="users/") == 3
        assert await store.namespaces() == {"": 1, "users/1": 1, "users/2": 2}
        assert {record.id async for record in store.iterate(batch=2)} == {first, *more, *turns}
        assert await store.seq() == (await store.changes())[-1].seq == store.store.seq
        hits = await store.search("a long book", k=2)
        assert hits == store.store.search("a long book", k=2)
        assert await store.search_many(["a long book"], k=2) == [hits]
        ids, _ = await store.knn(vectors(["a long book"]), k=1)
        assert ids.tolist() == [[first]]
        np.testing.assert_array_equal(await store.vector(first), np.float32(vectors(["a long book"])[0]))
        await store.used(hits[0])
        await store.feedback("a book", accepted=hits[:1])
        assert [each.used + each.accepted for each in await store.feedback_log()] == [(hits[0].id,)] * 2
        assert await store.weights.history() == []
        assert await store.weights.active() is None
        with pytest.raises(agentmem.NotFound):
            await store.weights.get()
        with pytest.raises(agentmem.NotFound):
            await store.weights.rollback()
        assert (await store.merge()).rows == 4
        assert (await store.check()).ok
        assert await store.wait_for_merge()
        assert await store.backup(path.with_suffix(".copy")) > 0
        assert (await AsyncMemoryStore.verify(path.with_suffix(".copy"))).records == 4
        assert (await store.info())["records"] == 4
        assert await store.delete(first) == 1
        assert await store.delete_where(namespace="users/2") == 2
        assert (await store.stats())["records"] == 1


@looped
async def test_errors_are_those_of_the_store(path):
    async with opened(path) as store:
        with pytest.raises(agentmem.NotFound):
            await store.get("none")
        with pytest.raises(agentmem.InvalidInput):
            await store.search()
        with pytest.raises(agentmem.InvalidFilter):
            await store.search("a", filter={"a": {"$nothing": 1}})
        with pytest.raises(agentmem.InvalidInput):
            _ = [record async for record in store.iterate(batch=0)]
        with pytest.raises(TypeError, match="nonsense"):
            await store.add("a", nonsense=1)
        assert await store.count() == 0


def test_arguments_that_cannot_be_used_are_refused_at_once(path):
    with pytest.raises(TypeError, match="nonsense"):
        AsyncMemoryStore(path, nonsense=1)
    with pytest.raises(agentmem.InvalidInput, match="max_concurrency"):
        AsyncMemoryStore(path, max_concurrency=0)
    with (
        MemoryStore(path, embedder=None, dimension=DIM) as store,
        pytest.raises(agentmem.InvalidInput, match="dimension"),
    ):
        AsyncMemoryStore(store, dimension=DIM)


@looped
async def test_what_keeps_the_store_from_opening_is_told_to_whoever_waits_for_it(tmp_path):
    with pytest.raises(agentmem.NotAStore):
        await AsyncMemoryStore(tmp_path).count()
    with pytest.raises(agentmem.NotAStore):
        async with AsyncMemoryStore(tmp_path):
            pytest.fail("it is open")


@looped
async def test_the_first_verb_opens_the_store_and_a_property_does_not_block_the_loop(path):
    store = opened(path)
    with pytest.raises(agentmem.StoreError, match="not open yet"):
        _ = store.store
    assert str(path) in repr(store)
    assert await store.count() == 0
    assert isinstance(store.store, MemoryStore)
    assert repr(store) == f"Async{store.store!r}"
    await store.close()


def test_without_a_loop_the_property_opens_it(path):
    store = opened(path)
    store.store.add("a book")
    assert asyncio.run(store.count()) == 1
    asyncio.run(store.close())


@looped
async def test_closing_closes_the_store_but_not_one_that_was_given_open(path):
    with MemoryStore(path, embedder=vectors, merge="manual") as below:
        async with AsyncMemoryStore(below) as store:
            assert store.store is below
            await store.add("a book")
        with pytest.raises(agentmem.StoreClosed):
            await store.count()
        await store.close()
        assert below.count() == 1
        async with AsyncMemoryStore(below) as again:
            assert await again.count() == 1
    with pytest.raises(agentmem.StoreClosed):
        AsyncMemoryStore(below)
    never = opened(path)
    await never.close()
    with pytest.raises(agentmem.StoreClosed):
        await never.add("a book")


@looped
async def test_the_loop_goes_on_while_an_embedder_is_slow(path):
    doorkeeper = Doorkeeper()
    async with opened(path, doorkeeper) as store:
        adding = asyncio.create_task(store.add("slow book"))
        await doorkeeper.waiting()
        await ticks(1_000)
        assert await store.count() == 0
        assert not adding.done()
        doorkeeper.go.set()
        await adding
        assert await store.count() == 1


@looped
async def test_the_loop_goes_on_while_much_is_added_and_searched(path):
    beats = 0

    async def heart():
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    beating = asyncio.create_task(heart())
    async with opened(path, "static") as store:
        await store.add_many([f"note {number} of a book" for number in range(3_000)])
        counted, beats = beats, 0
        await asyncio.gather(*(store.search(f"note {number}") for number in range(20)))
    beating.cancel()
    assert counted > 20
    assert beats > 5


@looped
async def test_no_more_calls_run_at_a_time_than_asked_for(path):
    running, most, lock = 0, 0, threading.Lock()
    gate = threading.Barrier(3)

    def embed(texts):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        gate.wait(60)  # three at a time, or nothing goes on
        with lock:
            running -= 1
        return vectors(texts)

    async with opened(path, agentmem.CallableEmbedder(embed, "gate", DIM), max_concurrency=3) as store:
        await asyncio.gather(*(store.add(f"note {number}") for number in range(12)))
        assert await store.count() == 12
    assert most == 3


class Model:
    """An embedder with the protocol whose ``embed`` is a coroutine."""

    name, dimension, metric = "coroutine", DIM, "cosine"

    def __init__(self):
        self.loops = set()

    async def embed(self, texts):
        self.loops.add(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return vectors(texts)


@looped
async def test_coroutines_embed_on_the_loop_of_the_caller(path):
    model = Model()
    async with opened(path, model) as store:
        first = await store.add("a book")
        await store.update(first, text="a book of trains")
        await store.add_messages([{"role": "user", "content": "hello"}], thread="t")
        assert (await store.search("a book of trains"))[0].id == first
        assert model.loops == {asyncio.get_running_loop()}
        await store.reembed(embed_elsewhere)
        assert (await store.search("a book of trains"))[0].id == first


async def embed_elsewhere(texts):
    await asyncio.sleep(0)
    return [[*vector, 1.0] for vector in vectors(texts)]


def test_a_store_without_a_loop_runs_coroutines_that_embed(path):
    with MemoryStore(path, embedder=embed_elsewhere, merge="manual") as store:
        store.add("a book")
        assert store.identity.dimension == DIM + 1
        assert store.search("a book")[0].text == "a book"

        async def inside():
            return store.search("a book")[0].text

        assert asyncio.run(inside()) == "a book"


@looped
async def test_a_coroutine_that_raises_is_an_embedder_that_failed(path):
    async def embed(texts):
        if texts != ["dimension"]:
            raise OSError("no network")
        return vectors(texts)

    async with opened(path, embed) as store:
        with pytest.raises(agentmem.EmbeddingFailed, match="no network"):
            await store.add("a book")
        assert await store.count() == 0


@looped
async def test_hooks_run_on_the_loop_and_may_call_the_store_with_no_thread_to_spare(path):
    async with opened(path, max_concurrency=1, hook_errors="raise") as store:
        first = await store.add("a book")
        seen = []

        @store.hooks.on("post-retrieval")
        async def look(ctx):
            seen.append((asyncio.get_running_loop(), (await store.get(first)).text))
            async with store.transaction():
                await store.add(f"somebody asked for {ctx.text}", namespace="log")
            await asyncio.gather(store.count(), store.count())
            return ctx

        found = await asyncio.gather(*(store.search("a book", namespace="") for _ in range(5)))
        assert [[hit.id for hit in hits] for hits in found] == [[first]] * 5
        assert seen == [(asyncio.get_running_loop(), "a book")] * 5
        assert await store.count(namespace="log") == 5


@looped
async def test_a_task_that_a_hook_leaves_behind_goes_on_by_itself(path):
    left = []
    async with opened(path, max_concurrency=1) as store:
        await store.add("a book")

        async def later():
            await ticks(50)
            return await store.count()

        @store.hooks.on("post-retrieval")
        async def leave(ctx):
            left.append(asyncio.create_task(later()))

        await store.search("a book")
        assert await left[0] == 1


def test_the_sources_of_the_store_start_no_loop():
    import agentmem.aio as package

    for module in (package.store, package.core, package.calls, package.turns, package.transaction):
        assert "asyncio.run(" not in inspect.getsource(module)
