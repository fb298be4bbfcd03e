"""Documents as records, and records as documents: nothing of a document is lost.

A record has the document's id, content, embedding and metadata.  What a record has no place for stands under ``OWN`` in
its metadata: blob, sparse embedding, score, what float32 leaves of an embedding, and the dates for filters.  A document
that ``DocumentSplitter`` made has its source as the thread and its number as the position.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from haystack.dataclasses import ByteStream, Document, SparseEmbedding

from agentmem import InvalidInput, Record
from agentmem.adapters.haystack import dates

OWN = "_haystack"
"""The metadata key under which the adapter keeps what is its own."""
WORDLESS = "\N{WORD JOINER}"
"""The text of a record whose document has neither content nor embedding: a store wants one of them."""


def columns(documents: Sequence[Document]) -> dict[str, Any]:
    """Return what ``MemoryStore.add_many`` takes for n documents, all with an embedding or all without.

    Raises:
        InvalidInput: metadata that would not come back as it is.
    """
    embedded = documents[0].embedding is not None
    return {
        "texts": [_text(each) for each in documents],
        "embeddings": [each.embedding for each in documents] if embedded else None,
        "ids": [each.id for each in documents],
        "metadatas": [{**_meta(each), OWN: _own(each)} for each in documents],
        "threads": [thread_of(each.meta) for each in documents],
        "positions": [position_of(each.meta) for each in documents],
    }


def document_of(record: Record, vector: Any = None, score: float | None = None) -> Document:
    """Return the document that a record holds.

    Args:
        record: any; those that Haystack did not write become documents too.
        vector: float32 (dim,), the record's, to give the document its embedding.
        score: for the document, in place of that which it was written with.
    """
    own = record.metadata.get(OWN, {})
    return Document(
        id=record.id,
        content=own.get("content", record.text),
        blob=_blob_of(own.get("blob")),
        meta={key: value for key, value in record.metadata.items() if key != OWN},
        score=own.get("score") if score is None else score,
        embedding=None if vector is None or not has_embedding(record) else _exact(vector, own["embedding"]),
        sparse_embedding=SparseEmbedding(**own["sparse_embedding"]) if "sparse_embedding" in own else None,
    )


def has_embedding(record: Record) -> bool:
    """Say whether the record's vector is its document's embedding, rather than made by the store."""
    return "embedding" in record.metadata.get(OWN, {})


def updated(record: Record, meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record's metadata with some of the document's replaced.

    Raises:
        InvalidInput: metadata that would not come back as it is.
    """
    document = document_of(record)
    merged = _meta(Document(id=document.id, meta={**document.meta, **meta}))
    kept = {key: value for key, value in record.metadata.get(OWN, {}).items() if key not in (dates.WALL, dates.INSTANT)}
    return {**merged, OWN: {**kept, **dates.columns(merged)}}


def thread_of(meta: Mapping[str, Any]) -> str | None:
    """Return the source of a part that ``DocumentSplitter`` made."""
    source = meta.get("source_id")
    return source if isinstance(source, str) else None


def position_of(meta: Mapping[str, Any]) -> int | None:
    """Return the number of a part that ``DocumentSplitter`` made."""
    number = meta.get("split_id")
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def _text(document: Document) -> str | None:
    return WORDLESS if _is_wordless(document) else document.content


def _is_wordless(document: Document) -> bool:
    return document.embedding is None and not (document.content or "").strip()


def _meta(document: Document) -> dict[str, Any]:
    """Return the metadata, which the store can hold exactly."""
    if OWN in document.meta:
        raise InvalidInput(f"document {document.id!r}: the meta key {OWN!r} is the store's own; use another name")
    return _plain(document, document.meta, "meta")


def _plain(document: Document, value: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a part of a document, which JSON can hold exactly."""
    try:
        same = json.loads(json.dumps(value, allow_nan=False)) == value
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"document {document.id!r}: its {name} is not JSON: {error}") from None
    if not same:
        raise InvalidInput(
            f"document {document.id!r}: its {name} would not come back as it is, since it is not plain JSON (tuples, "
            "or keys that are no strings); give lists and strings"
        )
    return value


def _own(document: Document) -> dict[str, Any]:
    """Return what stands under ``OWN``."""
    own: dict[str, Any] = {**dates.columns(document.meta)}
    if _is_wordless(document):
        own["content"] = document.content
    if document.blob is not None:
        blob = document.blob
        own["blob"] = {
            "data": base64.b64encode(blob.data).decode("ascii"),
            "meta": _plain(document, blob.meta, "blob's meta"),
            "mime_type": blob.mime_type,
        }
    if document.sparse_embedding is not None:
        own["sparse_embedding"] = document.sparse_embedding.to_dict()
    if document.score is not None:
        own["score"] = float(document.score)
    if document.embedding is not None:
        own["embedding"] = _residual(document.embedding)
    return own


def _blob_of(kept: dict[str, Any] | None) -> ByteStream | None:
    return None if kept is None else ByteStream(**{**kept, "data": base64.b64decode(kept["data"])})


def _residual(embedding: Sequence[float]) -> str:
    """Return what tells a float64 embedding from its float32 rounding: base64 of the difference of their bits.

    Differences are int32 where they fit, as they do for all but tiny numbers, else int64; "" where all are 0.
    """
    exact = np.asarray(embedding, np.float64)
    with np.errstate(over="ignore"):
        difference = exact.view(np.int64) - exact.astype(np.float32).astype(np.float64).view(np.int64)
    if not difference.any():
        return ""
    short = difference.astype("<i4")
    return base64.b64encode((short if (short == difference).all() else difference.astype("<i8")).tobytes()).decode(
        "ascii"
    )


def _exact(vector: Any, residual: str) -> list[float]:
    """Return the float64 embedding of a float32 vector and what ``_residual`` kept."""
    rounded = np.asarray(vector, np.float32).astype(np.float64)
    if residual:
        data = base64.b64decode(residual)
        difference = np.frombuffer(data, "<i4" if len(data) == 4 * len(rounded) else "<i8")
        rounded = (rounded.view(np.int64) + difference).view(np.float64)
    embedding: list[float] = rounded.tolist()
    return embedding
