"""The Haystack document store: what comes back of a document, policies, namespaces, embedders, bad input."""

import asyncio
from contextlib import suppress

import numpy as np
import pytest

pytest.importorskip("haystack", reason='pip install "agentmem[haystack]"')

from haystack import Document
from haystack.dataclasses import ByteStream, SparseEmbedding
from haystack.document_stores.errors import DocumentStoreError, DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy
from haystack.errors import FilterError
from haystack_kit import DIMENSION, TEXTS, documents, vector
from hypothesis import example, given, settings
from hypothesis import strategies as st

import agentmem
from agentmem.adapters.haystack import AgentMemDocumentStore


@pytest.fixture(params=["sync", "async"])
def call(request):
    """Return a function that calls a verb of a store, or its asynchronous twin on an event loop."""

    def run(store, verb, *args, **kwargs):
        if request.param == "sync":
            return getattr(store, verb)(*args, **kwargs)
        return asyncio.run(getattr(store, f"{verb}_async")(*args, **kwargs))

    return run


@pytest.fixture
def store(tmp_path):
    store = AgentMemDocumentStore(tmp_path / "documents.db", embedding_dimension=DIMENSION)
    store.write_documents(documents())
    yield store
    store.close()


def ids(found):
    """Return the ids of documents."""
    return [each.id for each in found]


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=6,
)
metas = st.dictionaries(st.text(), json_values, max_size=3)
floats = st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-300)
embeddings = st.lists(floats, min_size=3, max_size=3).filter(lambda values: max(map(abs, values)) > 1e-3)
drawn_documents = st.builds(
    Document,
    id=st.text(min_size=1),
    content=st.one_of(st.none(), st.text()),
    meta=metas,
    score=st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
    embedding=st.one_of(st.none(), embeddings),
    sparse_embedding=st.one_of(
        st.none(), st.builds(lambda values: SparseEmbedding(list(range(len(values))), values), st.lists(floats))
    ),
    blob=st.one_of(st.none(), st.builds(ByteStream, st.binary(), metas, st.one_of(st.none(), st.text()))),
)


@settings(max_examples=200)
@given(st.lists(drawn_documents, max_size=4, unique_by=lambda each: each.id))
@example([Document(id="a"), Document(id="b", content=""), Document(id="c", content=" \n"), Document(id="d", blob=None)])
@example([Document(id="a", embedding=[0.1, 1e-320, -0.0]), Document(id="b", embedding=[0.5, 0.25, 1.0])])
def test_documents_come_back_as_they_were(drawn):
    store = AgentMemDocumentStore(":memory:", embedding_dimension=3)
    assert store.write_documents(drawn) == len(drawn)
    back = store.filter_documents()
    assert back == drawn
    signs = [np.signbit(each.embedding).tolist() for each in back if each.embedding]
    assert signs == [np.signbit(each.embedding).tolist() for each in drawn if each.embedding]
    assert asyncio.run(store.filter_documents_async()) == drawn
    store.close()


def test_embeddings_are_left_out_where_nobody_wants_them(tmp_path):
    store = AgentMemDocumentStore(tmp_path / "d.db", embedding_dimension=DIMENSION, return_embedding=False)
    store.write_documents(documents())
    assert [each.embedding for each in store.filter_documents()] == [None] * 4
    assert [each.embedding for each in asyncio.run(store.filter_documents_async())] == [None] * 4
    assert store.embedding_retrieval(vector("boat"), return_embedding=True)[0].embedding is not None
    store.close()


@pytest.mark.parametrize(
    ("policy", "written", "kept"),
    [(DuplicatePolicy.SKIP, 1, ["one", "first"]), (DuplicatePolicy.OVERWRITE, 4, ["three", "second"])],
)
def test_policies_for_ids_that_come_twice(store, call, policy, written, kept):
    store.delete_all_documents()
    call(store, "write_documents", [Document(id="a", content="one")])
    again = [
        Document(id="a", content="two"),
        Document(id="a", content="three", embedding=vector("three")),
        Document(id="b", content="first"),
        Document(id="b", content="second"),
    ]
    assert call(store, "write_documents", again, policy) == written
    assert [each.content for each in sorted(store.filter_documents(), key=lambda each: each.id)] == kept


