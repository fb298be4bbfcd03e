"""Bad input gets one clear error that names the remedy, and changes nothing."""

import inspect
import sqlite3

import numpy as np
import pytest

import agentmem
from agentmem import errors

ONE = [1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({"embedding": [1, 2]}, agentmem.InvalidVector, "dimension 4"),
        ({"embedding": [1, 2, 3, float("nan")]}, agentmem.InvalidVector, "NaN"),
        ({"embedding": [1, 2, 3, float("inf")]}, agentmem.InvalidVector, "infinity"),
        ({"embedding": [0, 0, 0, 0]}, agentmem.InvalidVector, "zero vector"),
        ({"embedding": "word"}, agentmem.InvalidVector, "not an array"),
        ({"text": "no vector"}, agentmem.InvalidVector, "no embedder"),
        ({}, agentmem.InvalidInput, "text is empty"),
        ({"text": "\ud800", "embedding": ONE}, agentmem.InvalidInput, "surrogate"),
        ({"text": 5, "embedding": ONE}, agentmem.InvalidInput, "string"),
        ({"embedding": ONE, "id": ""}, agentmem.InvalidInput, "empty"),
        ({"embedding": ONE, "metadata": [1]}, agentmem.InvalidInput, "JSON object"),
        ({"embedding": ONE, "metadata": {"x": object()}}, agentmem.InvalidInput, "not JSON"),
        ({"embedding": ONE, "metadata": {"x": float("nan")}}, agentmem.InvalidInput, "not JSON"),
        ({"embedding": ONE, "metadata": {1: 2}}, agentmem.InvalidInput, "keys must be strings"),
        ({"embedding": ONE, "links": [("parent", "nobody")]}, agentmem.InvalidInput, "nobody"),
        ({"embedding": ONE, "links": "x"}, agentmem.InvalidInput, "pairs"),
        ({"embedding": ONE, "importance": 2}, agentmem.InvalidInput, "importance"),
        ({"embedding": ONE, "ttl": -1}, agentmem.InvalidInput, "ttl"),
        ({"embedding": ONE, "ttl": 0}, agentmem.InvalidInput, "above 0"),
        ({"embedding": ONE, "created_at": "yesterday"}, agentmem.InvalidInput, "ISO 8601"),
        ({"embedding": ONE, "position": "first"}, agentmem.InvalidInput, "position"),
    ],
)
def test_add_refuses(vectors_store, kwargs, error, match):
    with pytest.raises(error, match=match):
        vectors_store.add(**kwargs)
    assert vectors_store.count() == 0
    assert vectors_store.seq == 0


@pytest.mark.parametrize(
    ("kwargs", "error", "match"),
    [
        ({}, agentmem.InvalidInput, "text, an embedding"),
        ({"text": "  "}, agentmem.InvalidInput, "empty"),
        ({"embedding": ONE, "k": 0}, agentmem.InvalidInput, "k must be"),
        ({"embedding": ONE, "k": 2.5}, agentmem.InvalidInput, "k must be"),
        ({"embedding": ONE, "offset": -1}, agentmem.InvalidInput, "offset"),
        ({"embedding": ONE, "mechanism": "memory-head"}, agentmem.UnknownMechanism, "memory-heads"),
        ({"embedding": ONE, "filter": {"a": {"$near": 1}}}, agentmem.InvalidFilter, r"\$nin"),
        ({"embedding": ONE, "filter": ["a"]}, agentmem.InvalidFilter, "filter"),
        ({"embedding": [1, 2, 3]}, agentmem.InvalidVector, "dimension 4"),
        ({"text": "word", "mechanism": "dense"}, agentmem.InvalidInput, "embed"),
    ],
)
def test_search_refuses(vectors_store, kwargs, error, match):
    vectors_store.add("a", embedding=ONE)
    with pytest.raises(error, match=match):
        vectors_store.search(**kwargs)


DEEP = []
for _ in range(100_000):
    DEEP = [DEEP]
HUGE = 10**5_000
"""Too long for repr() and str(), which error messages are made of."""


