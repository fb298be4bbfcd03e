"""Opening, recognising and closing: files that are no stores, damage, arguments, errors of SQLite."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from storage_kit import make_record, stamped

from agentmem.errors import (
    DuplicateId,
    InvalidInput,
    NotAStore,
    SchemaTooNew,
    StoreBusy,
    StoreClosed,
    StoreDamaged,
    StoreError,
    StoreReadOnly,
)
from agentmem.storage.connection import PAGE_BYTES, translated
from agentmem.storage.database import Database
from agentmem.storage.schema import APPLICATION_ID, SCHEMA_VERSION

PATHS = [str(Path(__file__).parent)]


def test_a_new_store(tmp_path):
    path = tmp_path / "memory.db"
    database = Database.open(path)
    assert database.path == str(path)
    database.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    raw = sqlite3.connect(path)
    assert raw.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert raw.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    assert raw.execute("PRAGMA page_size").fetchone() == (PAGE_BYTES,)
    assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    names = [row[0] for row in raw.execute("SELECT name FROM _sqlite_migrations")]
    assert len(names) == SCHEMA_VERSION
    raw.close()


def test_an_empty_file_becomes_a_store(tmp_path):
    path = tmp_path / "memory.db"
    path.touch()
    stamped(Database.open(path)).close()
    database = Database.open(path)
    with database.read() as reader:
        assert reader.config("dimension") == "8"
    database.close()


def test_names_that_urls_would_mangle(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a b?c#d%20.db", "é.db", "file:x.db"):
        stamped(Database.open(name)).close()
        assert (tmp_path / name).exists()
        database = Database.open(name, read_only=True)
        with database.read() as reader:
            assert reader.config("dimension") == "8"
        database.close()


@pytest.mark.parametrize("read_only", [False, True])
def test_what_is_not_a_store(tmp_path, read_only):
    (tmp_path / "text.txt").write_text("not a database at all, but long enough to be read as a header " * 20)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE records(a)")
    other.execute("PRAGMA journal_mode = WAL")
    other.commit()
    other.close()
    claimed = sqlite3.connect(tmp_path / "claimed.db")
    claimed.execute("PRAGMA application_id = 252006673")
    claimed.execute("VACUUM")
    claimed.close()
    for name, says in (
        ("text.txt", "not an SQLite database"),
        ("other.db", "another program"),
        ("claimed.db", "another"),
    ):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(NotAStore, match=says):
            Database.open(tmp_path / name, read_only=read_only)
        assert (tmp_path / name).read_bytes() == before
    with pytest.raises(NotAStore, match=r"directory.*memory\.db"):
        Database.open(tmp_path, read_only=read_only)
    with pytest.raises(NotAStore, match=r"exist|created"):
        Database.open(tmp_path / "no" / "folder" / "memory.db", read_only=read_only)
    assert sorted(os.listdir(tmp_path)) == sorted(["text.txt", "other.db", "claimed.db", *_leftovers(tmp_path)])


def _leftovers(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(("-wal", "-shm"))]


def test_a_newer_schema_is_left_alone(tmp_path):
    path = tmp_path / "memory.db"
    Database.open(path).close()
    raw = sqlite3.connect(path)
    raw.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    raw.close()
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(SchemaTooNew, match="upgrade"):
            Database.open(path, read_only=read_only)
    assert path.read_bytes() == before


def test_a_store_whose_making_lost_its_power_is_made_at_the_next_open(tmp_path):
    raw = sqlite3.connect(tmp_path / "before.db", isolation_level=None)
    raw.execute("PRAGMA cache_size = 1")
    raw.execute("BEGIN")
    raw.execute("CREATE TABLE half AS SELECT zeroblob(100000) AS made")
    path, journal = tmp_path / "memory.db", tmp_path / "memory.db-journal"
    shutil.copy(tmp_path / "before.db", path)
    shutil.copy(tmp_path / "before.db-journal", journal)
    raw.close()
    assert path.stat().st_size > 0
    with pytest.raises(NotAStore, match="without read_only=True"):
        Database.open(path, read_only=True)
    assert journal.exists()
    stamped(Database.open(path)).close()
    assert not journal.exists()
    database = Database.open(path, read_only=True)
    assert database.integrity() == []
    database.close()


def test_read_only_needs_a_finished_store(tmp_path):
    (tmp_path / "empty.db").touch()
    with pytest.raises(NotAStore, match="read_only"):
        Database.open(tmp_path / "empty.db", read_only=True)
    with pytest.raises(InvalidInput, match="memory"):
        Database.open(":memory:", read_only=True)


def test_read_only_refuses_changes(tmp_path):
    path = tmp_path / "memory.db"
    writing = stamped(Database.open(path))
    with writing.transaction() as writer:
        writer.insert(make_record("a"))
    writing.close()
    database = Database.open(path, read_only=True)
    assert database.read_only
    with pytest.raises(StoreReadOnly, match="read_only"):
        database.transaction()
    with pytest.raises(StoreReadOnly):
        database.vacuum()
    assert database.integrity() == []
    with database.read() as reader:
        assert reader.seq() == 1
        with pytest.raises(StoreReadOnly):
            reader.connection.run("DELETE FROM records")
    writing = Database.open(path)
    with writing.transaction() as writer:
        writer.insert(make_record("b"))
    with database.read() as reader:
        assert reader.seq() == 2
    writing.close()
    database.close()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to drop its privileges")
def test_files_of_somebody_else(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir()
    stamped(Database.open(folder / "memory.db")).close()
    (folder / "memory.db").chmod(0o444)
    for parent in (folder, *list(folder.parents)[:-2]):
        parent.chmod(0o555)
    code = f"""