@pytest.mark.parametrize("policy", [DuplicatePolicy.FAIL, DuplicatePolicy.NONE])
def test_a_duplicate_leaves_the_store_as_it_was(store, call, policy):
    seq = store.store.seq
    with pytest.raises(DuplicateDocumentError, match="'boat' exists already"):
        call(store, "write_documents", [Document(id="new", content="new"), documents()[2]], policy)
    with pytest.raises(DuplicateDocumentError, match="'new'"):
        call(store, "write_documents", [Document(id="new", content="x"), Document(id="new", content="y")], policy)
    assert store.store.seq == seq
    assert store.filter_documents() == documents()


def test_nothing_is_written_of_nothing(store, call):
    assert call(store, "write_documents", []) == 0
    assert call(store, "write_documents", (each for each in ())) == 0


def test_deleting(store, call):
    call(store, "delete_documents", ["boat", "nobody"])
    call(store, "delete_documents", [])
    assert call(store, "count_documents") == 3
    ines = {"field": "meta.who", "operator": "==", "value": "Ines"}
    assert call(store, "delete_by_filter", ines) == 2
    for nothing in ({}, None):
        with pytest.raises(FilterError, match="use delete_all_documents"):
            call(store, "delete_by_filter", nothing)
        with pytest.raises(FilterError, match="no filters are given"):
            call(store, "update_by_filter", nothing, {"a": 1})
    assert ids(call(store, "filter_documents")) == ["sluice"]
    call(store, "delete_all_documents")
    assert call(store, "count_documents") == 0


def test_updating_keeps_the_rest_and_makes_dates_anew(store, call):
    before = {each.id: each for each in store.filter_documents()}
    ines = {"field": "meta.who", "operator": "==", "value": "Ines"}
    assert call(store, "update_by_filter", ines, {"when": "2024-05-01T12:00:00+02:00", "words": [1]}) == 2
    early = {"field": "meta.when", "operator": "<", "value": "2024-05-01T11:00:00Z"}
    found = call(store, "filter_documents", early)
    assert ids(found) == ["bread", "peanuts"]
    for each in found:
        old = before[each.id]
        assert each.meta == {**old.meta, "when": "2024-05-01T12:00:00+02:00", "words": [1]}
        assert (each.content, each.embedding) == (old.content, old.embedding)
    assert call(store, "update_by_filter", early, {"when": "soon"}) == 2
    assert call(store, "filter_documents", early) == []
    with pytest.raises(DocumentStoreError, match="its meta is not JSON"):
        call(store, "update_by_filter", ines, {"bad": object()})
    assert {each.meta["when"] for each in store.filter_documents(ines)} == {"soon"}


def test_what_the_metadata_hold(store, call):
    mixed = [{"v": 1}, {"v": "1"}, {"v": None, "w": [2, "x"]}, {"w": [2, "x"]}, {"w": {"y": 1}}, {"v": 2.5, "u": True}]
    call(store, "delete_all_documents")
    call(store, "write_documents", [Document(id=f"n{n}", content="x", meta=meta) for n, meta in enumerate(mixed)])
    assert call(store, "get_metadata_fields_info") == {
        "v": {"type": "float"},
        "w": {"type": "keyword"},
        "u": {"type": "boolean"},
    }
    assert call(store, "get_metadata_field_min_max", "v") == {"min": None, "max": None}
    assert call(store, "get_metadata_field_unique_values", "meta.v") == ([1, "1", 2.5], 3)
    assert call(store, "get_metadata_field_unique_values", "w", "X") == ([[2, "x"]], 1)
    assert call(store, "count_unique_metadata_by_filter", {}, ["v", "meta.w", "_haystack"]) == {
        "v": 3,
        "w": 2,
        "_haystack": 0,
    }
    numbers = {"field": "meta.v", "operator": ">", "value": 0}
    assert call(store, "count_documents_by_filter", numbers) == 2
    assert call(store, "count_documents_by_filter", {}) == 6


