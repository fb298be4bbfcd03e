"""The public verbs, one promise a test."""

import datetime
import gc
import math
import weakref

import numpy as np
import pytest

import agentmem

ONE = [1.0, 0.0, 0.0, 0.0]
TWO = [0.0, 1.0, 0.0, 0.0]


def test_add_returns_an_id_that_search_finds_at_once(store):
    rid = store.add("The user joined the book club on Tuesday", namespace="users/1", metadata={"topic": "life"})
    store.add("The printer is out of toner", namespace="users/1")
    hits = store.search("which club was joined?", k=2, namespace="users/1", filter={"topic": {"$in": ["life", "work"]}})
    assert [hit.id for hit in hits] == [rid]
    assert hits[0].rank == 1
    assert hits[0].text == "The user joined the book club on Tuesday"


@pytest.mark.parametrize("cache_size", [0, 10])
def test_filters_that_print_alike_are_kept_apart(cache_size):
    first, second = np.arange(2000), np.arange(2000)
    second[1000] = -1
    assert repr(first) == repr(second)
    with agentmem.MemoryStore(":memory:", embedder=None, dimension=4, cache_size=cache_size) as store:
        store.add("it", embedding=ONE, metadata={"x": 1000})
        assert len(store.search(embedding=ONE, filter={"x": {"$in": first}})) == 1
        assert store.search(embedding=ONE, filter={"x": {"$in": second}}) == []


def test_a_kept_filter_does_not_keep_an_index_that_is_past(vectors_store):
    vectors_store.add("it", embedding=ONE, metadata={"x": 1})
    vectors_store.search(embedding=ONE, filter={"x": 1})
    with vectors_store.snapshot() as (_, view):
        past = weakref.ref(view)
    del view
    vectors_store.add("other", embedding=TWO)
    vectors_store.search(embedding=ONE, filter={"x": 2})
    gc.collect()
    assert past() is None


