"""An agent's memory: what is recalled, what is replaced, what is the same, and whose it is."""

import multiprocessing
import subprocess
import sys

import numpy as np
import pytest

import agentmem
from agentmem import Memory
from agentmem.errors import InvalidInput, InvalidVector, NotFound, StoreClosed, StoreReadOnly
from agentmem.memory import Retention

DAY = 86_400.0


@pytest.fixture
def store():
    """Return a store in memory."""
    with agentmem.MemoryStore(":memory:") as store:
        yield store


def live(memory):
    """Return the texts that a memory reads."""
    namespace, where = memory.scope.where(memory.store)
    return sorted(record.text for record in memory.store.iterate(where, namespace))


# Recall


def test_a_recall_is_a_prompt_with_numbers_to_judge_by(store):
    memory = Memory(store, user="ada")
    peanuts = memory.remember("Ines is allergic to peanuts", created_at="2026-03-01T10:00:00")
    memory.remember("The boat leaves at nine", created_at="2026-03-02T10:00:00")
    found = memory.recall("who must not eat peanuts?", k=2)
    assert found.text.startswith("[1] (2026-03-01) Ines is allergic to peanuts")
    assert found.ids[0] == found.hits[0].id == peanuts
    assert 0 < found.tokens <= 1000
    memory.feedback(found, accepted=[1], rejected=[found.hits[1]])
    judged = store.feedback_log()[-1]
    assert judged.accepted == (peanuts,)
    assert judged.rejected == (found.ids[1],)
    assert judged.shown == tuple(hit.id for hit in found.shown)
    with pytest.raises(InvalidInput, match="number of a memory"):
        memory.feedback(found, used=[3])
    with pytest.raises(InvalidInput, match="recall returned"):
        memory.feedback("peanuts", used=[1])
    memory.feedback("peanuts", used=[peanuts])
    assert store.feedback_log()[-1].used == (peanuts,)


def test_turns_of_a_thread_stand_in_order_of_time(store):
    memory = Memory(store, user="ada", session="s1")
    memory.remember(
        [
            {"role": "user", "name": "Ada", "content": "Where is the spare key for the boat?"},
            {"role": "assistant", "content": "The spare key of the boat hangs\nbehind the door."},
            {"role": "user", "name": "Ada", "content": "And who has the other key of the boat?"},
        ]
    )
    memory.remember("The key of the boat shed is blue")
    found = memory.recall("key of the boat", k=4)
    parts = found.text.split("\n\n")
    (turns,) = [part for part in parts if "Ada" in part]
    lines = turns.split("\n")
    assert [line.split(") ")[1] for line in (lines[0], lines[1], lines[3])] == [
        "Ada: Where is the spare key for the boat?",
        "assistant: The spare key of the boat hangs",
        "Ada: And who has the other key of the boat?",
    ]
    assert lines[2] == "    behind the door."
    assert [found.id_of(n) for n in range(1, 5)] == list(found.ids)
    assert len(parts) == 2


def test_the_budget_takes_a_shorter_memory_in_place_of_one_that_does_not_fit(store):
    memory = Memory(store, count_tokens=lambda text: len(text.split()))
    memory.remember("tea " * 50, created_at=0)
    memory.remember("tea is hot", created_at=0)
    found = memory.recall("tea", token_budget=6)
    assert found.text == "[1] (1970-01-01) tea is hot"
    assert found.tokens == 5
    assert len(found.shown) == 2
    nothing = memory.recall("tea", token_budget=4)
    assert (nothing.text, nothing.tokens, nothing.ids) == ("", 0, ())


def test_what_the_bundled_tokenizer_does_not_know_counts_by_its_bytes(store):
    memory = Memory(store)
    memory.remember("茶" * 40, created_at=0, embedding=np.ones(store.identity.dimension))
    assert memory.recall("茶", token_budget=29).text == ""
    assert memory.recall("茶", token_budget=60).tokens >= 30


