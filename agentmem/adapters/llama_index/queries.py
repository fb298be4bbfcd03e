"""LlamaIndex's queries: what a mode searches for, and what becomes of the hits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode

from agentmem import Hit
from agentmem.adapters.llama_index.filters import translate
from agentmem.adapters.mmr import maximal_marginal_relevance

PREFETCH = 4
"""MMR chooses from this many times as many of the nearest as are wanted,"""
FUSED = 10
"""and weighted fusion from this many times as many of the best by equal weights."""
MMR_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """How a query is answered.

    Attributes:
        arguments: of ``MemoryStore.search``.
        k: how many hits are wanted.
        alpha: the vectors' share of a fused score, or None.
        by_vectors: MMR chooses the hits by their vectors.
        threshold: MMR's.
    """

    arguments: dict[str, Any]
    k: int
    alpha: float | None = None
    by_vectors: bool = False
    threshold: float = MMR_THRESHOLD

    def ranked(self, hits: Sequence[Hit]) -> list[tuple[Hit, float]]:
        """Return at most k hits with their scores, best first."""
        if self.alpha is None:
            return [(hit, hit.score) for hit in hits]
        fused = [(hit, _fused(hit, self.alpha)) for hit in hits]
        return sorted(fused, key=lambda each: -each[1])[: self.k]

    def diverse(self, vectors: Sequence[tuple[Hit, Any]]) -> list[tuple[Hit, float]]:
        """Return at most k hits with their scores, in the order in which MMR chooses them by these vectors."""
        given = [vector for _, vector in vectors]
        chosen = maximal_marginal_relevance(self.arguments["embedding"], given, self.k, self.threshold)
        return [(hit, hit.score) for hit, _ in (vectors[place] for place in chosen)]


def _fused(hit: Hit, alpha: float) -> float:
    """Return a hit's score with these shares rather than the halves of ``convex``."""
    heads = hit.explanation.heads if hit.explanation is not None else {}
    return 2 * (alpha * heads.get("dense", 0.0) + (1 - alpha) * heads.get("lexical", 0.0))


def plan_of(query: VectorStoreQuery, options: Mapping[str, Any]) -> Plan:
    """Return how a query is answered; ``options`` are what came with it.

    Raises:
        ValueError: a mode that the store has not, or a query that lacks what the mode needs.
    """
    k, mode = query.similarity_top_k, VectorStoreQueryMode(query.mode)
    arguments: dict[str, Any] = {"k": k, "filter": _filter(query)}
    if mode == VectorStoreQueryMode.DEFAULT:
        return Plan({**arguments, "embedding": _embedding(query, mode), "mechanism": "dense"}, k)
    if mode == VectorStoreQueryMode.TEXT_SEARCH:
        return Plan({**arguments, "text": _text(query, mode), "mechanism": "lexical"}, k)
    if mode == VectorStoreQueryMode.HYBRID:
        k = k if query.hybrid_top_k is None else query.hybrid_top_k
        both = {**arguments, "k": k, "text": _text(query, mode), "embedding": _embedding(query, mode)}
        if query.alpha is None:
            return Plan(both, k)
        if not 0 <= query.alpha <= 1:
            raise ValueError(f"alpha must be from 0 (words alone) to 1 (vectors alone), got {query.alpha}")
        return Plan({**both, "k": FUSED * k, "mechanism": "convex", "explain": True}, k, alpha=query.alpha)
    if mode == VectorStoreQueryMode.MMR:
        threshold = options.get("mmr_threshold", query.mmr_threshold)
        prefetch = options.get("mmr_prefetch_k") or PREFETCH * k
        nearest = {**arguments, "k": max(k, prefetch), "embedding": _embedding(query, mode), "mechanism": "dense"}
        return Plan(nearest, k, by_vectors=True, threshold=MMR_THRESHOLD if threshold is None else threshold)
    raise ValueError(f"query mode {mode.value!r} is not supported; there are default, text_search, hybrid and mmr")


def _filter(query: VectorStoreQuery) -> dict[str, Any]:
    """Return the store's filter; no ids mean all of them, as LlamaIndex's retriever has it."""
    parts = [translate(query.filters)]
    if query.doc_ids:
        parts.append({"@thread": {"$in": query.doc_ids}})
    if query.node_ids:
        parts.append({"@id": {"$in": query.node_ids}})
    return {"$and": parts}


def _embedding(query: VectorStoreQuery, mode: VectorStoreQueryMode) -> list[float]:
    if query.query_embedding is None:
        raise ValueError(f"query mode {mode.value!r} needs query_embedding")
    return query.query_embedding


def _text(query: VectorStoreQuery, mode: VectorStoreQueryMode) -> str:
    if not query.query_str:
        raise ValueError(f"query mode {mode.value!r} needs query_str")
    return query.query_str
