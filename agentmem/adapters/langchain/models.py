"""Embedding models, passed either way: LangChain's to a store, a store's to LangChain."""

from __future__ import annotations

from typing import Any

from langchain_core.embeddings import Embeddings

from agentmem.embed import CallableEmbedder, Embedder, StaticEmbedder
from agentmem.errors import EmbedderMismatch
from agentmem.store import MemoryStore

NAMES = ("model", "model_name", "model_id", "deployment")
"""Attributes under which LangChain's models keep what they embed with; the first that is a string counts."""


def model_name(embeddings: Embeddings) -> str:
    """Return the name that a store is stamped with: the class, and the model where the object tells it.

    ``langchain:OpenAIEmbeddings:text-embedding-3-small``; ``langchain:DeterministicFakeEmbedding`` for one that tells
    none; the function's own name for one that wraps a function, as LangGraph does.  A class that embeds with several
    models and tells none needs a name from the caller.
    """
    function = getattr(embeddings, "func", None) or getattr(embeddings, "afunc", None)
    if callable(function):
        owner: Any = function if hasattr(function, "__qualname__") else type(function)
        return f"{owner.__module__}.{owner.__qualname__}"
    parts = ["langchain", type(embeddings).__name__]
    told = (getattr(embeddings, attribute, None) for attribute in NAMES)
    parts += [name for name in told if isinstance(name, str) and name][:1]
    return ":".join(parts)


def embedder_for(embeddings: Embeddings, name: str | None = None, dimension: int | None = None) -> CallableEmbedder:
    """Return a LangChain model as a store's embedder.

    Args:
        embeddings: the model; its ``embed_documents`` is called.
        name: stamped into the store; ``model_name`` of the model when None.
        dimension: of its vectors; None embeds one word to find it.

    Raises:
        InvalidInput: the name is empty, or the dimension below 1.
    """
    return CallableEmbedder(
        embeddings.embed_documents, name=model_name(embeddings) if name is None else name, dimension=dimension
    )


def check_model(store: MemoryStore, embeddings: Embeddings, name: str | None = None) -> None:
    """Refuse a model that an open store was not made with.

    Raises:
        EmbedderMismatch: the message says what to do.
    """
    stored = store.identity.embedder
    wanted = model_name(embeddings) if name is None else name
    if wanted != stored:
        raise EmbedderMismatch(
            f"the store was made with embedder {stored!r}, not with {wanted!r}; leave the model out to use the store's "
            "own, give embedding_name where it is the same one by another name, or change the store's model with "
            "store.reembed(agentmem.adapters.langchain.embedder_for(model))"
        )


class AgentMemEmbeddings(Embeddings):
    """An embedder of agentmem as a LangChain model.

    Args:
        embedder: the bundled static model when None, which needs no download.
    """

    def __init__(self, embedder: Embedder | None = None) -> None:
        self.embedder: Embedder = StaticEmbedder() if embedder is None else embedder

    @property
    def model(self) -> str:
        """The embedder's name."""
        return self.embedder.name

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector for each text; zeros for a text of which the model knows no word."""
        vectors: list[list[float]] = self.embedder.embed(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a query, which is embedded as a text is."""
        return self.embed_documents([text])[0]
