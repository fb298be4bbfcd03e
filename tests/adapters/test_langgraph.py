"""LangGraph's store: against its own store in memory on random operations, and what that one does not have."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from copy import deepcopy

import numpy as np
import pytest

REASON = 'pip install "agentmem[langgraph]"'
pytest.importorskip("langgraph.store.base", reason=REASON)

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from langgraph.store.base import GetOp, InvalidNamespaceError, ListNamespacesOp, MatchCondition, PutOp, SearchOp  # noqa: E402
from langgraph.store.memory import InMemoryStore  # noqa: E402

import agentmem  # noqa: E402
from agentmem.adapters.langgraph import AgentMemStore  # noqa: E402
from agentmem.adapters.langgraph.names import branch_of, labels_of  # noqa: E402
from agentmem.aio import AsyncMemoryStore  # noqa: E402

pytestmark = pytest.mark.anyio
DIMS = 8


@pytest.fixture
def anyio_backend():
    """Run coroutines by asyncio."""
    return "asyncio"


def embed(texts):
    """Return vectors that are drawn by a seed from each text, of different lengths."""
    vectors = []
    for text in texts:
        rng = np.random.default_rng(list(text.encode()) or 0)
        vectors.append((rng.normal(size=DIMS) * rng.uniform(0.5, 2)).tolist())
    return vectors


INDEX = {"dims": DIMS, "embed": embed, "fields": ["text", "notes[*]"]}


def opened(path=":memory:", **options):
    """Return a store that ranks as the one in memory does."""
    return AgentMemStore(path, index=INDEX, **({"mechanism": "dense"} | options))


@pytest.fixture
def store():
    with opened() as made:
        yield made


class Model(InMemoryStore):
    """LangGraph's store in memory; a put forgets the vectors of what was there before, which the original keeps."""

    def _apply_put_ops(self, put_ops):
        super()._apply_put_ops(put_ops)

    def _extract_texts(self, put_ops):
        for namespace, key in put_ops:
            self._vectors[namespace].pop(key, None)
        return super()._extract_texts(put_ops)

    def _insertinmem_store(self, to_embed, embeddings):
        """Give a vector to each place of a text; the original counts one place a text only."""
        for places, embedding in zip(to_embed.values(), embeddings, strict=True):
            for namespace, key, path in places:
                self._vectors[namespace][key][path] = embedding


labels = st.sampled_from(["a", "b", "a/b", "*"])
namespaces = st.sampled_from([("a",), ("a", "b"), ("b",), ("a/b",), ("b", "a", "b"), ("%2F", "*")])
prefixes = st.sampled_from([(), (), ("a",), ("a", "b"), ("b",), ("*",)])
keys = st.sampled_from(["1", "1/0", ""])
words = st.sampled_from(["one", "two", "three", "four"])
numbers = st.integers(2, 5) | st.sampled_from([2.5, 3.0])
values = st.fixed_dictionaries(
    {},
    optional={
        "text": words | st.none(),
        "notes": st.lists(words, max_size=2),
        "kind": st.sampled_from(["x", "y"]) | st.none(),
        "n": numbers,
        "flag": st.booleans(),
        "in": st.fixed_dictionaries({"a.b": numbers}, optional={"c": words}),
        "tags": st.lists(words, max_size=2),
    },
)
index = st.sampled_from([None, None, False, ["text"], ["kind", "in.c"], ["tags[*]"]])
conditions_on = {
    "kind": st.sampled_from(["x", None, {"$eq": "y"}, {"$ne": "x"}, {"$eq": None}, {"$ne": None}]),
    "flag": st.booleans() | st.booleans().map(lambda value: {"$ne": value}),
    "in": st.fixed_dictionaries({"a.b": numbers | numbers.map(lambda n: {"$ne": n})}),
    "tags": st.lists(words, max_size=2) | st.lists(words, max_size=2).map(lambda tags: {"$ne": tags}),
}
filters = st.fixed_dictionaries({}, optional=conditions_on) | st.one_of(
    st.fixed_dictionaries({key: condition}) for key, condition in conditions_on.items()
)
puts = st.builds(PutOp, namespaces, keys, values | st.none(), index=index, ttl=st.none())
gets = st.builds(GetOp, namespaces, keys, refresh_ttl=st.just(True))
searches = st.builds(
    SearchOp,
    prefixes,
    filter=filters | st.none(),
    limit=st.integers(0, 4) | st.just(50) | st.just(50),
    offset=st.just(0),
    query=words | st.none(),
    refresh_ttl=st.just(True),
)
patterns = st.lists(labels, min_size=1, max_size=2).map(tuple)
conditions = st.builds(MatchCondition, st.sampled_from(["prefix", "suffix"]), patterns)
lists = st.builds(
    ListNamespacesOp,
    st.lists(conditions, max_size=2).map(tuple),
    max_depth=st.none() | st.integers(1, 3),
    limit=st.just(1_000),
    offset=st.just(0),
)
batches = st.lists(
    st.lists(puts | puts | puts | searches | searches | gets | lists, min_size=1, max_size=8), min_size=2, max_size=8
)


