"""Stores and the command for the tests of care."""

import pytest
from command_kit import run

import agentmem


@pytest.fixture
def store(tmp_path):
    """A store of given 8-d vectors on disk."""
    with agentmem.MemoryStore(tmp_path / "memory.db", embedder=None, dimension=8, merge="manual") as store:
        yield store


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Return a function that runs ``agentmem`` with arguments, in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AGENTMEM_DB", raising=False)
    return run
