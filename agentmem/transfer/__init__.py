"""Import and export: lines of JSON, Parquet, and what other memories and vector stores keep."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any

from agentmem.transfer.source import Source

SOURCES: Mapping[str, str] = {
    "jsonl": "jsonl",
    "parquet": "parquet",
    "chroma": "chroma",
    "lancedb": "lance",
    "sqlite-vec": "vec0",
    "mem0": "mem0",
    "mcp-memory": "mcp_memory",
}
"""Every kind of source, and the module of this package that reads it: it is imported when it is asked for."""


def options_of(kind: str) -> frozenset[str]:
    """Return the names of the options that a kind of source takes, see ``open_source``."""
    options: frozenset[str] = _module(kind).OPTIONS
    return options


def open_source(kind: str, path: str, **options: str) -> AbstractContextManager[Source]:
    """Open what is to be imported, to read only; leaving the block closes it.

    Args:
        kind: one of ``SOURCES``.
        path: of the file or folder; "-" is standard input, for "jsonl".
        options: some of ``table`` (or collection), ``id``, ``text`` and ``vector`` (names of columns), ``texts`` (a
            table with the texts), ``namespace`` and ``prefix`` (of ids); ``options_of`` says which ones a kind takes.

    Raises:
        MissingExtra: the library that reads this kind is not installed.
        BadSource: it is not what it was said to be.
        InvalidInput: a table, collection or column that is not there.
    """
    opened: AbstractContextManager[Source] = _module(kind).opened(path, **options)
    return opened


def _module(kind: str) -> Any:
    return import_module(f"agentmem.transfer.{SOURCES[kind]}")