def test_a_count_that_is_no_number_is_refused(store):
    memory = Memory(store, count_tokens=lambda text: text)
    memory.remember("tea")
    with pytest.raises(InvalidInput, match="count_tokens must return an int"):
        memory.recall("tea")
    with pytest.raises(InvalidInput, match="token_budget"):
        memory.recall("tea", token_budget=-1)


def test_a_filter_goes_with_every_scope(store):
    for user in ("ada", "ben"):
        Memory(store, user=user, agent="cook").remember(f"{user} likes tea", metadata={"kind": "drink"})
        Memory(store, user=user, agent="cook").remember(f"{user} likes tea cake", metadata={"kind": "food"})
        Memory(store, user=user, agent="guide").remember(f"{user} drank tea", metadata={"kind": "drink"})
    found = Memory(store, agent="cook").recall("tea", filter={"kind": "drink"})
    assert sorted(hit.text for hit in found.hits) == ["ada likes tea", "ben likes tea"]
    assert Memory(store, agent="nobody").recall("tea").text == ""


# Whose


def test_narrower_scopes_are_read_and_others_are_not(store):
    names = {
        "all": Memory(store),
        "ada": Memory(store, user="ada"),
        "ada's cook": Memory(store, user="ada", agent="cook"),
        "ada's cook today": Memory(store, user="ada", agent="cook", session="today"),
        "cook": Memory(store, agent="cook"),
        "ada today": Memory(store, user="ada", session="today"),
        "today": Memory(store, session="today"),
        "ben": Memory(store, user="ben"),
    }
    for name, memory in names.items():
        memory.remember(name)
    assert live(names["all"]) == sorted(names)
    assert live(names["ada"]) == ["ada", "ada today", "ada's cook", "ada's cook today"]
    assert live(names["ada's cook"]) == ["ada's cook", "ada's cook today"]
    assert live(names["cook"]) == ["ada's cook", "ada's cook today", "cook"]
    assert live(names["ada today"]) == ["ada today", "ada's cook today"]
    assert live(names["today"]) == ["ada today", "ada's cook today", "today"]
    assert live(names["ben"]) == ["ben"]


def test_the_same_text_in_two_scopes_is_two_memories(store):
    ada, ben = Memory(store, user="ada"), Memory(store, user="ben")
    assert ada.remember("I like tea") != ben.remember("I like tea")


def test_nobody_forgets_or_pins_what_is_another_s(store):
    ada, ben = Memory(store, user="ada"), Memory(store, user="ben")
    id = ada.remember("I like tea")
    assert ben.forget(id) == 0
    with pytest.raises(NotFound):
        ben.pin(id)
    with pytest.raises(NotFound, match="exactly this user"):
        ben.remember("I like coffee", replaces=id)
    assert Memory(store).forget(id, "nobody") == 1


def test_everything_of_a_scope_is_forgotten(store):
    ada = Memory(store, user="ada", session="1")
    ada.remember("tea", key="drink", pinned=True)
    ada.remember("coffee", key="drink")
    Memory(store, user="ben").remember("cocoa")
    store.add("not of an agent")
    assert Memory(store, user="ada").forget_all() == 2
    assert sorted(record.text for record in store.iterate()) == ["cocoa", "not of an agent"]


# Replaced


def test_a_key_has_one_live_memory_and_a_history(store):
    memory = Memory(store, user="ada")
    first = memory.remember("My favourite colour is red", key="colour", metadata={"n": 1}, ttl=1e6)
    expires_at = store.get(first).expires_at
    memory.feedback("colour", accepted=[first])
    second = memory.remember("My favourite colour is green", key="colour")
    third = memory.remember("My favourite colour is blue", replaces="colour")
    assert [hit.id for hit in memory.recall("favourite colour").hits] == [third]
    versions = memory.history("colour")
    assert [version.id for version in versions] == [first, second, third]
    assert versions[0].metadata["n"] == 1
    assert versions[0].expires_at == expires_at
    assert np.array_equal(store.vector(first), store.embedder.embed(["My favourite colour is red"])[0])
    assert store.feedback_log()[0].accepted == (first,)
    assert memory.forget(key="colour") == 3
    assert memory.history("colour") == []


