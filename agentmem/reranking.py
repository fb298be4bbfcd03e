"""``Reranker``: the heads for documents that another database found, in a RAG pipeline of one's own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from agentmem import validation as check
from agentmem.errors import InvalidInput
from agentmem.identity import GIVEN
from agentmem.records import Explanation
from agentmem.rerank.weights import HeadWeights
from agentmem.store import MemoryStore

FIELDS = {
    "thread": "threads",
    "position": "positions",
    "session": "sessions",
    "speaker": "speakers",
    "created_at": "created_at",
    "importance": "importances",
}
"""Keys of a document's metadata that heads look at, and the arguments of ``add_many`` that they become."""
DEFAULTS = {"importance": 0.5}


class Ranked(NamedTuple):
    """One document: its place in the list that was given, its score (higher is better), and why it has that."""

    place: int
    score: float
    explanation: Explanation


class Reranker:
    """Ranks documents by ``memory-heads``; they live in a store in memory for the length of a call.

    Args:
        weights: learned with vectors of the same model: ``HeadWeights``, the bytes of it, or the path of a file that
            ``agentmem learn --output`` wrote; None for the constants.

    Raises:
        InvalidInput: these are no weights.
    """

    def __init__(self, weights: HeadWeights | bytes | str | os.PathLike[str] | None = None) -> None:
        if isinstance(weights, (str, os.PathLike)):
            weights = Path(weights).read_bytes()
        if isinstance(weights, bytes):
            weights = HeadWeights.from_bytes(weights)
        if not isinstance(weights, HeadWeights | None):
            raise InvalidInput(f"weights must be HeadWeights, bytes or a path, got {type(weights).__name__}")
        self.weights = weights

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        embeddings: Any = None,
        query_embedding: Any = None,
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        k: int | None = None,
    ) -> list[Ranked]:
        """Return the documents from best to worst.

        Lexical, phrase and late-interaction heads need the texts alone (BM25 counts words over the documents given,
        late interaction has the bundled model's token vectors); the semantic and peer heads take the vectors given, or
        else the bundled model's; time, speaker, session and neighbour heads need metadata.

        Args:
            query: what was searched for.
            documents: n texts.
            embeddings: float (n, dim), the documents' vectors, of any model.
            query_embedding: float (dim,), the query's, of the same.
            metadatas: n objects; of their keys "thread", "position", "session", "speaker", "created_at" (epoch seconds
                or ISO 8601) and "importance" are looked at.
            k: how many at most; all by default.

        Raises:
            InvalidInput: lengths that differ, one of the two kinds of vectors without the other, or a value that
                cannot be used.
            EmbedderMismatch: the weights were fitted with vectors of another length; where none are given, of another
                model than the bundled one.
        """
        texts = [check.check_query(query), *check.check_list(documents, "documents")]
        count = len(texts) - 1
        k = count if k is None else check.check_count(k, "k", low=1)
        if (embeddings is None) != (query_embedding is None):
            raise InvalidInput("give embeddings and query_embedding, or neither")
        given = [{}] * count if metadatas is None else check.check_list(metadatas, "metadatas")
        if len(given) != count or not all(isinstance(each, Mapping) for each in given):
            raise InvalidInput(f"{count} documents but {len(given)} metadatas, or one that is no object")
        if not count:
            return []
        columns: dict[str, Any] = {}
        for key, name in FIELDS.items():
            columns[name] = [each.get(key, DEFAULTS.get(key)) for each in given]
        with self._store(embeddings, count) as store:
            store.add_many(texts[1:], embeddings=embeddings, ids=[str(place) for place in range(count)], **columns)
            hits = store.search(
                query, embedding=query_embedding, k=count, exact=True, mechanism="memory-heads", explain=True
            )
        return [Ranked(int(hit.id), hit.score, hit.explanation) for hit in hits[:k] if hit.explanation is not None]

    def _store(self, embeddings: Any, count: int) -> MemoryStore:
        """Return an empty store for the documents, with the weights in it."""
        weights = self.weights
        if embeddings is None:
            store = MemoryStore(":memory:", merge="manual")
        elif len(embeddings) != count:
            raise InvalidInput(f"{count} documents but {len(embeddings)} embeddings")
        else:
            store = MemoryStore(":memory:", embedder=None, dimension=len(embeddings[0]), merge="manual")
            weights = None if weights is None else replace(weights, embedder=GIVEN)
        if weights is not None:
            store.weights.install(weights)
        return store
