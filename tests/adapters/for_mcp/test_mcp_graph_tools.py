"""The graph's nine tools answer word for word as the reference server's do; the attention library's four compute."""

import json
from pathlib import Path

import pytest
from mcp_kit import ATTENTION, GRAPH, MEMORY, Client, ask, names, refusal, run

import agentmem
from agentmem.adapters.mcp import TOOLSETS, memory_server
from agentmem.attention import attend, registry

REFERENCE = json.loads((Path(__file__).parents[2] / "fixtures" / "graph.json").read_text(encoding="utf-8"))
READING = ["recall", "list_namespaces", "read_graph", "search_nodes", "open_nodes", *ATTENTION]


@pytest.fixture
def store():
    with agentmem.MemoryStore(":memory:") as store:
        yield store


def talk(store, conversation, **options):
    """Have a conversation with a server over a store."""

    async def connected():
        async with Client(memory_server(store, **options)) as client:
            return await conversation(client)

    return run(connected)


@pytest.mark.parametrize(
    ("toolset", "there"),
    [
        ("memory", MEMORY),
        ("graph", MEMORY + GRAPH),
        ("attention", MEMORY + ATTENTION),
        ("all", MEMORY + GRAPH + ATTENTION),
    ],
)
def test_a_toolset_adds_its_tools(store, toolset, there):
    assert talk(store, names, toolset=toolset) == there
    assert toolset in TOOLSETS


def test_read_only_leaves_the_reading_tools_of_all(store):
    assert talk(store, names, toolset="all", read_only=True) == READING


@pytest.mark.parametrize("sequence", REFERENCE["sequences"][:6], ids=range(6))
def test_answers_are_the_reference_s(store, sequence):
    async def conversation(client):
        for call in sequence:
            if call["result"] is None:
                told = await refusal(client, call["tool"], **call["arguments"])
                assert "not found; create it with create_entities first" in told
            else:
                assert await ask(client, call["tool"], **call["arguments"]) == call["result"]

    talk(store, conversation, toolset="graph")


def test_the_graph_is_read_in_pages_and_recalled(store):
    async def conversation(client):
        facts = ("leaks", "won the regatta", "carries coal", "has a red sail", "sank in March")
        entities = [{"name": f"E{n}", "entityType": "boat", "observations": [each]} for n, each in enumerate(facts)]
        await ask(client, "create_entities", entities=entities)
        await ask(client, "create_relations", relations=[{"from": "E0", "to": "E9", "relationType": "follows"}])
        first = await ask(client, "read_graph", limit=4)
        second = await ask(client, "read_graph", limit=4, cursor=first["cursor"])
        assert first["entities"] + second["entities"] == entities
        assert second["relations"] == [{"from": "E0", "to": "E9", "relationType": "follows"}]
        assert "cursor" not in second
        assert "leave it out" in await refusal(client, "read_graph", cursor="x")
        found = await ask(client, "recall", query="which boat has a red sail?", k=1)
        assert found["memories"][0]["metadata"]["name"] == "E3"
        assert found["memories"][0]["namespace"] == "graph/entities"
        return found["memories"][0]["id"]

    id = talk(store, conversation, toolset="graph")
    assert store.get(id).namespace == "graph/entities"


def test_memory_tools_leave_the_graph_alone(store):
    async def conversation(client):
        entity = {"name": "Ana", "entityType": "person", "observations": []}
        await ask(client, "create_entities", entities=[entity])
        (found,) = (await ask(client, "recall", query="Ana"))["memories"]
        for tool, arguments in (("update", {"id": found["id"], "text": "x"}), ("forget", {"ids": [found["id"]]})):
            assert "belongs to the knowledge graph" in await refusal(client, tool, **arguments)
        assert (await ask(client, "open_nodes", names=["Ana"]))["entities"] == [entity]
        await ask(client, "feedback", query="Ana", accepted=[found["id"]])

    talk(store, conversation, toolset="graph")
    assert len(store.feedback_log()) == 1


BAD_GRAPH = [
    ("create_entities", {"entities": [{"name": "a"}]}, "entities.0.entityType: Field required"),
    ("create_entities", {}, "entities: Field required"),
    (
        "create_relations",
        {"relations": [{"from": "a", "to": 1, "relationType": "r"}]},
        "relations.0.to: Input should be",
    ),
    ("create_relations", {"relations": [{"source": "a", "target": "b"}]}, "relations.0.from: Field required"),
    ("add_observations", {"observations": [{"entityName": "a", "contents": "b"}]}, "observations.0.contents: Input"),
    ("delete_entities", {"names": ["a"]}, "names: Extra inputs are not permitted"),
    ("read_graph", {"limit": 0}, "limit: Input should be greater than or equal to 1"),
    ("search_nodes", {"query": 3}, "query: Input should be a valid string"),
]


