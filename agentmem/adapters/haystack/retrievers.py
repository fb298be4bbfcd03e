"""The retrievers: by vector, by words, or both."""

from __future__ import annotations

from typing import Any

from haystack import component, default_from_dict, default_to_dict
from haystack.dataclasses import Document
from haystack.document_stores.types import FilterPolicy, apply_filter_policy

from agentmem.adapters.haystack.store import AgentMemDocumentStore


class _Retriever:
    """What the retrievers share.

    Args:
        document_store: where to look.
        filters: Haystack's, for every run.
        top_k: how many documents at most.
        scale_score: scores are the hits' relevance, in [0, 1].
        return_embedding: the documents have their embeddings.
        filter_policy: a run's filters go in place of those given here, or with them.

    Raises:
        TypeError: another kind of document store.
        ValueError: ``top_k`` is below 1.
    """

    def __init__(
        self,
        document_store: AgentMemDocumentStore,
        filters: dict[str, Any] | None = None,
        top_k: int = 10,
        scale_score: bool = False,
        return_embedding: bool = False,
        filter_policy: FilterPolicy | str = FilterPolicy.REPLACE,
    ) -> None:
        if not isinstance(document_store, AgentMemDocumentStore):
            raise TypeError(f"document_store must be an AgentMemDocumentStore, got {type(document_store).__name__}")
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}")
        self.document_store = document_store
        self.filters = filters
        self.top_k = top_k
        self.scale_score = scale_score
        self.return_embedding = return_embedding
        self.filter_policy = FilterPolicy.from_str(filter_policy) if isinstance(filter_policy, str) else filter_policy

    def to_dict(self) -> dict[str, Any]:
        """Return the component as Haystack serialises it."""
        return default_to_dict(
            self,
            document_store=self.document_store,
            filters=self.filters,
            top_k=self.top_k,
            scale_score=self.scale_score,
            return_embedding=self.return_embedding,
            filter_policy=self.filter_policy.value,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Any:
        """Return the component that ``to_dict`` returned."""
        given = data.get("init_parameters", {})
        store = given.get("document_store")
        if isinstance(store, dict):
            given = {**given, "document_store": AgentMemDocumentStore.from_dict(store)}
        return default_from_dict(cls, {**data, "init_parameters": given})

    def close(self) -> None:
        """Close the document store, which is opened again when it is needed."""
        self.document_store.close()

    async def close_async(self) -> None:
        """Close the document store, which is opened again when it is needed."""
        await self.document_store.close_async()

    def _options(
        self,
        filters: dict[str, Any] | None,
        top_k: int | None,
        scale_score: bool | None,
        return_embedding: bool | None,
    ) -> dict[str, Any]:
        return {
            "filters": apply_filter_policy(self.filter_policy, self.filters, filters),
            "top_k": self.top_k if top_k is None else top_k,
            "scale_score": self.scale_score if scale_score is None else scale_score,
            "return_embedding": self.return_embedding if return_embedding is None else return_embedding,
        }


@component
class AgentMemEmbeddingRetriever(_Retriever):
    """Finds the documents whose vectors are nearest to a query's."""

    @component.output_types(documents=list[Document])
    def run(
        self,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        scale_score: bool | None = None,
        return_embedding: bool | None = None,
    ) -> dict[str, list[Document]]:
        """Return {"documents": ...}, best first, with their similarity as the score."""
        options = self._options(filters, top_k, scale_score, return_embedding)
        return {"documents": self.document_store.embedding_retrieval(query_embedding, **options)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        query_embedding: list[float],
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        scale_score: bool | None = None,
        return_embedding: bool | None = None,
    ) -> dict[str, list[Document]]:
        """Return {"documents": ...}, best first, with their similarity as the score."""
        options = self._options(filters, top_k, scale_score, return_embedding)
        return {"documents": await self.document_store.embedding_retrieval_async(query_embedding, **options)}


@component
class AgentMemKeywordRetriever(_Retriever):
    """Finds the documents that share words with a query (BM25 over stems)."""

    @component.output_types(documents=list[Document])
    def run(
        self,
        query: str,
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        scale_score: bool | None = None,
        return_embedding: bool | None = None,
    ) -> dict[str, list[Document]]:
        """Return {"documents": ...}, best first, with BM25 as the score."""
        options = self._options(filters, top_k, scale_score, return_embedding)
        return {"documents": self.document_store.keyword_retrieval(query, **options)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        query: str,
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        scale_score: bool | None = None,
        return_embedding: bool | None = None,
    ) -> dict[str, list[Document]]:
        """Return {"documents": ...}, best first, with BM25 as the score."""
        options = self._options(filters, top_k, scale_score, return_embedding)
        return {"documents": await self.document_store.keyword_retrieval_async(query, **options)}


@component
class AgentMemHybridRetriever(_Retriever):
    """Finds documents by the store's own ranking: candidates by vector and by words, reranked by ``memory-heads``."""

    @component.output_types(documents=list[Document])
    def run(
        self,
        query: str,
        query_embedding: list[float] | None = None,
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        scale_score: bool | None = None,
        return_embedding: bool | None = None,
    ) -> dict[str, list[Document]]:
        """Return {"documents": ...}, best first; without ``query_embedding`` the store embeds the query if it can."""
        options = self._options(filters, top_k, scale_score, return_embedding)
        return {"documents": self.document_store.hybrid_retrieval(query, query_embedding, **options)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        query: str,
        query_embedding: list[float] | None = None,
        filters: dict[str, Any] | None = None,
        top_k: int | None = None,
        scale_score: bool | None = None,
        return_embedding: bool | None = None,
    ) -> dict[str, list[Document]]:
        """Return {"documents": ...}, best first; without ``query_embedding`` the store embeds the query if it can."""
        options = self._options(filters, top_k, scale_score, return_embedding)
        return {"documents": await self.document_store.hybrid_retrieval_async(query, query_embedding, **options)}
