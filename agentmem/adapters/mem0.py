"""mem0 on a store, through mem0's "langchain" provider: ``Mem0VectorStore``.

::

    from agentmem.adapters.mem0 import Mem0VectorStore

    vector_store = Mem0VectorStore("memory.db", dimension=1536)
    config = {"vector_store": {"provider": "langchain", "config": {"client": vector_store}}, ...}
    memory = mem0.Memory.from_config(config)

Needs ``pip install "agentmem[mem0]"``.  mem0 sends usage to its makers unless the environment has
``MEM0_TELEMETRY=False`` before it is imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from agentmem.adapters.langchain import AgentMemVectorStore
from agentmem.adapters.paths import key_path
from agentmem.aio import AsyncMemoryStore
from agentmem.errors import EmbedderMismatch, InvalidFilter
from agentmem.store import MemoryStore
from agentmem.validation import shown

TEXT = "data"
"""The key of mem0's payloads under which the text of a memory stands."""
OPERATORS = ("eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "contains")


class Mem0VectorStore(AgentMemVectorStore):
    """The client that mem0's "langchain" provider is given: vectors of mem0's embedder, beside the memories' texts.

    Args:
        store: a path, or a store of given vectors that is open and stays the caller's to close.
        dimension: of the vectors of mem0's embedder; needed where the store is new.
        namespace: where mem0's memories are.
        options: of ``MemoryStore``, where a path is given.

    Besides what LangChain's vector stores have, the provider asks for ``add_embeddings`` (else it would have texts
    embedded a second time, by another model) and, to list memories, for a ``_collection`` with ``get``.  Scores are
    cosines, 0 where they are below 0.

    Raises:
        EmbedderMismatch: the store has an embedder of its own, or vectors of another dimension.
        InvalidInput: a new store without a dimension, or what ``MemoryStore`` refuses.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | MemoryStore | AsyncMemoryStore,
        dimension: int | None = None,
        *,
        namespace: str = "mem0",
        **options: Any,
    ) -> None:
        if not isinstance(store, (MemoryStore, AsyncMemoryStore)):
            options |= {"embedder": None, "dimension": dimension}
        super().__init__(store, namespace=namespace, **options)
        if self.store.embedder is not None:
            raise EmbedderMismatch(
                f"the store embeds with {self.store.embedder.name!r}, and mem0 with a model of its own, whose vectors "
                "cannot be compared; give a path, or MemoryStore(..., embedder=None, dimension=...)"
            )

    def add_embeddings(
        self,
        embeddings: Sequence[Sequence[float]],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        ids: Sequence[str] | None = None,
    ) -> list[str]:
        """Add memories, all or none, with mem0's vectors; one whose id exists takes that memory's place.

        Args:
            embeddings: float (n, dim).
            metadatas: n payloads of mem0; the text is the one under "data".
            ids: n ids; generated when None.

        Raises:
            InvalidVector: vectors of another dimension than the store's.
        """
        texts = [(metadatas[place] if metadatas else {}).get(TEXT) for place in range(len(embeddings))]
        return self._write(texts, embeddings, metadatas, ids, {})

    def __deepcopy__(self, memo: dict[int, Any]) -> Mem0VectorStore:
        """Return a client for another collection in the same store."""
        return Mem0VectorStore(self.async_store, namespace=f"{self.namespace}-entities")

    def _arguments(self, query: str | None, vector: Any, k: int, options: dict[str, Any]) -> dict[str, Any]:
        return super()._arguments(query, vector, k, options | {"filter": filter_of(options.get("filter"))})

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """Return what makes a relevance of a score: they are relevances already."""
        return float

    @property
    def _collection(self) -> _Listing:
        return _Listing(self)


class _Listing:
    """Lists memories, as mem0's provider expects of a collection."""

    def __init__(self, client: Mem0VectorStore) -> None:
        self._client = client

    def get(self, where: Mapping[str, Any] | None = None, limit: int | None = None) -> dict[str, list[Any]]:
        """Return ids and payloads of the memories that match, the oldest version first."""
        records = list(islice(self._client.store.iterate(filter_of(where), self._client.namespace), limit))
        return {"ids": [record.id for record in records], "metadatas": [record.metadata for record in records]}


def filter_of(filters: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return mem0's filters in the store's language.

    ``{"key": value}``, ``{"key": {"gt": 3}}``, ``{"key": "*"}`` (the key is there), and ``$or`` and ``$not`` with
    lists, which mem0 makes of OR and NOT: one of them, none of them.

    Raises:
        InvalidFilter: an operator that the store does not have; the message lists those it has.
    """
    if not filters:
        return None
    conditions = [_condition(key, wanted) for key, wanted in filters.items()]
    return conditions[0] if len(conditions) == 1 else {"$and": conditions}


def _condition(key: str, wanted: Any) -> dict[str, Any]:
    if key in ("$or", "$not"):
        one_of = {"$or": [filter_of(each) or {} for each in wanted]}
        return one_of if key == "$or" else {"$not": one_of}
    path = key_path(key)
    if wanted == "*":
        return {path: {"$exists": True}}
    if not isinstance(wanted, Mapping):
        return {path: {"$eq": wanted}}
    unknown = [name for name in wanted if name not in OPERATORS]
    if unknown:
        raise InvalidFilter(f"filter operator {shown(unknown[0])} does not exist; there are {', '.join(OPERATORS)}")
    return {path: {f"${name}": operand for name, operand in wanted.items()}}
