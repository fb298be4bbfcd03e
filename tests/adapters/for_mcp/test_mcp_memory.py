"""The six tools of memory, called by the SDK's own client: what they keep, find, change and refuse."""

import threading

import anyio
import pytest
from mcp_kit import MEMORY, Client, ask, names, refusal, run

import agentmem
from agentmem.adapters.mcp import memory_server


@pytest.fixture
def store(tmp_path):
    with agentmem.MemoryStore(tmp_path / "memory.db", merge="manual") as store:
        yield store


def talk(store, conversation, **options):
    """Have a conversation with a server over a store."""

    async def connected():
        async with Client(memory_server(store, **options)) as client:
            return await conversation(client)

    return run(connected)


def test_there_are_six_with_schemas_and_hints(store):
    async def conversation(client):
        return (await client.list_tools()).tools, client.instructions, client.server_info

    tools, instructions, info = talk(store, conversation)
    assert [tool.name for tool in tools] == MEMORY
    assert info.name == "agentmem"
    assert info.version
    assert "Recall before you answer" in instructions
    assert "graph" not in instructions
    for tool in tools:
        assert tool.title
        assert len(tool.description) > 60
        assert tool.input_schema["additionalProperties"] is False
        assert all("description" in each for each in tool.input_schema["properties"].values())
        assert tool.output_schema["type"] == "object"
        assert tool.annotations.open_world_hint is False
    hints = {tool.name: tool.annotations for tool in tools}
    assert {name for name, each in hints.items() if each.read_only_hint} == {"recall", "list_namespaces"}
    assert {name for name, each in hints.items() if each.destructive_hint} == {"update", "forget"}
    assert {name for name, each in hints.items() if not each.idempotent_hint} == {"remember", "feedback"}


def test_what_is_remembered_is_recalled(store):
    async def conversation(client):
        kept = await ask(
            client,
            "remember",
            text="Ana plays the violin on Tuesdays",
            namespace="people/ana",
            metadata={"topic": "music"},
            thread="t",
            session="s",
            speaker="Bo",
            importance=0.75,
            ttl_seconds=3600,
        )
        await ask(client, "remember", text="The boat needs paint")
        return kept, await ask(client, "recall", query="who plays an instrument?", k=1)

    kept, found = talk(store, conversation)
    (memory,) = found["memories"]
    assert memory.pop("score") > 0
    assert 0 < memory.pop("relevance") <= 1
    assert memory.pop("created_at")[10] == memory.pop("expires_at")[10] == "T"
    assert memory == {
        "id": kept["id"],
        "text": "Ana plays the violin on Tuesdays",
        "namespace": "people/ana",
        "metadata": {"topic": "music"},
        "thread": "t",
        "session": "s",
        "speaker": "Bo",
        "importance": 0.75,
        "rank": 1,
    }
    assert kept["namespace"] == "people/ana"
    assert store.get(kept["id"]).text == "Ana plays the violin on Tuesdays"


def test_recall_obeys_namespace_filter_k_and_offset(store):
    store.add_many(
        [f"apple number {n}" for n in range(6)],
        ids=[str(n) for n in range(6)],
        namespace=["", "a", "a", "a/b", "a/b/c", "ab"],
        metadatas=[{"n": n} for n in range(6)],
    )

    async def conversation(client):
        async def found(**options):
            answer = await ask(client, "recall", query="apple", **options)
            return {memory["id"] for memory in answer["memories"]}

        assert await found(k=10) == set("012345")
        assert await found(namespace="") == {"0"}
        assert await found(namespace="a") == set("12")
        assert await found(namespace="a/") == set("34")
        assert await found(filter={"n": {"$gte": 4}}) == set("45")
        assert await found(filter='{"n": 4}') == {"4"}
        first = await found(k=2)
        assert len(first) == 2
        assert not first & await found(k=2, offset=2)
        assert await found(filter={"n": 99}) == set()

    talk(store, conversation)


def test_update_changes_what_is_given_only(store):
    id = store.add("Ana lives in Porto", metadata={"a": 1}, importance=0.25, ttl=3600)

    async def conversation(client):
        changed = await ask(client, "update", id=id, text="Ana lives in Lisbon")
        assert changed["text"] == "Ana lives in Lisbon"
        assert changed["metadata"] == {"a": 1}
        assert changed["importance"] == 0.25
        assert changed["updated_at"] >= changed["created_at"]
        assert "expires_at" in changed
        changed = await ask(client, "update", id=id, metadata={}, importance=0, ttl_seconds=0)
        assert "metadata" not in changed
        assert "expires_at" not in changed
        assert changed["importance"] == 0
        found = await ask(client, "recall", query="where does Ana live?")
        assert [memory["text"] for memory in found["memories"]] == ["Ana lives in Lisbon"]

    talk(store, conversation)


