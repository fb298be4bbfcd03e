"""The LlamaIndex vector store: its verbs, sync and async, its query modes, a real index over it, bad input."""

import asyncio
import json
import subprocess
import sys
from contextlib import suppress

import pytest

pytest.importorskip("llama_index.core", reason='pip install "agentmem[llama-index]"')

from llama_index.core import Document, MockEmbedding, StorageContext, VectorStoreIndex
from llama_index.core.llms import MockLLM
from llama_index.core.schema import IndexNode, NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores.simple import SimpleVectorStore
from llama_index.core.vector_stores.types import (
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from llama_kit import DIMENSION, TEXTS, WordEmbedding, node, nodes, vector

import agentmem
from agentmem.adapters.llama_index import AgentMemPostprocessor, AgentMemVectorStore
from agentmem.adapters.mmr import maximal_marginal_relevance

INES = MetadataFilters(filters=[MetadataFilter(key="who", value="Ines")])


@pytest.fixture(params=["sync", "async"])
def call(request):
    """Return a function that calls a verb of a store, or its asynchronous twin on an event loop."""
    twins = {"add": "async_add"}

    def run(store, verb, *args, **kwargs):
        if request.param == "sync":
            return getattr(store, verb)(*args, **kwargs)
        return asyncio.run(getattr(store, twins.get(verb, f"a{verb}"))(*args, **kwargs))

    return run


@pytest.fixture
def store(tmp_path):
    store = AgentMemVectorStore(tmp_path / "nodes.db", embed_dim=DIMENSION)
    store.add(nodes())
    yield store
    store.close()


def ids(found):
    """Return the ids of nodes."""
    return [each.node_id for each in found]


def ask(text, mode="default", k=2, **fields):
    """Return a query with the text's vector."""
    return VectorStoreQuery(
        query_embedding=vector(text), query_str=text, similarity_top_k=k, mode=VectorStoreQueryMode(mode), **fields
    )


def test_verbs(store, call):
    assert ids(call(store, "get_nodes")) == list(TEXTS)
    assert ids(call(store, "get_nodes", ["boat", "nobody", "bread"])) == ["bread", "boat"]
    assert ids(call(store, "get_nodes", filters=INES)) == ["bread", "peanuts"]
    assert ids(call(store, "get_nodes", ["boat", "bread"], INES)) == ["bread"]
    assert call(store, "get_nodes", []) == []
    assert call(store, "add", [node("boat", "The boat is sold"), node("new", "A new one")]) == ["boat", "new"]
    assert {each.node_id: each.text for each in call(store, "get_nodes", ["boat", "new"])} == {
        "boat": "The boat is sold",
        "new": "A new one",
    }
    assert call(store, "add", []) == []
    call(store, "delete_nodes", ["new", "nobody"])
    call(store, "delete_nodes", ["sluice", "bread"], INES)
    assert ids(call(store, "get_nodes")) == ["peanuts", "sluice", "boat"]
    call(store, "delete", "ines")
    call(store, "delete", "no such document")
    assert ids(call(store, "get_nodes")) == ["sluice", "boat"]
    call(store, "delete_nodes", filters=INES)
    call(store, "delete_nodes", [])
    with pytest.raises(ValueError, match=r"needs node_ids or filters, .* use clear\(\)"):
        call(store, "delete_nodes")
    assert len(call(store, "get_nodes")) == 2
    call(store, "clear")
    assert call(store, "get_nodes") == []


def test_the_default_mode_is_that_of_the_simple_store(store, call):
    simple = SimpleVectorStore()
    simple.add(nodes())
    for text in (*TEXTS.values(), "who bakes bread?", "peanuts on the boat"):
        for fields in ({}, {"filters": INES}, {"node_ids": ["boat", "bread"]}):
            query = ask(text, k=3, **fields)
            expected = simple.query(query)
            found = call(store, "query", query)
            assert found.ids == expected.ids == ids(found.nodes)
            assert found.similarities == pytest.approx(expected.similarities, abs=1e-6)


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_similarities_are_higher_for_better_nodes_under_every_metric(call, metric):
    with agentmem.MemoryStore(":memory:", embedder=None, dimension=2, metric=metric) as memory:
        store = AgentMemVectorStore(memory)
        places = {"near": [1.0, 0.1], "far": [-3.0, 0.0], "long": [4.0, 0.0]}
        call(store, "add", [TextNode(id_=name, text=name, embedding=at) for name, at in places.items()])
        found = call(store, "query", VectorStoreQuery(query_embedding=[1.0, 0.0], similarity_top_k=3))
    assert found.ids == (["long", "near", "far"] if metric == "ip" else ["near", "long", "far"])
    assert found.similarities == sorted(found.similarities, reverse=True)
    assert len(set(found.similarities)) == 3


def test_text_search_needs_no_embedding(store, call):
    query = VectorStoreQuery(query_str="peanut boats", similarity_top_k=4, mode=VectorStoreQueryMode.TEXT_SEARCH)
    found = call(store, "query", query)
    assert sorted(found.ids) == ["boat", "peanuts"]  # stemmed words, and none that has neither
    assert found.similarities == sorted(found.similarities, reverse=True)
    assert found.similarities[1] > 0
    query.filters = INES
    assert call(store, "query", query).ids == ["peanuts"]
    query.doc_ids = ["club"]
    assert call(store, "query", query).ids == []
    query.filters = None
    assert call(store, "query", query).ids == ["boat"]


def test_hybrid_is_the_stores_own_ranking(store, call):
    found = call(store, "query", ask("who bakes bread?", "hybrid", k=3))
    plain = VectorStoreQuery(vector("bread"), mode="default", similarity_top_k=1)
    assert call(store, "query", plain).ids == call(store, "query", ask("bread", k=1)).ids  # a mode may be its word
    hits = store.client.search("who bakes bread?", embedding=vector("who bakes bread?"), k=3)
    assert found.ids == [hit.id for hit in hits]
    assert found.similarities == [hit.score for hit in hits]
    assert found.ids[0] == "bread"
    assert len(call(store, "query", ask("who bakes bread?", "hybrid", k=1, hybrid_top_k=4)).ids) == 4


def test_alpha_goes_from_words_to_vectors(store, call):
    text = "Ines and the boat deposit"
    order = {alpha: call(store, "query", ask(text, "hybrid", k=4, alpha=alpha)) for alpha in (0.0, 0.5, 1.0)}
    assert order[1.0].ids == call(store, "query", ask(text, k=4)).ids
    words = call(store, "query", ask(text, "text_search", k=4)).ids
    assert order[0.0].ids[: len(words)] == words
    halves = store.client.search(text, embedding=vector(text), k=4, mechanism="convex")
    assert order[0.5].ids == [hit.id for hit in halves]
    assert order[0.5].similarities == pytest.approx([hit.score for hit in halves], abs=1e-6)
    for found in order.values():
        assert found.similarities == sorted(found.similarities, reverse=True)
        assert all(-1e-6 <= score <= 1 + 1e-6 for score in found.similarities)
    assert len(call(store, "query", ask(text, "hybrid", k=2, alpha=0.3)).ids) == 2


def test_mmr_chooses_unlike_nodes(tmp_path, call):
    simple = SimpleVectorStore()
    store = AgentMemVectorStore(tmp_path / "m.db", embed_dim=DIMENSION)
    words = ["bread", "rye", "boat", "pound", "sluice", "turn"]
    drawn = [node(f"{a} {b}", f"{a} {b}") for n, a in enumerate(words) for b in words[n:]]
    store.add(drawn)
    simple.add(drawn)
    text = "bread boat turn"
    for threshold in (None, 0.2, 0.5, 0.9):
        share = 0.5 if threshold is None else threshold
        expected = maximal_marginal_relevance(vector(text), [vector(each.text) for each in drawn], 5, share)
        options = {} if threshold is None else {"mmr_threshold": threshold}
        found = call(store, "query", ask(text, "mmr", k=5), mmr_prefetch_k=len(drawn), **options)
        assert found.ids == [drawn[place].node_id for place in expected]
        # LlamaIndex's own discounts the likeness to the latest choice only: the first two are the same by definition.
        assert found.ids[:2] == simple.query(ask(text, "mmr", k=5), **options).ids[:2]
        by_field = call(store, "query", ask(text, "mmr", k=5, mmr_threshold=threshold), mmr_prefetch_k=len(drawn))
        assert by_field.ids == found.ids
    nearest = call(store, "query", ask(text, k=5))
    assert call(store, "query", ask(text, "mmr", k=5), mmr_threshold=1.0).ids == nearest.ids
    found = call(store, "query", ask(text, "mmr", k=5), mmr_threshold=0.3)
    assert found.ids != nearest.ids
    assert set(found.ids) <= set(call(store, "query", ask(text, k=20)).ids)  # it chooses from the 4 * k nearest
    assert found.similarities[0] == nearest.similarities[0] == max(found.similarities)
    store.close()


def test_mmr_goes_without_what_is_deleted_meanwhile(store, call, monkeypatch):
    search = agentmem.MemoryStore.search

    def then_delete(self, *args, **kwargs):
        hits = search(self, *args, **kwargs)
        self.delete(hits[0].id)
        return hits

    monkeypatch.setattr(agentmem.MemoryStore, "search", then_delete)
    found = call(store, "query", ask(TEXTS["boat"], "mmr", k=4))
    assert sorted(found.ids) == ["bread", "peanuts", "sluice"]


@pytest.mark.parametrize("mode", ["sparse", "semantic_hybrid", "svm", "logistic_regression", "linear_regression"])
def test_other_modes_are_refused(store, call, mode):
    with pytest.raises(ValueError, match=f"'{mode}' is not supported; there are default, text_search, hybrid and mmr"):
        call(store, "query", ask("bread", mode))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (VectorStoreQuery(query_str="x"), "'default' needs query_embedding"),
        (VectorStoreQuery(query_str="x", mode=VectorStoreQueryMode.MMR), "'mmr' needs query_embedding"),
        (VectorStoreQuery(query_str="x", mode=VectorStoreQueryMode.HYBRID), "'hybrid' needs query_embedding"),
        (VectorStoreQuery(query_embedding=vector("x"), mode=VectorStoreQueryMode.HYBRID), "'hybrid' needs query_str"),
        (VectorStoreQuery(mode=VectorStoreQueryMode.TEXT_SEARCH), "'text_search' needs query_str"),
        (ask("x", "hybrid", alpha=1.5), "alpha must be from 0"),
        (VectorStoreQuery(query_embedding=[1.0, 2.0]), f"expected vectors of dimension {DIMENSION}"),
        (ask("x", k=0), "k must be an integer from 1"),
    ],
)
def test_a_query_that_lacks_something_is_refused(store, call, query, message):
    with pytest.raises(ValueError, match=message):
        call(store, "query", query)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (TextNode(id_="bad", text="x"), "embedding not set"),
        (TextNode(id_="bad", text="x", embedding=[1.0]), "embeddings"),
        (TextNode(id_="bad", text="x", embedding=[0.0] * DIMENSION), "zero vector"),
        (TextNode(id_="bad", text="\ud800", embedding=[1.0] * DIMENSION), "surrogate"),
    ],
)
def test_a_bad_node_leaves_the_store_as_it_was(store, call, bad, message):
    seq = store.client.seq
    with pytest.raises(ValueError, match=message):
        call(store, "add", [node("good", "A good one"), bad])
    assert store.client.seq == seq
    assert ids(store.get_nodes()) == list(TEXTS)