@pytest.mark.parametrize(
    ("verb", "kwargs", "match"),
    [
        ("count", {"namespace": 5}, "namespace must be a string"),
        ("count", {"namespace": "\ud800"}, "surrogate"),
        ("count", {"filter": [1]}, "mapping"),
        ("count", {"filter": {"x": HUGE}}, "64 bits"),
        ("count", {"filter": {"x": DEEP}}, "not JSON"),
        ("count", {"filter": {"x": {"$gt": DEEP}}}, "needs a number"),
        ("delete_where", {"namespace": 5}, "namespace"),
        ("delete_where", {"filter": np.arange(3)}, "mapping"),
        ("explain_plan", {"namespace": "\ud800"}, "surrogate"),
        ("knn", {"vectors": [ONE], "namespace": "\ud800"}, "surrogate"),
        ("knn", {"vectors": [ONE], "exact": np.arange(3)}, "True or False"),
        ("namespaces", {"prefix": b"x"}, "string"),
        ("namespaces", {"prefix": "\ud800"}, "surrogate"),
        ("changes", {"since": 2**63}, "since must be"),
        ("changes", {"limit": "x"}, "limit must be"),
        ("check", {"sample": "all"}, "sample must be"),
        ("get_many", {"ids": None}, "ids must be a list"),
        ("get_many", {"ids": "ab"}, "ids must be a list"),
        ("update", {"id": 5, "importance": 0.1}, "id must be a string"),
        ("create_metadata_index", {"path": HUGE}, "path must be a string"),
        ("search", {"embedding": ONE, "explain": "yes"}, "True or False"),
        ("search", {"embedding": ONE, "mechanism": ["dense"]}, "mechanism"),
        ("search", {"embedding": ONE, "filter": {"x": {"$in": HUGE}}}, "needs a list"),
        ("search", {"embedding": ONE, "filter": {"x": DEEP}}, "not JSON"),
        ("search_many", {"texts": 5}, "texts must be a list"),
        ("search_many", {"embeddings": 5}, "embeddings"),
        ("add", {"embedding": ONE, "session": HUGE}, "64 bits"),
        ("add", {"embedding": ONE, "position": HUGE}, "too large"),
        ("add", {"embedding": ONE, "created_at": DEEP}, "created_at must be a number"),
        ("add", {"embedding": ONE, "links": [DEEP]}, "pair"),
        ("add_many", {"texts": 5}, "texts must be a list"),
        ("add_many", {"embeddings": 5}, "embeddings"),
        ("add_many", {"embeddings": [ONE], "ids": 5}, "ids must be a list"),
        ("add_many", {"embeddings": [ONE], "ids": "x"}, "ids must be a list"),
        ("add_many", {"embeddings": [ONE], "metadatas": {"x": 1}}, "metadatas must be a list"),
        ("add_many", {"embeddings": [ONE], "importances": np.array(0.5)}, "importances must be a list"),
        ("add_many", {"embeddings": [ONE], "on_conflict": ["skip"]}, "on_conflict must be one of"),
        ("add_many", {"embeddings": [ONE], "progress": 1}, "True or False"),
        ("add_messages", {"messages": None, "thread": "t"}, "messages must be a list"),
        ("add_messages", {"messages": [DEEP], "thread": "t"}, "message 0"),
        ("add_messages", {"messages": [], "thread": "t", "namespace": "\ud800"}, "surrogate"),
    ],
)
def test_every_verb_refuses_in_words(vectors_store, verb, kwargs, match):
    with pytest.raises(agentmem.InvalidInput, match=match):
        getattr(vectors_store, verb)(**kwargs)
    assert vectors_store.seq == 0


def test_an_error_message_does_not_repeat_a_long_value(vectors_store):
    with pytest.raises(agentmem.InvalidInput) as caught:
        vectors_store.changes(since="x" * 1_000_000)
    assert len(str(caught.value)) < 400


def test_k_beyond_the_count_gives_fewer(vectors_store):
    vectors_store.add("a", embedding=ONE)
    assert len(vectors_store.search(embedding=ONE, k=1000)) == 1
    assert len(vectors_store.search("a", embedding=ONE, k=1000)) == 1