def test_namespaces_of_one_file_do_not_meet(store, call, tmp_path):
    other = AgentMemDocumentStore(tmp_path / "documents.db", embedding_dimension=DIMENSION, namespace="other")
    assert call(other, "filter_documents") == []
    for policy in DuplicatePolicy:
        with pytest.raises(DuplicateDocumentError, match=r"'boat' stands in the namespace '' of .*documents\.db"):
            call(other, "write_documents", [Document(id="new", content="new"), documents()[2]], policy)
    assert call(other, "count_documents") == 0
    call(other, "write_documents", [Document(id="other", content="The other boat", embedding=vector("boat"))])
    call(other, "delete_documents", ["boat"])
    assert ids(call(other, "embedding_retrieval", vector("boat"))) == ["other"]
    assert "other" not in ids(call(store, "keyword_retrieval", "other boat"))
    call(other, "delete_all_documents")
    assert call(store, "count_documents") == 4
    other.close()


def test_retrieval(store, call):
    found = call(store, "embedding_retrieval", vector(TEXTS["boat"]), top_k=2)
    assert found[0].id == "boat"
    assert found[0].score == pytest.approx(1)
    assert found[0].embedding is None
    cosines = {each.id: float(np.dot(each.embedding, vector(TEXTS["boat"]))) for each in documents()}
    assert [each.score for each in found] == pytest.approx(sorted(cosines.values(), reverse=True)[:2], abs=1e-6)
    assert call(store, "embedding_retrieval", vector("boat"), return_embedding=True, top_k=1)[0].embedding in [
        each.embedding for each in documents()
    ]
    ines = {"field": "meta.who", "operator": "==", "value": "Ines"}
    words = call(store, "keyword_retrieval", "peanut boats")
    assert sorted(ids(words)) == ["boat", "peanuts"]
    assert all(each.score > 0 for each in words)
    assert ids(call(store, "keyword_retrieval", "peanut boats", ines)) == ["peanuts"]
    both = call(store, "hybrid_retrieval", "peanuts", vector("peanuts"), top_k=3)
    hits = store.store.search("peanuts", embedding=vector("peanuts"), k=3)
    assert [(each.id, each.score) for each in both] == [(hit.id, hit.score) for hit in hits]
    assert ids(call(store, "hybrid_retrieval", "who must not eat peanuts?", None, ines))[0] == "peanuts"
    for verb, query in (("embedding_retrieval", vector("x")), ("keyword_retrieval", "x"), ("hybrid_retrieval", "x")):
        assert call(store, verb, query, top_k=0) == []
        with pytest.raises(DocumentStoreError, match="top_k must be at least 0"):
            call(store, verb, query, top_k=-1)


def test_documents_without_embedding_are_found_by_their_words_only(store, call):
    bare = [
        Document(id="bare", content="A bare boat"),
        Document(id="blob", blob=ByteStream(b"boat")),
        Document(id="no"),
    ]
    call(store, "write_documents", bare)
    assert set(ids(call(store, "embedding_retrieval", vector("A bare boat")))) == set(TEXTS)
    assert ids(call(store, "keyword_retrieval", "bare")) == ["bare"]
    assert ids(call(store, "hybrid_retrieval", "bare boat", top_k=2)) == ["bare", "boat"]
    assert "bare" in ids(call(store, "hybrid_retrieval", "bare boat", vector("boat"), top_k=5))


