"""The nine tools of the reference MCP memory server, by its names and shapes, on a knowledge graph in a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, Field

from agentmem import MemoryStore
from agentmem.adapters import graph
from agentmem.adapters.graph import MAX_PAGE, KnowledgeGraph
from agentmem.adapters.mcp.scope import GRAPH, Scope
from agentmem.adapters.mcp.tool import ADDS, CHANGES, READS, Answer, Tool


class Entity(BaseModel):
    """A node of the graph."""

    name: str = Field(description="By which it is known; it tells it from all others.")
    entityType: str = Field(description='What it is, e.g. "person".')
    observations: list[str] = Field(description="What is known of it, one fact each.")


class Relation(BaseModel):
    """An edge of the graph, in the active voice."""

    source: str = Field(alias="from", description="Name of the entity that it starts from.")
    target: str = Field(alias="to", description="Name of the entity that it leads to.")
    relation_type: str = Field(alias="relationType", description='Such as "works_at".')


class Observations(BaseModel):
    """Facts to add to an entity."""

    entityName: str = Field(description="Name of an entity that exists.")
    contents: list[str] = Field(description="Facts, one each.")


class Deletion(BaseModel):
    """Facts to take from an entity."""

    entityName: str = Field(description="Name of the entity.")
    observations: list[str] = Field(description="Facts, word for word.")


class Entities(Answer):
    """The entities that are new."""

    entities: list[Entity]


class Relations(Answer):
    """The relations that are new."""

    relations: list[Relation]


class Added(Answer):
    """The facts that are new to one entity."""

    entityName: str
    addedObservations: list[str]


class Results(Answer):
    """What was added, entity by entity."""

    results: list[Added]


class Done(Answer):
    """It is done."""

    success: bool
    message: str


class Graph(Answer):
    """Entities and relations."""

    entities: list[Entity]
    relations: list[Relation]


class Page(Graph):
    """A part of the graph."""

    cursor: str | None = Field(default=None, description="There is more: give this for the next page.")


Names = Annotated[list[str], Field(description="Names of entities.")]


class GraphTools:
    """The tools over one graph."""

    def __init__(self, knowledge: KnowledgeGraph) -> None:
        self._graph = knowledge

    def tools(self) -> list[Tool]:
        """Return the nine."""
        return [
            Tool.of(self.create_entities, ADDS),
            Tool.of(self.create_relations, ADDS),
            Tool.of(self.add_observations, ADDS),
            Tool.of(self.delete_entities, CHANGES),
            Tool.of(self.delete_observations, CHANGES),
            Tool.of(self.delete_relations, CHANGES),
            Tool.of(self.read_graph, READS),
            Tool.of(self.search_nodes, READS),
            Tool.of(self.open_nodes, READS),
        ]

    def create_entities(self, entities: list[Entity]) -> Entities:
        """Add entities to the knowledge graph; those whose name exists stay as they are. Gives the new ones."""
        made = self._graph.create_entities(
            [graph.Entity(each.name, each.entityType, tuple(each.observations)) for each in entities]
        )
        return Entities(entities=_entities(made))

    def create_relations(self, relations: list[Relation]) -> Relations:
        """Add relations between entities, in the active voice; those that exist are passed over. Gives the new ones."""
        return Relations(relations=_relations(self._graph.create_relations(_given(relations))))

    def add_observations(self, observations: list[Observations]) -> Results:
        """Add facts to entities that exist; an unknown name refuses the whole call. Gives the facts that are new."""
        added = self._graph.add_observations([(each.entityName, each.contents) for each in observations])
        return Results(
            results=[
                Added(entityName=each.entityName, addedObservations=new)
                for each, new in zip(observations, added, strict=True)
            ]
        )

    def delete_entities(self, entityNames: Names) -> Done:
        """Delete entities and every relation from or to them, for good; unknown names are passed over."""
        self._graph.delete_entities(entityNames)
        return Done(success=True, message="Entities deleted successfully")

    def delete_observations(self, deletions: list[Deletion]) -> Done:
        """Delete facts of entities, for good; what is not there is passed over."""
        self._graph.delete_observations([(each.entityName, each.observations) for each in deletions])
        return Done(success=True, message="Observations deleted successfully")

    def delete_relations(self, relations: list[Relation]) -> Done:
        """Delete relations, for good; unknown ones are passed over."""
        self._graph.delete_relations(_given(relations))
        return Done(success=True, message="Relations deleted successfully")

    def read_graph(
        self,
        limit: Annotated[int, Field(ge=1, le=MAX_PAGE, description="Entities and relations at most.")] = 500,
        cursor: Annotated[str | None, Field(description="Of the page before; leave it out for the first.")] = None,
    ) -> Page:
        """Read the knowledge graph page by page: entities first, then relations."""
        page = self._graph.read(limit, cursor)
        return Page(entities=_entities(page.entities), relations=_relations(page.relations), cursor=page.cursor)

    def search_nodes(
        self, query: Annotated[str, Field(description="Letters to look for in names, types and facts, in either case.")]
    ) -> Graph:
        """Find entities with these letters somewhere, and all relations from or to them. Recall finds by meaning."""
        return _graph(self._graph.search(query))

    def open_nodes(self, names: Names) -> Graph:
        """Get entities by name, with all relations from or to them; unknown names are passed over."""
        return _graph(self._graph.open(names))


def _given(relations: list[Relation]) -> list[graph.Relation]:
    return [graph.Relation(each.source, each.target, each.relation_type) for each in relations]


def _entities(entities: Sequence[graph.Entity]) -> list[Entity]:
    return [Entity(name=name, entityType=type_, observations=list(facts)) for name, type_, facts in entities]


def _relations(relations: Sequence[graph.Relation]) -> list[Relation]:
    return [Relation(**{"from": source, "to": target, "relationType": kind}) for source, target, kind in relations]


def _graph(found: graph.Graph) -> Graph:
    return Graph(entities=_entities(found.entities), relations=_relations(found.relations))


def graph_tools(store: MemoryStore, scope: Scope) -> Sequence[Tool]:
    """Return the nine tools over a store's graph, inside a scope."""
    return GraphTools(KnowledgeGraph(store, scope.absolute(GRAPH))).tools()
