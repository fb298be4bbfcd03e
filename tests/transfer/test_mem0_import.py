"""What the real mem0 gives with ``get_all`` is recalled by the memory of the same user, agent and run."""

import json

import pytest

from agentmem import Memory, MemoryStore


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a value as JSON to ``tmp_path / "mem0.json"``."""
    return lambda value: (tmp_path / "mem0.json").write_text(json.dumps(value), encoding="utf-8")


MEMORY = {
    "id": "m1",
    "memory": "Likes tea",
    "hash": "x",
    "metadata": {"topic": "drinks"},
    "created_at": "2026-03-01T10:00:00-08:00",
    "updated_at": "2026-03-02T10:00:00+00:00",
    "user_id": "ada/1",
    "agent_id": "cook",
    "role": "user",
    "score": None,
}


@pytest.mark.parametrize("shape", ["results", "memories", "list", "one", "lines"])
def test_every_shape_of_the_file(agentmem, write, tmp_path, shape):
    memories = [MEMORY] if shape == "one" else [MEMORY, {"id": "m2", "memory": "Likes cake", "run_id": "r"}]
    if shape == "lines":
        (tmp_path / "mem0.json").write_text("\n".join(map(json.dumps, memories)))
    else:
        write({"list": memories, "one": MEMORY}.get(shape, {shape: memories}))
    assert agentmem("import", "mem0.json", "--from", "mem0", "--json").json["written"] == len(memories)
    with MemoryStore(tmp_path / "memory.db") as store:
        assert store.get("m1").created_at == 1772388000.0
        assert store.get("m1").updated_at == 1772445600.0
        memory = Memory(store, user="ada/1", agent="cook")
        assert memory.recall("what does Ada like?").ids == ("m1",)
        assert memory.remember("Likes tea") == "m1", "it is known already"
        assert {"topic": "drinks", "role": "user"}.items() <= store.get("m1").metadata.items()


def test_what_is_no_memory_is_listed(agentmem, write):
    write(
        [
            MEMORY,
            {"id": "a"},
            "text",
            {"memory": "  "},
            {"memory": "x", "metadata": {"memory": 1}},
            {"memory": "x", "created_at": "soon"},
            {"memory": "x", "user_id": 7},
            {"id": "old", "memory": "old", "expiration_date": "2026-01-01"},
        ]
    )
    done = agentmem("import", "mem0.json", "--from", "mem0", "--json").json
    assert (done["lines"], done["written"], done["skipped"], done["expired"]) == (8, 1, 6, 1)
    reasons = {skip["where"].split()[-1]: skip["reason"] for skip in done["skips"]}
    assert reasons.keys() == set("2345678")
    assert reasons["8"] == "expired"
    assert "created_at" in reasons["6"]


@pytest.mark.parametrize("content", ["7", '{"a": 1}', "{\n{", "[1"])
def test_another_file_is_refused(agentmem, tmp_path, content):
    (tmp_path / "mem0.json").write_text(content)
    done = agentmem("import", "mem0.json", "--from", "mem0")
    assert (done.code, done.err.count("\n")) == (1, 1)


def test_a_store_without_a_model_says_what_to_do(agentmem, write, tmp_path):
    write([MEMORY])
    MemoryStore(tmp_path / "memory.db", embedder=None, dimension=3).close()
    done = agentmem("import", "mem0.json", "--from", "mem0")
    assert done.code == 1
    assert "agentmem reembed" in done.err


@pytest.mark.filterwarnings("ignore")
def test_the_memories_of_mem0_itself(agentmem, write, tmp_path, monkeypatch):
    monkeypatch.setenv("MEM0_TELEMETRY", "False")
    monkeypatch.setenv("MEM0_DIR", str(tmp_path / "mem0"))
    mem0 = pytest.importorskip("mem0", reason='pip install "agentmem[mem0]"')
    qdrant = {"path": str(tmp_path / "qdrant"), "embedding_model_dims": 3, "on_disk": True}
    key = {"api_key": "none", "openai_base_url": "http://127.0.0.1:9"}
    theirs = mem0.Memory.from_config(
        {
            "vector_store": {"provider": "qdrant", "config": qdrant},
            "embedder": {"provider": "openai", "config": {**key, "embedding_dims": 3}},
            "llm": {"provider": "openai", "config": key},
        }
    )
    monkeypatch.setattr(theirs.embedding_model, "embed", lambda text, *_: [float(len(text)), 1.0, 2.0])
    monkeypatch.setattr(
        theirs.embedding_model,
        "embed_batch",
        lambda texts, *_: [[len(each), 1.0, 2.0] for each in texts],
        raising=False,
    )
    for text, scope in (
        ("Ines is allergic to peanuts", {"user_id": "ada"}),
        ("The boat leaves at nine", {"user_id": "ada", "agent_id": "cook", "run_id": "r1"}),
        ("Likes cake", {"user_id": "ben"}),
    ):
        theirs.add([{"role": "user", "content": text}], infer=False, metadata={"from": "mem0"}, **scope)
    write(
        {"results": [each for user in ("ada", "ben") for each in theirs.get_all(filters={"user_id": user})["results"]]}
    )
    theirs.close()
    assert agentmem("import", "mem0.json", "--from", "mem0", "--json").json["written"] == 3
    with MemoryStore(tmp_path / "memory.db") as store:
        ada = Memory(store, user="ada")
        assert sorted(hit.text for hit in ada.recall("what of Ada?").hits) == [
            "Ines is allergic to peanuts",
            "The boat leaves at nine",
        ]
        (boat,) = Memory(store, user="ada", agent="cook", session="r1").recall("when does it leave?").hits
        assert boat.record.metadata["from"] == "mem0"
        assert boat.record.session == "r1"
