"""LlamaIndex: ``AgentMemVectorStore`` and ``AgentMemPostprocessor`` (``pip install "agentmem[llama-index]"``)."""

from __future__ import annotations

from agentmem.extras import missing

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    raise missing("agentmem.adapters.llama_index", "llama-index", error) from error

from agentmem.adapters.llama_index.postprocessor import AgentMemPostprocessor
from agentmem.adapters.llama_index.store import AgentMemVectorStore

__all__ = ["AgentMemPostprocessor", "AgentMemVectorStore"]
