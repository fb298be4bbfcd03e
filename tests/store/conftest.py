"""Stores for the tests of the verbs."""

import pytest

import agentmem


@pytest.fixture
def vectors_store(tmp_path):
    """A store of given 4-d vectors on disk."""
    with agentmem.MemoryStore(tmp_path / "memory.db", embedder=None, dimension=4, merge="manual") as store:
        yield store


@pytest.fixture
def store(tmp_path):
    """A store with the bundled embedder on disk."""
    with agentmem.MemoryStore(tmp_path / "memory.db", merge="manual") as store:
        yield store
