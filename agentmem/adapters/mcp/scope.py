"""The branch of namespaces that a server is confined to: inside it names are relative, what is outside is not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agentmem import InvalidInput, MemoryStore, NotFound, Record

GRAPH = "graph"
"""The branch, within the scope, that the knowledge graph has to itself."""

Filter = Mapping[str, Any]


class Scope:
    """A namespace and the branch below it, or everything.

    Args:
        root: the namespace; None for everything.

    Raises:
        InvalidInput: the root is empty.
    """

    def __init__(self, root: str | None) -> None:
        self.root = None if root is None else root.rstrip("/")
        if self.root == "":
            raise InvalidInput("the namespace to confine the server to is empty; leave it out to confine it to nothing")

    def absolute(self, name: str) -> str:
        """Return the store's name of a namespace."""
        if self.root is None:
            return name
        return f"{self.root}/{name}" if name else self.root

    def relative(self, namespace: str) -> str:
        """Return the name, inside the scope, of a namespace of the store."""
        return namespace if self.root is None else namespace[len(self.root) + 1 :]

    def holds(self, namespace: str) -> bool:
        """Say whether a namespace of the store is inside."""
        return self.root is None or namespace == self.root or namespace.startswith(f"{self.root}/")

    def place(self, name: str) -> str:
        """Return the store's name of the namespace in which a memory is to be kept.

        Raises:
            InvalidInput: it names a branch, or belongs to the knowledge graph.
        """
        if name.endswith("/"):
            raise InvalidInput(f"a memory is kept in one namespace, {name!r} is a branch; leave out the '/' at its end")
        self._refuse_graph(name)
        return self.absolute(name)

    def within(self, name: str | None, filter: Filter | None) -> tuple[str | None, Filter | None]:
        """Return the namespace and the filter by which the store searches a namespace, a branch, or all that is inside.

        Args:
            name: exact; with a trailing "/" the branch below; None for all that is inside.
            filter: of the caller.
        """
        if name is not None or self.root is None:
            return None if name is None else self.absolute(name), filter
        below = {"$gte": f"{self.root}/", "$lt": f"{self.root}0"}
        inside: Filter = {"$or": [{"@namespace": self.root}, {"@namespace": below}]}
        return None, inside if filter is None else {"$and": [inside, filter]}

    def known(self, store: MemoryStore, ids: Sequence[str]) -> dict[str, Record]:
        """Return those of the records with these ids that are there and inside, by id."""
        found = store.get_many(ids)
        return {record.id: record for record in found if record is not None and self.holds(record.namespace)}

    def require(self, store: MemoryStore, ids: Sequence[str]) -> None:
        """Make sure that records are there and inside.

        Raises:
            NotFound: some are not; the message names them all.
        """
        known = self.known(store, ids)
        missing = [id for id in dict.fromkeys(ids) if id not in known]
        if missing:
            raise NotFound(
                f"there is no memory with the id {', '.join(map(repr, missing))}; ids come from recall and remember, "
                "and a memory that was forgotten or has expired has none"
            )

    def changeable(self, store: MemoryStore, ids: Sequence[str]) -> dict[str, Record]:
        """Return ``known``, none of which is a part of the knowledge graph.

        Raises:
            InvalidInput: one is.
        """
        known = self.known(store, ids)
        for record in known.values():
            self._refuse_graph(self.relative(record.namespace))
        return known

    def _refuse_graph(self, name: str) -> None:
        if name == GRAPH or name.startswith(f"{GRAPH}/"):
            raise InvalidInput(
                f"{name!r} belongs to the knowledge graph, which only its own tools change (create_entities, "
                "add_observations, delete_entities and so on, of a server started with --toolset graph)"
            )
