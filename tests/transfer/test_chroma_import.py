"""Collections of a real Chroma come over with their ids, documents, metadata and vectors."""

import numpy as np
import pytest

from agentmem import MemoryStore

chromadb = pytest.importorskip("chromadb", reason='pip install "agentmem[chroma]"')

COUNT = 1_203


@pytest.fixture
def collection(tmp_path):
    """Return a collection "notes" in ``tmp_path / "chroma"``."""
    client = chromadb.PersistentClient(str(tmp_path / "chroma"), settings=chromadb.Settings(anonymized_telemetry=False))
    made = client.create_collection("notes", embedding_function=None, configuration={"hnsw": {"space": "ip"}})
    vectors = np.random.default_rng(1).standard_normal((COUNT, 6)).astype(np.float32)
    made.add(
        ids=[f"n{number}" for number in range(COUNT)],
        documents=[f"note number {number}" for number in range(COUNT)],
        metadatas=[{"number": number, "even": number % 2 == 0, "share": number / 7} for number in range(COUNT)],
        embeddings=vectors,
    )
    made.add(ids=["bare"], embeddings=[[1, 2, 3, 4, 5, 6]])
    yield made
    client.close()


def test_a_collection_comes_over(agentmem, collection, tmp_path):
    done = agentmem("import", "chroma", "--from", "chroma", "-n", "notes", "--json")
    assert done.counts == {"lines": COUNT + 1, "written": COUNT + 1, "skipped": 0, "expired": 0}
    with MemoryStore(tmp_path / "memory.db", embedder="stored") as store:
        assert (store.identity.dimension, store.identity.metric) == (6, "ip")
        assert store.get("bare").text is None
        record = store.get("n5")
        assert (record.text, record.namespace) == ("note number 5", "notes")
        assert record.metadata == {"number": 5, "even": False, "share": 5 / 7}
        query = [0.5, -1.0, 0.25, 0.0, 1.0, 2.0]
        theirs = collection.query(query_embeddings=[query], n_results=20)["ids"][0]
        ours = [hit.id for hit in store.search(embedding=query, k=20, mechanism="dense", exact=True)]
        assert ours == theirs
        for id in ("bare", "n7"):
            vector = collection.get(ids=[id], include=["embeddings"])["embeddings"][0]
            assert np.array_equal(store.vector(id), vector.astype(np.float32))


def test_it_goes_on_and_nothing_comes_twice(agentmem, collection):
    assert agentmem("import", "chroma", "--from", "chroma", "--json").json["written"] == COUNT + 1
    collection.add(ids=["late"], documents=["late"], embeddings=[[6, 5, 4, 3, 2, 1]])
    again = agentmem("import", "chroma", "--from", "chroma", "--json").json
    assert (again["written"], again["skipped"]) == (1, COUNT + 1)
    assert {skip["reason"] for skip in again["skips"]} == {"there already"}
    prefixed = agentmem("import", "chroma", "--from", "chroma", "--prefix", "other/", "--json").json
    assert prefixed["written"] == COUNT + 2


def test_texts_are_embedded_anew_on_request(agentmem, collection, tmp_path):
    agentmem("add", "here before", "--id", "n1")
    refused = agentmem("import", "chroma", "--from", "chroma")
    assert refused.code == 1
    assert "dimension 6" in refused.err
    assert "--re-embed" in refused.err
    done = agentmem("import", "chroma", "--from", "chroma", "--re-embed", "--json").json
    assert (done["written"], done["skipped"]) == (COUNT - 1, 2)
    reasons = {skip["id"]: skip["reason"] for skip in done["skips"]}
    assert reasons["n1"] == "another record has its id"
    assert "text is empty" in reasons["bare"]
    with MemoryStore(tmp_path / "memory.db") as store:
        assert store.vector("n2").shape == (256,)


def test_of_several_collections_one_is_named(agentmem, collection):
    chromadb.PersistentClient("chroma", settings=chromadb.Settings(anonymized_telemetry=False)).create_collection(
        "empty", embedding_function=None
    )
    done = agentmem("import", "chroma", "--from", "chroma")
    assert done.code == 2
    assert "'empty', 'notes'" in done.err
    assert "--table" in done.err
    assert agentmem("import", "chroma", "--from", "chroma", "--collection", "nothing").code == 2
    assert agentmem("import", "chroma", "--from", "chroma", "--collection", "empty", "--json").json["lines"] == 0


def test_a_folder_without_chroma_is_left_as_it_is(agentmem, tmp_path):
    (tmp_path / "folder").mkdir()
    done = agentmem("import", "folder", "--from", "chroma")
    assert (done.code, list((tmp_path / "folder").iterdir())) == (1, [])
    assert "chroma.sqlite3" in done.err
    assert not (tmp_path / "memory.db").exists()
