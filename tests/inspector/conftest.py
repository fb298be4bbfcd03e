"""A store, filled once; each test that writes gets a copy."""

import page_kit
import pytest

from agentmem import MemoryStore


@pytest.fixture(scope="session")
def filled(tmp_path_factory):
    """Return the path of a store that no test changes."""
    path = tmp_path_factory.mktemp("inspector") / "memory.db"
    page_kit.fill(path)
    return path


@pytest.fixture
def copy(filled, tmp_path):
    """Return the path of a copy of it."""
    with MemoryStore(filled, read_only=True) as store:
        store.backup(tmp_path / "copy.db")
    return tmp_path / "copy.db"
