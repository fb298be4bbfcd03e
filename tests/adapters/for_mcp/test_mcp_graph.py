"""The knowledge graph: what the reference server answers over random calls, and what is beyond it."""

import json
from pathlib import Path

import pytest

import agentmem
from agentmem.adapters.graph import Entity, Graph, KnowledgeGraph, Relation
from agentmem.errors import InvalidInput, NotFound, StoreReadOnly

REFERENCE = json.loads((Path(__file__).parents[2] / "fixtures" / "graph.json").read_text(encoding="utf-8"))


@pytest.fixture
def store():
    with agentmem.MemoryStore(":memory:") as store:
        yield store


@pytest.fixture
def graph(store):
    return KnowledgeGraph(store)


def entity_json(entity):
    return {"name": entity.name, "entityType": entity.entity_type, "observations": list(entity.observations)}


def relation_json(relation):
    return {"from": relation.source, "to": relation.target, "relationType": relation.relation_type}


def graph_json(graph):
    return {
        "entities": [entity_json(each) for each in graph.entities],
        "relations": [relation_json(each) for each in graph.relations],
    }


def entities(given):
    return [Entity(each["name"], each["entityType"], tuple(each["observations"])) for each in given]


def relations(given):
    return [Relation(each["from"], each["to"], each["relationType"]) for each in given]


def answer(graph, tool, given):
    """Return what the reference's tool of that name gives, from the graph here."""
    if tool == "create_entities":
        return {"entities": [entity_json(each) for each in graph.create_entities(entities(given["entities"]))]}
    if tool == "create_relations":
        return {"relations": [relation_json(each) for each in graph.create_relations(relations(given["relations"]))]}
    if tool == "add_observations":
        pairs = [(each["entityName"], each["contents"]) for each in given["observations"]]
        added = graph.add_observations(pairs)
        results = [{"entityName": name, "addedObservations": new} for (name, _), new in zip(pairs, added, strict=True)]
        return {"results": results}
    if tool == "delete_entities":
        return graph.delete_entities(given["entityNames"])
    if tool == "delete_observations":
        return graph.delete_observations([(each["entityName"], each["observations"]) for each in given["deletions"]])
    if tool == "delete_relations":
        return graph.delete_relations(relations(given["relations"]))
    if tool == "read_graph":
        return graph_json(graph.read(limit=1_000))
    return graph_json(graph.search(given["query"]) if tool == "search_nodes" else graph.open(given["names"]))


def test_the_fixture_has_every_tool_and_failures():
    calls = [call for sequence in REFERENCE["sequences"] for call in sequence]
    assert len({call["tool"] for call in calls}) == 9
    assert any(call["result"] is None for call in calls)


@pytest.mark.parametrize("sequence", REFERENCE["sequences"], ids=range(len(REFERENCE["sequences"])))
def test_it_answers_as_the_reference_does(graph, sequence):
    for call in sequence:
        if call["result"] is None:
            with pytest.raises(NotFound):
                answer(graph, call["tool"], call["arguments"])
        elif call["tool"].startswith("delete_"):
            assert answer(graph, call["tool"], call["arguments"]) is None
            assert call["result"]["success"] is True
        else:
            assert answer(graph, call["tool"], call["arguments"]) == call["result"]


def test_everything_is_found_by_a_search_of_the_store(store, graph):
    graph.create_entities([Entity("Ana", "person", ("plays the violin",)), Entity("Porto", "city")])
    graph.create_relations([Relation("Ana", "Porto", "lives in"), Relation("Ana", "Nobody", "knows")])
    graph.add_observations([("Porto", ["has a harbour"])])
    assert store.search("who plays the violin?", k=1)[0].text == "Ana (person)\nplays the violin"
    assert store.search("harbour", k=1)[0].text == "Porto (city)\nhas a harbour"
    assert {hit.text for hit in store.search("where does Ana live?", k=4)} >= {
        "Ana lives in Porto.",
        "Ana knows Nobody.",
    }


