"""``AgentMemVectorStore``: a store as LangChain's vector store, for threads and for event loops."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from agentmem.adapters.langchain.documents import document_of
from agentmem.adapters.langchain.models import AgentMemEmbeddings, check_model, embedder_for
from agentmem.adapters.langchain.searching import Searching
from agentmem.aio import AsyncMemoryStore
from agentmem.embed import checked
from agentmem.errors import DuplicateId, InvalidInput
from agentmem.records import Float32, Record
from agentmem.store import MemoryStore

Filter = Mapping[str, Any]


class AgentMemVectorStore(Searching):
    """A store as LangChain's vector store.

    Args:
        store: a path, or a store that is open and stays the caller's to close.
        embedding: the model of documents and queries; the store's own embedder when None.
        namespace: documents are written there and found there only.  When None they are written to "" and everything
            in the store is found, unless a call has a namespace of its own.
        mechanism: what ranks a search by text; see ``MemoryStore.search``.  "auto" is hybrid, "dense" compares vectors
            alone.  A search by vector is dense.
        embedding_name: what the store is stamped with; ``model_name`` of the model when None.
        options: of ``MemoryStore``, where a path is given.

    **Scores** are higher-is-better everywhere:

    ==================================================  ==============================================================
    method                                              score
    ==================================================  ==============================================================
    ``similarity_search_with_score``                    the hit's score: comparable within one mechanism
    ``similarity_search_with_relevance_scores``         ``hit.relevance``, in [0, 1]; what ``score_threshold`` looks at
    ``similarity_search_by_vector_with_relevance_...``  cosine, 0 where it is below 0
    ==================================================  ==============================================================

    Every search takes ``filter`` (the store's filter language) and the other arguments of ``MemoryStore.search``;
    ``add_texts`` takes those of ``MemoryStore.add_many`` (threads, speakers, created_at, ttl ...).

    Raises:
        EmbedderMismatch: the store was made with another model.
        InvalidInput: a namespace that ends in "/", options with an open store, or what ``MemoryStore`` refuses.
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | MemoryStore | AsyncMemoryStore,
        embedding: Embeddings | None = None,
        *,
        namespace: str | None = None,
        mechanism: str = "auto",
        embedding_name: str | None = None,
        **options: Any,
    ) -> None:
        if namespace is not None and namespace.endswith("/"):
            raise InvalidInput(f"documents are written to one namespace, not to a branch of them: {namespace!r}")
        self.namespace = namespace
        self.mechanism = mechanism
        self._embedding = embedding
        self._owned = not isinstance(store, (MemoryStore, AsyncMemoryStore))
        if isinstance(store, (MemoryStore, AsyncMemoryStore)):
            if options:
                raise InvalidInput(f"a store that is open keeps its options; leave out {', '.join(options)}")
            self.async_store = store if isinstance(store, AsyncMemoryStore) else AsyncMemoryStore(store)
            if embedding is not None:
                check_model(self.store, embedding, embedding_name)
        else:
            if embedding is not None:
                options["embedder"] = embedder_for(embedding, embedding_name, options.get("dimension"))
            self.async_store = AsyncMemoryStore(MemoryStore(store, **options))

    @property
    def store(self) -> MemoryStore:
        """The store below."""
        return self.async_store.store

    @property
    def embeddings(self) -> Embeddings | None:
        """The model of documents and queries; None where the store takes given vectors only."""
        if self._embedding is not None:
            return self._embedding
        embedder = self.store.embedder
        return None if embedder is None else AgentMemEmbeddings(embedder)

    def close(self) -> None:
        """Close the store, where it was given as a path."""
        if self._owned:
            self.store.close()

    def __enter__(self) -> AgentMemVectorStore:
        """Return itself; leaving the block closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    # Writing

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts, all or none; one whose id exists takes that document's place.

        Args:
            texts: n texts.
            metadatas: n JSON objects.
            ids: n ids; one is generated where there is None.
            kwargs: other arguments of ``MemoryStore.add_many``.

        Returns:
            The n ids.

        Raises:
            InvalidInput: lengths that differ, or an argument that cannot be used.
            DuplicateId: an id that belongs to a record of another namespace.
            EmbeddingFailed: the model returned something else than n vectors of the store's dimension.
        """
        texts = list(texts)
        vectors = None if self._embedding is None else self._checked(self._embedding.embed_documents(texts), len(texts))
        return self._write(texts, vectors, metadatas, ids, kwargs)

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Add texts; see ``add_texts``."""
        texts = list(texts)
        vectors = None
        if self._embedding is not None:
            vectors = self._checked(await self._embedding.aembed_documents(texts), len(texts))
        return await self._awrite(texts, vectors, metadatas, ids, kwargs)

    def _checked(self, vectors: Any, count: int) -> Float32 | None:
        """Return a model's vectors as an array; None for no texts, of which there is nothing to compare."""
        identity = self.store.identity
        return checked(vectors, count, identity.dimension, identity.embedder) if count else None

    def _write(self, texts: Any, vectors: Any, metadatas: Any, ids: Any, options: dict[str, Any]) -> list[str]:
        columns = self._columns(vectors, metadatas, ids)
        contested = self._contested(ids)
        if not contested:
            return self.store.add_many(texts, **columns, **options)
        with self.store.transaction():
            self._refuse_foreign(self.store.get_many(contested))
            return self.store.add_many(texts, **columns, **options)

    async def _awrite(self, texts: Any, vectors: Any, metadatas: Any, ids: Any, options: dict[str, Any]) -> list[str]:
        columns = self._columns(vectors, metadatas, ids)
        contested = self._contested(ids)
        if not contested:
            return await self.async_store.add_many(texts, **columns, **options)
        async with self.async_store.transaction():
            self._refuse_foreign(await self.async_store.get_many(contested))
            return await self.async_store.add_many(texts, **columns, **options)

    def _columns(self, vectors: Any, metadatas: Any, ids: Any) -> dict[str, Any]:
        return {
            "embeddings": vectors,
            "metadatas": metadatas,
            "ids": ids,
            "on_conflict": "replace",
            **self._scope(),
        }

    def _contested(self, ids: Sequence[str | None] | None) -> list[str]:
        """Return the ids that a record of another namespace may have: ids are unique in the whole store."""
        return [] if self.namespace is None else [each for each in ids or () if each is not None]

    def _refuse_foreign(self, records: Iterable[Record | None]) -> None:
        foreign = [record for record in records if record is not None and not self._holds(record)]
        if foreign:
            raise DuplicateId(
                f"id {foreign[0].id!r} belongs to a record of namespace {foreign[0].namespace!r}; ids are unique in a "
                "store, whatever the namespace: put the namespace into the id"
            )

    def _holds(self, record: Record) -> bool:
        return self.namespace is None or record.namespace == self.namespace

    def delete(self, ids: Sequence[str] | None = None, **kwargs: Any) -> bool:
        """Delete documents by id, or all of them with None; unknown ids are passed over.

        Args:
            ids: of the documents.
            kwargs: none are known.

        Returns:
            True.
        """
        self.store.delete_where(_by_ids(ids, **kwargs), self.namespace)
        return True

    async def adelete(self, ids: Sequence[str] | None = None, **kwargs: Any) -> bool:
        """Delete documents; see ``delete``."""
        await self.async_store.delete_where(_by_ids(ids, **kwargs), self.namespace)
        return True

    # Reading

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the documents with these ids, in their order; those that do not exist are left out."""
        return self._documents(self.store.get_many(ids))

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return documents by id; see ``get_by_ids``."""
        return self._documents(await self.async_store.get_many(ids))

    def _documents(self, records: Iterable[Record | None]) -> list[Document]:
        return [document_of(record) for record in records if record is not None and self._holds(record)]

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        store: str | os.PathLike[str] | MemoryStore | AsyncMemoryStore = ":memory:",
        **kwargs: Any,
    ) -> AgentMemVectorStore:
        """Return a vector store with these texts in it, gone when closed unless a path is given as ``store``.

        Args:
            texts: n texts.
            embedding: as for the class, as are ``store`` and ``kwargs``.
            metadatas: n JSON objects.
            ids: n ids.
            store: a path, or an open store.
            kwargs: other arguments of the class.
        """
        made = cls(store, embedding, **kwargs)
        try:
            made.add_texts(texts, metadatas, ids=ids)
        except BaseException:
            made.close()
            raise
        return made

    @classmethod
    async def afrom_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        store: str | os.PathLike[str] | MemoryStore | AsyncMemoryStore = ":memory:",
        **kwargs: Any,
    ) -> AgentMemVectorStore:
        """Return a vector store with these texts in it; see ``from_texts``."""
        made = await asyncio.to_thread(cls, store, embedding, **kwargs)
        try:
            await made.aadd_texts(texts, metadatas, ids=ids)
        except BaseException:
            made.close()
            raise
        return made


def _by_ids(ids: Sequence[str] | None) -> Filter:
    return {"@id": {"$exists": True}} if ids is None else {"@id": {"$in": list(ids)}}
