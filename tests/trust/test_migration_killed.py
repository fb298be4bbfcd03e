"""A migration that is killed leaves the old version, which can be used and migrated; a newer version is left alone."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from drill_migration import next_schema
from drill_work import Step, held_by, open_store, perform

import agentmem
from agentmem.storage.schema import SCHEMA_VERSION

MODEL = {str(number): f"memory {number}" for number in range(1500)}
CHILD = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from drill_migration import next_schema
from drill_work import Step, open_store, perform
from agentmem.storage import connection

connection._CACHE_KIB = 16

def die():
    os.kill(os.getpid(), signal.SIGKILL)

"""


def killed(code, path):
    """Run code, with ``path`` and ``die`` at hand, in a process that dies of it; its cache is small and spills."""
    source = CHILD + f"path = {str(path)!r}\n" + code
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.fixture
def path(tmp_path):
    """A store of the present schema, with an index."""
    with open_store(tmp_path / "memory.db") as store:
        perform(store, Step("add_many", MODEL))
        store.merge()
    return tmp_path / "memory.db"


def version(path):
    with closing(sqlite3.connect(path)) as raw:
        return raw.execute("PRAGMA user_version").fetchone()[0]


def columns(path):
    with closing(sqlite3.connect(path)) as raw:
        return [row[1] for row in raw.execute("PRAGMA table_info(records)")]


def test_a_migration_killed_half_way_leaves_the_old_version_and_the_next_open_migrates(path):
    before = columns(path)
    killed("with next_schema(die): open_store(path)", path)
    assert path.with_name("memory.db-wal").stat().st_size > 50_000, "nothing of the migration had been written"
    assert (version(path), columns(path)) == (SCHEMA_VERSION, before)
    with open_store(path) as store:
        assert held_by(store) == MODEL
        store.add("written by the old version", id="new", embedding=[1.0] * 8)
        assert store.check().ok
    with next_schema(), open_store(path) as store:
        assert {record.id for record in store.iterate()} == {*MODEL, "new"}
        assert store.check().ok
    assert (version(path), columns(path)) == (SCHEMA_VERSION + 1, [*before, "drilled"])


def test_a_migration_that_fails_half_way_changes_nothing(path):
    def fail():
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"), next_schema(fail):
        open_store(path)
    assert (version(path), "drilled" in columns(path)) == (SCHEMA_VERSION, False)
    with open_store(path) as store:
        assert held_by(store) == MODEL


def test_a_newer_schema_is_refused_and_not_a_byte_of_it_changes(path):
    killed("with next_schema():\n store = open_store(path)\n store.delete('7')\n die()", path)
    log = path.with_name("memory.db-wal")
    segments = sorted(path.with_name("memory.db-index").iterdir())
    before = [file.read_bytes() for file in (path, log, *segments)]
    assert len(before[1]) > 0
    for read_only in (False, True):
        with pytest.raises(agentmem.SchemaTooNew, match="upgrade agentmem"):
            agentmem.MemoryStore(path, embedder="stored", read_only=read_only)
        assert [file.read_bytes() for file in (path, log, *segments)] == before
        assert sorted(path.with_name("memory.db-index").iterdir()) == segments
    with next_schema(), open_store(path) as store:
        assert "7" not in held_by(store)
