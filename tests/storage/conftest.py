"""A database and a way to make records, for every test of storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from storage_kit import make_record, stamped

from agentmem.records import NewRecord
from agentmem.storage.database import Database


@pytest.fixture
def make() -> Callable[..., NewRecord]:
    return make_record


@pytest.fixture(params=["file", "memory"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Yield a database, on disk and in memory."""
    path = tmp_path / "memory.db" if request.param == "file" else ":memory:"
    database = stamped(Database.open(path))
    yield database
    assert database.integrity() == []
    database.close()


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[Database]:
    """Yield a database on disk."""
    database = stamped(Database.open(tmp_path / "memory.db"))
    yield database
    database.close()
