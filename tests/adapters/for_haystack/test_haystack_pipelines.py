"""The Haystack components: in pipelines, sync and async, written down and read again; bad input."""

import asyncio
from copy import deepcopy

import pytest

pytest.importorskip("haystack", reason='pip install "agentmem[haystack]"')

from haystack import Document, Pipeline
from haystack.components.joiners import DocumentJoiner
from haystack.components.preprocessors import DocumentSplitter
from haystack.components.writers import DocumentWriter
from haystack.core.errors import DeserializationError
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.document_stores.types import FilterPolicy
from haystack_kit import DIMENSION, TEXTS, WordTextEmbedder, documents, vector

import agentmem
from agentmem.adapters.haystack import (
    AgentMemDocumentStore,
    AgentMemEmbeddingRetriever,
    AgentMemHybridRetriever,
    AgentMemKeywordRetriever,
    AgentMemRanker,
)

ALLOWED = ["agentmem.adapters.haystack", "haystack_kit"]
RETRIEVERS = {
    AgentMemEmbeddingRetriever: {"query_embedding": vector("who must not eat peanuts?")},
    AgentMemKeywordRetriever: {"query": "who must not eat peanuts?"},
    AgentMemHybridRetriever: {"query": "who must not eat peanuts?", "query_embedding": vector("peanuts")},
}
INES = {"field": "meta.who", "operator": "==", "value": "Ines"}
CLUB = {"field": "meta.words", "operator": ">", "value": 5}


@pytest.fixture
def store(tmp_path):
    store = AgentMemDocumentStore(tmp_path / "documents.db", embedding_dimension=DIMENSION)
    store.write_documents(documents())
    yield store
    store.close()


@pytest.fixture(params=["sync", "async"])
def run(request):
    """Return a function that runs a component or a pipeline, or its asynchronous twin on an event loop."""

    def call(runner, *args, **kwargs):
        if request.param == "sync":
            return runner.run(*args, **kwargs)
        return asyncio.run(runner.run_async(*args, **kwargs))

    return call


def ids(found):
    """Return the ids of documents."""
    return [each.id for each in found["documents"]]


@pytest.mark.parametrize("kind", RETRIEVERS)
def test_a_retriever(store, run, kind):
    query = RETRIEVERS[kind]
    found = run(kind(store), **query)
    assert "peanuts" in ids(found)
    assert [each.score for each in found["documents"]] == sorted(
        (each.score for each in found["documents"]), reverse=True
    )
    assert all(each.embedding is None for each in found["documents"])
    assert set(ids(run(kind(store, filters=INES), **query))) <= {"bread", "peanuts"}
    assert len(ids(run(kind(store, top_k=1), **query))) == 1
    assert len(ids(run(kind(store), **query, top_k=1))) == 1
    assert ids(run(kind(store), **query, top_k=0)) == []
    scaled = run(kind(store, scale_score=True), **query)
    assert ids(scaled) == ids(found)
    assert scaled == run(kind(store), **query, scale_score=True)
    relevances = [each.score for each in scaled["documents"]]
    assert relevances == sorted(relevances, reverse=True)
    assert all(0 <= each <= 1 for each in relevances)
    with_vectors = run(kind(store, return_embedding=True), **query)["documents"]
    assert all(each.embedding == vector(each.content) for each in with_vectors)
    assert all(each.embedding for each in run(kind(store), **query, return_embedding=True)["documents"])


@pytest.mark.parametrize("policy", [*FilterPolicy, "replace", "merge"])
def test_a_run_s_filters_replace_or_join_the_others(store, run, policy):
    retriever = AgentMemEmbeddingRetriever(store, filters=INES, filter_policy=policy)
    found = ids(run(retriever, vector("x"), filters=CLUB))
    assert set(found) == ({"bread"} if str(policy) == "merge" else {"bread", "boat", "sluice"})


def test_a_retriever_wants_this_store(store):
    for kind in RETRIEVERS:
        with pytest.raises(TypeError, match="must be an AgentMemDocumentStore, got InMemoryDocumentStore"):
            kind(InMemoryDocumentStore())
        with pytest.raises(ValueError, match="top_k must be at least 1, got 0"):
            kind(store, top_k=0)
        with pytest.raises(ValueError, match="Unknown FilterPolicy"):
            kind(store, filter_policy="sometimes")


def query_pipeline(store):
    """Return a pipeline that retrieves in three ways, joins and ranks."""
    pipeline = Pipeline()
    pipeline.add_component("embedder", WordTextEmbedder())
    pipeline.add_component("vectors", AgentMemEmbeddingRetriever(store, top_k=3))
    pipeline.add_component("words", AgentMemKeywordRetriever(store, filters=INES, filter_policy=FilterPolicy.MERGE))
    pipeline.add_component("both", AgentMemHybridRetriever(store, top_k=2, return_embedding=True))
    pipeline.add_component("joiner", DocumentJoiner())
    pipeline.add_component("ranker", AgentMemRanker(top_k=2))
    pipeline.connect("embedder.embedding", "vectors.query_embedding")
    pipeline.connect("embedder.embedding", "both.query_embedding")
    for name in ("vectors", "words", "both"):
        pipeline.connect(f"{name}.documents", "joiner.documents")
    pipeline.connect("joiner.documents", "ranker.documents")
    return pipeline


def inputs(text):
    """Return what the pipeline wants for a question."""
    return {"embedder": {"text": text}} | {name: {"query": text} for name in ("words", "both", "ranker")}


