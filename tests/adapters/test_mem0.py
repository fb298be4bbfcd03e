"""mem0 on a store: its own pipeline, with a model that a server on this machine stands for, and no other connection."""

import os
import socket
import tempfile
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from runpy import run_path

import pytest

# Read when mem0 is imported: nothing is sent to its makers, nothing is written to the home folder.
os.environ["MEM0_TELEMETRY"] = "False"
os.environ.setdefault("MEM0_DIR", tempfile.mkdtemp(prefix="mem0-"))
REASON = 'pip install "agentmem[mem0]"'
mem0 = pytest.importorskip("mem0", reason=REASON)
pytest.importorskip("langchain_community", reason=REASON)

from mem0.exceptions import LLMError  # noqa: E402

import agentmem  # noqa: E402
from agentmem.adapters.langchain import AgentMemEmbeddings, AgentMemVectorStore  # noqa: E402
from agentmem.adapters.mem0 import Mem0VectorStore, filter_of  # noqa: E402

# The libraries' own notices, which say nothing about this package.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.langchain-community. is being sunset:DeprecationWarning"),
]
DIMENSION = agentmem.StaticEmbedder().dimension
KEY, NUTS, BOAT = "The key is under the flower pot", "Ines cannot eat peanuts", "Colm paid the deposit for the boat"


EXAMPLE = run_path(str(Path(__file__).parents[2] / "examples" / "mem0_memory.py"), run_name="example")


class Model(EXAMPLE["Model"]):
    """What mem0 asks of a model: vectors of texts, and the facts in a conversation."""

    def do_POST(self):
        """Answer one request, and keep what it was for."""
        self.server.asked.append(self.path)
        super().do_POST()


@pytest.fixture
def server():
    """Run the model; return its server, which knows what was asked."""
    made = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    made.asked = []
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def connections(monkeypatch):
    """Refuse connections to other machines, and any look-up of a name; return what was tried."""
    tried = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def guarded(self, address):
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1"):
            tried.append(address)
            raise OSError(f"a connection to {address}")
        return connect(self, address)

    def known(host, *args, **kwargs):
        if host not in ("127.0.0.1", "localhost", "::1"):
            tried.append(host)
            raise OSError(f"a look-up of {host}")
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket, "getaddrinfo", known)
    yield tried
    assert tried == []


@pytest.fixture
def remembering(server, tmp_path):
    """Return a function that makes mem0's Memory on a vector store."""
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    model = {"provider": "openai", "config": {"model": "local", "api_key": "none", "openai_base_url": url}}
    made = []

    def memory(vector_store):
        config = {
            "vector_store": {"provider": "langchain", "config": {"client": vector_store}},
            "llm": model,
            "embedder": model,
            "history_db_path": str(tmp_path / "history.db"),
        }
        made.append(mem0.Memory.from_config(config))
        return made[-1]

    yield memory
    for each in made:
        each.close()
        each.llm.client.close()
        each.embedding_model.client.close()


@pytest.fixture
def vector_store(tmp_path):
    with Mem0VectorStore(tmp_path / "memory.db", DIMENSION) as store:
        yield store


def say(*texts):
    return [{"role": "user", "content": text} for text in texts]


def memories(found):
    return [each["memory"] for each in found["results"]]


def test_telemetry_is_off():
    from mem0.memory import telemetry

    assert telemetry.MEM0_TELEMETRY is False


def test_what_was_said_is_found_again(remembering, vector_store, server):
    memory = remembering(vector_store)
    added = memory.add(say(KEY, NUTS), user_id="ines")
    memory.add(say(BOAT), user_id="colm")
    assert memories(added) == [KEY, NUTS]
    found = memory.search("Where is the key?", filters={"user_id": "ines"})
    assert memories(found)[0] == KEY
    assert BOAT not in memories(found)
    scores = [each["score"] for each in found["results"]]
    assert scores == sorted(scores, reverse=True)
    embed = agentmem.StaticEmbedder().embed
    assert scores[0] == pytest.approx(float(embed([KEY])[0] @ embed(["Where is the key?"])[0]), abs=1e-4)
    assert memory.get(added["results"][0]["id"])["memory"] == KEY
    assert {each.split("/v1/")[1] for each in server.asked} == {"embeddings", "chat/completions"}


