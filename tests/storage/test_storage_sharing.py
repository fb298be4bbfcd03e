"""One file shared: by several databases, threads and processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from storage_kit import make_record

from agentmem.errors import (
    StoreBusy,
)
from agentmem.storage.database import Database

CHILD = """
import sys
sys.path[:0] = {paths!r}
from storage_kit import make_record
from agentmem.storage.database import Database
db = Database.open(sys.argv[1], timeout=30.0)
"""
PATHS = [str(Path(__file__).parent)]


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a Python process with ``db`` open on the first argument."""
    source = CHILD.format(paths=PATHS) + code
    return subprocess.Popen(
        [sys.executable, "-c", source, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_two_databases_on_one_file(on_disk):
    other = Database.open(on_disk.path)
    for turn, (one, two) in enumerate([(on_disk, other), (other, on_disk)] * 3):
        with one.transaction() as writer:
            writer.insert(make_record(str(turn)))
        with two.read() as reader:
            assert reader.seq() == turn + 1
            assert reader.get([str(turn)])[0] is not None
    other.close()


def test_busy_past_the_timeout(on_disk):
    other = Database.open(on_disk.path, timeout=0.05)
    with on_disk.transaction() as writer:
        writer.insert(make_record("a"))
        with pytest.raises(StoreBusy, match="retry"), other.transaction():
            pass
        with other.read() as reader:
            assert reader.seq() == 0
    with other.transaction() as writer:
        writer.insert(make_record("b"))
    with on_disk.read() as reader:
        assert reader.seq() == 2
    other.close()


@pytest.mark.parametrize("where", ["file", "memory"])
def test_another_thread_waits_and_then_gives_up(tmp_path, where):
    database = Database.open(":memory:" if where == "memory" else tmp_path / "m.db", timeout=0.05)
    raised: list[type[BaseException]] = []

    def attempt() -> None:
        try:
            with database.transaction() as writer:
                writer.insert(make_record("other"))
        except StoreBusy as error:
            raised.append(type(error))

    with database.transaction() as writer:
        writer.insert(make_record("mine"))
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
    assert raised == [StoreBusy]
    attempt()
    with database.read() as reader:
        assert reader.ids_where(None, None) == ["mine", "other"]
    database.close()


def test_threads_write_and_read_together(db):
    failures: list[BaseException] = []

    def work(name: int) -> None:
        try:
            for turn in range(15):
                with db.transaction() as writer:
                    writer.insert(make_record(f"{name}-{turn}"))
                with db.read() as reader:
                    before = reader.seq()
                    assert reader.count(None, None, None) == before
                    assert reader.get([f"{name}-{turn}"])[0] is not None
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with db.read() as reader:
        assert reader.seq() == 60


def test_processes_make_write_and_see_one_store(tmp_path):
    path = tmp_path / "memory.db"
    write = """
for i in range(20):
    with db.transaction() as writer:
        writer.insert(make_record(f"{sys.argv[2]}-{i}"))
print("done", flush=True)
sys.stdin.read()
db.close()
"""
    children = [child(write, path, name) for name in "abc"]
    assert [each.stdout.readline().strip() for each in children] == ["done"] * 3
    database = Database.open(path)
    with database.read() as reader:
        assert reader.seq() == 60
        assert [change.seq for change in reader.changes()] == list(range(1, 61))
        assert sorted(reader.ids_where(None, None)) == sorted(f"{name}-{i}" for name in "abc" for i in range(20))
    for each in children:
        each.communicate()
        assert each.returncode == 0
    assert database.integrity() == []
    database.close()


def test_a_killed_process_loses_nothing_that_it_committed(tmp_path):
    path = tmp_path / "memory.db"
    code = """
with db.transaction() as writer:
    writer.insert_many([make_record("a"), make_record("b")])
with db.transaction() as writer:
    writer.insert(make_record("c"))
    print("in the middle", flush=True)
    sys.stdin.read()
"""
    process = child(code, path)
    assert process.stdout.readline() == "in the middle\n"
    process.kill()
    process.communicate()
    database = Database.open(path, read_only=True)
    with database.read() as reader:
        assert reader.seq() == 2
    database.close()
    database = Database.open(path)
    with database.read() as reader:
        assert reader.ids_where(None, None) == ["a", "b"]
    assert database.integrity() == []
    database.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_told_so(tmp_path):
    code = """
import os
child = os.fork()
if child == 0:
    try:
        db.read().__enter__()
    except Exception as error:
        os._exit(42 if "forked" in str(error) else 1)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
    process = child(code, tmp_path / "m.db")
    assert process.communicate()[0].strip() == "42"