def test_an_unknown_entity_takes_the_whole_call_back(graph):
    graph.create_entities([Entity("Ana", "person")])
    with pytest.raises(NotFound, match="Entity with name Bo not found; create it"):
        graph.add_observations([("Ana", ["likes tea"]), ("Bo", ["likes tea"])])
    assert graph.open(["Ana"]).entities == [Entity("Ana", "person")]


def test_what_is_known_already_is_not_written_again(store, graph):
    graph.create_entities([Entity("Ana", "person", ("likes tea",))])
    graph.create_relations([Relation("Ana", "Bo", "knows")])
    before = store.seq
    assert graph.create_entities([Entity("Ana", "cat")]) == []
    assert graph.create_relations([Relation("Ana", "Bo", "knows")]) == []
    assert graph.add_observations([("Ana", ["likes tea"])]) == [[]]
    graph.delete_observations([("Ana", ["likes coffee"]), ("Nobody", ["likes tea"])])
    graph.delete_entities(["Nobody"])
    graph.delete_relations([Relation("Bo", "Ana", "knows")])
    assert store.seq == before


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8, 9])
def test_pages_together_are_the_graph(graph, limit):
    made = graph.create_entities([Entity(f"e{n}", "t") for n in range(5)])
    drawn = graph.create_relations([Relation(f"e{n}", "e0", "r") for n in range(3)])
    graph.add_observations([("e0", ["changed, and still the first"])])
    made[0] = made[0]._replace(observations=("changed, and still the first",))
    pages, cursor = [], None
    while not pages or cursor is not None:
        pages.append(graph.read(limit, cursor))
        cursor = pages[-1].cursor
    assert [each for page in pages for each in page.entities] == made
    assert [each for page in pages for each in page.relations] == drawn
    assert all(len(page.entities) + len(page.relations) == limit for page in pages[:-1])
    assert len(pages) == -(-8 // limit)


def test_what_is_deleted_between_pages_shifts_nothing(graph):
    graph.create_entities([Entity(f"e{n}", "t") for n in range(4)])
    first = graph.read(2)
    graph.delete_entities(["e1", "e2"])
    assert graph.read(2, first.cursor) == Graph([Entity("e3", "t")], [], None)


@pytest.mark.parametrize("cursor", ["", "entity", "entity:1", "entity:x:y", "other:1:2", "relation::"])
def test_a_cursor_that_no_page_gave_is_refused(graph, cursor):
    with pytest.raises(InvalidInput, match="leave it out"):
        graph.read(2, cursor)


@pytest.mark.parametrize("limit", [0, 1_001, True, 2.5])
def test_a_limit_out_of_range_is_refused(graph, limit):
    with pytest.raises(InvalidInput, match="limit must be an integer from 1 to 1000"):
        graph.read(limit)


@pytest.mark.parametrize("metadata", [{}, {"name": "a", "entityType": 3, "observations": []}, {"observations": [1]}])
def test_a_record_that_is_no_entity_is_named(store, graph, metadata):
    id = store.add("put there by a program", namespace="graph/entities", metadata=metadata)
    with pytest.raises(InvalidInput, match=id):
        graph.read()


def test_a_store_that_is_read_only_can_be_read(tmp_path):
    with agentmem.MemoryStore(tmp_path / "m.db") as store:
        KnowledgeGraph(store).create_entities([Entity("Ana", "person")])
    with agentmem.MemoryStore(tmp_path / "m.db", read_only=True) as store:
        graph = KnowledgeGraph(store)
        assert graph.open(["Ana"]).entities == graph.search("AN").entities == [Entity("Ana", "person")]
        with pytest.raises(StoreReadOnly):
            graph.delete_entities(["Ana"])


def test_two_graphs_in_one_store_are_two(store):
    one, other = KnowledgeGraph(store, "one/graph"), KnowledgeGraph(store, "other/graph")
    one.create_entities([Entity("Ana", "person")])
    assert other.create_entities([Entity("Ana", "cat")]) == [Entity("Ana", "cat")]
    one.delete_entities(["Ana"])
    assert other.read().entities == [Entity("Ana", "cat")]
