"""The thread that moves the write-ahead log into the file."""

import os
import threading
import time

from storage_kit import stamped

from agentmem.storage import checkpoints
from agentmem.storage.database import Database


def written(path, database, make, count, start=0):
    """Commit some records, each on its own, and return the size of the database file once it has stopped growing."""
    for number in range(start, start + count):
        with database.transaction() as writer:
            writer.insert(make(f"r{number}"))
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and os.path.getsize(path) < 4096 * count // 8:
        time.sleep(0.01)
    return os.path.getsize(path)


def workers():
    return [thread for thread in threading.enumerate() if thread.name == "agentmem-checkpoint"]


def test_the_file_grows_while_nobody_checkpoints_and_closing_ends_the_thread(tmp_path, make):
    path = tmp_path / "memory.db"
    database = stamped(Database.open(path))
    few = written(path, database, make, checkpoints.COMMITS // 2)
    many = written(path, database, make, 2 * checkpoints.COMMITS, start=1_000)
    assert many > few
    assert len(workers()) == 1
    assert database.checkpoint()
    database.close()
    assert workers() == []
    database = Database.open(path)
    with database.read() as reader:
        assert reader.count(None, None, None) == 5 * checkpoints.COMMITS // 2
    assert database.integrity() == []
    database.close()


def test_an_idle_thread_ends_and_the_next_commits_start_another(tmp_path, make, monkeypatch):
    monkeypatch.setattr(checkpoints, "IDLE_S", 0.05)
    path = tmp_path / "memory.db"
    database = stamped(Database.open(path))
    for start in (0, 1_000):
        written(path, database, make, checkpoints.COMMITS, start=start)
        deadline = time.monotonic() + 10
        while workers() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert workers() == []
    database.close()


def test_a_checkpoint_that_fails_is_told_and_left_to_the_commits(tmp_path, make, monkeypatch, caplog):
    path = tmp_path / "memory.db"
    database = stamped(Database.open(path))
    monkeypatch.setattr(database._checkpointer, "_connect", lambda: Database.open(tmp_path / "no" / "such" / "folder"))
    for number in range(2 * checkpoints.COMMITS):
        with database.transaction() as writer:
            writer.insert(make(f"r{number}"))
    database._checkpointer.close()
    assert "checkpoints are left to the commits" in caplog.text
    database.close()
