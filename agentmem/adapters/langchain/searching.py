"""The searches of the vector store: by text and by vector, with scores or for variety, for threads and event loops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore

from agentmem.adapters.langchain.documents import document_of
from agentmem.adapters.mmr import maximal_marginal_relevance
from agentmem.aio import AsyncMemoryStore
from agentmem.errors import InvalidInput, NotFound
from agentmem.records import Float32, Hit

Scored = list[tuple[Document, float]]


class Searching(VectorStore):
    """What ``AgentMemVectorStore`` searches by; ``kwargs`` are the arguments of ``MemoryStore.search``."""

    async_store: AsyncMemoryStore
    namespace: str | None
    mechanism: str
    _embedding: Embeddings | None

    def _query_vector(self, query: str) -> Any:
        """Return what the given model makes of a query; None leaves it to the store's own."""
        return None if self._embedding is None else self._embedding.embed_query(query)

    async def _aquery_vector(self, query: str) -> Any:
        return None if self._embedding is None else await self._embedding.aembed_query(query)

    def _hits(self, query: str | None, vector: Any, k: int, options: dict[str, Any]) -> list[Hit]:
        return self.async_store.store.search(query, **self._arguments(query, vector, k, options))

    async def _ahits(self, query: str | None, vector: Any, k: int, options: dict[str, Any]) -> list[Hit]:
        return await self.async_store.search(query, **self._arguments(query, vector, k, options))

    def _arguments(self, query: str | None, vector: Any, k: int, options: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of ``search``; a vector alone is compared by itself, whatever ranks texts."""
        if query is not None and vector is not None and not np.any(vector):
            vector = None  # the model knows no word of it: the words themselves are looked for
        options = {"mechanism": "auto" if query is None else self.mechanism} | options
        return dict(embedding=vector, k=k, **self._scope(), **options)

    def _scope(self) -> dict[str, str]:
        """Return the namespace as an argument; a call may have one of its own where this has none."""
        return {} if self.namespace is None else {"namespace": self.namespace}

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """Return the documents that fit a text best.

        Raises:
            InvalidInput: an empty text, or an argument that cannot be used.
            InvalidFilter: the message lists the operators that exist.
        """
        return _documents(self._hits(query, self._query_vector(query), k, kwargs))

    async def asimilarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """Return the documents that fit a text best; see ``similarity_search``."""
        return _documents(await self._ahits(query, await self._aquery_vector(query), k, kwargs))

    def similarity_search_with_score(self, query: str, k: int = 4, **kwargs: Any) -> Scored:
        """Return (document, score), best first; scores are comparable within one mechanism."""
        return _by_score(self._hits(query, self._query_vector(query), k, kwargs))

    async def asimilarity_search_with_score(self, query: str, k: int = 4, **kwargs: Any) -> Scored:
        """Return (document, score); see ``similarity_search_with_score``."""
        return _by_score(await self._ahits(query, await self._aquery_vector(query), k, kwargs))

    def _similarity_search_with_relevance_scores(self, query: str, k: int = 4, **kwargs: Any) -> Scored:
        return _by_relevance(self._hits(query, self._query_vector(query), k, kwargs))

    async def _asimilarity_search_with_relevance_scores(self, query: str, k: int = 4, **kwargs: Any) -> Scored:
        return _by_relevance(await self._ahits(query, await self._aquery_vector(query), k, kwargs))

    def similarity_search_by_vector(self, embedding: Sequence[float], k: int = 4, **kwargs: Any) -> list[Document]:
        """Return the documents nearest to a vector, float (dim,)."""
        return _documents(self._hits(None, embedding, k, kwargs))

    async def asimilarity_search_by_vector(
        self, embedding: Sequence[float], k: int = 4, **kwargs: Any
    ) -> list[Document]:
        """Return the documents nearest to a vector, float (dim,)."""
        return _documents(await self._ahits(None, embedding, k, kwargs))

    def similarity_search_by_vector_with_relevance_scores(
        self, embedding: Sequence[float], k: int = 4, **kwargs: Any
    ) -> Scored:
        """Return (document, cosine, or 0 where it is below 0) of the nearest to a vector, float (dim,)."""
        return _by_cosine(self._hits(None, embedding, k, kwargs))

    async def asimilarity_search_by_vector_with_relevance_scores(
        self, embedding: Sequence[float], k: int = 4, **kwargs: Any
    ) -> Scored:
        """Return (document, cosine); see ``similarity_search_by_vector_with_relevance_scores``."""
        return _by_cosine(await self._ahits(None, embedding, k, kwargs))

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Return documents that fit a text and differ from each other.

        Args:
            query: the text.
            k: how many at most.
            fetch_k: how many to choose from, the best of ``similarity_search``.
            lambda_mult: from 0 (most different) to 1 (nearest).
            kwargs: as for ``similarity_search``.
        """
        target = self._model().embed_query(query)
        hits = self._hits(query, target, fetch_k, kwargs)
        return self._diverse(hits, target, k, lambda_mult)

    async def amax_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Return documents that fit a text and differ from each other; see ``max_marginal_relevance_search``."""
        target = await self._model().aembed_query(query)
        hits = await self._ahits(query, target, fetch_k, kwargs)
        return await self._adiverse(hits, target, k, lambda_mult)

    def max_marginal_relevance_search_by_vector(
        self, embedding: Sequence[float], k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Return documents near a vector that differ from each other; see ``max_marginal_relevance_search``."""
        return self._diverse(self._hits(None, embedding, fetch_k, kwargs), embedding, k, lambda_mult)

    async def amax_marginal_relevance_search_by_vector(
        self, embedding: Sequence[float], k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Return documents near a vector that differ from each other; see ``max_marginal_relevance_search``."""
        return await self._adiverse(await self._ahits(None, embedding, fetch_k, kwargs), embedding, k, lambda_mult)

    def _model(self) -> Embeddings:
        if self.embeddings is None:
            raise InvalidInput("the store takes given vectors only; use max_marginal_relevance_search_by_vector")
        return self.embeddings

    def _diverse(self, hits: list[Hit], target: Any, k: int, lambda_mult: float) -> list[Document]:
        vectors = []
        for hit in hits:
            try:
                vectors.append(self.async_store.store.vector(hit.id))
            except NotFound:  # deleted since the search
                vectors.append(None)
        return _chosen(hits, vectors, target, k, lambda_mult)

    async def _adiverse(self, hits: list[Hit], target: Any, k: int, lambda_mult: float) -> list[Document]:
        vectors = []
        for hit in hits:
            try:
                vectors.append(await self.async_store.vector(hit.id))
            except NotFound:  # deleted since the search
                vectors.append(None)
        return _chosen(hits, vectors, target, k, lambda_mult)


def _documents(hits: list[Hit]) -> list[Document]:
    return [document_of(hit.record) for hit in hits]


def _by_score(hits: list[Hit]) -> Scored:
    return [(document_of(hit.record), hit.score) for hit in hits]


def _by_relevance(hits: list[Hit]) -> Scored:
    return [(document_of(hit.record), hit.relevance or 0.0) for hit in hits]


def _by_cosine(hits: list[Hit]) -> Scored:
    return [(document_of(hit.record), max(0.0, hit.similarity or 0.0)) for hit in hits]


def _chosen(hits: list[Hit], vectors: list[Float32 | None], target: Any, k: int, lambda_mult: float) -> list[Document]:
    """Return the documents to show; one without a vector is unlike everything."""
    candidates = [np.zeros(len(target), np.float32) if vector is None else vector for vector in vectors]
    return [document_of(hits[place].record) for place in maximal_marginal_relevance(target, candidates, k, lambda_mult)]
