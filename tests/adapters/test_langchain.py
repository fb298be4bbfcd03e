"""The vector store, the retriever and the compressor beyond LangChain's own suites."""

import asyncio
import subprocess
import sys
import threading
from hashlib import sha256

import numpy as np
import pytest

REASON = 'pip install "agentmem[langchain]"'
pytest.importorskip("langchain_core", reason=REASON)

from langchain_core.documents import Document  # noqa: E402
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings  # noqa: E402
from langchain_core.runnables import RunnableLambda  # noqa: E402
from pydantic import ValidationError  # noqa: E402

import agentmem  # noqa: E402
from agentmem.adapters.langchain import (  # noqa: E402
    AgentMemEmbeddings,
    AgentMemReranker,
    AgentMemRetriever,
    AgentMemVectorStore,
    embedder_for,
    model_name,
)
from agentmem.adapters.mmr import maximal_marginal_relevance  # noqa: E402
from agentmem.aio import AsyncMemoryStore  # noqa: E402

pytestmark = pytest.mark.anyio
TEXTS = [
    "The key is under the flower pot",
    "Ines cannot eat peanuts",
    "The dentist moved to 14 March",
    "Scones with nuts",
]
IDS = ["key", "ines", "dentist", "scones"]


@pytest.fixture
def anyio_backend():
    """Run coroutines by asyncio."""
    return "asyncio"


class Words(Embeddings):
    """A model in which texts are alike by the words that they share; queries are told from documents."""

    model = "words-1"

    def __init__(self):
        self.asked = []

    def vector(self, text):
        vector = np.zeros(64)
        for word in text.lower().split():
            vector[sha256(word.encode()).digest()[0] % 64] += 1
        return vector.tolist()

    def embed_documents(self, texts):
        self.asked.append(("documents", len(texts)))
        return [self.vector(text) for text in texts]

    def embed_query(self, text):
        self.asked.append(("query", text))
        return self.vector(text)

    async def aembed_documents(self, texts):
        await asyncio.sleep(0)
        self.asked.append(("async documents", len(texts)))
        return [self.vector(text) for text in texts]

    async def aembed_query(self, text):
        await asyncio.sleep(0)
        self.asked.append(("async query", text))
        return self.vector(text)


@pytest.fixture
def model():
    return Words()


@pytest.fixture
def documents(model):
    """Return a vector store with the texts in it."""
    with AgentMemVectorStore.from_texts(TEXTS, model, [{"n": n} for n in range(4)], ids=IDS) as store:
        model.asked.clear()
        yield store


