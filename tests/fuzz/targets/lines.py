"""The import of JSON lines: every line is written as it is, or named in one line; the store stays sound."""

from __future__ import annotations

import io

import click

from agentmem import MemoryStore
from agentmem.cli.transfer import _exported, _import


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
        assert len(list(_exported(store, None, None, True))) == store.count() == count