def test_namespaces_of_one_store_do_not_meet(store, call):
    other = AgentMemVectorStore(store.client, namespace="other")
    assert call(other, "get_nodes") == []
    with pytest.raises(agentmem.DuplicateId, match="'boat' stands in the namespace '' of this store"):
        call(other, "add", [node("new", "A new one"), node("boat")])
    assert call(other, "get_nodes") == []
    call(other, "add", [node("new", "The other boat")])
    assert call(other, "query", ask("boat")).ids == ["new"]
    assert "new" not in call(store, "query", ask("The other boat", k=5)).ids
    call(other, "clear")
    assert len(call(store, "get_nodes")) == 4
    other.close()
    assert len(store.get_nodes()) == 4  # it was lent, so that it stays open


def test_a_closed_store_says_so(store, call):
    store.close()
    for verb, arguments in (("get_nodes", []), ("add", [nodes()]), ("query", [ask("x")]), ("delete", ["ines"])):
        with pytest.raises(ValueError, match="is closed"):
            call(store, verb, *arguments)


def test_a_store_of_other_vectors_is_refused(tmp_path):
    with agentmem.MemoryStore(tmp_path / "m.db") as memory:
        memory.add("Ines bakes")
        dimension = memory.info()["dimension"]
    with pytest.raises(agentmem.EmbedderMismatch, match=f"dimension {dimension + 1} instead of {dimension}"):
        AgentMemVectorStore(tmp_path / "m.db", embed_dim=dimension + 1)
    with pytest.raises(agentmem.EmbedderMismatch, match="embedder 'given' instead of"):
        AgentMemVectorStore(tmp_path / "m.db", embed_dim=dimension)
    with pytest.raises(agentmem.InvalidInput, match="needs an embedder or a dimension"):
        AgentMemVectorStore(tmp_path / "new.db")
    with agentmem.MemoryStore(":memory:") as memory, pytest.raises(agentmem.InvalidInput, match="leave out embed_dim"):
        AgentMemVectorStore(memory, embed_dim=dimension)
    with pytest.raises(ValueError, match="namespace"):
        AgentMemVectorStore(tmp_path / "other.db", embed_dim=3, namespace="docs/")
    assert not (tmp_path / "other.db").exists()
    with agentmem.MemoryStore(tmp_path / "m.db") as memory:
        assert memory.count() == 1