def test_a_store_that_embeds_by_itself(tmp_path, call):
    store = AgentMemDocumentStore(tmp_path / "d.db")
    plain = [Document(id=name, content=text) for name, text in TEXTS.items()]
    call(store, "write_documents", [*plain, Document(id="blob", blob=ByteStream(b"x"))])
    assert call(store, "filter_documents")[:4] == plain  # whose embeddings are the store's, not theirs
    assert ids(call(store, "hybrid_retrieval", "nuts and food", top_k=4))[0] == "peanuts"
    dimension = store.store.info()["dimension"]
    given_one = Document(id="given", content="x", embedding=[0.1] * dimension)
    call(store, "write_documents", [given_one])
    assert call(store, "filter_documents")[-1] == given_one
    with pytest.raises(DocumentStoreError, match=f"expected vectors of dimension {dimension}"):
        call(store, "write_documents", [Document(id="wrong", content="x", embedding=[0.1] * 3)])
    store.close()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Document(id="x", content="x", embedding=[0.5]), f"expected vectors of dimension {DIMENSION}"),
        (Document(id="x", content="x", embedding=[]), f"expected vectors of dimension {DIMENSION}"),
        (Document(id="x", content="x", embedding=[0.0] * DIMENSION), "zero vector"),
        (Document(id="x", content="x", embedding=[float("nan")] * DIMENSION), "NaN"),
        (Document(id="x", content="x", embedding=[1e300] * DIMENSION), "infinity"),
        (Document(id="x", content="\ud800"), "surrogate"),
        (Document(id="x", content="x", meta={"a": (1, 2)}), "'x': its meta would not come back as it is"),
        (Document(id="x", content="x", meta={1: 2}), "'x': its meta would not come back"),
        (Document(id="x", content="x", meta={"a": {1}}), "'x': its meta is not JSON"),
        (Document(id="x", content="x", meta={"a": float("inf")}), "'x': its meta is not JSON"),
        (Document(id="x", content="x", meta={"_haystack": 1}), "the meta key '_haystack' is the store's own"),
        (Document(id="x", content="x", blob=ByteStream(b"", meta={"a": (1,)})), "its blob's meta would not come back"),
    ],
)
def test_a_bad_document_leaves_the_store_as_it_was(store, call, bad, message):
    seq = store.store.seq
    with pytest.raises(DocumentStoreError, match=message):
        call(store, "write_documents", [Document(id="good", content="A good one"), bad])
    assert store.store.seq == seq
    assert store.filter_documents() == documents()


def test_bad_queries(store, call):
    with pytest.raises(DocumentStoreError, match=f"expected vectors of dimension {DIMENSION}"):
        call(store, "embedding_retrieval", [1.0, 2.0])
    with pytest.raises(DocumentStoreError, match="the query text is empty"):
        call(store, "keyword_retrieval", " ")
    with pytest.raises(DocumentStoreError, match="query text must be a string"):
        call(store, "hybrid_retrieval", 3)
    with pytest.raises(ValueError, match="got int"):
        call(store, "write_documents", 3)


def test_a_closed_store_is_opened_again_if_it_is_a_file(store, call):
    below = store.store
    call(store, "close")
    with pytest.raises(agentmem.StoreClosed):
        below.count()
    assert call(store, "count_documents") == 4
    memory = AgentMemDocumentStore(":memory:", embedding_dimension=DIMENSION)
    call(memory, "write_documents", documents())
    call(memory, "close")
    call(memory, "close")
    for verb, arguments in (("filter_documents", []), ("write_documents", [documents()]), ("count_documents", [])):
        with pytest.raises(DocumentStoreError, match="is closed"):
            call(memory, verb, *arguments)
    call(AgentMemDocumentStore("never-opened.db"), "close")


