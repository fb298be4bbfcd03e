"""``AgentMemVectorStore``: a store as LlamaIndex's vector store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)

from agentmem import AsyncMemoryStore, DuplicateId, Hit, InvalidInput, MemoryStore, NotFound, Record
from agentmem.adapters.llama_index.filters import translate
from agentmem.adapters.llama_index.nodes import columns, node_of
from agentmem.adapters.llama_index.queries import Plan, plan_of


class AgentMemVectorStore(BasePydanticVectorStore):
    """Nodes in a store: they persist by themselves, with their texts, and are searched by vector, words, or both.

    Args:
        path: of the database, made when absent; or an open ``MemoryStore``, which whoever opened it closes.
        embed_dim: the length of the embeddings that LlamaIndex will bring; needed to make a database, and to refuse
            one that was made for another length or has an embedding model of its own; None takes what is there.
        namespace: the part of the store that is used; ids are unique in the whole of it.

    Raises:
        InvalidInput: a new database without ``embed_dim``, an open store with one, or a namespace that ends in "/".
        EmbedderMismatch: the database was made for other vectors.
    """

    stores_text: bool = True
    is_embedding_query: bool = True
    path: str
    embed_dim: int | None = None
    namespace: str = ""

    _store: MemoryStore = PrivateAttr()
    _asynchronous: AsyncMemoryStore = PrivateAttr()
    _lent: bool = PrivateAttr()

    def __init__(
        self,
        path: MemoryStore | str | os.PathLike[str] = "memory.db",
        *,
        embed_dim: int | None = None,
        namespace: str = "",
        **fields: Any,
    ) -> None:
        """Open the database; ``fields`` are those of LlamaIndex's base class."""
        if namespace.endswith("/"):
            raise InvalidInput(f"namespace {namespace!r} ends in '/', which stands for a whole branch; leave that out")
        lent = isinstance(path, MemoryStore)
        if lent and embed_dim is not None:
            raise InvalidInput("a store that is open has its dimension; leave out embed_dim")
        where = path.path if isinstance(path, MemoryStore) else os.fspath(path)
        super().__init__(**{**fields, "path": where, "embed_dim": embed_dim, "namespace": namespace})
        self._lent = lent
        if isinstance(path, MemoryStore):
            self._store = path
        elif embed_dim is None:
            self._store = MemoryStore(path, embedder="stored")
        else:
            self._store = MemoryStore(path, embedder=None, dimension=embed_dim)
        self._asynchronous = AsyncMemoryStore(self._store)

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the class."""
        return "AgentMemVectorStore"

    @property
    def client(self) -> MemoryStore:
        """Return the store."""
        return self._store

    def close(self) -> None:
        """Close the store, unless it was lent."""
        if not self._lent:
            self._store.close()

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Write nodes, in one transaction, and return their ids; one whose id is there takes the place of the other.

        Raises:
            ValueError: a node without an embedding, of another dimension, or with metadata that is not JSON.
            DuplicateId: the id stands in another namespace of the store.
        """
        if not nodes:
            return []
        fields = columns(nodes)
        with self._store.transaction():
            self._refuse_strangers(self._store.get_many(fields["ids"]))
            return self._store.add_many(**fields, namespace=self.namespace, on_conflict="replace")

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Write nodes; see ``add``."""
        if not nodes:
            return []
        fields = columns(nodes)
        async with self._asynchronous.transaction():
            self._refuse_strangers(await self._asynchronous.get_many(fields["ids"]))
            return await self._asynchronous.add_many(**fields, namespace=self.namespace, on_conflict="replace")

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes of a document."""
        self._store.delete_where({"@thread": ref_doc_id}, self.namespace)

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes of a document."""
        await self._asynchronous.delete_where({"@thread": ref_doc_id}, self.namespace)

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Delete the nodes that have one of the ids and match the filters.

        Raises:
            ValueError: neither is given, which would delete everything: that is what ``clear`` is for.
        """
        self._store.delete_where(_doomed(node_ids, filters), self.namespace)

    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Delete the nodes that have one of the ids and match the filters; see ``delete_nodes``."""
        await self._asynchronous.delete_where(_doomed(node_ids, filters), self.namespace)

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Return the nodes that have one of the ids and match the filters, oldest first, without embeddings."""
        return [node_of(record) for record in self._store.iterate(_wanted(node_ids, filters), self.namespace)]

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """Return the nodes that have one of the ids and match the filters; see ``get_nodes``."""
        found = self._asynchronous.iterate(_wanted(node_ids, filters), self.namespace)
        return [node_of(record) async for record in found]

    def clear(self) -> None:
        """Delete every node of the namespace."""
        self._store.delete_where(namespace=self.namespace)

    async def aclear(self) -> None:
        """Delete every node of the namespace."""
        await self._asynchronous.delete_where(namespace=self.namespace)

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Return the nodes that answer a query, best first, without embeddings.

        DEFAULT ranks by the vectors' similarity. TEXT_SEARCH ranks by words (BM25). HYBRID ranks as the store does by
        itself (``memory-heads``), or, where ``alpha`` is given, by that share of the vectors' and the rest of the
        words' scores, each scaled to [0, 1], among ten times as many of the best by equal shares as are wanted; it
        returns ``hybrid_top_k`` nodes where that is given. MMR chooses from the nearest ones those that are
        unlike each other; ``mmr_threshold`` is from 0 (diverse) to 1 (similar), 0.5 by default.

        Args:
            query: its ``similarities`` are higher for better nodes, and comparable within one mode only.
            kwargs: ``mmr_threshold``, which goes before the query's, and ``mmr_prefetch_k``: from how many of the
                nearest MMR chooses, by default four times as many as it returns.

        Raises:
            ValueError: another mode, or a query that lacks what the mode needs.
        """
        plan = plan_of(query, kwargs)
        hits = self._store.search(namespace=self.namespace, **plan.arguments)
        vectors = []
        for hit in hits if plan.by_vectors else ():
            with suppress(NotFound):
                vectors.append((hit, self._store.vector(hit.id)))
        return _result(plan, hits, vectors)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Return the nodes that answer a query; see ``query``."""
        plan = plan_of(query, kwargs)
        hits = await self._asynchronous.search(namespace=self.namespace, **plan.arguments)
        vectors = []
        for hit in hits if plan.by_vectors else ():
            with suppress(NotFound):
                vectors.append((hit, await self._asynchronous.vector(hit.id)))
        return _result(plan, hits, vectors)

    def _refuse_strangers(self, records: Sequence[Record | None]) -> None:
        for record in records:
            if record is not None and record.namespace != self.namespace:
                raise DuplicateId(
                    f"the id {record.id!r} stands in the namespace {record.namespace!r} of this store, where it would "
                    f"be replaced; use other ids in {self.namespace!r}, or another file"
                )


def _wanted(node_ids: list[str] | None, filters: MetadataFilters | None) -> dict[str, Any]:
    wanted = translate(filters)
    return wanted if node_ids is None else {"$and": [wanted, {"@id": {"$in": node_ids}}]}


def _doomed(node_ids: list[str] | None, filters: MetadataFilters | None) -> dict[str, Any]:
    if node_ids is None and (filters is None or not filters.filters):
        raise ValueError("delete_nodes needs node_ids or filters, it would delete everything; use clear() for that")
    return _wanted(node_ids, filters)


def _result(plan: Plan, hits: Sequence[Hit], vectors: Sequence[tuple[Hit, Any]]) -> VectorStoreQueryResult:
    scored = plan.diverse(vectors) if plan.by_vectors else plan.ranked(hits)
    return VectorStoreQueryResult(
        nodes=[node_of(hit.record) for hit, _ in scored],
        similarities=[score for _, score in scored],
        ids=[hit.id for hit, _ in scored],
    )