def test_the_event_loop_goes_on_while_nodes_are_written(store):
    async def main():
        writing = asyncio.create_task(store.async_add([node(f"n{n}", f"text {n}") for n in range(200)]))
        ticks = 0
        while not writing.done():
            await asyncio.sleep(0)
            ticks += 1
        return ticks, await writing

    ticks, written = asyncio.run(main())
    assert ticks > 3
    assert len(written) == 200


def test_a_cancelled_write_has_happened_whole_or_not_at_all(store):
    async def main(rounds):
        writing = asyncio.create_task(store.async_add([node(f"r{rounds}-{n}", f"text {n}") for n in range(50)]))
        for _ in range(rounds):
            await asyncio.sleep(0)
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing

    for rounds in range(0, 60, 3):
        asyncio.run(main(rounds))
        written = [name for name in ids(store.get_nodes()) if name.startswith(f"r{rounds}-")]
        assert len(written) in (0, 50), rounds


def test_many_tasks_at_once(store):
    async def main():
        await asyncio.gather(*(store.async_add([node(f"n{n}", f"text number {n}")]) for n in range(20)))
        found = await asyncio.gather(*(store.aquery(ask(f"text number {n}", k=1)) for n in range(20)))
        return [each.ids for each in found]

    assert asyncio.run(main()) == [[f"n{n}"] for n in range(20)]


