"""``AgentMemRetriever``: what a store remembers of a question, as documents."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import PrivateAttr

from agentmem.adapters.langchain.documents import document_of
from agentmem.aio import AsyncMemoryStore
from agentmem.store import MemoryStore


class AgentMemRetriever(BaseRetriever):
    """Searches a store by text, with the store's own embedder and its hybrid ranking.

    Attributes:
        store: an open store; it stays the caller's to close.
        k: how many documents at most.
        namespace: exact; with a trailing "/" the whole branch below; None everything.
        filter: in the store's filter language.
        mechanism: what ranks; see ``MemoryStore.search``.

    ``invoke`` takes each of them but the store anew, and the other arguments of ``MemoryStore.search``.
    """

    store: MemoryStore | AsyncMemoryStore
    k: int = 4
    namespace: str | None = None
    filter: dict[str, Any] | None = None
    mechanism: str = "auto"

    _async: AsyncMemoryStore = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Make the face of the store that the retriever was not given."""
        super().model_post_init(context)
        self._async = self.store if isinstance(self.store, AsyncMemoryStore) else AsyncMemoryStore(self.store)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        hits = self._async.store.search(query, **(self._options() | kwargs))
        return [document_of(hit.record) for hit in hits]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        hits = await self._async.search(query, **(self._options() | kwargs))
        return [document_of(hit.record) for hit in hits]

    def _options(self) -> dict[str, Any]:
        return {"k": self.k, "namespace": self.namespace, "filter": self.filter, "mechanism": self.mechanism}
