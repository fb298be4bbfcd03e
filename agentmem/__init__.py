"""agentmem: an embedded vector memory store with attention rerank.  One SQLite file, no server, nothing to download."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agentmem.aio import AsyncMemoryStore
    from agentmem.embed import CallableEmbedder, Embedder, StaticEmbedder
    from agentmem.errors import (
        AgentMemError,
        DuplicateId,
        EmbedderMismatch,
        EmbeddingFailed,
        InvalidFilter,
        InvalidInput,
        InvalidVector,
        NotAStore,
        NotFound,
        SchemaTooNew,
        StoreBusy,
        StoreClosed,
        StoreDamaged,
        StoreError,
        StoreReadOnly,
        UnknownMechanism,
    )
    from agentmem.hooks import AttentionConfig, SearchContext
    from agentmem.memory import Memory
    from agentmem.records import Change, Explanation, Feedback, Hit, Record
    from agentmem.reranking import Reranker
    from agentmem.store import MemoryStore

__all__ = [
    "AgentMemError",
    "AsyncMemoryStore",
    "AttentionConfig",
    "CallableEmbedder",
    "Change",
    "DuplicateId",
    "Embedder",
    "EmbedderMismatch",
    "EmbeddingFailed",
    "Explanation",
    "Feedback",
    "Hit",
    "InvalidFilter",
    "InvalidInput",
    "InvalidVector",
    "Memory",
    "MemoryStore",
    "NotAStore",
    "NotFound",
    "Record",
    "Reranker",
    "SchemaTooNew",
    "SearchContext",
    "StaticEmbedder",
    "StoreBusy",
    "StoreClosed",
    "StoreDamaged",
    "StoreError",
    "StoreReadOnly",
    "UnknownMechanism",
]


def __getattr__(name: str) -> Any:
    """Return a public name from where it lives, imported when it is asked for: agentmem.attention loads no store."""
    if name in __all__:
        for module in ("errors", "records", "hooks", "embed", "store", "reranking", "aio", "memory"):
            home = import_module(f"agentmem.{module}")
            if hasattr(home, name):
                return globals().setdefault(name, getattr(home, name))
    if name == "attention":
        return import_module("agentmem.attention")
    raise AttributeError(f"module 'agentmem' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names and what is there already."""
    return sorted({*globals(), *__all__})