def test_an_index_that_is_opened_again(tmp_path):
    documents = [Document(id_=name, text=text, metadata={"name": name}) for name, text in TEXTS.items()]
    store = AgentMemVectorStore(tmp_path / "index.db", embed_dim=DIMENSION)
    context = StorageContext.from_defaults(vector_store=store)
    index = VectorStoreIndex.from_documents(documents, storage_context=context, embed_model=WordEmbedding())
    before = index.as_retriever(similarity_top_k=2).retrieve("The boat deposit")
    assert before[0].node.ref_doc_id == "boat"
    store.close()

    again = AgentMemVectorStore(tmp_path / "index.db")
    index = VectorStoreIndex.from_vector_store(again, embed_model=WordEmbedding())
    after = index.as_retriever(similarity_top_k=2).retrieve("The boat deposit")
    assert [(each.node, each.score) for each in after] == [(each.node, each.score) for each in before]
    assert after[0].node.metadata == {"name": "boat"}

    answer = index.as_query_engine(llm=MockLLM(), similarity_top_k=1, vector_store_query_mode="hybrid").query("peanuts")
    assert TEXTS["peanuts"] in str(answer)
    assert answer.source_nodes[0].node.ref_doc_id == "peanuts"
    index.insert(Document(id_="new", text="A new member came"))
    assert index.as_retriever(similarity_top_k=1).retrieve("new member")[0].node.ref_doc_id == "new"
    index.delete_ref_doc("new")
    assert all(each.ref_doc_id != "new" for each in again.get_nodes())
    asyncio.run(index.adelete_ref_doc("boat"))
    index.delete_nodes(
        ids(again.get_nodes(filters=MetadataFilters(filters=[MetadataFilter(key="name", value="bread")])))
    )
    assert sorted(each.ref_doc_id for each in again.get_nodes()) == ["peanuts", "sluice"]
    again.close()


