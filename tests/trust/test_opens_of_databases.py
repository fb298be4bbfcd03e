"""The watch over the whole suite (tests/conftest.py) would see the package open a database; and it watches."""

import os
import sqlite3
from pathlib import Path

import database_watch
import pytest
from database_watch import PACKAGE, watching

import agentmem

OPENS = {
    "open": "open(path, 'rb').close()",
    "os.open": "os.close(os.open(path, os.O_RDONLY))",
    "Path": "Path(path).read_bytes()",
    "append": "open(path, 'ab').close()",
}
ALLOWED = {
    "a new file": "open(path, 'xb').close()",
    "a new file, by os": "os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))",
    "a folder": "os.mkdir(path); os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY)); os.rmdir(path)",
}


def run(code, path, filename):
    """Run a line of code as if it stood in a file of that name."""
    exec(compile(code, filename, "exec"), {"os": os, "Path": Path, "path": path})


def test_the_session_is_watched(tmp_path):
    watch = database_watch._watches[0]
    path = tmp_path / "memory.db"
    agentmem.MemoryStore(path, embedder=None, dimension=3).close()
    assert os.path.realpath(path) in watch.connected


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("how", OPENS)
def test_an_open_from_within_the_package_is_found_and_one_from_elsewhere_is_not(tmp_path, how, suffix):
    path = f"{tmp_path}/a b%20?.db"
    with watching() as watch, agentmem.MemoryStore(path, embedder=None, dimension=3):
        Path(path + "-journal").touch()
        run(OPENS[how], path + suffix, __file__)
        assert watch.found() == []
        run(OPENS[how], path + suffix, PACKAGE + "storage/invented.py")
        assert watch.found() == [f"{PACKAGE}storage/invented.py:1 opened {os.path.realpath(path + suffix)}"]


def test_an_open_before_sqlite_connects_or_by_another_name_is_found(tmp_path):
    (tmp_path / "other").symlink_to(tmp_path)
    (tmp_path / "memory.db").touch()
    with watching() as watch:
        run(OPENS["open"], tmp_path / "other" / "memory.db", PACKAGE + "invented.py")
        assert watch.found() == []
        sqlite3.connect(tmp_path / "memory.db").close()
        assert len(watch.found()) == 1


@pytest.mark.skipif(not hasattr(os, "O_DIRECTORY"), reason="needs to open a folder")
@pytest.mark.parametrize("how", ALLOWED)
def test_what_sqlite_can_have_no_lock_on_may_be_opened(tmp_path, how):
    with watching() as watch:
        run(ALLOWED[how], tmp_path / "memory.db", PACKAGE + "invented.py")
        sqlite3.connect(tmp_path / "memory.db").close()
        assert watch.found() == []
