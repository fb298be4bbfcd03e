"""A knowledge graph in a store: entities with observations, and relations between them.

An entity is a record in ``<namespace>/entities``, a relation one in ``<namespace>/relations``; what they are stands in
their metadata, and in their text as sentences, so that any search finds them.  Relations may lead to entities that are
not there (yet), and may be there more than once, neither of which a record's links can; and links would have an entity
outrank the one that leads to it where that one is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from agentmem import InvalidInput, MemoryStore, NotFound, Record
from agentmem.validation import check_count

MAX_PAGE = 1_000


class Entity(NamedTuple):
    """A node: its name, its type, and what is known of it."""

    name: str
    entity_type: str
    observations: tuple[str, ...] = ()


class Relation(NamedTuple):
    """An edge: the names of the entities that it leads from and to, and its type, in the active voice."""

    source: str
    target: str
    relation_type: str


class Graph(NamedTuple):
    """Entities and relations, each in the order in which they were made; ``cursor`` leads to the next page, if any."""

    entities: list[Entity]
    relations: list[Relation]
    cursor: str | None = None


class Found(NamedTuple):
    """An entity or a relation as it is stored; sorted, they come in the order in which they were made."""

    position: float
    id: str
    value: Any


class KnowledgeGraph:
    """The operations of the reference MCP memory server, with its semantics, on a store.

    Each operation that changes something is one transaction: it happens whole or not at all.

    Args:
        store: where the graph is; one with an embedder, unless it is only read.
        namespace: the branch that the graph has to itself.
    """

    def __init__(self, store: MemoryStore, namespace: str = "graph") -> None:
        self._store = store
        self._entities = f"{namespace}/entities"
        self._relations = f"{namespace}/relations"

    def create_entities(self, entities: Sequence[Entity]) -> list[Entity]:
        """Add the entities whose names are not there yet, and return those; the others stay as they are.

        Names are compared with those in the store only: the same name twice in one call makes two entities.
        """
        with self._store.transaction():
            known = {found.value.name for found in self._named({entity.name for entity in entities})}
            new = [entity for entity in entities if entity.name not in known]
            self._add(self._entities, [(_sentences(entity), _entity_metadata(entity)) for entity in new])
        return new

    def create_relations(self, relations: Sequence[Relation]) -> list[Relation]:
        """Add the relations that are not there yet, and return those; their ends need not be there."""
        with self._store.transaction():
            sources = {relation.source for relation in relations}
            known = {found.value for found in self._from(sources)}
            new = [relation for relation in relations if relation not in known]
            self._add(self._relations, [(_sentence(relation), _relation_metadata(relation)) for relation in new])
        return new

    def add_observations(self, observations: Sequence[tuple[str, Sequence[str]]]) -> list[list[str]]:
        """Add to entities what is not known of them yet; return what was added, for each (name, contents) given.

        Of entities with one name the oldest is meant.

        Raises:
            NotFound: no entity of that name; then nothing at all was added.
        """
        added: list[list[str]] = []
        with self._store.transaction():
            oldest = self._oldest({name for name, _ in observations})
            changed: dict[str, Entity] = {}
            for name, contents in observations:
                if name not in oldest:
                    raise NotFound(f"Entity with name {name} not found; create it with create_entities first")
                entity = changed.get(name, oldest[name].value)
                new = [content for content in contents if content not in entity.observations]
                changed[name] = entity._replace(observations=(*entity.observations, *new))
                added.append(new)
            self._put(oldest, changed)
        return added

    def delete_entities(self, names: Collection[str]) -> None:
        """Delete every entity of these names, and the relations from and to them; unknown names are passed over."""
        with self._store.transaction():
            doomed = [*self._named(names), *self._touching(names)]
            self._store.delete(*(found.id for found in doomed))

    def delete_observations(self, deletions: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Take observations from entities, given as (name, observations); what is not there is passed over."""
        with self._store.transaction():
            oldest = self._oldest({name for name, _ in deletions})
            changed: dict[str, Entity] = {}
            for name, observations in deletions:
                if name in oldest:
                    entity = changed.get(name, oldest[name].value)
                    kept = tuple(each for each in entity.observations if each not in observations)
                    changed[name] = entity._replace(observations=kept)
            self._put(oldest, changed)

    def delete_relations(self, relations: Collection[Relation]) -> None:
        """Delete these relations, however often each is there; unknown ones are passed over."""
        with self._store.transaction():
            doomed = [found for found in self._from({each.source for each in relations}) if found.value in relations]
            self._store.delete(*(found.id for found in doomed))

    def read(self, limit: int = 100, cursor: str | None = None) -> Graph:
        """Return a page of the graph: all pages together are all entities, then all relations.

        Args:
            limit: how many of both together, from 1 to 1,000.
            cursor: of the page before; None for the first.

        Raises:
            InvalidInput: a limit out of range, or a cursor that no page gave.
        """
        limit = check_count(limit, "limit", low=1, high=MAX_PAGE)
        kind, position, id = _parsed(cursor)
        entities: list[Found] = []
        if kind == "entity":
            entities = _after(self._all(self._entities, _entity_of), position, id)
        if len(entities) > limit:
            return _page(entities[:limit], [], more=True)
        after = (position, id) if kind == "relation" else (-1.0, "")
        relations = _after(self._all(self._relations, _relation_of), *after)
        room = limit - len(entities)
        return _page(entities, relations[:room], more=len(relations) > room)

    def search(self, query: str) -> Graph:
        """Return the entities that have the query in name, type or an observation, and all relations from or to them.

        It is looked for letter by letter, in either case; for search by meaning there is the store's.
        """
        wanted = query.lower()
        found = self._all(self._entities, _entity_of)
        return self._with_relations([each for each in found if any(wanted in text.lower() for text in _texts(each))])

    def open(self, names: Collection[str]) -> Graph:
        """Return the entities of these names that are there, and all relations from or to them."""
        return self._with_relations(self._named(names))

    def _with_relations(self, entities: list[Found]) -> Graph:
        relations = self._touching({found.value.name for found in entities})
        return Graph([found.value for found in entities], [found.value for found in relations])

    def _named(self, names: Collection[str]) -> list[Found]:
        return self._all(self._entities, _entity_of, {"name": {"$in": list(names)}})

    def _oldest(self, names: Collection[str]) -> dict[str, Found]:
        return {found.value.name: found for found in reversed(self._named(names))}

    def _from(self, names: Collection[str]) -> list[Found]:
        return self._all(self._relations, _relation_of, {"from": {"$in": list(names)}})

    def _touching(self, names: Collection[str]) -> list[Found]:
        either = {"$or": [{"from": {"$in": list(names)}}, {"to": {"$in": list(names)}}]}
        return self._all(self._relations, _relation_of, either) if names else []

    def _all(
        self, namespace: str, value_of: Callable[[Record], Any], filter: Mapping[str, Any] | None = None
    ) -> list[Found]:
        records = self._store.iterate(filter, namespace=namespace)
        return sorted(Found(record.position or 0.0, record.id, value_of(record)) for record in records)

    def _add(self, namespace: str, rows: list[tuple[str, dict[str, Any]]]) -> None:
        """Add records behind all others; within a transaction nobody else counts on."""
        first = self._store.seq + 1
        if rows:
            self._store.add_many(
                [text for text, _ in rows],
                metadatas=[metadata for _, metadata in rows],
                positions=[float(first + number) for number in range(len(rows))],
                namespace=namespace,
            )

    def _put(self, oldest: Mapping[str, Found], changed: Mapping[str, Entity]) -> None:
        for name, entity in changed.items():
            if entity != oldest[name].value:
                self._store.update(oldest[name].id, text=_sentences(entity), metadata=_entity_metadata(entity))


