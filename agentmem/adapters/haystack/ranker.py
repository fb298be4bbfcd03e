"""``AgentMemRanker``: the rerank for documents that any Haystack retriever found."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from haystack import component, default_from_dict, default_to_dict
from haystack.dataclasses import Document

from agentmem import Reranker
from agentmem.adapters.haystack.documents import position_of, thread_of


@component
class AgentMemRanker:
    """Puts documents in the order of ``memory-heads`` and gives them its scores.

    The heads read the documents' contents and, of parts that ``DocumentSplitter`` made, the source and the number; the
    embeddings of documents and query where all of them have one, else the bundled model's.

    Args:
        top_k: how many documents to keep; None keeps all.
        weights: the path of a file that ``agentmem learn --output`` wrote; None for the constants.

    Raises:
        ValueError: ``top_k`` is below 1, or these are no weights.
    """

    def __init__(self, top_k: int | None = None, weights: str | None = None) -> None:
        self.top_k = _checked(top_k)
        self.weights = weights
        self._reranker = Reranker(weights)

    def to_dict(self) -> dict[str, Any]:
        """Return the component as Haystack serialises it."""
        return default_to_dict(self, top_k=self.top_k, weights=self.weights)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> AgentMemRanker:
        """Return the component that ``to_dict`` returned."""
        return default_from_dict(cls, data)

    @component.output_types(documents=list[Document])
    def run(
        self,
        query: str,
        documents: list[Document],
        query_embedding: list[float] | None = None,
        top_k: int | None = None,
    ) -> dict[str, list[Document]]:
        """Return {"documents": ...}, best first.

        Raises:
            ValueError: a document without content, an empty query, or ``top_k`` below 1.
        """
        for each in documents:
            if not (each.content or "").strip():
                raise ValueError(f"AgentMemRanker ranks texts, and document {each.id!r} has no content")
        embeddings = [each.embedding for each in documents]
        embedded = query_embedding is not None and all(vector is not None for vector in embeddings)
        ranked = self._reranker.rank(
            query,
            [each.content or "" for each in documents],
            embeddings=embeddings if embedded else None,
            query_embedding=query_embedding if embedded else None,
            metadatas=[{"thread": thread_of(each.meta), "position": position_of(each.meta)} for each in documents],
            k=self.top_k if top_k is None else _checked(top_k),
        )
        return {"documents": [replace(documents[each.place], score=each.score) for each in ranked]}

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        query: str,
        documents: list[Document],
        query_embedding: list[float] | None = None,
        top_k: int | None = None,
    ) -> dict[str, list[Document]]:
        """Return {"documents": ...}, best first; see ``run``."""
        return await asyncio.to_thread(self.run, query, documents, query_embedding, top_k)


def _checked(top_k: int | None) -> int | None:
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    return top_k
