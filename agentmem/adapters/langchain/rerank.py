"""``AgentMemReranker``: documents of any store, ranked by the heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import run_in_executor
from pydantic import ConfigDict, Field

from agentmem.reranking import Reranker

SCORE = "relevance_score"
"""The key of a document's metadata under which its score stands, as other rerankers have it."""


class AgentMemReranker(BaseDocumentCompressor):
    """Puts documents that another store found into the order of ``memory-heads``.

    Attributes:
        reranker: with learned weights, if there are some.
        embeddings: the model whose vectors the semantic heads compare; the bundled one when None.
        top_n: how many documents to keep; all of them when None.
        fields: which of the keys "thread", "position", "session", "speaker", "created_at" and "importance" of the
            documents' metadata the heads look at.  None by default: in another store's documents a "position" need not
            be a number.

    The documents are copies; ``metadata["relevance_score"]`` is the heads' score (higher is better, comparable within
    one call).  Documents without text have nothing to rank and are left out.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    reranker: Reranker = Field(default_factory=Reranker)
    embeddings: Embeddings | None = None
    top_n: int | None = Field(default=None, ge=1)
    fields: tuple[str, ...] = ()

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Return the documents, best first.

        Raises:
            InvalidInput: the query is empty, or a field holds what the heads cannot use.
        """
        texted = _with_text(documents)
        vectors: tuple[Any, Any] = (None, None)
        if self.embeddings is not None and texted:
            vectors = self.embeddings.embed_documents(_texts(texted)), self.embeddings.embed_query(query)
        return self._ranked(texted, query, vectors)

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Return the documents, best first; errors as ``compress_documents``."""
        texted = _with_text(documents)
        vectors: tuple[Any, Any] = (None, None)
        if self.embeddings is not None and texted:
            vectors = await self.embeddings.aembed_documents(_texts(texted)), await self.embeddings.aembed_query(query)
        return await run_in_executor(None, self._ranked, texted, query, vectors)

    def _ranked(self, documents: list[Document], query: str, vectors: tuple[Any, Any]) -> list[Document]:
        ranked = self.reranker.rank(
            query,
            _texts(documents),
            embeddings=vectors[0],
            query_embedding=vectors[1],
            metadatas=[{key: each.metadata[key] for key in self.fields if key in each.metadata} for each in documents],
            k=self.top_n,
        )
        result = [documents[each.place].model_copy(deep=True) for each in ranked]
        for document, each in zip(result, ranked, strict=True):
            document.metadata[SCORE] = each.score
        return result


def _with_text(documents: Sequence[Document]) -> list[Document]:
    return [document for document in documents if document.page_content.strip()]


def _texts(documents: list[Document]) -> list[str]:
    return [document.page_content for document in documents]
