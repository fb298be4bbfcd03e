"""Every tool, given anything that JSON can say: an answer by its schema or an error in one line, the store unharmed."""

import random

from mcp_kit import ATTENTION, GRAPH, MEMORY, Client, fits, run

import agentmem
from agentmem.adapters.mcp import memory_server

CALLS = 800
WORDS = [
    *(
        "",
        " ",
        "kept",
        "Ana",
        "users/1",
        "users/",
        "graph",
        "graph/entities",
        "../x",
        "\0",
        "a\0b",
        "שלום",
        "\U0001f600",
    ),
    *("'; DROP TABLE records; --", "%", "$in", "@id", "{}", "[1]", "null", "true", "1e999", "x" * 2_000),
    *("scaled-dot", "graph-attention", "memory-retrieval", "entity:1.0:x"),
]
NUMBERS = [0, 1, 2, -1, 0.5, 1e300, 2**31, 2**63, -(2**70), 10**400]
FILTERS = [{"a": {"$gt": 1}}, {"$or": []}, {"$not": {}}, {"@text": {"$match": '"'}}, {"$near": 1}, {"@created_at": "x"}]
KEYS = ["name", "entityType", "observations", "from", "to", "relationType", "entityName", "contents", "kind", "target"]


def anything(draw, depth=0):
    """Return a value of JSON."""
    kind = draw.randrange(9 if depth < 3 else 5)
    if kind < 3:
        return draw.choice(WORDS)
    if kind == 3:
        return draw.choice(NUMBERS)
    if kind == 4:
        return draw.choice([None, True, False])
    if kind in (5, 6):
        return [anything(draw, depth + 1) for _ in range(draw.randrange(3))]
    if kind == 7:
        return draw.choice(FILTERS)
    return {draw.choice(KEYS): anything(draw, depth + 1) for _ in range(draw.randrange(5))}


def fitting(draw, schema, definitions):
    """Return a value that a schema asks for, in the main."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rsplit("/", 1)[1]]
    if "anyOf" in schema:
        schema = draw.choice(schema["anyOf"])
    kind = schema.get("type")
    if draw.random() < 0.1:
        return anything(draw)
    if kind == "array":
        items = schema.get("items", {})
        return [fitting(draw, items, definitions) for _ in range(draw.randrange(1, 3))]
    if kind == "object" and "properties" in schema:
        return {name: fitting(draw, each, definitions) for name, each in schema["properties"].items()}
    if kind == "object":
        return draw.choice([*FILTERS, {"a": anything(draw, 2)}])
    if kind == "string":
        return draw.choice(WORDS)
    if kind == "integer":
        return draw.choice([0, 1, 2, 3])
    return draw.choice([0.5, 1, 2]) if kind == "number" else draw.choice([None, True, False])


def arguments(draw, tool):
    """Return arguments for a tool: most of what it takes, now and then something that it does not."""
    schema = tool.input_schema
    definitions = schema.get("$defs", {})
    needed = set(schema.get("required", ()))
    drawn = {
        name: fitting(draw, each, definitions)
        for name, each in schema["properties"].items()
        if draw.random() < (0.97 if name in needed else 0.4)
    }
    return drawn | ({"strange": anything(draw)} if draw.random() < 0.03 else {})


def test_anything_is_answered_or_refused_in_one_line(tmp_path):
    draw = random.Random(0)
    answered = {}

    async def conversation():
        with agentmem.MemoryStore(tmp_path / "memory.db", merge="manual") as store:
            store.add("Ana plays the violin", id="kept", namespace="outside")
            async with Client(memory_server(store, namespace="inside", toolset="all")) as client:
                tools = {tool.name: tool for tool in (await client.list_tools()).tools}
                assert list(tools) == MEMORY + GRAPH + ATTENTION
                for number in range(CALLS):
                    name = draw.choice([*MEMORY, *GRAPH, *ATTENTION])
                    result = await client.call_tool(name, arguments(draw, tools[name]))
                    if result.is_error:
                        told = result.content[0].text
                        assert told.startswith(f"{name}: "), told
                        assert "\n" not in told
                        assert "should not happen" not in told
                    else:
                        fits(result, tools[name])
                        answered[name] = number
            (kept,) = store.iterate(namespace="outside")
            assert (kept.text, kept.metadata) == ("Ana plays the violin", {})
            assert {name.split("/")[0] for name in store.namespaces()} == {"inside", "outside"}
            assert store.check().ok

    run(conversation)
    drawn_by_chance = {"feedback", "update", "attention_compute"}
    assert set(answered) >= {*MEMORY, *GRAPH, *ATTENTION} - drawn_by_chance, "a tool was refused every time"