def same(op, ours, theirs, model):
    """Compare a result with the model's, in all that the model defines."""
    if isinstance(op, GetOp):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert content(ours) == content(theirs)
    elif isinstance(op, SearchOp):
        assert len(ours) == len(theirs)
        scores = [(item.score is None, -(item.score or 0)) for item in ours]
        if op.query:
            assert scores == sorted(scores)
            assert [item.score for item in ours] == [
                None if item.score is None else pytest.approx(item.score, abs=1e-5) for item in theirs
            ]
        if op.limit == 50:  # all of them: which of equals come first is not defined
            assert sorted(map(content, ours)) == sorted(map(content, theirs))
    elif isinstance(op, ListNamespacesOp):
        assert ours == theirs
    else:
        assert ours is theirs is None


def content(item):
    return item.namespace, item.key, json.dumps(item.value, sort_keys=True)


def drop_empty(model):
    """Forget namespaces that were only looked into, or emptied: the original goes on listing them."""
    for namespace in [each for each, held in model._data.items() if not held]:
        del model._data[namespace]


@settings(max_examples=150)
@given(batches)
def test_it_does_what_the_store_in_memory_does(drawn):
    model = Model(index=INDEX)
    with opened() as store:
        for batch in drawn:
            drop_empty(model)
            batch = sorted(batch, key=lambda op: not isinstance(op, ListNamespacesOp))
            theirs = deepcopy(model.batch(batch))
            for op, mine, its in zip(batch, store.batch(batch), theirs, strict=True):
                same(op, mine, its, model)


@settings(max_examples=30)
@given(batches)
def test_coroutines_do_the_same(drawn):
    async def run():
        with opened() as one, opened() as two:
            for batch in drawn:
                for op, mine, its in zip(batch, await one.abatch(batch), two.batch(batch), strict=True):
                    same(op, mine, its, None)

    asyncio.run(run())


@given(st.lists(st.text(max_size=4), max_size=4).map(tuple), st.lists(st.text(max_size=4), max_size=4).map(tuple))
def test_namespaces_have_paths_of_their_own(one, other):
    assert labels_of(branch_of("root", one)) == one
    assert (branch_of("root", one) == branch_of("root", other)) == (one == other)
    assert branch_of("root", one + other).startswith(branch_of("root", one))


@given(st.lists(st.tuples(namespaces, keys), min_size=2, max_size=2, unique=True))
def test_items_have_ids_of_their_own(places):
    with opened() as store:
        for number, (namespace, key) in enumerate(places):
            store.batch([PutOp(namespace, key, {"n": number})])
        for number, (namespace, key) in enumerate(places):
            assert store.batch([GetOp(namespace, key)])[0].value == {"n": number}


def test_order_comparisons(store):
    values = [1, 2.5, 3, "1", "b", None, True, [2], {"n": 2}]
    for number, value in enumerate(values):
        store.put(("n",), str(number), {"v": value})
    store.put(("n",), "missing", {})

    def found(condition):
        return {item.value["v"] for item in store.search(("n",), filter={"v": condition}, limit=50)}

    assert found({"$gt": 1}) == {2.5, 3}
    assert found({"$gte": 2.5}) == {2.5, 3}
    assert found({"$lt": 3}) == {1, 2.5}
    assert found({"$lte": 3, "$gt": 1, "$ne": 2.5}) == {3}
    assert found({"$gte": "b"}) == {"b"}
    assert [item.key for item in store.search(("n",), filter={"v": {"n": 2}})] == ["8"]
    assert [item.key for item in store.search(("n",), filter={"v": {"$eq": {"n": 2}}})] == ["8"]
    assert {item.key for item in store.search(("n",), filter={"v": None}, limit=50)} == {"5", "missing"}
    assert len(store.search(("n",), filter={"v": {"$ne": 1}}, limit=50)) == 9


