"""A backup is one moment of the store, whole or not there; verify finds what is wrong with one, and changes nothing."""

import hashlib
import os
import resource
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest
from care_kit import content, fill, vector

import agentmem
from agentmem.storage import copies


def opened(path, **options):
    """Open a store of 8-d vectors."""
    return agentmem.MemoryStore(path, embedder=None, dimension=8, merge="manual", **options)


def everything(store):
    """Return a store's content, change log and feedback."""
    return content(store), store.changes(), [(each.query, each.accepted) for each in store.feedback_log()]


def test_a_backup_holds_everything_and_is_one_private_file(store, tmp_path):
    fill(store, 300)
    store.update("id-7", links=[("after", "id-8")])
    store.delete("id-9")
    store.feedback("which?", accepted=["id-7"])
    store.merge()
    shares = []
    written = store.database.backup(str(tmp_path / "copy.db"), shares.append)
    assert written == (tmp_path / "copy.db").stat().st_size
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    report = store.verify(tmp_path / "copy.db")
    assert (report.problems, report.records) == ((), 299)
    assert sorted(each.name for each in tmp_path.iterdir() if "copy" in each.name) == ["copy.db"]
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(tmp_path / "copy.db", tmp_path / "elsewhere" / "memory.db")
    with opened(tmp_path / "elsewhere" / "memory.db") as restored:
        assert everything(restored) == everything(store)
        assert restored.search(embedding=vector(5), k=1)[0].id == "id-5"
        restored.add("new", embedding=vector(1000))
        assert restored.check().ok


def test_a_backup_put_back_in_place_leaves_the_newer_index_out(store, tmp_path):
    fill(store, 50)
    store.backup(tmp_path / "copy.db")
    fill(store, 50, start=50)
    store.merge()
    store.close()
    shutil.copy(tmp_path / "copy.db", store.path)
    with opened(store.path) as restored:
        assert {hit.id for hit in restored.search(embedding=vector(60), k=100)} == {f"id-{n}" for n in range(50)}
        fill(restored, 50, start=100)
        assert restored.search(embedding=vector(120), k=1)[0].id == "id-120"
        assert restored.check().ok


def test_a_store_in_memory_can_be_backed_up(tmp_path):
    with agentmem.MemoryStore(":memory:", embedder=None, dimension=8) as store:
        fill(store, 20)
        store.backup(tmp_path / "copy.db")
        with opened(tmp_path / "copy.db") as copy:
            assert content(copy) == content(store)


def test_every_backup_is_one_moment_while_another_connection_writes(store, tmp_path, monkeypatch):
    """Pairs are written in one transaction each; a copy that holds half of one, or an older one's gap, would show."""
    monkeypatch.setattr(copies, "STEP_PAGES", 3)
    stop = threading.Event()

    def write():
        with opened(store.path, timeout=30.0) as other:
            number = 0
            while not stop.is_set():
                with other.transaction():
                    for half in "ab":
                        other.add(f"pair {number}", id=f"{number}-{half}", embedding=vector(number))
                number += 1

    fill(store, 100)
    thread = threading.Thread(target=write)
    thread.start()
    try:
        counts = []
        for turn in range(15):
            store.backup(tmp_path / f"{turn}.db")
            report = store.verify(tmp_path / f"{turn}.db")
            assert report.ok, report.problems
            with opened(tmp_path / f"{turn}.db") as copy:
                ids = {record.id for record in copy.iterate()} - {f"id-{n}" for n in range(100)}
            pairs = {int(each.split("-")[0]) for each in ids}
            assert ids == {f"{n}-{half}" for n in range(len(pairs)) for half in "ab"}
            counts.append(len(pairs))
    finally:
        stop.set()
        thread.join()
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


def test_targets_that_are_refused(store, tmp_path):
    fill(store, 3)
    (tmp_path / "there.db").write_text("mine")
    (tmp_path / "link.db").symlink_to(store.path)
    for target, match in (
        (tmp_path / "there.db", "exists already"),
        (":memory:", "':memory:'"),
        (store.path, "the store itself"),
        (tmp_path / "link.db", "the store itself"),
        (tmp_path, "exists already"),
    ):
        with pytest.raises(agentmem.InvalidInput, match=match):
            store.backup(target)
    with pytest.raises(agentmem.StoreError, match="cannot be written"):
        store.backup(tmp_path / "no" / "folder.db")
    with store.transaction(), pytest.raises(agentmem.InvalidInput, match="transaction"):
        store.backup(tmp_path / "new.db")
    assert (tmp_path / "there.db").read_text() == "mine"
    assert not (tmp_path / "new.db").exists()
    assert store.count() == 3


def test_a_backup_that_fails_leaves_nothing(store, tmp_path):
    def fails(share):
        raise KeyboardInterrupt

    fill(store, 3)
    folder = tmp_path / "backups"
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        store.database.backup(str(folder / "copy.db"), fails)
    assert list(folder.iterdir()) == []
    store.backup(folder / "copy.db")
    assert store.verify(folder / "copy.db").ok


