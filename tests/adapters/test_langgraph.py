"""LangGraph's store: the verbs, time to live, models, bad input; see test_langgraph_random.py for the rest."""

import time

import numpy as np
import pytest

REASON = 'pip install "agentmem[langgraph]"'
pytest.importorskip("langgraph.store.base", reason=REASON)

from langgraph.store.base import GetOp, InvalidNamespaceError, ListNamespacesOp, MatchCondition, PutOp, SearchOp  # noqa: E402
from langgraph_kit import DIMS, INDEX, embed, opened  # noqa: E402

import agentmem  # noqa: E402
from agentmem.adapters.langgraph import AgentMemStore  # noqa: E402
from agentmem.aio import AsyncMemoryStore  # noqa: E402

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    """Run coroutines by asyncio."""
    return "asyncio"


@pytest.fixture
def store():
    with opened() as made:
        yield made


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
    assert name.endswith("langgraph_kit.embed")
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