@pytest.mark.parametrize(("tool", "arguments", "told"), BAD_GRAPH, ids=range(len(BAD_GRAPH)))
def test_bad_arguments_of_the_graph_are_refused(store, tool, arguments, told):
    async def conversation(client):
        return await refusal(client, tool, **arguments)

    assert told in talk(store, conversation, toolset="graph")
    assert store.seq == 0


def test_mechanisms_are_listed(store):
    async def conversation(client):
        every = (await ask(client, "attention_list"))["mechanisms"]
        sparse = (await ask(client, "attention_list", category="sparse"))["mechanisms"]
        return every, sparse

    every, sparse = talk(store, conversation, toolset="attention")
    assert [each["name"] for each in every] == registry.list()
    assert sparse == [each for each in every if each["category"] == "sparse"] != []
    assert next(each for each in every if each["name"] == "graph-attention")["needs"] == ["edges"]


def test_attention_is_computed(store):
    query, key, value = [[1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]

    async def conversation(client):
        return await ask(
            client, "attention_compute", query=query, key=key, value=value, mechanism="scaled-dot", return_weights=True
        )

    told = talk(store, conversation, toolset="attention")
    here = attend(query, key, value, mechanism="scaled-dot", return_weights=True)
    assert told["output"] == [pytest.approx(row, abs=1e-5) for row in here.output.tolist()]
    assert sum(told["weights"][0][0]) == pytest.approx(1, abs=1e-5)
    assert (told["mechanism"], told["reason"]) == ("scaled-dot", "asked for")


def test_mechanisms_are_timed_with_progress(store):
    async def conversation(client):
        seen = []

        async def progress(done, total, message):
            seen.append((done, total, message))

        arguments = {"mechanisms": ["scaled-dot", "linear-attention"], "size": 16, "dim": 8}
        result = await client.call_tool("attention_benchmark", arguments, progress_callback=progress)
        return result.structured_content, seen

    told, seen = talk(store, conversation, toolset="attention")
    assert [each["mechanism"] for each in told["timings"]] == ["scaled-dot", "linear-attention"]
    assert all(each["median_us"] > 0 for each in told["timings"])
    assert seen == [(0, 2, "scaled-dot"), (1, 2, "linear-attention")]


def test_a_mechanism_is_recommended(store):
    async def conversation(client):
        return await ask(client, "attention_recommend", sequence_length=10_000)

    told = talk(store, conversation, toolset="attention")
    assert told == {"mechanism": "linear-attention", "reason": "rule: seq_len > 8192 -> linear-attention"}


BAD_ATTENTION = [
    ("attention_list", {"category": "nonsense"}, "nonsense"),
    ("attention_compute", {"query": [[1, 2]], "key": [[1, 2, 3]]}, "expected rows of 2 numbers"),
    ("attention_compute", {"query": [[1, 2], [3]], "key": [[1, 2]]}, "query: expected rows of one length"),
    ("attention_compute", {"query": [], "key": [[1]]}, "query: List should have at least 1 item"),
    ("attention_compute", {"query": [[]], "key": [[]]}, "expected"),
    ("attention_compute", {"query": [[1]], "key": [[1]], "mechanism": "magic"}, "no mechanism 'magic'"),
    ("attention_compute", {"query": [[1]], "key": [[1]], "mechanism": "graph-attention"}, "edges"),
    ("attention_compute", {"query": [[1]] * 300, "key": [[1]] * 300, "return_weights": True}, "at most 65536"),
    ("attention_compute", {"query": [[1e300]], "key": [[1]]}, "infinity"),
    ("attention_benchmark", {"mechanisms": ["magic"]}, "no mechanism 'magic'"),
    ("attention_benchmark", {"size": 10**9}, "size: Input should be less than or equal to 4096"),
    ("attention_recommend", {"sequence_length": -1}, "sequence_length: Input should be greater than or equal to 0"),
    ("attention_recommend", {"sequence_length": 1, "task": "cooking"}, "expected one of"),
]


@pytest.mark.parametrize(("tool", "arguments", "told"), BAD_ATTENTION, ids=range(len(BAD_ATTENTION)))
def test_bad_arguments_of_attention_are_refused(store, tool, arguments, told):
    async def conversation(client):
        return await refusal(client, tool, **arguments)

    assert told in talk(store, conversation, toolset="attention")