@pytest.mark.parametrize("text", ["17", '{"a": 1}', "[1, 2]", "null", "true", '"quoted"'])
def test_a_text_that_looks_like_json_stays_a_text(store, text):
    async def conversation(client):
        kept = await ask(client, "remember", text=text, thread=text)
        assert (await ask(client, "update", id=kept["id"], text=text))["text"] == text
        return kept["id"]

    record = store.get(talk(store, conversation))
    assert record.text == record.thread == text


def test_forget_says_what_was_there(store):
    ids = store.add_many(["one", "two"])

    async def conversation(client):
        return await ask(client, "forget", ids=[ids[0], "nobody", ids[0], "nobody"])

    assert talk(store, conversation) == {"forgotten": [ids[0]], "unknown": ["nobody"]}
    assert [record.id for record in store.iterate()] == [ids[1]]


def test_namespaces_come_in_pages(store):
    store.add_many(["x"] * 6, namespace=["", "a", "a", "a/b", "c", "d"])

    async def conversation(client):
        first = await ask(client, "list_namespaces", limit=2)
        second = await ask(client, "list_namespaces", limit=2, after=first["next"])
        third = await ask(client, "list_namespaces", limit=2, after=second["next"])
        below = await ask(client, "list_namespaces", prefix="a/")
        return first["namespaces"], second["namespaces"], third, below

    first, second, third, below = talk(store, conversation)
    assert first == [{"name": "", "memories": 1}, {"name": "a", "memories": 2}]
    assert second == [{"name": "a/b", "memories": 1}, {"name": "c", "memories": 1}]
    assert third == {"namespaces": [{"name": "d", "memories": 1}]}
    assert below == {"namespaces": [{"name": "a/b", "memories": 1}]}


def test_links_and_feedback_reach_the_store(store):
    async def conversation(client):
        question = await ask(client, "remember", text="Where is the key?")
        answer = await ask(
            client, "remember", text="Under the pot", links=[{"kind": "answers", "target": question["id"]}]
        )
        noted = await ask(
            client, "feedback", query="key", accepted=[answer["id"]], shown=[answer["id"], question["id"]]
        )
        assert noted == {"judged": 1}
        return question["id"], answer["id"]

    question, answer = talk(store, conversation)
    assert store.links(answer) == [("answers", question)]
    (kept,) = store.feedback_log()
    assert (kept.query, kept.accepted, kept.shown) == ("key", (answer,), (answer, question))


REFUSED = [
    ("remember", {}, "text: Field required. Nothing was done; call it again with its arguments: text, namespace"),
    ("remember", {"text": 3}, "text: Input should be a valid string"),
    ("remember", {"text": ""}, "text: String should have at least 1 character"),
    ("remember", {"text": "  "}, "text is empty"),
    ("remember", {"text": "x" * 100_001}, "at most 100000 characters"),
    ("remember", {"text": "\ud800"}, "unable to parse raw data as a unicode string"),
    ("remember", {"text": "x", "txet": "y"}, "txet: Extra inputs are not permitted"),
    ("remember", {"text": "x", "two\nlines": "y"}, "two lines: Extra inputs are not permitted"),
    ("remember", {"text": "x", "importance": 2}, "importance: Input should be less than or equal to 1"),
    ("remember", {"text": "x", "ttl_seconds": 0}, "ttl_seconds: Input should be greater than 0"),
    ("remember", {"text": "x", "namespace": "a/"}, "leave out the '/' at its end"),
    ("remember", {"text": "x", "namespace": "graph/entities"}, "belongs to the knowledge graph"),
    ("remember", {"text": "x", "metadata": [1]}, "metadata: Input should be a valid dictionary"),
    ("remember", {"text": "x", "links": [{"kind": "a", "target": "nobody"}]}, "no memory with the id 'nobody'"),
    ("recall", {"query": "x", "k": 0}, "k: Input should be greater than or equal to 1"),
    ("recall", {"query": "x", "k": 1_000}, "k: Input should be less than or equal to 100"),
    ("recall", {"query": "x", "filter": {"a": {"$near": 1}}}, "unknown operator '$near'"),
    ("recall", {"query": " "}, "the query text is empty"),
    ("update", {"id": "nobody", "text": "x"}, "ids come from recall and remember"),
    ("update", {"id": "kept"}, "nothing to change; give text"),
    ("forget", {"ids": []}, "ids: List should have at least 1 item"),
    ("forget", {"ids": "kept"}, "ids: Input should be a valid list"),
    ("list_namespaces", {"limit": 0}, "limit: Input should be greater than or equal to 1"),
    ("feedback", {"query": "x"}, "judges nothing"),
    ("feedback", {"query": "x", "accepted": ["nobody"]}, "no memory with the id 'nobody'"),
    ("feedback", {"query": "x", "accepted": ["kept"], "rejected": ["kept"]}, "accepted and rejected share"),
    ("nonsense", {}, "Unknown tool: nonsense"),
]


