"""``AgentMemDocumentStore``: a store as Haystack's document store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Literal

from haystack import default_from_dict, default_to_dict
from haystack.dataclasses import Document
from haystack.document_stores.types import DuplicatePolicy
from haystack.errors import FilterError

from agentmem.adapters.haystack.documents import columns, document_of, updated
from agentmem.adapters.haystack.fields import FieldVerbs
from agentmem.adapters.haystack.filters import translate
from agentmem.adapters.haystack.opening import in_haystacks_terms
from agentmem.adapters.haystack.retrieval import RetrievalVerbs

ON_CONFLICT: dict[DuplicatePolicy, Literal["error", "replace", "skip"]] = {
    DuplicatePolicy.NONE: "error",
    DuplicatePolicy.FAIL: "error",
    DuplicatePolicy.SKIP: "skip",
    DuplicatePolicy.OVERWRITE: "replace",
}


class AgentMemDocumentStore(RetrievalVerbs, FieldVerbs):
    """Documents in a store: one file, which persists by itself; opened when it is first needed.

    Either Haystack's embedders bring the vectors (``embedding_dimension``), or the store makes them of the documents'
    contents and of queries (``embedder``), and a pipeline needs none.

    Args:
        path: of the database, made when absent; ":memory:" for one that is gone when closed.
        embedding_dimension: the length of the embeddings that Haystack will bring; documents without one are found by
            their words.  None: the store embeds documents that come without an embedding itself.
        embedder: what it does that with: "static" (bundled, no download), or "sentence-transformers:" and a name.
        metric: "cosine", "ip" or "l2".
        namespace: the part of the store that is used; ids are unique in the whole of it.
        return_embedding: documents that are read by filter have their embeddings.

    Raises:
        ValueError: a namespace that ends in "/".
    """

    def __init__(
        self,
        path: str | os.PathLike[str] = "memory.db",
        *,
        embedding_dimension: int | None = None,
        embedder: str = "static",
        metric: str = "cosine",
        namespace: str = "",
        return_embedding: bool = True,
    ) -> None:
        super().__init__(
            path,
            embedding_dimension=embedding_dimension,
            embedder=embedder,
            metric=metric,
            namespace=namespace,
            return_embedding=return_embedding,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments that the store was made with, as Haystack serialises them; not its documents."""
        return default_to_dict(
            self,
            path=self.path,
            embedding_dimension=self.embedding_dimension,
            embedder=self.embedder,
            metric=self.metric,
            namespace=self.namespace,
            return_embedding=self.return_embedding,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> AgentMemDocumentStore:
        """Return a store with the arguments that ``to_dict`` returned."""
        return default_from_dict(cls, data)

    def count_documents(self) -> int:
        """Return the number of documents."""
        with in_haystacks_terms():
            return self.store.count(namespace=self.namespace)

    async def count_documents_async(self) -> int:
        """Return the number of documents."""
        with in_haystacks_terms():
            return await (await self.asynchronous()).count(namespace=self.namespace)

    def filter_documents(self, filters: dict[str, Any] | None = None) -> list[Document]:
        """Return the documents that match, in the order in which they were written.

        Args:
            filters: Haystack's, see ``agentmem.adapters.haystack.filters``; None and {} match everything.

        Raises:
            FilterError: the filters cannot be understood.
        """
        with in_haystacks_terms():
            records = self.store.iterate(translate(filters), self.namespace)
            if self.return_embedding:
                return [document_of(record, self._vector(record)) for record in records]
            return [document_of(record) for record in records]

    async def filter_documents_async(self, filters: dict[str, Any] | None = None) -> list[Document]:
        """Return the documents that match; see ``filter_documents``."""
        with in_haystacks_terms():
            store = await self.asynchronous()
            records = store.iterate(translate(filters), self.namespace)
            if self.return_embedding:
                return [document_of(record, await self._vector_async(store, record)) async for record in records]
            return [document_of(record) async for record in records]

    def write_documents(self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE) -> int:
        """Write documents in one transaction, all or none; return how many were written.

        Args:
            documents: with ids of their own.
            policy: for ids that are there, or come twice: FAIL, which NONE stands for, SKIP keeps the first, OVERWRITE
                the last.

        Raises:
            ValueError: no list of documents.
            DuplicateDocumentError: an id is there already, under FAIL, or in another namespace.
            DocumentStoreError: an embedding of another dimension, or of length 0; metadata that are not JSON.
        """
        with in_haystacks_terms():
            runs = list(_runs(_checked(documents)))
            with self.store.transaction():
                before = self.store.seq
                for run in runs:
                    self._refuse_strangers(self.store.get_many(run["ids"]))
                    self.store.add_many(**run, namespace=self.namespace, on_conflict=ON_CONFLICT[policy])
                written = self.store.seq - before
        return len(documents) if policy == DuplicatePolicy.OVERWRITE else written

    async def write_documents_async(
        self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE
    ) -> int:
        """Write documents; see ``write_documents``."""
        with in_haystacks_terms():
            runs = list(_runs(_checked(documents)))
            store = await self.asynchronous()
            async with store.transaction():
                before = await store.seq()
                for run in runs:
                    self._refuse_strangers(await store.get_many(run["ids"]))
                    await store.add_many(**run, namespace=self.namespace, on_conflict=ON_CONFLICT[policy])
                written = await store.seq() - before
        return len(documents) if policy == DuplicatePolicy.OVERWRITE else written

    def delete_documents(self, document_ids: list[str]) -> None:
        """Delete documents by id; unknown ids are passed over."""
        with in_haystacks_terms():
            self.store.delete_where({"@id": {"$in": document_ids}}, self.namespace)

    async def delete_documents_async(self, document_ids: list[str]) -> None:
        """Delete documents by id; unknown ids are passed over."""
        with in_haystacks_terms():
            await (await self.asynchronous()).delete_where({"@id": {"$in": document_ids}}, self.namespace)

    def delete_all_documents(self) -> None:
        """Delete every document of the namespace."""
        with in_haystacks_terms():
            self.store.delete_where(namespace=self.namespace)

    async def delete_all_documents_async(self) -> None:
        """Delete every document of the namespace."""
        with in_haystacks_terms():
            await (await self.asynchronous()).delete_where(namespace=self.namespace)

    def delete_by_filter(self, filters: dict[str, Any]) -> int:
        """Delete the documents that match; return how many.

        Raises:
            FilterError: the filters cannot be understood, or there are none, which would delete everything.
        """
        with in_haystacks_terms():
            return self.store.delete_where(_some(filters), self.namespace)

    async def delete_by_filter_async(self, filters: dict[str, Any]) -> int:
        """Delete the documents that match; see ``delete_by_filter``."""
        with in_haystacks_terms():
            return await (await self.asynchronous()).delete_where(_some(filters), self.namespace)

    def update_by_filter(self, filters: dict[str, Any], meta: dict[str, Any]) -> int:
        """Set some metadata of all documents that match, in one transaction; return how many.

        The thread and position that the heads read stay those with which a document was written.

        Raises:
            FilterError: the filters cannot be understood, or there are none.
            DocumentStoreError: the metadata are not JSON.
        """
        with in_haystacks_terms(), self.store.transaction():
            records = list(self.store.iterate(_some(filters), self.namespace))
            for record in records:
                self.store.update(record.id, metadata=updated(record, meta))
        return len(records)

    async def update_by_filter_async(self, filters: dict[str, Any], meta: dict[str, Any]) -> int:
        """Set some metadata of all documents that match; see ``update_by_filter``."""
        with in_haystacks_terms():
            store = await self.asynchronous()
            async with store.transaction():
                records = [record async for record in store.iterate(_some(filters), self.namespace)]
                for record in records:
                    await store.update(record.id, metadata=updated(record, meta))
        return len(records)


def _checked(documents: Any) -> list[Document]:
    if not isinstance(documents, Iterable) or isinstance(documents, str):
        raise ValueError(f"write_documents needs a list of Documents, got {type(documents).__name__}")
    for each in documents:
        if not isinstance(each, Document):
            raise ValueError(f"write_documents needs a list of Documents, got {type(each).__name__} in it")
    return list(documents)


def _runs(documents: Sequence[Document]) -> Iterator[dict[str, Any]]:
    """Yield what ``add_many`` takes of documents that follow one another, all with an embedding or all without."""
    for _, run in groupby(documents, lambda each: each.embedding is None):
        yield columns(list(run))


def _some(filters: dict[str, Any] | None) -> dict[str, Any]:
    if not filters:
        raise FilterError("no filters are given, which would mean every document; use delete_all_documents for that")
    return translate(filters)