@pytest.mark.parametrize(
    ("filter", "named"),
    [
        ({"v": {"$near": 1}}, r"\$near"),
        ({"v": {"$gt": 1, "n": 2}}, "'n'"),
        ({"v": {"$in": [1]}}, r"\$in"),
        ({1: 2}, "strings"),
        ({"v": {"$gt": [1]}}, r"\$gt"),
    ],
)
async def test_filters_that_do_not_exist_are_refused(store, filter, named):
    store.put(("a",), "k", {"v": 1})
    with pytest.raises(ValueError, match=named):
        store.search(("a",), filter=filter)
    with pytest.raises(ValueError, match=named):
        await store.asearch(("a",), query="one", filter=filter)
    assert store.get(("a",), "k").value == {"v": 1}


def test_without_a_query_the_last_put_comes_first(store):
    for number in range(6):
        store.put(("a", str(number % 2)), str(number), {"text": "one", "n": number})
    store.put(("a", "0"), "2", {"text": "two", "n": 2})
    store.get(("a", "1"), "1")
    order = ["2", "5", "4", "3", "1", "0"]
    assert [item.key for item in store.search(("a",))] == order
    assert [item.key for item in store.search(("a",), limit=2, offset=1)] == order[1:3]
    assert [item.key for item in store.search(("a",), limit=9, offset=5)] == order[5:]
    assert store.search(("a",), offset=6) == []
    assert [item.key for item in store.search(("a",), query=" ")] == order
    assert [item.key for item in store.search(("a", "1"), filter={"n": {"$lt": 5}})] == ["3", "1"]


def test_pages_of_a_query_are_parts_of_one_order(store):
    for number in range(7):
        store.put(("a",), f"i{number}", {"text": f"text {number}", "notes": ["note", f"other {number}"]})
    for number in range(4):
        store.put(("a",), f"u{number}", {"text": f"text {number}"}, index=False)
    everything = store.search(("a",), query="one", limit=50)
    assert len(everything) == 11
    assert [item.score is None for item in everything] == [False] * 7 + [True] * 4
    assert [item.key for item in everything[7:]] == ["u3", "u2", "u1", "u0"]
    for limit in (1, 2, 3, 5):
        pages = [store.search(("a",), query="one", limit=limit, offset=at) for at in range(0, 12, limit)]
        assert [item for page in pages for item in page] == everything


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_scores_go_the_right_way(metric):
    vectors = {"query": [1.0, 0.0], "near": [0.9, 0.1], "far and long": [2.0, 3.0], "against": [-1.0, 0.0]}
    index = {"dims": 2, "embed": lambda texts: [vectors[text] for text in texts], "fields": ["text"]}
    with AgentMemStore(":memory:", index=index, mechanism="dense", metric=metric) as store:
        for text in list(vectors)[1:]:
            store.put(("a",), text, {"text": text})
        found = {item.key: item.score for item in store.search(("a",), query="query")}
    near, far = ([1, 0], [0.9, 0.1]), ([1, 0], [2, 3])
    assert (
        list(found)
        == {
            "cosine": ["near", "far and long", "against"],
            "ip": ["far and long", "near", "against"],
            "l2": ["near", "against", "far and long"],
        }[metric]
    )
    if metric != "l2":
        scale = {"cosine": lambda a, b: np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b), "ip": np.dot}[metric]
        assert found["near"] == pytest.approx(scale(*near), abs=1e-6)
        assert found["far and long"] == pytest.approx(scale(*far), abs=1e-6)