@pytest.mark.parametrize(("tool", "arguments", "told"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_done_is_refused_and_changes_nothing(store, tool, arguments, told):
    store.add("it stays", id="kept")
    before = store.seq

    async def conversation(client):
        return await refusal(client, tool, **arguments)

    assert told in talk(store, conversation)
    assert store.seq == before


def test_an_error_that_should_not_happen_is_told_without_its_text(store, monkeypatch, caplog):
    def broken(*arguments, **options):
        raise RuntimeError("a secret")

    monkeypatch.setattr(type(store), "search", broken)

    async def conversation(client):
        return await refusal(client, "recall", query="x")

    told = talk(store, conversation)
    assert told.startswith("recall: an error that should not happen")
    assert "secret" not in told
    assert "a secret" in caplog.text


def test_a_store_that_is_closed_meanwhile_says_so(store):
    async def conversation(client):
        store.close()
        return await refusal(client, "recall", query="x")

    assert "is closed" in talk(store, conversation)


def test_a_write_lock_that_somebody_holds_says_retry(tmp_path):
    with (
        agentmem.MemoryStore(tmp_path / "m.db") as other,
        agentmem.MemoryStore(tmp_path / "m.db", timeout=0.05) as store,
    ):

        async def conversation(client):
            with other.transaction():
                told = await refusal(client, "remember", text="x")
            assert await ask(client, "remember", text="x")
            return told

        assert "retry" in talk(store, conversation)
        assert store.count() == 1


def test_read_only_has_the_reading_tools(store):
    store.add("Ana plays the violin")

    async def conversation(client):
        assert await names(client) == ["recall", "list_namespaces"]
        assert "Remember what" not in client.instructions
        assert "Unknown tool" in await refusal(client, "remember", text="x")
        return await ask(client, "recall", query="violin")

    assert len(talk(store, conversation, read_only=True)["memories"]) == 1


def test_an_agent_cannot_write_where_vectors_are_given(tmp_path):
    with agentmem.MemoryStore(tmp_path / "v.db", embedder=None, dimension=3) as store:
        store.add("Ana plays the violin", embedding=[1, 0, 0])
        with pytest.raises(agentmem.InvalidInput, match=r"no embedder.*--read-only"):
            memory_server(store)

        async def conversation(client):
            return await ask(client, "recall", query="violin")

        assert len(talk(store, conversation, read_only=True)["memories"]) == 1


@pytest.mark.parametrize("options", [{"namespace": ""}, {"namespace": "/"}, {"toolset": "memories"}])
def test_options_that_cannot_be_used_are_refused(store, options):
    with pytest.raises(agentmem.InvalidInput, match=r"namespace|toolset"):
        memory_server(store, **options)


class TestConfined:
    """A server that is confined to a namespace: nothing else is there."""

    @pytest.fixture
    def ids(self, store):
        """Memories inside and outside, by namespace."""
        places = ["", "users", "users/1", "users/1/notes", "users/10", "users/1x", "users/2"]
        return dict(zip(places, store.add_many([f"apple in {p}" for p in places], namespace=places), strict=True))

    def talk(self, store, conversation):
        return talk(store, conversation, namespace="users/1/", toolset="graph")

    def test_only_what_is_inside_is_found_by_relative_names(self, store, ids):
        async def conversation(client):
            found = await ask(client, "recall", query="apple", k=50)
            assert {m["id"]: m["namespace"] for m in found["memories"]} == {
                ids["users/1"]: "",
                ids["users/1/notes"]: "notes",
            }
            found = await ask(client, "recall", query="apple", filter={"@namespace": "users/2"})
            assert found["memories"] == []
            found = await ask(client, "recall", query="apple", filter={"$or": [{"@id": {"$exists": True}}]})
            assert len(found["memories"]) == 2
            for name in ("", "notes", "../2", "users/2", "/users/2"):
                found = await ask(client, "recall", query="apple", namespace=name)
                assert {m["id"] for m in found["memories"]} <= {ids["users/1"], ids["users/1/notes"]}
            listed = await ask(client, "list_namespaces")
            assert listed["namespaces"] == [{"name": "", "memories": 1}, {"name": "notes", "memories": 1}]
            listed = await ask(client, "list_namespaces", prefix="no")
            assert listed["namespaces"] == [{"name": "notes", "memories": 1}]

        self.talk(store, conversation)

    def test_what_is_outside_cannot_be_changed_judged_or_linked(self, store, ids):
        before = {id: store.get(id) for id in ids.values()}

        async def conversation(client):
            for place in ("", "users", "users/10", "users/1x", "users/2"):
                id = ids[place]
                assert "no memory with the id" in await refusal(client, "update", id=id, text="taken over")
                assert await ask(client, "forget", ids=[id]) == {"forgotten": [], "unknown": [id]}
                assert "no memory with the id" in await refusal(client, "feedback", query="x", accepted=[id])
                link = [{"kind": "to", "target": id}]
                assert "no memory with the id" in await refusal(client, "remember", text="x", links=link)

        self.talk(store, conversation)
        assert {id: store.get(id) for id in ids.values()} == before
        assert store.count() == len(ids)

    def test_what_is_remembered_stays_inside(self, store, ids):
        async def conversation(client):
            kept = [await ask(client, "remember", text="x", namespace=name) for name in ("", "a", "../2", "users/2")]
            await ask(client, "update", id=ids["users/1"], text="changed")
            await ask(client, "create_entities", entities=[{"name": "A", "entityType": "t", "observations": []}])
            graph = await ask(client, "read_graph")
            assert [entity["name"] for entity in graph["entities"]] == ["A"]
            return kept

        kept = self.talk(store, conversation)
        assert [each["namespace"] for each in kept] == ["", "a", "../2", "users/2"]
        inside = [record.namespace for record in store.iterate() if record.id not in set(ids.values())]
        assert sorted(inside) == ["users/1", "users/1/../2", "users/1/a", "users/1/graph/entities", "users/1/users/2"]
        assert store.get(ids["users/1"]).text == "changed"


def test_the_event_loop_goes_on_while_a_tool_waits(tmp_path):
    """A search that waits for its embedder in a thread does not keep other requests waiting."""
    inside, go = anyio.Event(), threading.Event()

    class Slow:
        name, dimension, metric = "slow", 4, "cosine"

        def embed(self, texts):
            if any("slow" in text for text in texts):
                anyio.from_thread.run_sync(inside.set)
                assert go.wait(60)
            return [[1.0, 0, 0, float(len(text))] for text in texts]

    with agentmem.MemoryStore(tmp_path / "m.db", embedder=Slow()) as store:

        async def conversation(client):
            answers = []

            async def slow():
                answers.append(await ask(client, "recall", query="slow"))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(slow)
                await inside.wait()
                await ask(client, "recall", query="quick")
                assert answers == []
                go.set()
            assert len(answers) == 1

        talk(store, conversation)


def test_a_cancelled_write_happens_whole(tmp_path):
    inside, go = anyio.Event(), threading.Event()

    class Slow:
        name, dimension, metric = "slow", 4, "cosine"

        def embed(self, texts):
            anyio.from_thread.run_sync(inside.set)
            assert go.wait(60)
            return [[1.0, 0, 0, 0] for _ in texts]

    with agentmem.MemoryStore(tmp_path / "m.db", embedder=Slow()) as store:

        async def conversation(client):
            async def write():
                await client.call_tool("remember", {"text": "whole", "metadata": {"a": 1}})

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(write)
                await inside.wait()
                tasks.cancel_scope.cancel()
                go.set()
            with anyio.CancelScope(shield=True):
                return await ask(client, "list_namespaces")

        assert talk(store, conversation)["namespaces"] == [{"name": "", "memories": 1}]
        assert [(record.text, record.metadata) for record in store.iterate()] == [("whole", {"a": 1})]