def test_a_threshold_leaves_out_what_is_unlike(remembering, vector_store):
    memory = remembering(vector_store)
    memory.add(say(KEY, NUTS), user_id="ines")
    everything = memory.search("peanuts", filters={"user_id": "ines"}, threshold=0.0)["results"]
    best, rest = everything[0]["score"], everything[1]["score"]
    assert rest < best
    assert memories(memory.search("peanuts", filters={"user_id": "ines"}, threshold=(best + rest) / 2)) == [NUTS]


def test_what_was_said_twice_is_one_memory(remembering, vector_store):
    memory = remembering(vector_store)
    memory.add(say(KEY), user_id="ines")
    assert memory.add(say(KEY), user_id="ines") == {"results": []}
    assert vector_store.store.count() == 1


def test_memories_are_listed_changed_and_deleted(remembering, vector_store):
    memory = remembering(vector_store)
    ids = [each["id"] for each in memory.add(say(KEY, NUTS), user_id="ines")["results"]]
    memory.add(say(BOAT), user_id="colm", metadata={"price": 20})
    assert set(memories(memory.get_all(filters={"user_id": "ines"}))) == {KEY, NUTS}
    assert memories(memory.get_all(filters={"user_id": "nobody"})) == []
    memory.update(ids[0], "The key is with the neighbour")
    assert (
        memories(memory.search("Who has the key?", filters={"user_id": "ines"}))[0] == "The key is with the neighbour"
    )
    assert vector_store.store.get(ids[0]).text == "The key is with the neighbour"
    memory.delete(ids[1])
    assert memories(memory.get_all(filters={"user_id": "ines"})) == ["The key is with the neighbour"]
    assert [each["event"] for each in memory.history(ids[0])] == ["ADD", "UPDATE"]
    with pytest.raises(ValueError, match="not found"):
        memory.delete(ids[1])
    memory.delete_all(user_id="ines")
    assert memories(memory.get_all(filters={"user_id": "ines"})) == []
    assert memories(memory.get_all(filters={"user_id": "colm"})) == [BOAT]
    memory.reset()
    assert vector_store.store.count() == 0


def test_entities_are_no_memories(remembering, vector_store, monkeypatch):
    def entities(texts):
        return [[("PERSON", "Ines")] if "Ines" in text else [] for text in texts]

    monkeypatch.setattr("mem0.memory.main.extract_entities_batch", entities)
    monkeypatch.setattr("mem0.memory.main.extract_entities", lambda text: entities([text])[0])
    memory = remembering(vector_store)
    memory.add(say(KEY, NUTS), user_id="ada")
    assert vector_store.store.namespaces() == {"mem0": 2, "mem0-entities": 1}
    assert set(memories(memory.get_all(filters={"user_id": "ada"}))) == {KEY, NUTS}
    found = memory.search("Ines", filters={"user_id": "ada"}, explain=True)
    assert memories(found)[0] == NUTS
    assert set(memories(found)) <= {KEY, NUTS}
    memory.add(say("Ines rows every day"), user_id="ada")  # mem0 deletes the entity to put it back without its vector
    assert vector_store.store.namespaces() == {"mem0": 3}
    memory.reset()
    assert vector_store.store.count() == 0


def test_raw_messages_are_kept_as_they_are(remembering, vector_store):
    memory = remembering(vector_store)
    memory.add([*say("I like rowing"), {"role": "assistant", "content": "So do I"}], user_id="colm", infer=False)
    assert set(memories(memory.get_all(filters={"user_id": "colm"}))) == {"I like rowing", "So do I"}