def test_a_memory_without_a_key_is_replaced_by_its_id(store):
    memory = Memory(store)
    first = memory.remember("The shop opens at nine")
    second = memory.remember("The shop opens at ten", replaces=first)
    third = memory.remember("The shop opens at eleven", replaces=second)
    assert [version.id for version in memory.history(first)] == [first, second, third]
    assert live(memory) == ["The shop opens at eleven"]
    with pytest.raises(NotFound, match="live memory"):
        memory.remember("The shop is closed", replaces=second)


def test_the_same_again_is_no_new_version(store):
    memory = Memory(store)
    id = memory.remember("red", key="colour")
    assert memory.remember(" red ", key="colour") == id
    assert len(memory.history("colour")) == 1


def test_what_was_said_before_it_had_a_key_takes_the_key(store):
    memory = Memory(store)
    plain = memory.remember("blue")
    red = memory.remember("red", key="colour")
    assert memory.remember("blue", key="colour") == plain
    assert [version.id for version in memory.history("colour")] == [red, plain]
    assert live(memory) == ["blue"]


def test_two_facts_may_have_one_text(store):
    memory = Memory(store)
    assert memory.remember("yes", key="tea") != memory.remember("yes", key="milk")
    assert live(memory) == ["yes", "yes"]


def test_a_pinned_fact_stays_pinned_when_it_is_replaced(store):
    memory = Memory(store)
    memory.remember("red", key="colour", pinned=True)
    memory.remember("blue", key="colour")
    assert memory.retain(Retention(max_count=0, max_age=0)) == []


def _replace(path, barrier, name, times):
    with agentmem.MemoryStore(path, merge="manual", timeout=60) as store:
        memory = Memory(store, user="ada")
        barrier.wait()
        for n in range(times):
            memory.remember(f"{name} {n}", key="colour")