def test_a_full_disk_leaves_nothing(store, tmp_path):
    fill(store, 3000)
    folder = tmp_path / "backups"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "agentmem.cli", "backup", "--db", store.path, str(folder / "copy.db")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "copy.db" in done.stderr
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("DELETE FROM embeddings WHERE label = 3", "without a row in embeddings"),
        ("INSERT INTO links VALUES ('id-1', 'to', 'ghost')", "links with an end"),
        ("UPDATE records SET metadata = '{' WHERE label = 3", "not a JSON object"),
        ("UPDATE records SET metadata = '[]' WHERE label = 3", "not a JSON object"),
        ("UPDATE embeddings SET vector = zeroblob(28) WHERE label = 3", "another length"),
        ("UPDATE embeddings SET vector = zeroblob(31) WHERE label = 3", "another length"),
        ("UPDATE embeddings SET terms = zeroblob(3) WHERE label = 3", "cut off"),
        ("UPDATE embeddings SET vector = ? WHERE label = 3", "1 vectors with NaN or infinity"),
        ("DROP TRIGGER records_fts_update; UPDATE records SET text = 'other' WHERE label = 3", "full-text"),
    ],
)
def test_verify_and_check_find(store, tmp_path, damage, says):
    fill(store, 10)
    store.backup(tmp_path / "copy.db")
    raw = sqlite3.connect(tmp_path / "copy.db")
    for statement in damage.split("; "):
        bound = (np.array([1, np.nan, *range(6)], np.float32).tobytes(),) if "?" in statement else ()
        raw.execute(statement, bound)
    raw.commit()
    raw.close()
    report = store.verify(tmp_path / "copy.db")
    assert len(report.problems) == 1
    assert says in report.problems[0]
    assert (report.ok, report.records) == (False, 10)
    with opened(tmp_path / "copy.db") as copy:
        assert copy.database.integrity() == list(report.problems)


def test_verify_finds_an_index_that_differs_and_changes_nothing(store, tmp_path):
    fill(store, 200)
    store.backup(tmp_path / "copy.db")
    raw = sqlite3.connect(tmp_path / "copy.db")
    root = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'records_place'").fetchone()[0]
    raw.close()
    data = bytearray((tmp_path / "copy.db").read_bytes())
    at = data.index(b"thread 1", (root - 1) * 8192)
    data[at : at + 8] = b"thread 9"
    (tmp_path / "copy.db").write_bytes(data)
    before = {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in tmp_path.glob("copy*")}
    assert any("records_place" in problem for problem in store.verify(tmp_path / "copy.db").problems)
    assert {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in tmp_path.glob("copy*")} == before


def test_verify_reads_a_log_that_lies_beside(store, tmp_path):
    fill(store, 5)
    for name in ("memory.db", "memory.db-wal"):
        shutil.copy(tmp_path / name, tmp_path / name.replace("memory", "copy"))
    report = store.verify(tmp_path / "copy.db")
    assert (report.problems, report.records) == ((), 5)


def test_verify_refuses_what_is_no_store(tmp_path):
    (tmp_path / "text").write_text("not a database, but long enough to look like one" * 30)
    (tmp_path / "empty").touch()
    sqlite3.connect(tmp_path / "other").execute("CREATE TABLE guests (name TEXT)").connection.close()
    for name, match in (("text", "not an SQLite"), ("empty", "not a backup"), ("other", "another"), ("none", "opened")):
        with pytest.raises(agentmem.NotAStore, match=match):
            agentmem.MemoryStore.verify(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["empty", "other", "text"]


def test_the_commands(store, command, tmp_path):
    fill(store, 300)
    done = command("backup", "copy.db", "--json")
    assert (done.code, done.json) == (0, {"path": "copy.db", "bytes": (tmp_path / "copy.db").stat().st_size})
    again = command("backup", "copy.db")
    assert (again.code, again.err.count("\n")) == (2, 1)
    assert "exists already" in again.err
    assert "written to other.db" in command("backup", "other.db").out
    assert command("verify", "copy.db", "--json").json == {"problems": [], "records": 300, "ok": True}
    assert command("verify", "copy.db").out == "ok: 300 memories\n"
    data = bytearray((tmp_path / "copy.db").read_bytes())
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    (tmp_path / "copy.db").write_bytes(data)
    assert command("verify", "copy.db").code == 5
    (tmp_path / "copy.db").write_bytes(data[: len(data) // 2])
    truncated = command("verify", "copy.db", "--json")
    assert (truncated.code, truncated.json["ok"], truncated.json["records"]) == (5, False, 0)
    assert "agentmem recover" in truncated.json["problems"][0]
    assert command("verify", "nowhere.db").code == 2
