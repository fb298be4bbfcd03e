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
from agentmem.records import Change, Explanation, Hit, Record
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
