"""The command, run in this process on a store of the test's own."""

import pytest
from command_kit import run


@pytest.fixture
def agentmem(tmp_path, monkeypatch):
    """Return a function that runs ``agentmem`` with arguments, on ``tmp_path / "memory.db"``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AGENTMEM_DB", raising=False)
    return run
