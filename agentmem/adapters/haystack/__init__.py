"""Haystack: ``AgentMemDocumentStore``, its retrievers and ``AgentMemRanker`` (``pip install "agentmem[haystack]"``)."""

from __future__ import annotations

from agentmem.extras import missing

try:
    import haystack  # noqa: F401
except ImportError as error:
    raise missing("agentmem.adapters.haystack", "haystack", error) from error

from agentmem.adapters.haystack.ranker import AgentMemRanker
from agentmem.adapters.haystack.retrievers import (
    AgentMemEmbeddingRetriever,
    AgentMemHybridRetriever,
    AgentMemKeywordRetriever,
)
from agentmem.adapters.haystack.store import AgentMemDocumentStore

__all__ = [
    "AgentMemDocumentStore",
    "AgentMemEmbeddingRetriever",
    "AgentMemHybridRetriever",
    "AgentMemKeywordRetriever",
    "AgentMemRanker",
]