def test_filters_of_mem0(remembering, vector_store):
    memory = remembering(vector_store)
    for price, kind, text in ((3, "food", "Scones"), (4, "food", "Soup"), (20, "hire", "A boat")):
        memory.add(say(text), user_id="colm", infer=False, metadata={"price": price, "kind": kind, "a.b": price})

    def found(**filters):
        return set(memories(memory.search("what", filters={"user_id": "colm", **filters}, threshold=0.0)))

    assert found(kind="food") == {"Scones", "Soup"}
    assert found(price={"gt": 3, "lte": 20}) == {"Soup", "A boat"}
    assert found(kind={"in": ["hire"]}) == {"A boat"}
    assert found(kind={"ne": "hire"}, price={"nin": [3]}) == {"Soup"}
    assert found(kind="*") == {"Scones", "Soup", "A boat"}
    assert found(missing="*") == set()
    assert found(OR=[{"price": 3}, {"kind": "hire"}]) == {"Scones", "A boat"}
    assert found(NOT=[{"price": 3}, {"kind": "hire"}]) == {"Soup"}
    assert found(AND=[{"kind": "food"}, {"price": {"lt": 4}}]) == {"Scones"}
    assert found(**{"a.b": 4}) == {"Soup"}
    with pytest.raises(ValueError, match="icontains"):
        found(kind={"icontains": "FO"})
    assert vector_store.store.count() == 3


def test_filters_in_the_store_s_language():
    assert filter_of(None) is None
    assert filter_of({}) is None
    assert filter_of({"@id": 1}) == {"\\@id": {"$eq": 1}}
    assert filter_of({"a": None, "b": [1]}) == {"$and": [{"a": {"$eq": None}}, {"b": {"$eq": [1]}}]}


def test_memories_stay_when_the_process_is_another_one(remembering, tmp_path):
    with Mem0VectorStore(tmp_path / "kept.db", DIMENSION) as store:
        remembering(store).add(say(KEY), user_id="ines")
    with Mem0VectorStore(tmp_path / "kept.db") as store:
        assert memories(remembering(store).search("the key", filters={"user_id": "ines"})) == [KEY]
    with agentmem.MemoryStore(tmp_path / "kept.db", embedder="stored") as store:
        assert [hit.text for hit in store.search("flower pot", namespace="mem0")] == [KEY]


def test_the_plain_vector_store_will_do_where_both_embed_alike(remembering, tmp_path):
    with AgentMemVectorStore(tmp_path / "plain.db", AgentMemEmbeddings()) as store:
        memory = remembering(store)
        memory.add(say(KEY, NUTS), user_id="ines")
        assert memories(memory.search("Where is the key?", filters={"user_id": "ines"}))[0] == KEY


def test_vectors_of_another_length_are_refused(remembering, tmp_path):
    with Mem0VectorStore(tmp_path / "other.db", DIMENSION + 1) as store:
        memory = remembering(store)
        with pytest.raises(agentmem.InvalidVector, match=f"dimension {DIMENSION + 1}"):
            memory.add(say(KEY), user_id="ines", infer=False)
        assert store.store.count() == 0


def test_stores_that_cannot_serve_are_refused(tmp_path):
    with pytest.raises(agentmem.InvalidInput, match="dimension"):
        Mem0VectorStore(tmp_path / "new.db")
    with agentmem.MemoryStore(tmp_path / "static.db") as store, pytest.raises(agentmem.EmbedderMismatch, match="mem0"):
        Mem0VectorStore(store)
    with pytest.raises(agentmem.EmbedderMismatch):
        Mem0VectorStore(tmp_path / "static.db", DIMENSION)


def test_a_model_that_is_gone_costs_nothing(remembering, vector_store, server):
    memory = remembering(vector_store)
    memory.add(say(KEY), user_id="ines")
    memory.llm.client = memory.llm.client.with_options(base_url="http://127.0.0.1:9/v1", max_retries=0)
    with pytest.raises(LLMError):
        memory.add(say(NUTS), user_id="ines")
    assert vector_store.store.count() == 1


def test_a_closed_store_says_so(remembering, vector_store):
    memory = remembering(vector_store)
    vector_store.close()
    with pytest.raises(agentmem.StoreClosed):
        memory.search("the key", filters={"user_id": "ines"})