def test_a_pipeline_that_is_written_down_and_read_again(store, run):
    pipeline = query_pipeline(store)
    found = run(pipeline, inputs("who must not eat peanuts?"))["ranker"]
    assert ids(found)[0] == "peanuts"
    text = pipeline.dumps()
    assert "agentmem.adapters.haystack.retrievers.AgentMemHybridRetriever" in text
    again = Pipeline.loads(text, allowed_modules=ALLOWED)
    assert again.to_dict()["components"] == pipeline.to_dict()["components"]
    assert run(again, inputs("who must not eat peanuts?"))["ranker"] == found
    below = again.get_component("both").document_store.store
    again.close()
    asyncio.run(again.close_async())
    with pytest.raises(agentmem.StoreClosed):
        below.count()
    assert run(again, inputs("who must not eat peanuts?"))["ranker"] == found
    again.close()


def test_a_pipeline_of_other_modules_has_to_be_allowed(store):
    with pytest.raises(DeserializationError, match=r"agentmem\.adapters\.haystack"):
        Pipeline.loads(query_pipeline(store).dumps())


def test_reading_a_retriever_leaves_its_dictionary_as_it_was(store):
    for kind in RETRIEVERS:
        data = kind(store, filters=INES, top_k=3, return_embedding=True, filter_policy=FilterPolicy.MERGE).to_dict()
        before = deepcopy(data)
        again = kind.from_dict(data)
        assert data == before == again.to_dict()
        assert (again.filters, again.top_k, again.return_embedding) == (INES, 3, True)
        assert again.filter_policy == FilterPolicy.MERGE
        assert again.document_store.path == store.path


def test_an_indexing_pipeline_whose_documents_persist(tmp_path, run):
    store = AgentMemDocumentStore(tmp_path / "index.db")
    pipeline = Pipeline()
    pipeline.add_component("splitter", DocumentSplitter(split_by="period", split_length=1))
    pipeline.add_component("writer", DocumentWriter(store))
    pipeline.connect("splitter", "writer")
    whole = Document(id="handbook", content=". ".join(TEXTS.values()) + ".")
    assert run(pipeline, {"splitter": {"documents": [whole]}})["writer"]["documents_written"] == 4
    store.close()

    again = AgentMemDocumentStore(tmp_path / "index.db")
    found = run(AgentMemHybridRetriever(again), query="who must not eat peanuts?", top_k=1)["documents"][0]
    assert "peanuts" in found.content
    assert (found.meta["source_id"], found.meta["split_id"]) == ("handbook", 1)
    assert [record.thread for record in again.store.iterate()] == ["handbook"] * 4
    again.close()


def test_the_ranker_ranks_as_the_reranker_does(run):
    given = [Document(id=name, content=text, score=0.1) for name, text in TEXTS.items()]
    found = run(AgentMemRanker(), query="who must not eat peanuts?", documents=given)["documents"]
    expected = agentmem.Reranker().rank("who must not eat peanuts?", list(TEXTS.values()))
    assert [(each.id, each.score) for each in found] == [(list(TEXTS)[each.place], each.score) for each in expected]
    assert found[0].id == "peanuts"
    assert [each.score for each in given] == [0.1] * 4
    assert run(AgentMemRanker(top_k=2), query="who must not eat peanuts?", documents=given)["documents"] == found[:2]
    top = run(AgentMemRanker(top_k=2), query="who must not eat peanuts?", documents=given, top_k=1)
    assert top["documents"] == found[:1]
    assert run(AgentMemRanker(), query="x", documents=[]) == {"documents": []}


def test_the_ranker_takes_embeddings_where_all_have_one_and_reads_the_parts_of_a_whole(run):
    parts = [
        Document(id=name, content=text, embedding=vector(text), meta={"source_id": "whole", "split_id": n})
        for n, (name, text) in enumerate(TEXTS.items())
    ]
    found = run(AgentMemRanker(), query="boat", documents=parts, query_embedding=vector("sluice"))["documents"]
    expected = agentmem.Reranker().rank(
        "boat",
        list(TEXTS.values()),
        embeddings=[vector(text) for text in TEXTS.values()],
        query_embedding=vector("sluice"),
        metadatas=[{"thread": "whole", "position": n} for n in range(4)],
    )
    assert [(each.id, each.score) for each in found] == [(list(TEXTS)[each.place], each.score) for each in expected]
    without = run(AgentMemRanker(), query="boat", documents=parts)["documents"]
    bare = [*parts[:3], Document(id="sluice", content=TEXTS["sluice"], meta=parts[3].meta)]
    mixed = run(AgentMemRanker(), query="boat", documents=bare, query_embedding=vector("sluice"))["documents"]
    assert [(each.id, each.score) for each in mixed] == [(each.id, each.score) for each in without]


def test_the_ranker_refuses_what_it_cannot_rank(run, tmp_path):
    good = Document(id="good", content="x")
    for content in (None, " "):
        with pytest.raises(ValueError, match="ranks texts, and document 'bad' has no content"):
            run(AgentMemRanker(), query="x", documents=[good, Document(id="bad", content=content)])
    with pytest.raises(ValueError, match="the query text is empty"):
        run(AgentMemRanker(), query="", documents=[good])
    with pytest.raises(ValueError, match="top_k must be at least 1, got 0"):
        run(AgentMemRanker(), query="x", documents=[good], top_k=0)
    with pytest.raises(ValueError, match="top_k must be at least 1, got -1"):
        AgentMemRanker(top_k=-1)
    (tmp_path / "no-weights.npz").write_bytes(b"no")
    with pytest.raises(agentmem.InvalidInput):
        AgentMemRanker(weights=str(tmp_path / "no-weights.npz"))
    again = AgentMemRanker.from_dict(AgentMemRanker(top_k=3).to_dict())
    assert (again.top_k, again.weights) == (3, None)