def test_two_processes_leave_one_live_memory_of_a_key(tmp_path):
    path, times = tmp_path / "memory.db", 15
    agentmem.MemoryStore(path).close()
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    workers = [context.Process(target=_replace, args=(path, barrier, name, times)) for name in ("a", "b")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    with agentmem.MemoryStore(path) as store:
        memory = Memory(store, user="ada")
        assert len(live(memory)) == 1
        versions = memory.history("colour")
        assert len(versions) == 2 * times
        for name in ("a", "b"):
            mine = [version.text for version in versions if version.text.startswith(name)]
            assert mine == [f"{name} {n}" for n in range(times)]


# The same


def test_the_older_of_two_that_say_the_same_takes_over(store):
    memory = Memory(store)
    first = memory.remember("Tea  is hot", importance=0.2, metadata={"a": 1, "b": 1}, created_at=2000, ttl=1e6)
    assert (
        memory.remember("Tea is hot", importance=0.9, metadata={"b": 2, "c": 2}, created_at=1000, pinned=True) == first
    )
    record = store.get(first)
    assert (record.importance, record.created_at, record.expires_at) == (0.9, 1000, None)
    assert {"a": 1, "b": 1, "c": 2}.items() <= record.metadata.items()
    assert record.metadata["memory"]["pinned"] is True
    assert store.count() == 1


def test_similar_texts_are_the_same_from_a_threshold_on():
    with agentmem.MemoryStore(":memory:", embedder=None, dimension=2) as store:
        memory = Memory(store, similarity=0.9)
        first = memory.remember("east", embedding=[1, 0])
        assert memory.remember("nearly east", embedding=[1, 0.1]) == first
        north = memory.remember("north", embedding=[0, 1])
        assert north != first
        keyed = memory.remember("nearly north", embedding=[0.1, 1], key="way")
        assert keyed != north, "a fact with a key is another one unless its words are the same"
        with pytest.raises(InvalidVector):
            memory.remember("nowhere", embedding=[1, 2, 3])


def test_duplicates_that_came_otherwise_are_found(store):
    memory = Memory(store, user="ada")
    namespace = memory.scope.namespace()
    store.add_many(
        ["Tea is hot", "Ice is cold", "Tea is hot", "Tea is  hot"],
        ids=["a", "b", "c", "d"],
        namespace=namespace,
        importances=[0.1, 0.5, 0.9, 0.3],
        created_at=[3.0, 3.0, 2.0, 2.0],
        metadatas=[{}, {}, {"from": "c"}, {}],
    )
    store.add("Tea is hot", namespace=namespace, thread="t", id="turn")
    planned = memory.deduplicate(dry_run=True)
    assert {each.id: (each.kept, each.reason) for each in planned} == {"a": ("c", "hash"), "d": ("c", "hash")}
    assert store.count() == 5
    memory.pin("a")
    assert {each.id: each.kept for each in memory.deduplicate()} == {"c": "a", "d": "a"}
    kept = store.get("a")
    assert (kept.importance, kept.created_at, kept.metadata["from"]) == (0.9, 2.0, "c")
    assert memory.deduplicate() == []
    similar = memory.deduplicate(0.01, dry_run=True)
    assert all(each.reason == "similarity" and each.similarity >= 0.01 for each in similar)


def test_turns_come_once_where_they_have_ids(store):
    memory = Memory(store, session="s")
    turns = [{"role": "user", "content": "yes", "id": "1"}, {"role": "user", "content": "yes", "id": "2"}]
    assert memory.remember(turns) == ["1", "2"]
    more = [*turns, {"role": "user", "content": "no"}]
    assert memory.remember(more, pinned=True)[:2] == ["1", "2"]
    records = sorted(store.iterate(), key=lambda record: record.position)
    assert [(record.text, record.thread, record.session) for record in records] == [
        ("yes", "s", "s"), ("yes", "s", "s"), ("no", "s", "s"),
    ]  # fmt: skip
    assert records[2].metadata["memory"] == {"pinned": True}


# Kept for how long


def test_the_least_useful_go_first_and_pinned_ones_stay(store):
    memory = Memory(store, user="ada")
    now = store.get(memory.remember("the newest")).created_at
    old = memory.remember("old and plain", created_at=now - 60 * DAY)
    used = memory.remember("old and used", created_at=now - 60 * DAY)
    dear = memory.remember("new and dear", importance=1.0, created_at=now - DAY)
    wrong = memory.remember("new and wrong", created_at=now - DAY)
    pinned = memory.remember("ancient and pinned", created_at=0, pinned=True)
    memory.feedback("old", used=[used])
    memory.feedback("new", rejected=[wrong])
    planned = memory.retain(Retention(max_count=3), dry_run=True)
    assert [(removal.id, removal.reason) for removal in planned] == [
        (old, "max_count"),
        (wrong, "max_count"),
        (planned[2].id, "max_count"),
    ]
    assert planned[0].usefulness == pytest.approx(0.5 / 4, rel=1e-4)
    assert store.count() == 6
    assert [each.id for each in memory.retain(Retention(max_count=4, order="oldest first"), dry_run=True)] == sorted(
        [old, used], key=lambda id: (store.get(id).created_at, id)
    )
    assert [each.id for each in memory.retain(Retention(max_count=3))] == [each.id for each in planned]
    assert {pinned, dear} <= {record.id for record in store.iterate()}
    assert memory.retain(Retention(max_count=3)) == []


def test_what_is_too_old_goes_with_its_history(store):
    memory = Memory(store)
    memory.remember("red", key="colour", created_at=1000)
    memory.remember("blue", key="colour", created_at=2000)
    memory.remember("green", key="colour")
    memory.remember("kept", created_at=1000, pinned=True)
    removals = memory.retain(Retention(max_age=365 * DAY))
    assert [(removal.reason, removal.usefulness) for removal in removals] == [("max_age", None)] * 2
    assert [record.text for record in memory.history("colour")] == ["green"]
    assert "kept" in live(memory)


def test_retention_stays_within_the_scope(store):
    Memory(store, user="ben").remember("tea", created_at=0)
    store.add("other", created_at=0)
    assert Memory(store, user="ada").retain(Retention(max_age=1, max_count=0)) == []
    assert len(Memory(store).retain(Retention(max_age=1))) == 1


@pytest.mark.parametrize(
    "policy",
    [{}, {"max_age": -1}, {"max_count": -1}, {"max_count": 1, "order": "newest"}, {"max_age": 1, "half_life": 0}],
)
def test_a_policy_that_cannot_be_used_is_refused(policy):
    with pytest.raises(InvalidInput):
        Retention(**policy)


# What goes wrong


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("", {}),
        ("\ud800", {}),
        ("tea", {"key": ""}),
        ("tea", {"key": 7}),
        ("tea", {"key": "a", "replaces": "b"}),
        ("tea", {"thread": "t"}),
        ("tea", {"pinned": "yes"}),
        ("tea", {"metadata": {"memory": {}}}),
        ("tea", {"metadata": []}),
        ("tea", {"importance": 2}),
        ("tea", {"embedding": [1.0]}),
        ("tea", {"ttl": 0}),
        (["tea"], {}),
        ([{"role": "user"}], {}),
        ([{"role": "user", "content": "tea"}], {"key": "k"}),
        ([{"role": "user", "content": "tea", "metadata": {"memory": 1}}], {}),
        (7, {}),
    ],
)
def test_bad_input_leaves_the_memory_as_it_was(store, content, options):
    memory = Memory(store)
    with pytest.raises(InvalidInput):
        memory.remember(content, **options)
    assert store.count() == 0