def test_an_index_from_another_process(tmp_path):
    store = AgentMemVectorStore(tmp_path / "index.db", embed_dim=DIMENSION)
    store.add(nodes())
    code = (
        "import json, sys\n"
        "from agentmem.adapters.llama_index import AgentMemVectorStore\n"
        "store = AgentMemVectorStore(sys.argv[1])\n"
        "print(json.dumps([node.node_id for node in store.get_nodes()]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "index.db")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == list(TEXTS)
    store.close()


def test_an_asynchronous_index(tmp_path):
    async def main():
        store = AgentMemVectorStore(tmp_path / "index.db", embed_dim=DIMENSION)
        context = StorageContext.from_defaults(vector_store=store)
        index = VectorStoreIndex([], storage_context=context, embed_model=WordEmbedding())
        await index.ainsert_nodes([TextNode(id_=name, text=text) for name, text in TEXTS.items()])
        retriever = index.as_retriever(similarity_top_k=1, vector_store_query_mode="text_search")
        found = await retriever.aretrieve("sluice")
        engine = index.as_query_engine(llm=MockLLM(), similarity_top_k=1)
        answer = await engine.aquery("Ines bakes rye bread")
        store.close()
        return found, answer

    found, answer = asyncio.run(main())
    assert ids(each.node for each in found) == ["sluice"]
    assert TEXTS["bread"] in str(answer)


def test_an_index_with_a_mock_embedding_and_an_index_node(tmp_path):
    store = AgentMemVectorStore(tmp_path / "index.db", embed_dim=4)
    context = StorageContext.from_defaults(vector_store=store)
    made = [IndexNode(id_="i", text="see the boat", index_id="boats"), TextNode(id_="t", text="a text")]
    index = VectorStoreIndex(made, storage_context=context, embed_model=MockEmbedding(4))
    assert {each.node_id for each in store.get_nodes()} == {"i", "t"}
    found = index.as_retriever(similarity_top_k=5).retrieve("anything")
    assert [type(each.node) for each in found] == [IndexNode]  # LlamaIndex asks for the nodes that it keeps itself
    store.close()


def test_the_store_is_a_component():
    store = AgentMemVectorStore(":memory:", embed_dim=3, namespace="docs")
    again = AgentMemVectorStore.from_dict(store.to_dict())
    assert (again.path, again.embed_dim, again.namespace, again.stores_text) == (":memory:", 3, "docs", True)
    assert store.to_dict()["class_name"] == "AgentMemVectorStore"
    assert isinstance(store.client, agentmem.MemoryStore)
    assert store.persist("anywhere") is None
    store.close()
    again.close()


def scored(names=TEXTS):
    """Return nodes as a retriever gives them, the worst first."""
    return [NodeWithScore(node=node(name), score=n / 10) for n, name in enumerate(names)]


def test_the_postprocessor_ranks_as_the_reranker_does():
    ranked = AgentMemPostprocessor().postprocess_nodes(scored(), query_str="who must not eat peanuts?")
    expected = agentmem.Reranker().rank(
        "who must not eat peanuts?", list(TEXTS.values()), metadatas=[{"thread": "doc"}] * 4
    )
    assert [each.node_id for each in ranked] == [list(TEXTS)[each.place] for each in expected]
    assert [each.score for each in ranked] == [each.score for each in expected]
    assert ranked[0].node_id == "peanuts"
    top = AgentMemPostprocessor(top_n=2).postprocess_nodes(scored(), query_str="who must not eat peanuts?")
    assert top == ranked[:2]
    bundle = QueryBundle("who must not eat peanuts?")
    assert asyncio.run(AgentMemPostprocessor(top_n=2).apostprocess_nodes(scored(), bundle)) == top
    assert AgentMemPostprocessor().postprocess_nodes([], query_str="x") == []


def test_the_postprocessor_takes_the_embeddings_where_all_have_one():
    bundle = QueryBundle("boat", embedding=vector("Open the sluice by two turns"))
    ranked = AgentMemPostprocessor().postprocess_nodes(scored(), bundle)
    expected = agentmem.Reranker().rank(
        "boat",
        list(TEXTS.values()),
        embeddings=[vector(text) for text in TEXTS.values()],
        query_embedding=vector("Open the sluice by two turns"),
        metadatas=[{"thread": "doc"}] * 4,
    )
    assert [(each.node_id, each.score) for each in ranked] == [
        (list(TEXTS)[each.place], each.score) for each in expected
    ]
    bare = [NodeWithScore(node=each.node.model_copy(update={"embedding": None})) for each in scored()]
    without = AgentMemPostprocessor().postprocess_nodes(bare, QueryBundle("boat"))
    assert AgentMemPostprocessor().postprocess_nodes([*bare[:1], *scored()[1:]], bundle) == [
        NodeWithScore(
            node=next(n.node for n in [*bare[:1], *scored()[1:]] if n.node_id == each.node_id), score=each.score
        )
        for each in without
    ]


def test_the_postprocessor_refuses_what_it_cannot_rank(tmp_path):
    with pytest.raises(ValueError, match="needs the query"):
        AgentMemPostprocessor().postprocess_nodes(scored())
    with pytest.raises(ValueError, match="the query text is empty"):
        AgentMemPostprocessor().postprocess_nodes(scored(), query_str=" ")
    empty = NodeWithScore(node=TextNode(text=""))
    with pytest.raises(ValueError, match="record 1: text is empty"):
        AgentMemPostprocessor().postprocess_nodes([scored()[0], empty], query_str="x")
    with pytest.raises(ValueError, match="top_n"):
        AgentMemPostprocessor(top_n=0)
    (tmp_path / "no-weights.npz").write_bytes(b"no")
    with pytest.raises(agentmem.InvalidInput):
        AgentMemPostprocessor(weights=str(tmp_path / "no-weights.npz"))
    again = AgentMemPostprocessor.from_dict(AgentMemPostprocessor(top_n=3).to_dict())
    assert again.top_n == 3


def test_the_postprocessor_in_a_query_engine(tmp_path):
    store = AgentMemVectorStore(tmp_path / "index.db", embed_dim=DIMENSION)
    store.add(nodes())
    index = VectorStoreIndex.from_vector_store(store, embed_model=WordEmbedding())
    engine = index.as_query_engine(
        llm=MockLLM(), similarity_top_k=4, node_postprocessors=[AgentMemPostprocessor(top_n=1)]
    )
    answer = engine.query("who must not eat peanuts?")
    assert [each.node_id for each in answer.source_nodes] == ["peanuts"]
    store.close()
