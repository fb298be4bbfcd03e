"""What the retrievers ask of the document store: by vector, by words, or both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from haystack.dataclasses import Document

from agentmem import Hit
from agentmem.adapters.haystack.documents import document_of
from agentmem.adapters.haystack.filters import translate
from agentmem.adapters.haystack.opening import OpenedStore, first_k, in_haystacks_terms


class RetrievalVerbs(OpenedStore):
    """embedding_retrieval, keyword_retrieval, hybrid_retrieval; each with an asynchronous twin.

    With ``scale_score`` a document's score is the hit's relevance, in [0, 1] and in the same order.
    """

    def embedding_retrieval(
        self,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        scale_score: bool = False,
        return_embedding: bool = False,
    ) -> list[Document]:
        """Return the documents whose vectors are nearest; their scores are the similarity of the store's metric.

        Raises:
            FilterError: the filters cannot be understood.
            DocumentStoreError: the query's embedding has another dimension.
        """
        return self._retrieve(
            filters, top_k, scale_score, return_embedding, embedding=query_embedding, mechanism="dense"
        )

    async def embedding_retrieval_async(
        self,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        scale_score: bool = False,
        return_embedding: bool = False,
    ) -> list[Document]:
        """Return the documents whose vectors are nearest; see ``embedding_retrieval``."""
        return await self._retrieve_async(
            filters, top_k, scale_score, return_embedding, embedding=query_embedding, mechanism="dense"
        )

    def keyword_retrieval(
        self,
        query: str,
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        scale_score: bool = False,
        return_embedding: bool = False,
    ) -> list[Document]:
        """Return the documents that share words with the query, stemmed; their scores are BM25's.

        Raises:
            FilterError: the filters cannot be understood.
            DocumentStoreError: the query is empty.
        """
        return self._retrieve(filters, top_k, scale_score, return_embedding, text=query, mechanism="lexical")

    async def keyword_retrieval_async(
        self,
        query: str,
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        scale_score: bool = False,
        return_embedding: bool = False,
    ) -> list[Document]:
        """Return the documents that share words with the query; see ``keyword_retrieval``."""
        return await self._retrieve_async(
            filters, top_k, scale_score, return_embedding, text=query, mechanism="lexical"
        )

    def hybrid_retrieval(
        self,
        query: str,
        query_embedding: list[float] | None = None,
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        scale_score: bool = False,
        return_embedding: bool = False,
    ) -> list[Document]:
        """Return the documents that the store's own ranking puts first: candidates by vector and words, reranked.

        Args:
            query: its words.
            query_embedding: its vector; without one, a store that embeds makes it, and another goes by the words.
            filters: Haystack's.
            top_k: how many at most.
            scale_score: scores are the hits' relevance.
            return_embedding: the documents have their embeddings.

        Raises:
            FilterError: the filters cannot be understood.
            DocumentStoreError: the query is empty, or its embedding has another dimension.
        """
        return self._retrieve(filters, top_k, scale_score, return_embedding, text=query, embedding=query_embedding)

    async def hybrid_retrieval_async(
        self,
        query: str,
        query_embedding: list[float] | None = None,
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        scale_score: bool = False,
        return_embedding: bool = False,
    ) -> list[Document]:
        """Return the documents that the store's own ranking puts first; see ``hybrid_retrieval``."""
        return await self._retrieve_async(
            filters, top_k, scale_score, return_embedding, text=query, embedding=query_embedding
        )

    def _retrieve(
        self, filters: dict[str, Any] | None, top_k: int, scale_score: bool, return_embedding: bool, **query: Any
    ) -> list[Document]:
        with in_haystacks_terms():
            if not first_k(top_k):
                return []
            hits = self.store.search(k=top_k, filter=translate(filters), namespace=self.namespace, **query)
            vectors = [self._vector(hit.record) for hit in hits] if return_embedding else [None] * len(hits)
        return _documents(hits, vectors, scale_score)

    async def _retrieve_async(
        self, filters: dict[str, Any] | None, top_k: int, scale_score: bool, return_embedding: bool, **query: Any
    ) -> list[Document]:
        with in_haystacks_terms():
            if not first_k(top_k):
                return []
            store = await self.asynchronous()
            hits = await store.search(k=top_k, filter=translate(filters), namespace=self.namespace, **query)
            vectors: list[Any] = [None] * len(hits)
            if return_embedding:
                vectors = [await self._vector_async(store, hit.record) for hit in hits]
        return _documents(hits, vectors, scale_score)


def _documents(hits: Sequence[Hit], vectors: Sequence[Any], scale_score: bool) -> list[Document]:
    scores = [hit.relevance if scale_score else hit.score for hit in hits]
    return [document_of(hit.record, *rest) for hit, *rest in zip(hits, vectors, scores, strict=True)]
