"""Records as LangChain's documents."""

from __future__ import annotations

from copy import deepcopy

from langchain_core.documents import Document

from agentmem.records import Record


def document_of(record: Record) -> Document:
    """Return a record's id, text (empty where it has none) and metadata, which are the caller's own."""
    return Document(id=record.id, page_content=record.text or "", metadata=deepcopy(record.metadata))