def test_an_item_is_found_by_the_best_of_its_fields(store):
    value = {"text": "one", "notes": ["two", "three"], "kind": "four"}
    store.put(("a",), "k", value)
    store.put(("a",), "other", {"text": "five"})
    for text in ("one", "two", "three"):
        found = store.search(("a",), query=text)
        assert [item.key for item in found] == ["k", "other"]
        assert found[0].score == pytest.approx(1, abs=1e-6)
        assert found[0].value == value
    assert store.search(("a",), query="four")[0].score < 0.99
    store.put(("a",), "k", value, index=["kind"])
    assert store.search(("a",), query="four")[0].score == pytest.approx(1, abs=1e-6)
    assert all(item.score < 0.99 for item in store.search(("a",), query="two"))
    assert store.store.count() == 2
    store.put(("a",), "k", value, index=False)
    assert [item.score for item in store.search(("a",), query="four")][1] is None
    store.delete(("a",), "k")
    store.delete(("a",), "other")
    assert store.store.count() == 0


def test_an_item_that_is_not_indexed_is_not_embedded():
    seen = []

    def recording(texts):
        seen.extend(texts)
        return embed(texts)

    with AgentMemStore(":memory:", index={"dims": DIMS, "embed": recording}) as store:
        store.put(("a",), "secret", {"text": "nobody else's business"}, index=False)
        store.put(("a",), "open", {"text": "one"})
        assert store.get(("a",), "secret").value == {"text": "nobody else's business"}
    assert seen == ['{"text": "one"}']


def test_a_put_keeps_when_the_item_was_made(store):
    store.put(("a",), "k", {"n": 1})
    first = store.get(("a",), "k")
    store.put(("a",), "k", {"n": 2})
    second = store.get(("a",), "k")
    assert second.created_at == first.created_at
    assert second.updated_at > first.updated_at
    assert first.updated_at.tzinfo is not None


def test_a_value_that_is_changed_afterwards_stays_as_it_was_in_the_store():
    value = {"text": "one", "list": [1]}
    with opened(cache_size=10) as store:
        store.put(("a",), "k", value)
        value["list"].append(2)
        store.get(("a",), "k").value["list"].append(3)
        for query in (None, "one", "one"):
            store.search(("a",), query=query)[0].value["list"].append(4)
        assert store.get(("a",), "k").value == {"text": "one", "list": [1]}
        assert store.search(("a",), query="one")[0].value == {"text": "one", "list": [1]}


def test_reads_of_a_batch_see_what_was_there_before_it(store):
    results = store.batch(
        [
            PutOp(("a",), "k", {"n": 1}),
            GetOp(("a",), "k"),
            PutOp(("a",), "k", {"n": 2}),
            SearchOp(("a",)),
            PutOp(("b",), "gone", {"n": 3}),
            PutOp(("b",), "gone", None),
            ListNamespacesOp(),
        ]
    )
    assert results == [None, None, None, [], None, None, []]
    assert store.get(("a",), "k").value == {"n": 2}
    assert store.list_namespaces() == [("a",)]
    assert store.batch([]) == []


def test_a_batch_is_one_commit(store):
    store.put(("a",), "k", {"n": 1})
    seq = store.store.seq
    with pytest.raises(ValueError, match="not JSON"):
        store.batch([PutOp(("a",), "k", None), PutOp(("a",), "bad", {"x": object()}, index=False)])
    assert store.store.seq == seq
    assert store.get(("a",), "k").value == {"n": 1}


def test_namespaces_are_listed_by_conditions(store):
    for namespace in (
        ("a", "b", "c"),
        ("a", "b", "d", "e"),
        ("a", "b", "d", "i"),
        ("a", "b", "f"),
        ("a", "c", "f"),
        ("x/y",),
    ):
        store.put(namespace, "k", {})
    assert store.list_namespaces(prefix=("a", "b"), max_depth=3) == [("a", "b", "c"), ("a", "b", "d"), ("a", "b", "f")]
    assert store.list_namespaces(prefix=("a", "*", "f")) == [("a", "b", "f"), ("a", "c", "f")]
    assert store.list_namespaces(suffix=("*", "f"), limit=1, offset=1) == [("a", "c", "f")]
    assert store.list_namespaces(prefix=("x/y",)) == [("x/y",)]
    assert store.list_namespaces(prefix=("x",)) == []
    assert store.list_namespaces(max_depth=1) == [("a",), ("x/y",)]
    with pytest.raises(ValueError, match="'infix'"):
        store.batch([ListNamespacesOp((MatchCondition("infix", ("a",)),))])


