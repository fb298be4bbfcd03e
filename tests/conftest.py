"""What all tests share: a seeded Hypothesis, a working folder away from the sources, a watch over databases."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from database_watch import watching
from hypothesis import settings

import agentmem
from agentmem.backend import requested

PACKAGE = Path(agentmem.__file__).parent

settings.register_profile("agentmem", derandomize=True, database=None, deadline=None)
settings.load_profile("agentmem")


def pytest_report_header() -> str:
    """Say which package is tested, and on which backend."""
    return f"agentmem: {PACKAGE} (backend {requested()})"


@pytest.fixture(scope="session", autouse=True)
def _away_from_the_sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run in an empty folder, so that child processes import the very package that is tested here."""
    before, path = Path.cwd(), os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(PACKAGE.parent)
    os.chdir(tmp_path_factory.mktemp("cwd"))
    yield
    os.chdir(before)
    if path is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = path


@pytest.fixture(scope="session", autouse=True)
def _only_sqlite_opens_databases() -> Iterator[None]:
    """Fail at the end if the package has opened a store's database, or a log of it, otherwise than by SQLite."""
    with watching() as watch:
        yield
    assert watch.found() == []
