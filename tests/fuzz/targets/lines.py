"""The import of JSON lines: every line is written as it is, or named in one line; the store stays sound."""

from __future__ import annotations

import io

import click

from agentmem import MemoryStore
from agentmem.cli.transfer import _exported, _import
from agentmem.validation import wall_clock


def run(data: bytes) -> None:
    """Import ``data`` twice, and what is exported then once more: nothing new comes of it."""
    with MemoryStore(":memory:", embedder=None, dimension=2, merge="manual") as store:
        try:
            report = _import(store, io.BytesIO(data), "skip", lambda amount: None)
        except click.ClickException as error:
            refusal = error.message
        else:
            refusal = ""
        assert "\n" not in refusal
        if refusal:
            return
        count = store.count()
        assert count <= report["written"]
        again = _import(store, io.BytesIO(data), "skip", lambda amount: None)
        assert again["written"] <= report["written"] - count
        with store.database.read() as reader:
            exported = list(_exported(reader, None, None, True, wall_clock()))
        assert len(exported) == store.count() == count