class Clock:
    """The time, which a test sets forward."""

    def __init__(self):
        self.ahead = 0.0
        self.real = time.time

    def __call__(self):
        return self.real() + self.ahead


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(time, "time", made)
    return made


def test_an_item_lives_for_its_minutes(store, clock):
    store.put(("a",), "k", {"text": "one", "notes": ["two"]}, ttl=10)
    store.put(("b",), "stays", {"text": "one"})
    clock.ahead += 9 * 60
    assert store.get(("a",), "k", refresh_ttl=False)
    clock.ahead += 2 * 60
    assert store.get(("a",), "k") is None
    assert [item.key for item in store.search((), query="one")] == ["stays"]
    assert [item.key for item in store.search(())] == ["stays"]
    assert store.list_namespaces() == [("b",)]
    assert store.sweep_ttl() == 2
    assert store.sweep_ttl() == 0
    store.put(("a",), "k", {"n": 2}, ttl=1)
    made = store.get(("a",), "k").created_at
    clock.ahead += 120
    store.put(("a",), "k", {"n": 3})
    clock.ahead += 1e6
    assert store.get(("a",), "k").value == {"n": 3}
    assert (store.get(("a",), "k").created_at - made).total_seconds() > 100


@pytest.mark.parametrize("read", ["get", "search", "query"])
@pytest.mark.parametrize(
    ("config", "argument", "refreshed"),
    [
        (None, None, True),
        ({"refresh_on_read": False}, None, False),
        ({"refresh_on_read": False}, True, True),
        ({"refresh_on_read": True}, False, False),
    ],
)
def test_reading_lets_an_item_live_on(clock, read, config, argument, refreshed):
    with opened(ttl=config) as store:
        store.put(("a",), "k", {"text": "one", "notes": ["two"]}, ttl=10)
        before = store.get(("a",), "k", refresh_ttl=False)
        clock.ahead += 9 * 60
        if read == "get":
            assert store.get(("a",), "k", refresh_ttl=argument)
        else:
            assert store.search(("a",), query="two" if read == "query" else None, refresh_ttl=argument)
        clock.ahead += 9 * 60
        found = store.get(("a",), "k", refresh_ttl=False)
        assert (found is not None) == refreshed
        assert len(store.search(("a",), query="two", refresh_ttl=False)) == refreshed
        if refreshed:
            assert found == before
        clock.ahead += 2 * 60
        assert store.get(("a",), "k") is None


def test_a_default_ttl_counts_where_none_is_given(clock):
    with opened(ttl={"default_ttl": 1}) as store:
        store.put(("a",), "short", {})
        store.put(("a",), "long", {}, ttl=None)
        clock.ahead += 90
        assert [item.key for item in store.search(("a",))] == ["long"]
        for wrong in (0, -1, "soon"):
            with pytest.raises(ValueError, match="ttl"):
                store.put(("a",), "never", {}, ttl=wrong)
        assert store.get(("a",), "never") is None