def test_a_store_of_other_vectors_is_refused(tmp_path, call):
    with agentmem.MemoryStore(tmp_path / "m.db") as memory:
        memory.add("Ines bakes")
        dimension = memory.info()["dimension"]
    with pytest.raises(DocumentStoreError, match=r"embedder 'haystack' instead of .*dimension 3 instead of"):
        call(AgentMemDocumentStore(tmp_path / "m.db", embedding_dimension=3), "count_documents")
    with pytest.raises(DocumentStoreError, match="embedder 'haystack' instead of"):
        call(AgentMemDocumentStore(tmp_path / "m.db", embedding_dimension=dimension), "count_documents")
    with pytest.raises(DocumentStoreError, match="metric 'ip' instead of 'cosine'"):
        call(AgentMemDocumentStore(tmp_path / "m.db", metric="ip"), "count_documents")
    with pytest.raises(DocumentStoreError, match="embedder is 'nobody'"):
        call(AgentMemDocumentStore(tmp_path / "n.db", embedder="nobody"), "count_documents")
    with pytest.raises(ValueError, match="ends in '/'"):
        AgentMemDocumentStore(tmp_path / "m.db", namespace="docs/")
    store = AgentMemDocumentStore(tmp_path / "m.db")
    assert [(each.content, each.meta) for each in call(store, "filter_documents")] == [("Ines bakes", {})]
    store.close()


def test_nothing_is_opened_before_it_is_needed(tmp_path):
    store = AgentMemDocumentStore(tmp_path / "lazy.db", embedding_dimension=2)
    again = AgentMemDocumentStore.from_dict(store.to_dict())
    assert again.to_dict() == store.to_dict()
    assert list(tmp_path.iterdir()) == []
    store.write_documents([Document(content="x", embedding=[1.0, 0.0])])
    assert again.count_documents() == 1
    store.close()
    again.close()


def test_what_splitters_say_is_what_the_heads_read(store):
    parts = [Document(id=f"p{n}", content=f"part {n}", meta={"source_id": "s", "split_id": n}) for n in (2, 1)]
    odd = Document(id="odd", content="odd", meta={"source_id": {"a": 1}, "split_id": True})
    store.write_documents([*parts, odd])
    records = {each.id: each for each in store.store.iterate()}
    assert [(records[name].thread, records[name].position) for name in ("p2", "p1")] == [("s", 2), ("s", 1)]
    assert (records["odd"].thread, records["odd"].position) == (None, None)


def test_a_cancelled_write_has_happened_whole_or_not_at_all(store):
    async def main(rounds):
        written = [Document(id=f"r{rounds}-{n}", content=f"text {n}") for n in range(50)]
        writing = asyncio.create_task(store.write_documents_async(written))
        for _ in range(rounds):
            await asyncio.sleep(0)
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing

    for rounds in range(0, 60, 3):
        asyncio.run(main(rounds))
        written = [name for name in ids(store.filter_documents()) if name.startswith(f"r{rounds}-")]
        assert len(written) in (0, 50), rounds


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_scores_are_higher_for_better_documents_under_every_metric(call, metric):
    store = AgentMemDocumentStore(":memory:", embedding_dimension=2, metric=metric)
    places = {"near": [1.0, 0.1], "far": [-3.0, 0.0], "long": [4.0, 0.0]}
    call(store, "write_documents", [Document(id=name, embedding=at) for name, at in places.items()])
    found = call(store, "embedding_retrieval", [1.0, 0.0])
    assert ids(found) == (["long", "near", "far"] if metric == "ip" else ["near", "long", "far"])
    assert [each.score for each in found] == sorted({each.score for each in found}, reverse=True)
    store.close()


def test_the_event_loop_goes_on_while_documents_are_written(tmp_path):
    async def main():
        store = AgentMemDocumentStore(tmp_path / "d.db")
        writing = asyncio.create_task(
            store.write_documents_async([Document(id=f"n{n}", content=f"text {n}") for n in range(200)])
        )
        ticks = 0
        while not writing.done():
            await asyncio.sleep(0)
            ticks += 1
        found = await asyncio.gather(*(store.keyword_retrieval_async(f"text {n}", top_k=1) for n in range(10)))
        store.close()
        return ticks, await writing, [ids(each) for each in found]

    ticks, written, found = asyncio.run(main())
    assert ticks > 3
    assert written == 200
    assert found == [[f"n{n}"] for n in range(10)]