import os, sys
sys.path[:0] = {PATHS!r}
from agentmem.storage.database import Database
from agentmem.errors import NotAStore
import agentmem.storage.migrations, agentmem.storage.connection, sqlite3
os.setgid(65534); os.setuid(65534)
try:
    Database.open({str(folder / "memory.db")!r})
except NotAStore as error:
    print("may not be written" in str(error))
with Database.open({str(folder / "memory.db")!r}, read_only=True).read() as reader:
    print(reader.config("dimension"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    for parent in (folder, *list(folder.parents)[:-2]):
        parent.chmod(0o755)
    assert (done.stdout.split(), done.stderr) == (["True", "8"], "")


def test_arguments_out_of_range(tmp_path):
    with pytest.raises(InvalidInput, match="durability"):
        Database.open(tmp_path / "m.db", durability="none")
    with pytest.raises(InvalidInput, match="timeout"):
        Database.open(tmp_path / "m.db", timeout=-1)
    assert not (tmp_path / "m.db").exists()


@pytest.mark.parametrize(("durability", "level"), [("normal", 1), ("full", 2)])
def test_durability(tmp_path, durability, level):
    database = Database.open(tmp_path / "m.db", durability=durability)
    with database.transaction() as writer:
        assert writer.connection.first("PRAGMA synchronous") == level
    database.close()


def test_trace_sees_every_statement(tmp_path):
    seen: list[str] = []
    database = Database.open(tmp_path / "m.db", trace=seen.append)
    with database.transaction() as writer:
        writer.insert(make_record("traced"))
    with database.read() as reader:
        reader.seq()
    database.close()
    assert any("INSERT INTO records" in sql and "traced" in sql for sql in seen)
    assert "SELECT max(seq) FROM changes" in seen
    assert "BEGIN IMMEDIATE" in seen


def test_use_after_close(tmp_path):
    database = Database.open(tmp_path / "m.db")
    reading = database.read()
    with reading as reader:
        reader.seq()
        database.close()
    database.close()
    enter = database.read().__enter__
    for use in (enter, database.transaction, database.vacuum, database.checkpoint, database.integrity):
        with pytest.raises(StoreClosed, match="open it again"):
            use()


def test_closing_leaves_one_file(tmp_path):
    database = Database.open(tmp_path / "m.db")
    with database.transaction() as writer:
        writer.insert(make_record("a"))
    with database.read() as reader:
        reader.seq()
        with database.read() as another:
            another.seq()
    database.close()
    assert os.listdir(tmp_path) == ["m.db"]


def test_no_closing_or_vacuum_inside_a_transaction(db):
    with db.transaction():
        for use in (db.close, db.vacuum, db.checkpoint):
            with pytest.raises(InvalidInput, match="inside a transaction"):
                use()


def test_damage_is_reported_as_such(tmp_path):
    path = tmp_path / "m.db"
    database = stamped(Database.open(path))
    with database.transaction() as writer:
        writer.insert_many([make_record(str(i), "words " * 50) for i in range(300)])
    database.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        for page in range(2, size // 8192):
            file.seek(page * 8192)
            file.write(b"\xff" * 64)
    with pytest.raises(StoreDamaged, match="backup"):
        _read_everything(path)


def _read_everything(path: Path) -> None:
    database = Database.open(path)
    try:
        with database.read() as reader:
            reader.page(0, 1000, None, None, None)
            reader.index_rows()
    finally:
        database.close()


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("database is locked", StoreBusy),
        ("database disk image is malformed", StoreDamaged),
        ("file is not a database", NotAStore),
        ("attempt to write a readonly database", StoreReadOnly),
        ("unable to open database file", NotAStore),
        ("database or disk is full", StoreError),
        ("disk I/O error", StoreError),
    ],
)
def test_translation_of_errors(message, kind):
    error = translated(sqlite3.OperationalError(message), "somewhere.db")
    assert type(error) is kind
    assert "somewhere.db" in str(error)


def test_a_full_disk_undoes_the_change(on_disk):
    with on_disk.transaction() as writer:
        writer.insert(make_record("before"))
        writer.connection.run("PRAGMA max_page_count = 40")
    big = [make_record(str(i), "x" * 10_000) for i in range(100)]
    with pytest.raises(StoreError, match="free some space"), on_disk.transaction() as writer:
        writer.insert_many(big)
    with on_disk.read() as reader:
        assert reader.ids_where(None, None) == ["before"]
    with on_disk.transaction() as writer:
        writer.connection.run("PRAGMA max_page_count = 1000000")
        writer.insert_many(big)
    with on_disk.read() as reader:
        assert reader.seq() == 101


def test_a_swallowed_rollback_is_noticed(on_disk):
    def change() -> None:
        with on_disk.transaction() as writer:
            writer.insert(make_record("a"))
            writer.connection.raw.rollback()
            with on_disk.transaction() as inner:
                inner.insert(make_record("b"))

    with pytest.raises(StoreError, match="undone"):
        change()
    with on_disk.read() as reader:
        assert reader.seq() == 0
    assert not on_disk.in_transaction()


def test_a_copied_store_is_whole_after_checkpoint(on_disk, tmp_path):
    with on_disk.transaction() as writer:
        writer.insert(make_record("a"))
    assert on_disk.checkpoint()
    shutil.copy(on_disk.path, tmp_path / "copy.db")
    copy = Database.open(tmp_path / "copy.db")
    with copy.read() as reader:
        assert reader.ids_where(None, None) == ["a"]
    copy.close()


def test_a_synced_transaction_is_synced_under_any_durability(tmp_path):
    statements: list[str] = []
    database = Database.open(tmp_path / "m.db", durability="normal", trace=statements.append)
    with database.synced_transaction() as writer:
        assert writer.connection.first("PRAGMA synchronous") == 2
        writer.insert(make_record("kept"))
    with database.transaction() as writer:
        assert writer.connection.first("PRAGMA synchronous") == 1
        with pytest.raises(InvalidInput, match="inside a transaction"), database.synced_transaction():
            pass
    with pytest.raises(DuplicateId, match="undone"), database.synced_transaction() as writer:
        writer.insert_many([make_record("undone"), make_record("undone")])
    with database.transaction() as writer:
        assert writer.connection.first("PRAGMA synchronous") == 1
    with database.read() as reader:
        assert [record is not None for record in reader.get(["kept", "undone"])] == [True, False]
    database.close()
