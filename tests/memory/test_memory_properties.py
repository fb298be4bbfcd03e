"""What holds of a memory whatever is done with it, and whatever the names are."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import agentmem
from agentmem import Memory
from agentmem.memory import Retention
from agentmem.memory.packing import pack
from agentmem.memory.scopes import Scope
from agentmem.records import Hit, Record

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
names = st.none() | st.text("a/%-=", min_size=1, max_size=4)
records = st.builds(
    Record,
    id=st.uuids(version=4).map(str),
    text=st.none() | texts,
    metadata=st.just({}),
    namespace=st.just("memory/-/-/-"),
    thread=st.none() | st.sampled_from(["a", "b"]),
    position=st.none() | st.integers(0, 9).map(float),
    session=st.none(),
    speaker=st.none() | texts,
    created_at=st.floats(-1e15, 1e15),
    updated_at=st.just(0.0),
    expires_at=st.none(),
    importance=st.just(0.5),
    label=st.integers(1, 99),
)
counts = st.sampled_from([len, lambda text: len(text.encode()) + 3, lambda text: len(text.split())])


@given(st.lists(records, max_size=8), st.integers(0, 200), counts)
def test_the_budget_is_never_exceeded(found, budget, count):
    hits = [Hit(record, 1.0 / rank, rank) for rank, record in enumerate(found, 1)]
    recall = pack("q", hits, budget, count)
    assert recall.tokens <= budget
    assert recall.tokens == (count(recall.text) if recall.text else 0)
    assert len(set(recall.ids)) == len(recall.ids)
    assert set(recall.ids) <= {record.id for record in found}
    starts = [line for line in recall.text.split("\n") if line.startswith("[")]
    assert len(starts) == len(recall.ids)
    assert [int(line[1 : line.index("]")]) for line in starts] == list(range(1, len(starts) + 1))
    for thread in ("a", "b"):
        places = [hit.record.position for hit in recall.hits if hit.record.thread == thread]
        numbered = [place for place in places if place is not None]
        assert places == sorted(numbered) + [None] * (len(places) - len(numbered))
        numbers = [n for n, hit in enumerate(recall.hits) if hit.record.thread == thread]
        assert not numbers or numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@given(st.lists(st.tuples(names, names, names), min_size=2, max_size=2))
def test_scopes_share_a_namespace_only_where_they_are_the_same(given_names):
    one, other = (Scope(*each) for each in given_names)
    assert (one.namespace() == other.namespace()) == (one == other)
    wider = all(mine in (None, its) for mine, its in zip(given_names[0], given_names[1], strict=True))
    assert one.covers(other.namespace()) == wider


@settings(max_examples=30)
@given(st.lists(st.tuples(names, names, names), min_size=1, max_size=6, unique=True))
def test_a_scope_reads_what_it_covers(all_names):
    with agentmem.MemoryStore(":memory:", embedder=None, dimension=2, merge="manual") as store:
        scopes = [Scope(*each) for each in all_names]
        store.add_many(embeddings=np.ones((len(scopes), 2)), namespace=[scope.namespace() for scope in scopes])
        for scope in scopes:
            namespace, where = scope.where(store)
            read = {record.namespace for record in store.iterate(where, namespace)}
            assert read == {each.namespace() for each in scopes if scope.covers(each.namespace())}


words = st.sampled_from(["tea", "ice", "sun", " tea", "rain"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("remember"), words, st.sampled_from([None, "k", "l"]), st.booleans()),
        st.tuples(st.just("retain"), st.builds(Retention, max_count=st.integers(0, 3))),
        st.tuples(st.just("retain"), st.just(Retention(max_age=0, order="oldest first"))),
        st.tuples(st.just("deduplicate")),
    ),
    max_size=12,
)
DIRECTIONS = {"tea": [1, 0], "ice": [0, 1], "sun": [1, 0.05], "rain": [-1, 0]}


@settings(max_examples=60)
@given(steps)
def test_pinned_memories_stay_and_keys_have_one_live_memory(done):
    with agentmem.MemoryStore(":memory:", embedder=None, dimension=2, merge="manual") as store:
        memory = Memory(store, user="ada", similarity=0.99)
        pinned = set()
        for kind, *arguments in done:
            if kind == "remember":
                text, key, pin = arguments
                id = memory.remember(text, key=key, pinned=pin, embedding=DIRECTIONS[text.strip()])
                pinned |= {id} if pin else set()
            elif kind == "retain":
                memory.retain(*arguments)
            else:
                memory.deduplicate()
                assert memory.deduplicate() == []
            assert pinned <= {record.id for record in store.iterate()}
            live = store.iterate(namespace=memory.scope.namespace())
            keys = [key for record in live if (key := record.metadata["memory"].get("key")) is not None]
            assert len(keys) == len(set(keys))


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from("kl"), st.integers(0, 3)), max_size=10))
def test_the_history_is_complete(said):
    with agentmem.MemoryStore(":memory:", embedder=None, dimension=2, merge="manual") as store:
        memory = Memory(store)
        expected = {"k": [], "l": []}
        for key, number in said:
            text = f"{key} is {number}"
            memory.remember(text, key=key, embedding=[1, number])
            if not expected[key] or expected[key][-1] != text:
                expected[key].append(text)
        for key, wanted in expected.items():
            history = memory.history(key)
            assert [record.text for record in history] == wanted
            live = [record for record in history if record.namespace == memory.scope.namespace()]
            assert [record.text for record in live] == wanted[-1:]
        assert store.count() == sum(map(len, expected.values()))
