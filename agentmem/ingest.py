"""From what a caller gives to what is stored: validation, embedding, token ids and stems, for one record or many."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from agentmem import validation as check
from agentmem.embed.protocol import Embedder, TokenEmbedder, called
from agentmem.errors import InvalidInput, InvalidVector
from agentmem.records import Float32, Metric, NewRecord
from agentmem.storage.terms import Analyzer

WITHOUT: Any = object()
"""As a draft's embedding: the record has no vector and gets none, though it has a text."""


class Draft(NamedTuple):
    """A record as the caller gave it, not yet looked at; the fields are those of ``MemoryStore.add``.

    A record that was written before brings its ``updated_at`` and ``expires_at`` (which goes before ``ttl``), as
    ``Timestamp``.
    """

    text: Any = None
    embedding: Any = None
    id: Any = None
    namespace: Any = ""
    metadata: Any = None
    thread: Any = None
    session: Any = None
    speaker: Any = None
    position: Any = None
    importance: Any = 0.5
    links: Any = ()
    created_at: Any = None
    ttl: Any = None
    updated_at: Any = None
    expires_at: Any = None


class Ingest:
    """Completes drafts.

    Args:
        embedder: makes the vectors of texts that come without one, or None.
        tokenizer: gives every text its token ids, for late interaction.
        analyzer: gives every text its stems.
        dimension: of every vector.
        metric: of the store.
    """

    def __init__(
        self, embedder: Embedder | None, tokenizer: TokenEmbedder, analyzer: Analyzer, dimension: int, metric: Metric
    ) -> None:
        self.embedder = embedder
        self.tokenizer = tokenizer
        self.analyzer = analyzer
        self.dimension = dimension
        self.metric: Metric = metric

    def complete(self, drafts: Sequence[Draft]) -> list[NewRecord]:
        """Return the records to write; nothing is written when one of them is refused.

        Raises:
            InvalidInput: an argument that cannot be used; the message names it, and the draft if there are several.
            EmbeddingFailed: the embedder raised, or returned something that is not an embedding.
        """
        now = check.wall_clock()
        fields = []
        for index, draft in enumerate(drafts):
            try:
                fields.append(self._validated(draft, now))
            except InvalidInput as error:
                if len(drafts) == 1:
                    raise
                raise type(error)(f"record {index}: {error}") from error
        self._embed_missing(fields)
        return [NewRecord(**each) for each in fields]

    def _validated(self, draft: Draft, now: float) -> dict[str, Any]:
        """Return the fields of ``NewRecord``, without those that are made from the text."""
        vector: Any = draft.embedding
        if vector is not None and vector is not WITHOUT:
            vector = check.check_vector(vector, self.dimension, self.metric)
        text = check.check_text(draft.text, has_embedding=vector is not None and vector is not WITHOUT)
        if vector is None and self.embedder is None:
            raise InvalidVector(
                "no embedding is given and the store has no embedder; give one, or open the store with an embedder"
            )
        return {
            "id": _new_id(now) if draft.id is None else check.check_id(draft.id),
            "text": text,
            "vector": vector,
            "metadata": check.check_metadata(draft.metadata),
            "namespace": check.check_string(draft.namespace, "namespace"),
            "thread": check.optional_string(draft.thread, "thread"),
            "position": None if draft.position is None else check.check_number(draft.position, "position"),
            "session": check.optional_string(draft.session, "session"),
            "speaker": check.optional_string(draft.speaker, "speaker"),
            "created_at": now if draft.created_at is None else check.check_timestamp(draft.created_at, "created_at"),
            "updated_at": now if draft.updated_at is None else check.check_timestamp(draft.updated_at, "updated_at"),
            "expires_at": check.expiry(draft.ttl, now)
            if draft.expires_at is None
            else check.check_timestamp(draft.expires_at, "expires_at"),
            "importance": check.check_number(draft.importance, "importance", low=0.0, high=1.0),
            "links": check.check_links(draft.links),
        }

    def _embed_missing(self, fields: list[dict[str, Any]]) -> None:
        """Fill vectors, token ids and stems, each source called once for all records."""
        with_text = [each for each in fields if each["text"]]
        if not with_text:
            return
        texts = [each["text"] for each in with_text]
        missing = [each["text"] for each in with_text if each["vector"] is None]
        if len(missing) == len(texts) and self.embedder is self.tokenizer:
            vectors, tokens = self.tokenizer.embed_with_tokens(texts)
        else:
            tokens = self.tokenizer.token_ids(texts)
            vectors = self.embed(missing)
        made = iter(vectors)
        for each, token_ids in zip(with_text, tokens, strict=True):
            if each["vector"] is None:
                vector = next(made)
                each["vector"] = vector if vector.any() else None
            elif each["vector"] is WITHOUT:
                each["vector"] = None
            each["tokens"] = token_ids.tobytes()
            each["terms"] = self.analyzer.encode(each["text"])

    def embed(self, texts: Sequence[str]) -> Float32:
        """Return the embeddings of texts, float32 (n, dim); a row of zeros where the model knows no word of the text.

        Raises:
            EmbeddingFailed: the embedder raised, or returned a wrong shape, NaN or infinity.
        """
        if not texts:
            return np.empty((0, self.dimension), np.float32)
        if self.embedder is None:
            raise InvalidVector("the store has no embedder; give an embedding, or open the store with an embedder")
        return called(self.embedder.embed, texts, self.dimension, self.embedder.name)


def _new_id(now: float) -> str:
    """Return 32 hexadecimal digits: milliseconds since 1970, then 80 random bits.

    Ids made one after the other then lie side by side in the index over ids, as in UUID version 7 (RFC 9562).
    """
    return f"{int(now * 1000):012x}{os.urandom(10).hex()}"
