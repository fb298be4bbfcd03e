"""Embedders: the protocol, the bundled static model, models over HTTP, and a wrapper for whatever the caller has."""

from agentmem.embed.callable import CallableEmbedder, resolve
from agentmem.embed.http import HttpEmbedder
from agentmem.embed.protocol import Embedder, TokenEmbedder, TokenIds, called, checked, has_tokens
from agentmem.embed.static import StaticEmbedder

__all__ = [
    "CallableEmbedder",
    "Embedder",
    "HttpEmbedder",
    "StaticEmbedder",
    "TokenEmbedder",
    "TokenIds",
    "called",
    "checked",
    "has_tokens",
    "resolve",
]
