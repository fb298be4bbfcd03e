"""agentmem: an embedded vector memory store with attention rerank.  One SQLite file, no server, nothing to download."""

from agentmem.embed import CallableEmbedder, Embedder, StaticEmbedder
from agentmem.errors import (
    AgentMemError,
    BackendUnavailable,
    DuplicateId,
    EmbedderMismatch,
    EmbeddingFailed,
    HookFailed,
    InvalidFilter,
    InvalidInput,
    InvalidVector,
    NotAStore,
    NotFound,
    SchemaTooNew,
    SegmentDamaged,
    StoreBusy,
    StoreClosed,
    StoreDamaged,
    StoreError,
    StoreReadOnly,
    UnknownMechanism,
)
from agentmem.hooks import AttentionConfig, SearchContext
from agentmem.records import Change, Explanation, Feedback, Hit, Record
from agentmem.store import MemoryStore

__all__ = [
    "AgentMemError",
    "AttentionConfig",
    "BackendUnavailable",
    "CallableEmbedder",
    "Change",
    "DuplicateId",
    "Embedder",
    "EmbedderMismatch",
    "EmbeddingFailed",
    "Explanation",
    "Feedback",
    "Hit",
    "HookFailed",
    "InvalidFilter",
    "InvalidInput",
    "InvalidVector",
    "MemoryStore",
    "NotAStore",
    "NotFound",
    "Record",
    "SchemaTooNew",
    "SearchContext",
    "SegmentDamaged",
    "StaticEmbedder",
    "StoreBusy",
    "StoreClosed",
    "StoreDamaged",
    "StoreError",
    "StoreReadOnly",
    "UnknownMechanism",
]


def __getattr__(name: str) -> object:
    """Return ``Reranker``, which is imported when it is asked for."""
    if name != "Reranker":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from agentmem.reranking import Reranker

    return Reranker
