"""Embedders: the protocol, the bundled static model, and a wrapper for whatever the caller has."""

from agentmem.embed.callable import CallableEmbedder, resolve
from agentmem.embed.protocol import Embedder, TokenEmbedder, TokenIds, called, checked, has_tokens
from agentmem.embed.static import StaticEmbedder

__all__ = [
    "CallableEmbedder",
    "Embedder",
    "StaticEmbedder",
    "TokenEmbedder",
    "TokenIds",
    "called",
    "checked",
    "has_tokens",
    "resolve",
]
