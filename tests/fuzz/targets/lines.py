"""The import of JSON lines: every line is written as it is, or named in one line; the store stays sound."""

from __future__ import annotations

import io

from agentmem import MemoryStore
from agentmem.errors import BadSource
from agentmem.transfer.exporting import pages
from agentmem.transfer.importing import Report, import_source
from agentmem.transfer.jsonl import source
from agentmem.validation import wall_clock


def run(data: bytes) -> None:
    """Import ``data`` twice, and what is exported then once more: nothing new comes of it."""
    with MemoryStore(":memory:", embedder=None, dimension=2, merge="manual") as store:
        try:
            report = imported(store, data)
        except BadSource:
            return
        count = store.count()
        assert count <= report.written
        assert imported(store, data).written <= report.written - count
        with store.database.read() as reader:
            exported = [line for page in pages(reader, None, None, True, wall_clock()) for line in page]
        assert len(exported) == store.count() == count


def imported(store: MemoryStore, data: bytes) -> Report:
    """Import ``data`` as it is written in a file."""
    return import_source(store, source(io.BytesIO(data)), "skip", lambda amount: None)