@pytest.mark.parametrize(
    "options", [{"user": ""}, {"agent": 7}, {"similarity": 0}, {"similarity": 1.5}, {"session": "\ud800"}]
)
def test_bad_arguments_of_a_memory_are_refused(store, options):
    with pytest.raises(InvalidInput):
        Memory(store, **options)


def test_an_error_in_the_middle_undoes_the_replacement(store, monkeypatch):
    memory = Memory(store)
    memory.remember("red", key="colour")

    def fails(*_, **__):
        raise OSError("the disk is gone")

    monkeypatch.setattr(store, "add", fails)
    with pytest.raises(OSError, match="disk"):
        memory.remember("blue", key="colour")
    assert live(memory) == ["red"]
    assert len(memory.history("colour")) == 1


def test_a_store_that_is_closed_or_read_only_says_so(tmp_path):
    path = tmp_path / "memory.db"
    with agentmem.MemoryStore(path) as store:
        Memory(store).remember("tea is hot")
    with pytest.raises(StoreClosed):
        Memory(store).remember("tea")
    with agentmem.MemoryStore(path, read_only=True) as store:
        memory = Memory(store)
        assert "tea is hot" in memory.recall("tea").text
        assert memory.retain(Retention(max_count=0), dry_run=True)
        assert memory.deduplicate(0.9, dry_run=True) == []
        with pytest.raises(StoreReadOnly):
            memory.remember("coffee")


def test_records_that_somebody_else_put_there_are_memories_too(store):
    memory = Memory(store)
    for n, note in enumerate(
        (7, {"version": "x", "key": 3, "pinned": "yes"}, {"key": "k"}, {"key": "k", "version": 2})
    ):
        store.add(f"text {n}", namespace=memory.scope.namespace(), metadata={"memory": note}, id=str(n))
    assert len(memory.recall("text").hits) == 4
    assert [record.id for record in memory.history("k")] == ["2", "3"]
    assert memory.deduplicate() == []
    assert len(memory.retain(Retention(max_count=0))) == 4


def test_another_thing_than_a_store_is_refused():
    with pytest.raises(InvalidInput, match="MemoryStore"):
        Memory("memory.db")


def test_importing_the_package_does_not_load_it():
    code = "import sys, agentmem; assert 'agentmem.memory' not in sys.modules; agentmem.Memory"
    subprocess.run([sys.executable, "-c", code], check=True)
