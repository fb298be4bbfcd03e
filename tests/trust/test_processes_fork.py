"""A fork while a store is open: the child is refused, and whatever it does, nothing of its parent's is touched."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import agentmem
from agentmem import maintenance

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

PARENT = """
import gc, os, signal, subprocess, sys
import agentmem

path = sys.argv[1]

def open_store():
    return agentmem.MemoryStore(path, embedder=None, dimension=3, merge="manual")

def ids(store):
    return sorted(hit.id for hit in store.search(embedding=[1, 2, 3], k=100))

def forked(work):
    child = os.fork()
    if child == 0:
        work()
        sys.exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def refused(work):
    try:
        work()
    except agentmem.StoreError as error:
        assert "forked" in str(error) and "spawn" in str(error), error
    else:
        raise AssertionError("it was not refused")

store = open_store()
store.add("before", id="a", embedding=[1, 2, 3])
assert ids(store) == ["a"]
"""


def run(tmp_path, code):
    """Run a parent process and return the path of its store."""
    path = tmp_path / "memory.db"
    done = subprocess.run([sys.executable, "-c", PARENT + code, str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return path


def ids_in(path):
    """Return the ids in a store, read by this process."""
    with agentmem.MemoryStore(path, embedder=None, dimension=3, merge="manual") as store:
        assert store.check().ok
        return sorted(record.id for record in store.iterate())


def test_every_verb_is_refused_in_the_child_and_the_parent_goes_on(tmp_path):
    code = """
def child():
    refused(lambda: ids(store))
    refused(lambda: store.add("x", id="x", embedding=[1, 2, 3]))
    refused(lambda: store.get("a"))
    refused(lambda: store.merge())
    refused(lambda: store.check())
    refused(lambda: store.count())
    store.close()
    store.close()

assert forked(child) == 0
store.add("after", id="b", embedding=[1, 2, 3])
assert ids(store) == ["a", "b"]
store.close()
"""
    assert ids_in(run(tmp_path, code)) == ["a", "b"]


def test_the_child_cannot_open_the_file_again_and_may_when_it_was_closed_before(tmp_path):
    code = """
assert forked(lambda: refused(open_store)) == 0
os.link(path, path + ".other-name")
path, real = path + ".other-name", path
assert forked(lambda: refused(open_store)) == 0
os.unlink(path)
path = real
store.close()

def child():
    with open_store() as again:
        again.add("by the child", id="c", embedding=[1, 2, 3])

assert forked(child) == 0
assert ids(open_store()) == ["a", "c"]
"""
    assert ids_in(run(tmp_path, code)) == ["a", "c"]


def test_a_fork_inside_a_transaction_commits_once_and_only_in_the_parent(tmp_path):
    code = """
def leaves_the_block():
    with store.transaction():
        store.add("inside", id="b", embedding=[1, 2, 3])
        child = os.fork()
        if child:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
            assert ids(store) == ["a", "b"]
    return child

try:
    child = leaves_the_block()
except agentmem.StoreError as error:
    os._exit(7 if "forked" in str(error) else 1)
assert ids(store) == ["a", "b"]
store.close()
"""
    assert ids_in(run(tmp_path, code)) == ["a", "b"]


@pytest.mark.parametrize("end", ["sys.exit(0)", "del store; gc.collect(); os._exit(0)", "store.close(); sys.exit(0)"])
def test_a_child_that_ends_late_removes_no_log_of_another_process(tmp_path, end):
    """SQLite's close would: by then it is alone with the file, and takes the log there for its own."""
    code = f"""
ready, go = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    os.write(ready[1], b"x")
    os.read(go[0], 1)
    {end}
os.read(ready[0], 1)
store.close()
writer = '''
import os, sys
import agentmem
other = agentmem.MemoryStore(sys.argv[1], embedder=None, dimension=3, merge="manual")
other.add("acknowledged", id="b", embedding=[1, 2, 3])
os.kill(os.getpid(), 9)
'''
killed = subprocess.run([sys.executable, "-c", writer, path])
assert killed.returncode == -signal.SIGKILL
assert os.path.getsize(path + "-wal") > 0
os.write(go[1], b"x")
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert os.path.getsize(path + "-wal") > 0
"""
    assert ids_in(run(tmp_path, code)) == ["a", "b"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_workers_of_multiprocessing_are_refused_and_may_open_what_their_parent_closed(tmp_path):
    code = """
import multiprocessing
context = multiprocessing.get_context("fork")

def work(number):
    try:
        with open_store() as mine:
            mine.add("by a worker", id=f"w{number}", embedding=[1, 2, 3])
        return "added"
    except agentmem.StoreError as error:
        assert "forked" in str(error)
        return "refused"

with context.Pool(2) as pool:
    assert pool.map(work, range(4)) == ["refused"] * 4
assert ids(store) == ["a"]
store.close()
with context.Pool(2) as pool:
    assert pool.map(work, range(4)) == ["added"] * 4
"""
    assert ids_in(run(tmp_path, code)) == ["a", "w0", "w1", "w2", "w3"]


def test_a_merge_lock_is_not_kept_by_a_child_that_was_forked_meanwhile(tmp_path):
    folder = tmp_path / "memory.db-index"
    code = f"""
import time
from pathlib import Path
from agentmem import maintenance
with maintenance.merge_lock(Path({str(folder)!r})) as mine:
    assert mine
    child = os.fork()
    if child == 0:
        os.close(1)
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    parent = subprocess.run(
        [sys.executable, "-c", PARENT + code, str(tmp_path / "memory.db")],
        stdout=subprocess.PIPE,
        text=True,
        timeout=50,
    )
    assert parent.returncode == -signal.SIGKILL
    try:
        with maintenance.merge_lock(folder) as mine:
            assert mine
    finally:
        os.kill(int(parent.stdout), signal.SIGKILL)


MERGES_FOR_EVER = """
import sys, time
from agentmem import maintenance
from agentmem.identity import read_identity
from agentmem.storage.database import Database

def hangs(*args, **options):
    print("merging", flush=True)
    time.sleep(60)

maintenance.build_segment = hangs
database = Database.open(sys.argv[1])
maintenance.merge(database, read_identity(database))
"""


def test_a_process_killed_while_it_merges_leaves_no_lock_behind(tmp_path):
    path = tmp_path / "memory.db"
    with agentmem.MemoryStore(path, embedder=None, dimension=3, merge="manual") as store:
        store.add_many(embeddings=[[1, 2, number] for number in range(20)])
        with subprocess.Popen([sys.executable, "-c", MERGES_FOR_EVER, str(path)], stdout=subprocess.PIPE) as merger:
            assert merger.stdout.readline() == b"merging\n"
            assert store.merge().busy
            merger.kill()
        report = store.merge()
        assert (report.kind, report.rows, report.busy) == ("base", 20, False)
        assert [file.suffix for file in sorted(Path(f"{path}-index").iterdir())] == [".seg", ".lock"]
        assert store.check().ok