class Broken(Words):
    """A model that returns vectors of another length, or too few, or raises."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def embed_documents(self, texts):
        if self.how == "raises":
            raise RuntimeError("no network")
        made = super().embed_documents(texts)
        return made[1:] if self.how == "few" else [vector[:5] for vector in made]

    async def aembed_documents(self, texts):
        return self.embed_documents(texts)


def ids_of(documents):
    return [document.id for document in documents]


def test_what_was_added_is_there_when_the_path_is_opened_again(tmp_path, model):
    path = tmp_path / "memory.db"
    with AgentMemVectorStore(path, model) as store:
        store.add_documents([Document(id="key", page_content=TEXTS[0], metadata={"room": {"floor": 1}})])
        before = store.similarity_search_with_relevance_scores("where is the key")
    with AgentMemVectorStore(path, Words()) as store:
        assert store.get_by_ids(["key"]) == [Document(id="key", page_content=TEXTS[0], metadata={"room": {"floor": 1}})]
        assert store.similarity_search_with_relevance_scores("where is the key") == before


def test_another_process_finds_it(tmp_path):
    path = str(tmp_path / "memory.db")
    with AgentMemVectorStore(path) as store:
        store.add_texts(TEXTS, ids=IDS)
    code = (
        "import sys; from agentmem.adapters.langchain import AgentMemVectorStore\n"
        "with AgentMemVectorStore(sys.argv[1]) as store:\n"
        "    print(store.similarity_search('Where is the key?', k=1)[0].id)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["key"]


def test_queries_and_documents_are_embedded_each_in_their_way(documents, model):
    documents.similarity_search("key")
    documents.add_texts(["a", "b"])
    assert model.asked == [("query", "key"), ("documents", 2)]


async def test_coroutines_of_the_model_are_used(documents, model):
    found = await documents.asimilarity_search("the key", k=1)
    await documents.aadd_documents([Document(page_content="a"), Document(page_content="b")])
    assert ids_of(found) == ["key"]
    assert model.asked == [("async query", "the key"), ("async documents", 2)]


async def test_the_event_loop_never_runs_the_store(tmp_path, monkeypatch):
    loop_thread = threading.get_ident()
    threads = set()
    for verb in ("search", "add_many", "get_many", "delete_where", "vector"):
        original = getattr(agentmem.MemoryStore, verb)

        def watched(self, *args, original=original, **kwargs):
            threads.add(threading.get_ident())
            return original(self, *args, **kwargs)

        monkeypatch.setattr(agentmem.MemoryStore, verb, watched)
    store = await AgentMemVectorStore.afrom_texts(TEXTS, ids=IDS, store=tmp_path / "memory.db")
    await store.asimilarity_search_with_relevance_scores("key")
    await store.amax_marginal_relevance_search("key")
    await store.aget_by_ids(IDS)
    await store.adelete(IDS)
    store.close()
    assert threads
    assert loop_thread not in threads


async def test_both_ways_give_the_same(documents):
    vector = Words().vector("the key")
    same = {
        "similarity_search": "the key",
        "similarity_search_with_score": "the key",
        "similarity_search_with_relevance_scores": "the key",
        "similarity_search_by_vector": vector,
        "similarity_search_by_vector_with_relevance_scores": vector,
        "max_marginal_relevance_search": "the key",
        "max_marginal_relevance_search_by_vector": vector,
    }
    for name, query in same.items():
        found = getattr(documents, name)(query, k=3, filter={"n": {"$lt": 3}})
        assert len(found) == 3, name
        assert found == await getattr(documents, f"a{name}")(query, k=3, filter={"n": {"$lt": 3}}), name
    assert documents.get_by_ids(IDS) == await documents.aget_by_ids(IDS)


def test_scores_fall_and_relevance_is_a_share(documents):
    by_score = documents.similarity_search_with_score("the key", k=4)
    by_relevance = documents.similarity_search_with_relevance_scores("the key", k=4)
    assert [document.id for document, _ in by_score] == [document.id for document, _ in by_relevance]
    for found in (by_score, by_relevance):
        scores = [score for _, score in found]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] > scores[-1]
    assert all(0 <= score <= 1 for _, score in by_relevance)


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_a_vector_s_relevance_is_its_cosine(metric):
    vectors = {"same": [2.0, 0.0], "near": [1.0, 1.0], "across": [0.0, 1.0], "against": [-1.0, 0.0]}
    with agentmem.MemoryStore(":memory:", embedder=None, dimension=2, metric=metric) as store:
        store.add_many(embeddings=list(vectors.values()), ids=list(vectors))
        found = AgentMemVectorStore(store).similarity_search_by_vector_with_relevance_scores([3.0, 0.0])
    assert {document.id: pytest.approx(score, abs=1e-6) for document, score in found} == {
        "same": 1.0,
        "near": 0.5**0.5,
        "across": 0.0,
        "against": 0.0,
    }
    assert found[0][0].id == "same"


def test_a_threshold_on_relevance_filters(documents):
    scored = documents.similarity_search_with_relevance_scores("the key", k=4)
    between = (scored[0][1] + scored[1][1]) / 2
    retriever = documents.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"k": 4, "score_threshold": between}
    )
    assert retriever.invoke("the key") == [scored[0][0]]


def test_filters_are_the_store_s(documents):
    assert set(ids_of(documents.similarity_search("the", filter={"n": {"$gte": 2}}))) == {"dentist", "scones"}
    assert ids_of(documents.as_retriever(search_kwargs={"filter": {"@id": "ines"}}).invoke("the")) == ["ines"]
    with pytest.raises(ValueError, match=r"\$near"):
        documents.similarity_search("the", filter={"n": {"$near": 2}})


def test_variety_is_maximal_marginal_relevance_over_the_best(model):
    texts = [f"boat boat {word}" for word in ("red", "red", "blue", "green", "old")] + ["a house"]
    with AgentMemVectorStore.from_texts(texts, model, ids=[str(n) for n in range(6)], mechanism="dense") as store:
        best = store.similarity_search("boat red", k=5)
        vectors = [model.vector(document.page_content) for document in best]
        chosen = maximal_marginal_relevance(model.vector("boat red"), vectors, 3, 0.3)
        shown = store.max_marginal_relevance_search("boat red", k=3, fetch_k=5, lambda_mult=0.3)
        retriever = store.as_retriever(search_type="mmr", search_kwargs={"k": 3, "fetch_k": 5, "lambda_mult": 0.3})
        assert shown == [best[place] for place in chosen] == retriever.invoke("boat red")
        assert len({document.page_content for document in shown}) == 3


def test_a_record_without_a_vector_is_shown_last_for_variety():
    with agentmem.MemoryStore(":memory:") as store:
        store.add("qqqq zzzz", id="words")
        store.add("The key is under the flower pot", id="key")
        found = AgentMemVectorStore(store).max_marginal_relevance_search("the key zzzz", k=2)
    assert set(ids_of(found)) == {"words", "key"}


def test_a_query_of_which_the_model_knows_nothing_is_looked_for_by_its_words(model):
    class Silent(Words):
        def embed_query(self, text):
            return [0.0] * 64

    with AgentMemVectorStore.from_texts(TEXTS, Silent(), ids=IDS) as store:
        assert ids_of(store.similarity_search("peanuts", k=1)) == ["ines"]


def test_metadata_that_is_changed_afterwards_stays_as_it_was_in_the_store(model):
    with AgentMemVectorStore.from_texts(TEXTS[:1], model, [{"n": 0}], ids=["key"], cache_size=10) as documents:
        documents.get_by_ids(["key"])[0].metadata["n"] = "changed"
        documents.similarity_search("the key")[0].metadata["n"] = "changed"
        assert documents.similarity_search("the key")[0].metadata == {"n": 0}
        assert documents.get_by_ids(["key"])[0].metadata == {"n": 0}


def test_further_arguments_reach_the_store(documents):
    documents.add_texts(["I said so"], ids=["said"], speakers="Ines", created_at="2026-05-08", ttl=60)
    record = documents.store.get("said")
    assert record.speaker == "Ines"
    assert record.expires_at is not None
    assert len(documents.similarity_search("key", k=4, offset=3)) == 2
    for wrong in ({"speaker": "Ines"}, {"embedding_function": None}):
        with pytest.raises(TypeError):
            documents.add_texts(["again"], **wrong)
    with pytest.raises(TypeError):
        documents.delete(["said"], everything=True)


async def test_namespaces_are_apart(model):
    with agentmem.MemoryStore(":memory:", embedder=embedder_for(model)) as store:
        ours = AgentMemVectorStore(store, model, namespace="ours")
        theirs = AgentMemVectorStore(store, model, namespace="theirs")
        everything = AgentMemVectorStore(store, model)
        ours.add_texts(["the key"], ids=["1"])
        await theirs.aadd_texts(["the key"], ids=["2"])
        assert ids_of(ours.similarity_search("the key")) == ["1"]
        assert ids_of(await theirs.asimilarity_search_by_vector(model.vector("the key"))) == ["2"]
        assert len(everything.similarity_search("the key")) == 2
        assert ids_of(everything.similarity_search("the key", namespace="theirs")) == ["2"]
        for call in (ours.similarity_search, lambda text, **options: ours.add_texts([text], **options)):
            with pytest.raises(TypeError, match="namespace"):
                call("the key", namespace="theirs")
        assert ids_of(ours.get_by_ids(["1", "2"])) == ["1"]
        assert ours.delete(["2"])
        assert await ours.adelete(["2"])
        assert ids_of(theirs.get_by_ids(["2"])) == ["2"]
        with pytest.raises(agentmem.DuplicateId, match="'theirs'"):
            ours.add_texts(["mine now"], ids=["2"])
        with pytest.raises(agentmem.DuplicateId, match="'ours'"):
            await theirs.aadd_texts(["new", "mine now"], ids=[None, "1"])
        assert store.count() == 2
        ours.delete()
        assert store.count() == 1
        await everything.adelete()
        assert store.count() == 0
        with pytest.raises(agentmem.InvalidInput, match="branch"):
            AgentMemVectorStore(store, namespace="ours/")


def test_all_of_a_call_is_added_or_nothing(documents):
    with pytest.raises(ValueError, match="metadatas has 1 entries for 2"):
        documents.add_texts(["a", "b"], [{}])
    with pytest.raises(ValueError, match="not JSON"):
        documents.add_texts(["a", "b"], [{}, {"when": object()}])
    assert documents.store.count() == 4
    assert documents.add_texts([]) == []
    assert documents.add_documents([]) == []


@pytest.mark.parametrize("how", ["short", "few", "raises"])
async def test_a_model_that_fails_costs_nothing(tmp_path, how):
    with AgentMemVectorStore(tmp_path / "memory.db", Words()) as store:
        store.add_texts(TEXTS)
    with AgentMemVectorStore(
        tmp_path / "memory.db", Broken(how), embedding_name=model_name(Words()), dimension=64
    ) as store:
        with pytest.raises(RuntimeError, match=r"no network|expected real numbers"):
            store.add_texts(["a", "b"])
        with pytest.raises(RuntimeError, match=r"no network|expected real numbers"):
            await store.aadd_texts(["a", "b"])
        assert store.store.count() == 4
        assert store.similarity_search("the key", k=1)


def test_a_vector_of_another_length_is_refused(documents):
    with pytest.raises(agentmem.InvalidVector, match="dimension 64"):
        documents.similarity_search_by_vector([1.0, 2.0])


def test_another_model_than_the_store_s_is_refused_with_the_remedy(tmp_path, model):
    path = tmp_path / "memory.db"
    with AgentMemVectorStore(path, model) as store:
        store.add_texts(TEXTS, ids=IDS)
    other = DeterministicFakeEmbedding(size=64)
    with pytest.raises(agentmem.EmbedderMismatch, match="reembed"):
        AgentMemVectorStore(path, other)
    with agentmem.MemoryStore(path, embedder=embedder_for(model)) as store:
        with pytest.raises(agentmem.EmbedderMismatch, match="embedder_for"):
            AgentMemVectorStore(store, other)
        store.reembed(embedder_for(other))
    with AgentMemVectorStore(path, other, mechanism="dense") as store:
        assert ids_of(store.similarity_search(TEXTS[1], k=1)) == ["ines"]


def test_the_same_model_by_another_name(tmp_path, model):
    with AgentMemVectorStore(tmp_path / "memory.db", model, embedding_name="ours-1") as store:
        assert store.store.identity.embedder == "ours-1"
        AgentMemVectorStore(store.store, model, embedding_name="ours-1")
        with pytest.raises(agentmem.EmbedderMismatch):
            AgentMemVectorStore(store.store, model)


def test_names_of_models(model):
    assert model_name(model) == "langchain:Words:words-1"
    assert model_name(DeterministicFakeEmbedding(size=3)) == "langchain:DeterministicFakeEmbedding"
    assert model_name(AgentMemEmbeddings()) == f"langchain:AgentMemEmbeddings:{agentmem.StaticEmbedder().name}"


async def test_a_closed_store_says_so(documents):
    documents.close()
    documents.close()
    with pytest.raises(agentmem.StoreClosed):
        documents.similarity_search("the key")
    with pytest.raises(agentmem.StoreClosed):
        documents.add_texts(["a"])
    with pytest.raises(agentmem.StoreClosed):
        await documents.asimilarity_search("the key")


def test_a_store_that_was_given_open_stays_open():
    with agentmem.MemoryStore(":memory:") as store:
        with AgentMemVectorStore(store) as documents:
            documents.add_texts(TEXTS)
        assert store.count() == 4
        with pytest.raises(agentmem.InvalidInput, match="metric"):
            AgentMemVectorStore(store, metric="ip")


def test_a_store_of_given_vectors_takes_no_texts():
    with agentmem.MemoryStore(":memory:", embedder=None, dimension=2) as store:
        documents = AgentMemVectorStore(store)
        assert documents.embeddings is None
        with pytest.raises(agentmem.InvalidVector, match="no embedder"):
            documents.add_texts(["a"])
        with pytest.raises(agentmem.InvalidInput, match="given vectors"):
            documents.max_marginal_relevance_search("a")


def test_a_first_add_that_fails_leaves_no_open_store(tmp_path, monkeypatch):
    closed = []
    monkeypatch.setattr(AgentMemVectorStore, "close", lambda self: closed.append(self.store.close()))
    with pytest.raises(ValueError, match="ids has 1 entries"):
        AgentMemVectorStore.from_texts(TEXTS, ids=["1"], store=tmp_path / "memory.db")
    assert closed == [None]


def test_the_bundled_model_needs_no_other():
    texts = [Document(page_content=text, id=id) for text, id in zip(TEXTS, IDS, strict=True)]
    with AgentMemVectorStore.from_documents(texts, None) as store:
        assert ids_of(store.similarity_search("Where is the key?", k=1)) == ["key"]
        assert isinstance(store.embeddings, AgentMemEmbeddings)
        assert store.as_retriever().invoke("Which nuts can nobody eat?", k=1)
    with AgentMemVectorStore.from_documents(texts, AgentMemEmbeddings()) as store:
        assert ids_of(store.similarity_search("Where is the key?", k=1)) == ["key"]


async def test_the_retriever_searches_by_text(tmp_path):
    store = AsyncMemoryStore(tmp_path / "memory.db")
    await store.add_many(TEXTS, ids=IDS, namespace=["home", "people/ines", "home", "home"])
    retriever = AgentMemRetriever(store=store, k=2, namespace="home")
    assert ids_of(retriever.invoke("Where is the key?")) == ids_of(await retriever.ainvoke("Where is the key?"))
    assert ids_of(retriever.invoke("Where is the key?", k=1)) == ["key"]
    assert ids_of(await retriever.ainvoke("peanuts", namespace="people/")) == ["ines"]
    assert ids_of(retriever.invoke("the", filter={"@id": "dentist"})) == ["dentist"]
    with pytest.raises(agentmem.UnknownMechanism):
        AgentMemRetriever(store=store, mechanism="guess").invoke("the key")
    with pytest.raises(agentmem.InvalidInput, match="empty"):
        await retriever.ainvoke(" ")
    with pytest.raises(ValidationError, match="store"):
        AgentMemRetriever(store=str(tmp_path / "memory.db"))
    await store.close()
    with pytest.raises(agentmem.StoreClosed):
        await retriever.ainvoke("the key")


async def test_the_compressor_ranks_another_store_s_documents(model):
    given = [
        *(
            Document(id=id, page_content=text, metadata={"position": "left"})
            for text, id in zip(TEXTS, IDS, strict=True)
        ),
        Document(id="blank", page_content=" "),
    ]
    for reranker in (AgentMemReranker(top_n=2), AgentMemReranker(top_n=2, embeddings=model)):
        ranked = reranker.compress_documents(given, "Where is the flower pot?")
        assert ids_of(ranked)[0] == "key"
        assert len(ranked) == 2
        assert ranked == await reranker.acompress_documents(given, "Where is the flower pot?")
        scores = [document.metadata["relevance_score"] for document in ranked]
        assert scores == sorted(scores, reverse=True)
    assert model.asked == [
        ("documents", 4),
        ("query", "Where is the flower pot?"),
        ("async documents", 4),
        ("async query", "Where is the flower pot?"),
    ]
    assert all("relevance_score" not in document.metadata for document in given)
    assert ids_of(AgentMemReranker().compress_documents(given, "key"))[0] == "key"
    assert len(AgentMemReranker().compress_documents(given, "key")) == 4
    assert AgentMemReranker().compress_documents([given[-1]], "key") == []
    assert await AgentMemReranker(embeddings=model).acompress_documents([], "key") == []


def test_the_compressor_looks_at_fields_that_it_is_told_of():
    days = ["2026-01-01", "2026-06-01"]
    given = [Document(id=day, page_content="The wifi password changed", metadata={"created_at": day}) for day in days]
    with_time = AgentMemReranker(fields=("created_at",)).compress_documents(given, "What is the latest wifi password?")
    assert ids_of(with_time) == ["2026-06-01", "2026-01-01"]
    with pytest.raises(agentmem.InvalidInput, match="position"):
        AgentMemReranker(fields=("position",)).compress_documents(
            [Document(page_content="a", metadata={"position": "left"})], "a"
        )


@pytest.mark.parametrize("wrong", [{"top_n": 0}, {"reranker": "heads"}, {"k": 3}])
def test_a_compressor_with_wrong_arguments_is_refused(wrong):
    with pytest.raises(ValidationError):
        AgentMemReranker(**wrong)


def test_a_chain_of_retriever_and_compressor(documents):
    rerank = AgentMemReranker(top_n=1)
    chain = {"found": documents.as_retriever(), "query": RunnableLambda(str)} | RunnableLambda(
        lambda given: rerank.compress_documents(given["found"], given["query"])
    )
    assert ids_of(chain.invoke("Where is the flower pot?")) == ["key"]