def test_what_was_put_is_there_in_another_process(tmp_path):
    path = str(tmp_path / "memory.db")
    with AgentMemStore(path) as store:
        store.put(("users", "ines/1"), "food", {"memory": "Ines cannot eat peanuts"})
    code = (
        "import sys; from agentmem.adapters.langgraph import AgentMemStore\n"
        "with AgentMemStore(sys.argv[1]) as store:\n"
        "    item = store.search(('users',), query='Which nuts does she avoid?')[0]\n"
        "    print(item.namespace[1], item.key, item.value['memory'])"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "ines/1 food Ines cannot eat peanuts"


GRAPH = """
import sys
from typing import TypedDict
from langgraph.graph import END, START, StateGraph
from langgraph.store.base import BaseStore
from agentmem.adapters.langgraph import AgentMemStore

class State(TypedDict):
    said: str
    answer: str

def talk(state: State, *, store: BaseStore) -> dict:
    known = store.search(("memories", "u/1"), query=state["said"], limit=1)
    if not state["said"].endswith("?"):
        store.put(("memories", "u/1"), str(len(store.search(("memories",)))), {"text": state["said"]})
    return {"answer": known[0].value["text"] if known else "I do not know that yet."}

builder = StateGraph(State)
builder.add_node("talk", talk)
builder.add_edge(START, "talk")
builder.add_edge("talk", END)
with AgentMemStore(sys.argv[1], index={"fields": ["text"]}) as store:
    print(builder.compile(store=store).invoke({"said": sys.argv[2]})["answer"])
"""


def test_a_graph_remembers_across_processes(tmp_path):
    def run(said):
        done = subprocess.run(
            [sys.executable, "-c", GRAPH, str(tmp_path / "memory.db"), said],
            capture_output=True, text=True, check=True, timeout=120,
        )  # fmt: skip
        return done.stdout.strip()

    assert run("Where is the key?") == "I do not know that yet."
    assert run("The key is under the flower pot.") == "I do not know that yet."
    run("Ines cannot eat peanuts.")
    assert run("Where is the key?") == "The key is under the flower pot."
    assert run("What must Ines not eat?") == "Ines cannot eat peanuts."


async def test_coroutines_of_the_model_are_used_and_the_loop_is_free(monkeypatch):
    calls = []

    async def aembed(texts):
        await asyncio.sleep(0)
        calls.append(list(texts))
        return embed(texts)

    threads = set()
    for verb in ("search", "add_many", "get_many", "iterate"):
        original = getattr(agentmem.MemoryStore, verb)

        def watched(self, *args, original=original, **kwargs):
            threads.add(threading.get_ident())
            return original(self, *args, **kwargs)

        monkeypatch.setattr(agentmem.MemoryStore, verb, watched)
    with AgentMemStore(":memory:", index={"dims": DIMS, "embed": aembed, "fields": ["text"]}) as store:
        await store.aput(("a",), "k", {"text": "one"})
        assert (await store.asearch(("a",), query="one"))[0].key == "k"
        assert await store.asearch(("a",))
        assert (await store.aget(("a",), "k")).value == {"text": "one"}
        assert await store.alist_namespaces() == [("a",)]
        await store.adelete(("a",), "k")
        assert await store.aget(("a",), "k") is None
        assert calls == [["one"], ["one"]]
        with pytest.raises(ValueError, match="async"):
            store.put(("a",), "k", {"text": "one"})
    assert threading.get_ident() not in threads


async def test_a_batch_that_has_begun_when_its_task_is_cancelled_is_carried_out_whole(store, monkeypatch):
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    carry_out = store._carry_out

    def slow(*args):
        begun.set()
        assert go_on.wait(60)
        try:
            return carry_out(*args)
        finally:
            ended.set()

    monkeypatch.setattr(store, "_carry_out", slow)
    task = asyncio.ensure_future(store.abatch([PutOp(("a",), key, {"text": "one"}) for key in "kl"]))
    await asyncio.to_thread(begun.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await asyncio.to_thread(ended.wait, 60)
    monkeypatch.undo()
    assert {item.key for item in await store.asearch(("a",))} == {"k", "l"}


async def test_tasks_at_once(tmp_path):
    with opened(tmp_path / "memory.db") as store:
        await asyncio.gather(*(store.aput(("a",), str(number), {"text": "one", "n": number}) for number in range(20)))
        found = await store.asearch(("a",), limit=50)
        assert sorted(item.value["n"] for item in found) == list(range(20))


def test_the_bundled_model_needs_no_other():
    with AgentMemStore(":memory:") as store:
        store.put(("a",), "key", {"text": "The key is under the flower pot"})
        store.put(("a",), "food", {"text": "Ines cannot eat peanuts"})
        store.put(("a",), "unknown", {"x": ""}, index=["x"])
        found = store.search(("a",), query="Which nuts does Ines avoid?")
        assert found[0].key == "food"
        assert [item.score is None for item in found] == [False, False, True]


def test_two_stores_in_one_file_are_apart(tmp_path):
    with agentmem.MemoryStore(tmp_path / "memory.db") as shared:
        one, two = AgentMemStore(shared, namespace="one"), AgentMemStore(shared, namespace="one/a")
        shared.add("A memory beside", id="beside")
        one.put(("a", "b"), "k", {"n": 1})
        two.put(("b",), "k", {"n": 2})
        assert one.get(("a", "b"), "k").value == {"n": 1}
        assert [item.value["n"] for item in two.search((), query="n")] == [2]
        assert one.list_namespaces() == [("a", "b")]
        with one, two:
            pass
        assert AgentMemStore(AsyncMemoryStore(shared), namespace="one").get(("a", "b"), "k").value == {"n": 1}
        assert shared.get("beside").text == "A memory beside"
        assert shared.count() == 3


def test_another_model_than_the_store_s_is_refused(tmp_path):
    path = tmp_path / "memory.db"
    with opened(path) as store:
        store.put(("a",), "k", {"text": "one"})
        name = store.store.identity.embedder
    assert name.endswith("test_langgraph.embed")
    for other in ({"dims": DIMS + 1, "embed": embed}, {"dims": DIMS, "embed": lambda texts: embed(texts)}):
        with pytest.raises(agentmem.EmbedderMismatch, match="reembed"):
            AgentMemStore(path, index=other)
    with pytest.raises(agentmem.EmbedderMismatch):
        AgentMemStore(path)
    with agentmem.MemoryStore(":memory:") as shared:
        with pytest.raises(agentmem.EmbedderMismatch, match="leave the model out"):
            AgentMemStore(shared, index=INDEX)
        with pytest.raises(agentmem.InvalidInput, match="metric"):
            AgentMemStore(shared, metric="ip")
    with (
        agentmem.MemoryStore(":memory:", embedder=None, dimension=2) as shared,
        pytest.raises(agentmem.InvalidInput, match="index="),
    ):
        AgentMemStore(shared)


@pytest.mark.parametrize("wrong", [lambda texts: [[1.0]] * len(texts), lambda texts: embed(texts)[1:]])
def test_vectors_of_a_wrong_shape_are_refused(store, wrong, monkeypatch):
    store.put(("a",), "k", {"text": "one"})
    monkeypatch.setattr(store.embeddings, "func", wrong)
    with pytest.raises(RuntimeError, match=r"expected real numbers of shape \(1, 8\)"):
        store.put(("a",), "k", {"text": "two"})
    with pytest.raises((RuntimeError, IndexError)):
        store.search(("a",), query="one")
    assert store.get(("a",), "k").value == {"text": "one"}


def test_operations_that_do_not_exist_are_refused(store):
    with pytest.raises(InvalidNamespaceError):
        store.put((), "k", {})
    with pytest.raises(InvalidNamespaceError):
        store.put(("a.b",), "k", {})
    with pytest.raises(ValueError, match="labels and keys are strings"):
        store.batch([PutOp((1,), "k", {})])
    with pytest.raises(ValueError, match="expected a GetOp"):
        store.batch([PutOp(("a",), "k", {}), "get"])
    for wrong in ({"limit": -1}, {"offset": -1}, {"limit": 1.5}):
        with pytest.raises(ValueError, match="must be an integer"):
            store.search(("a",), **wrong)
    assert store.store.count() == 0


def test_a_store_that_is_open_for_reading_only(tmp_path):
    with opened(tmp_path / "memory.db") as store:
        store.put(("a",), "k", {"text": "one"}, ttl=5)
    with opened(tmp_path / "memory.db", read_only=True, ttl={"refresh_on_read": False}) as store:
        assert store.get(("a",), "k").value == {"text": "one"}
        assert store.search(("a",), query="one")[0].key == "k"
        with pytest.raises(agentmem.StoreReadOnly):
            store.put(("a",), "k", {})


@pytest.mark.parametrize("mechanism", ["auto", "dense"])
def test_a_query_of_which_the_model_knows_nothing(mechanism):
    with AgentMemStore(":memory:", mechanism=mechanism) as store:
        store.put(("a",), "k", {"text": "zzxxqq under the flower pot"})
        found = store.search(("a",), query="zzxxqq")
        assert [item.key for item in found] == ["k"]


async def test_a_closed_store_says_so(store):
    store.close()
    with pytest.raises(agentmem.StoreClosed):
        store.get(("a",), "k")
    with pytest.raises(agentmem.StoreClosed):
        await store.aput(("a",), "k", {"text": "one"})