def _sentences(entity: Entity) -> str:
    return "\n".join((f"{entity.name} ({entity.entity_type})", *entity.observations))


def _sentence(relation: Relation) -> str:
    return f"{relation.source} {relation.relation_type} {relation.target}."


def _texts(found: Found) -> Iterator[str]:
    entity: Entity = found.value
    yield from (entity.name, entity.entity_type, *entity.observations)


def _entity_metadata(entity: Entity) -> dict[str, Any]:
    return {"name": entity.name, "entityType": entity.entity_type, "observations": list(entity.observations)}


def _relation_metadata(relation: Relation) -> dict[str, Any]:
    return {"from": relation.source, "to": relation.target, "relationType": relation.relation_type}


def _entity_of(record: Record) -> Entity:
    given = record.metadata
    observations = given.get("observations")
    if not isinstance(observations, list):
        raise _strange(record)
    name, entity_type = _strings(record, given.get("name"), given.get("entityType"))
    return Entity(name, entity_type, _strings(record, *observations))


def _relation_of(record: Record) -> Relation:
    given = record.metadata
    return Relation(*_strings(record, given.get("from"), given.get("to"), given.get("relationType")))


def _strings(record: Record, *values: Any) -> tuple[str, ...]:
    if not all(isinstance(value, str) for value in values):
        raise _strange(record)
    return values


def _strange(record: Record) -> InvalidInput:
    return InvalidInput(
        f"record {record.id!r} in {record.namespace!r} is neither an entity nor a relation; "
        "a program must have put it among them: move it to another namespace, or delete it"
    )


def _after(found: list[Found], position: float, id: str) -> list[Found]:
    return [each for each in found if (each.position, each.id) > (position, id)]


def _page(entities: list[Found], relations: list[Found], *, more: bool) -> Graph:
    cursor = None
    if more:
        kind, last = ("relation", relations[-1]) if relations else ("entity", entities[-1])
        cursor = f"{kind}:{last.position}:{last.id}"
    return Graph([each.value for each in entities], [each.value for each in relations], cursor)


def _parsed(cursor: str | None) -> tuple[str, float, str]:
    """Return what a page ended with: "entity" or "relation", its position and its id."""
    if cursor is None:
        return "entity", -1.0, ""
    kind, _, rest = cursor.partition(":")
    position, colon, id = rest.partition(":")
    try:
        if kind in ("entity", "relation") and colon:
            return kind, float(position), id
    except ValueError:
        pass
    raise InvalidInput("the cursor is none that a page gave; leave it out to read from the beginning")
