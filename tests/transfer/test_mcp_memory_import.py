"""The file of the reference MCP memory server comes over as the graph that the graph tools read."""

import json

import pytest

from agentmem import MemoryStore

LINES = [
    {"type": "entity", "name": "Ada", "entityType": "person", "observations": ["likes tea", "rows on Sundays"]},
    {"type": "entity", "name": "Ines", "entityType": "person", "observations": []},
    {"type": "relation", "from": "Ada", "to": "Ines", "relationType": "is the sister of"},
    {"type": "relation", "from": "Ada", "to": "nobody yet", "relationType": "knows"},
    {"type": "relation", "from": "Ada", "to": "nobody yet", "relationType": "knows"},
]


def write(path, lines):
    """Write lines of JSON."""
    path.write_text("\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines), encoding="utf-8")


def test_a_graph_comes_over(agentmem, tmp_path):
    write(tmp_path / "memory.json", LINES)
    assert agentmem("import", "memory.json", "--from", "mcp-memory", "--json").json["written"] == 5
    assert agentmem("import", "memory.json", "--from", "mcp-memory", "--json").json["written"] == 0
    with MemoryStore(tmp_path / "memory.db") as store:
        assert store.namespaces() == {"graph/entities": 2, "graph/relations": 3}
        (ada,) = store.iterate({"name": "Ada"})
        assert ada.text == "Ada (person)\nlikes tea\nrows on Sundays"
        assert ada.metadata == {"name": "Ada", "entityType": "person", "observations": ["likes tea", "rows on Sundays"]}
        (sister,) = store.iterate({"to": "Ines"})
        assert sister.text == "Ada is the sister of Ines."
        assert sister.metadata == {"from": "Ada", "to": "Ines", "relationType": "is the sister of"}
        assert store.search("who likes tea?", k=1)[0].id == ada.id
    assert agentmem("import", "memory.json", "--from", "mcp-memory", "-n", "team", "--json").json["written"] == 5


def test_the_graph_tools_read_it(agentmem, tmp_path):
    graph = pytest.importorskip("agentmem.adapters.graph", reason="the graph tools are not part of this version")
    write(tmp_path / "memory.json", LINES)
    assert agentmem("import", "memory.json", "--from", "mcp-memory").code == 0
    with MemoryStore(tmp_path / "memory.db") as store:
        found = graph.KnowledgeGraph(store).read()
    assert [(each.name, each.entity_type, list(each.observations)) for each in found.entities] == [
        (line["name"], line["entityType"], line["observations"]) for line in LINES[:2]
    ]
    assert [tuple(each) for each in found.relations] == [
        (line["from"], line["to"], line["relationType"]) for line in LINES[2:]
    ]


def test_what_is_neither_is_listed(agentmem, tmp_path):
    bad = ["{", [1], {"type": "entity", "name": "x"}, {"type": "relation", "from": 1, "to": "b", "relationType": "c"},
           {"type": "entity", "name": "x", "entityType": "t", "observations": [7]}, {"type": "other"}]  # fmt: skip
    write(tmp_path / "memory.json", [LINES[0], *bad])
    done = agentmem("import", "memory.json", "--from", "mcp-memory", "--json").json
    assert (done["written"], done["skipped"]) == (1, len(bad))
    assert [skip["where"] for skip in done["skips"]] == [f"memory.json, line {n}" for n in range(2, 8)]
    assert "not JSON" in done["skips"][0]["reason"]


def test_another_file_is_refused(agentmem, tmp_path):
    write(tmp_path / "memory.json", ['{"text": "a"}'])
    done = agentmem("import", "memory.json", "--from", "mcp-memory")
    assert done.code == 1
    assert "MCP memory server" in done.err