def test_duplicate_id_names_it_and_keeps_the_first(vectors_store):
    vectors_store.add("first", id="x", embedding=ONE)
    with pytest.raises(agentmem.DuplicateId, match="'x'"):
        vectors_store.add("second", id="x", embedding=ONE)
    assert vectors_store.get("x").text == "first"


def test_get_and_update_of_nothing(vectors_store):
    with pytest.raises(agentmem.NotFound, match="nobody"):
        vectors_store.get("nobody")
    with pytest.raises(LookupError):
        vectors_store.update("nobody", importance=0.1)
    assert vectors_store.delete("nobody") == 0


def test_a_new_text_needs_its_vector_where_there_is_no_embedder(vectors_store):
    rid = vectors_store.add("a", embedding=ONE)
    with pytest.raises(agentmem.InvalidInput, match="embedding"):
        vectors_store.update(rid, text="b")
    assert vectors_store.get(rid).text == "a"


def test_delete_where_of_everything_is_refused(vectors_store):
    vectors_store.add("a", embedding=ONE)
    with pytest.raises(agentmem.InvalidInput, match="everything"):
        vectors_store.delete_where()
    assert vectors_store.delete_where(namespace="") == 1


@pytest.mark.parametrize("kind", ["directory", "text", "other-program", "missing-folder"])
def test_a_path_that_is_no_store(tmp_path, kind):
    path = tmp_path / "thing"
    if kind == "directory":
        path.mkdir()
    elif kind == "text":
        path.write_text("this is certainly not a database, but it is long enough to look like one" * 20)
    elif kind == "other-program":
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE guests (name TEXT)")
        connection.close()
    else:
        path = tmp_path / "nowhere" / "memory.db"
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(agentmem.NotAStore, match=r"thing|nowhere"):
        agentmem.MemoryStore(path, embedder=None, dimension=2)
    assert (path.read_bytes() if path.is_file() else None) == before


def test_another_model_is_refused_with_the_remedy(tmp_path):
    path = tmp_path / "m.db"
    agentmem.MemoryStore(path, embedder=None, dimension=4).close()
    for arguments in ({"embedder": "static"}, {"embedder": None, "dimension": 5}, {"embedder": None, "metric": "l2"}):
        with pytest.raises(agentmem.EmbedderMismatch, match="open it"):
            agentmem.MemoryStore(path, **arguments)
    agentmem.MemoryStore(path, embedder="stored").close()


def test_a_closed_store_says_so(tmp_path):
    store = agentmem.MemoryStore(tmp_path / "m.db", embedder=None, dimension=4)
    store.close()
    store.close()
    for call in (lambda: store.search(embedding=ONE), lambda: store.add(embedding=ONE), store.count, store.optimize):
        with pytest.raises(agentmem.StoreClosed, match="closed"):
            call()


def test_a_read_only_store_refuses_changes(tmp_path):
    path = tmp_path / "m.db"
    with agentmem.MemoryStore(path, embedder=None, dimension=4) as store:
        rid = store.add("a", embedding=ONE)
    with agentmem.MemoryStore(path, embedder=None, dimension=4, read_only=True) as store:
        assert store.search(embedding=ONE)[0].id == rid
        for change in (lambda: store.add(embedding=ONE), lambda: store.delete(rid), store.optimize):
            with pytest.raises(agentmem.StoreReadOnly, match="read-only"):
                change()


def test_a_callable_that_fails_leaves_nothing(tmp_path):
    def fails(texts):
        if "bad" in texts[0]:
            raise RuntimeError("no service")
        return np.ones((len(texts), 3))

    with agentmem.MemoryStore(tmp_path / "m.db", embedder=fails, dimension=3, merge="manual") as store:
        store.add("good")
        with pytest.raises(agentmem.EmbeddingFailed, match="no service"):
            store.add_many(["bad", "good"])
        assert store.count() == 1


def test_every_exception_derives_from_the_tree():
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, Exception) and kind.__module__ == errors.__name__:
            assert issubclass(kind, errors.AgentMemError), name