@pytest.mark.parametrize("words", ["book club ", "1", "ab1", "x", "Anna ", "March 3, "])
@pytest.mark.timeout(300)
def test_a_query_of_a_megabyte_is_searched(store, words):
    rid = store.add("The book club meets on March 3 with Anna")
    assert [hit.id for hit in store.search(words * (1_000_000 // len(words)))] == [rid]


def test_a_record_keeps_every_field(vectors_store):
    when = datetime.datetime(2026, 5, 8, 13, 56, tzinfo=datetime.timezone.utc)
    parent = vectors_store.add("parent", embedding=ONE)
    rid = vectors_store.add(
        "child",
        id="c1",
        embedding=[3, 4, 0, 0],
        namespace="users/1",
        metadata={"a": {"b": [1, True, None, "ü"]}},
        thread="t",
        session=2,
        speaker="Ada",
        position=7,
        importance=0.7,
        links=[("parent", parent)],
        created_at=when,
        ttl=3600,
    )
    record = vectors_store.get(rid)
    assert (record.id, record.text, record.namespace, record.thread) == ("c1", "child", "users/1", "t")
    assert (record.session, record.speaker, record.position, record.importance) == ("2", "Ada", 7.0, 0.7)
    assert record.metadata == {"a": {"b": [1, True, None, "ü"]}}
    assert record.created_at == when.timestamp()
    assert record.expires_at == pytest.approx(record.updated_at + 3600)
    assert vectors_store.links(rid) == [("parent", parent)]
    np.testing.assert_array_equal(vectors_store.vector(rid), np.array([3, 4, 0, 0], np.float32))


def test_the_vector_given_back_is_the_one_stored_after_a_merge_too(vectors_store):
    rid = vectors_store.add(embedding=[30, 40, 0, 0])
    vectors_store.optimize()
    np.testing.assert_array_equal(vectors_store.vector(rid), np.array([30, 40, 0, 0], np.float32))
    assert vectors_store.search(embedding=[3, 4, 0, 0])[0].score == pytest.approx(1.0, abs=1e-6)


def test_branch_namespaces_do_not_catch_their_neighbours(vectors_store):
    for name in ("users/1", "users/10", "users/1/notes", "users/1/notes/x"):
        vectors_store.add(id=name, embedding=ONE, namespace=name)
    found = lambda namespace: sorted(hit.id for hit in vectors_store.search(embedding=ONE, namespace=namespace))  # noqa: E731
    assert found("users/1") == ["users/1"]
    assert found("users/1/") == ["users/1/notes", "users/1/notes/x"]
    assert found(None) == ["users/1", "users/1/notes", "users/1/notes/x", "users/10"]
    assert found("users") == []
    assert vectors_store.namespaces("users/1/") == {"users/1/notes": 1, "users/1/notes/x": 1}


def test_messages_fill_position_session_and_speaker_and_continue_the_thread(store):
    store.add_messages(
        [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}], thread="s1", session=1
    )
    later = store.add_messages([{"role": "user", "content": "me again", "speaker": "Ada"}], thread="s1", session=2)
    record = store.get(later[0])
    assert (record.position, record.session, record.speaker, record.metadata) == (2.0, "2", "Ada", {"role": "user"})
    assert [r.position for r in store.iterate()] == [0.0, 1.0, 2.0]


def test_update_changes_what_is_given_and_keeps_the_rest(store):
    rid = store.add("Ada lives in Lyon", metadata={"v": 1}, ttl=100, importance=0.9)
    before = store.get(rid)
    after = store.update(rid, text="Ada lives in Porto")
    assert after.text == "Ada lives in Porto"
    assert (after.metadata, after.importance, after.created_at) == ({"v": 1}, 0.9, before.created_at)
    assert after.expires_at == before.expires_at
    assert store.search("Porto", k=1)[0].id == rid
    assert store.search("Lyon", k=5, mechanism="lexical") == []
    assert store.update(rid, ttl=None).expires_at is None


def test_upsert_replaces_and_keeps_created_at(vectors_store):
    vectors_store.upsert("one", id="x", embedding=ONE, created_at=1000.0)
    vectors_store.upsert("two", id="x", embedding=TWO)
    assert vectors_store.count() == 1
    record = vectors_store.get("x")
    assert (record.text, record.created_at) == ("two", 1000.0)
    assert vectors_store.search(embedding=TWO, k=1)[0].score == pytest.approx(1.0)


@pytest.mark.parametrize(("policy", "text"), [("replace", "new"), ("skip", "old")])
def test_add_many_on_conflict(vectors_store, policy, text):
    vectors_store.add("old", id="x", embedding=ONE)
    ids = vectors_store.add_many(["new", "other"], ids=["x", "y"], embeddings=[TWO, TWO], on_conflict=policy)
    assert ids == ["x", "y"]
    assert vectors_store.get("x").text == text
    assert vectors_store.count() == 2


def test_add_many_is_all_or_nothing(vectors_store):
    vectors_store.add("old", id="x", embedding=ONE)
    with pytest.raises(agentmem.DuplicateId, match="x"):
        vectors_store.add_many(["a", "b"], ids=["y", "x"], embeddings=[TWO, TWO])
    with pytest.raises(agentmem.InvalidVector, match="1"):
        vectors_store.add_many(["a", "b"], embeddings=[TWO, [math.nan] * 4])
    assert vectors_store.count() == 1


def test_expired_records_are_never_returned(vectors_store, monkeypatch):
    rid = vectors_store.add("soon gone", embedding=ONE, ttl=10)
    stays = vectors_store.add("stays", embedding=ONE)
    assert {hit.id for hit in vectors_store.search(embedding=ONE)} == {rid, stays}
    now = vectors_store.get(rid).expires_at
    monkeypatch.setattr("agentmem.validation.wall_clock", lambda: now)
    assert [hit.id for hit in vectors_store.search(embedding=ONE)] == [stays]
    assert vectors_store.get_many([rid, stays])[0] is None
    assert vectors_store.count() == 1
    assert [record.id for record in vectors_store.iterate()] == [stays]
    assert vectors_store.purge_expired() == 1
    assert vectors_store.changes()[-1].op == "delete"


def test_transaction_is_one_commit_or_none(vectors_store):
    before = vectors_store.seq

    def fails():
        with vectors_store.transaction():
            vectors_store.add("a", embedding=ONE)
            assert len(vectors_store.search(embedding=ONE)) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert (vectors_store.count(), vectors_store.seq) == (0, before)
    assert vectors_store.search(embedding=ONE) == []
    with vectors_store.transaction():
        vectors_store.add("a", id="a", embedding=ONE)
        vectors_store.delete("a")
        vectors_store.add("b", id="b", embedding=ONE)
    assert [hit.id for hit in vectors_store.search(embedding=ONE)] == ["b"]


def test_changes_tell_what_happened_since(vectors_store):
    vectors_store.add("a", id="a", embedding=ONE)
    seq = vectors_store.seq
    vectors_store.add("b", id="b", embedding=ONE)
    vectors_store.update("a", text="a2", embedding=ONE)
    vectors_store.delete("b")
    assert [(change.op, change.id) for change in vectors_store.changes(since=seq)] == [
        ("put", "b"),
        ("put", "a"),
        ("delete", "b"),
    ]
    assert vectors_store.changes(since=vectors_store.seq) == []


def test_knn_gives_arrays_and_distances(vectors_store):
    vectors_store.add_many(ids=["a", "b"], embeddings=[ONE, TWO])
    ids, distances = vectors_store.knn([ONE, TWO], 3)
    assert ids.tolist() == [["a", "b", None], ["b", "a", None]]
    np.testing.assert_allclose(distances, [[0, 1, np.inf], [0, 1, np.inf]], atol=1e-6)


@pytest.mark.parametrize(
    ("metric", "best", "distance"), [("cosine", "far", 0.0), ("ip", "far", 1.0 - 200.0), ("l2", "near", 1.0)]
)
def test_metrics(tmp_path, metric, best, distance):
    with agentmem.MemoryStore(tmp_path / "m.db", embedder=None, dimension=2, metric=metric, merge="manual") as store:
        store.add_many(ids=["near", "far"], embeddings=[[2, 1], [20, 0]])
        for _ in range(2):
            ids, distances = store.knn([[10, 0]] if metric != "l2" else [[2, 2]], 1)
            assert ids[0, 0] == best
            assert distances[0, 0] == pytest.approx(distance, abs=1e-4)
            store.optimize()


def test_offset_and_min_score_page_through_the_same_ranking(vectors_store):
    vectors_store.add_many(embeddings=np.random.default_rng(0).normal(size=(30, 4)))
    everything = vectors_store.search(embedding=ONE, k=30)
    page = vectors_store.search(embedding=ONE, k=5, offset=5)
    assert [hit.id for hit in page] == [hit.id for hit in everything[5:10]]
    floor = everything[3].score
    assert len(vectors_store.search(embedding=ONE, k=30, min_score=floor)) == 4


def test_search_many_equals_search(store):
    store.add_many(["the cat sleeps", "a red bicycle", "rain tomorrow"])
    queries = ["feline", "cycling", "weather"]
    assert store.search_many(queries, k=2) == [store.search(query, k=2) for query in queries]


def test_a_text_of_unknown_tokens_is_kept_and_found_by_its_words_only(store):
    rid = store.add("🦄🦄🦄")
    store.add("something else")
    assert store.vector(rid) is None
    assert store.get(rid).text == "🦄🦄🦄"
    assert store.check().ok
    assert len(store.search("something", k=5)) == 2


def test_in_memory_store_has_every_verb():
    with agentmem.MemoryStore(":memory:") as store:
        rid = store.add("A kettle on the stove", namespace="n")
        assert store.search("kettle", k=1)[0].id == rid
        store.optimize()
        assert store.check().ok
        assert store.delete(rid) == 1
        assert store.search("kettle") == []


def test_explanation_adds_up_and_names_its_sources(store):
    store.add_many(["Ada joined the choir", "Ben repaired the bicycle", "The choir sang on Friday"], threads="t")
    for hit in store.search("who joined the choir?", k=3, explain=True):
        assert sum(hit.explanation.heads.values()) == pytest.approx(hit.score, abs=1e-5)
        assert hit.explanation.mechanism == "memory-heads"
        assert hit.explanation.sources
        assert hit.explanation.reason


MECHANISMS = ["dense", "lexical", "rrf", "convex", "memory-heads", "hierarchy-heads", "prf", "causal-self-attention"]


@pytest.mark.parametrize("mechanism", [*MECHANISMS, "hyperbolic-attention"])
def test_every_mechanism_can_be_asked_for(store, mechanism):
    rid = store.add("Ada joined the choir")
    store.add("The train to Porto leaves at nine")
    assert store.search("choir", k=1, mechanism=mechanism)[0].id == rid


def test_links_bring_their_targets_in(vectors_store):
    target = vectors_store.add("far away", embedding=[-1, 0, 0, 0])
    vectors_store.add_many(
        [f"filler {i}" for i in range(80)], embeddings=np.eye(4)[np.arange(80) % 3 + 1] + [0.2, 0, 0, 0]
    )
    source = vectors_store.add("quince jam", embedding=ONE, links=[("related", target)])
    hits = vectors_store.search("quince", embedding=ONE, k=3, explain=True)
    assert source in [hit.id for hit in hits[:2]]
    found = vectors_store.search("quince", embedding=ONE, k=90, explain=True)
    assert "links" in next(hit for hit in found if hit.id == target).explanation.sources


def test_stats_count_stages_and_info_names_the_store(store):
    store.add("a note")
    store.search("note")
    stats = store.stats()
    assert stats["records"] == 1
    total = stats["latency"]["search.total.memory-heads"]
    assert total["count"] == 1
    assert total["p50_us"] <= total["p99_us"]
    assert store.info()["embedder"] == store.identity.embedder


def test_result_cache_hits_and_is_invalidated_by_a_write(tmp_path):
    with agentmem.MemoryStore(tmp_path / "m.db", cache_size=4, merge="manual") as store:
        store.add("alpha note")
        first = store.search("note")
        assert store.search("note") == first
        assert store.stats()["cache"]["hits"] == 1
        store.add("beta note")
        assert len(store.search("note")) == 2


def test_create_metadata_index_and_explain_plan(store):
    store.add_many([f"note {i}" for i in range(50)], metadatas=[{"topic": f"t{i % 5}"} for i in range(50)])
    store.create_metadata_index("topic")
    plan = store.explain_plan({"topic": "t1"})
    assert plan["rows"] == 10
    assert any("INDEX" in line for line in plan["sqlite"])
    assert store.count({"topic": "t1"}) == 10
