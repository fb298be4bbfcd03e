"""Index folders that are foreign, stale, gone, not writable or full: the records answer, the next merge repairs."""

import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import agentmem
from agentmem import maintenance
from agentmem.index import planner

DIM = 8
ROOT = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may change its user or mount"
)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Graphs at sizes that a test can afford."""
    monkeypatch.setattr(maintenance, "GRAPH_ROWS", 40)
    monkeypatch.setattr(planner, "SCAN_ROWS", 20)


def vectors(count, seed):
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


def open_store(path, **options):
    return agentmem.MemoryStore(path, embedder=None, dimension=DIM, merge="manual", **options)


def make(path, seed, count=60):
    """Make a store with a base, and return its vectors by id."""
    with open_store(path) as store:
        data = vectors(count, seed)
        ids = store.add_many(ids=[f"{seed}-{number}" for number in range(count)], embeddings=data)
        store.merge()
    return dict(zip(ids, data, strict=True))


def folder_of(path):
    return Path(f"{path}-index")


def segments(path):
    return sorted(folder_of(path).glob("*.seg"))


def all_found(store, data):
    assert store.count() == len(data)
    assert [store.search(embedding=row, k=1)[0].id for row in data.values()] == list(data)
    assert {hit.id for hit in store.search(embedding=vectors(1, 99)[0], k=len(data) + 5)} == set(data)


def told_and_repaired(path, data, caplog):
    """The records answer, the log and info() say why, and a merge puts an end to it."""
    with caplog.at_level(logging.WARNING, logger="agentmem"), open_store(path) as store:
        all_found(store, data)
        assert store.info()["problems"]
        assert "will be rebuilt" in caplog.text
        assert not store.check().ok
        assert store.merge().kind == "base"
        assert store.check().ok
        assert store.info()["problems"] == []
        all_found(store, data)
        assert len(segments(path)) == 1


def put_in_place(source, target):
    """Put the one segment of a store where the manifest of another expects its own."""
    (mine,), (theirs,) = segments(target), segments(source)
    shutil.copy(theirs, mine)


def test_segments_of_another_store_are_refused(tmp_path, caplog):
    first, second = tmp_path / "a.db", tmp_path / "b.db"
    data, _ = make(first, 1), make(second, 2)
    put_in_place(second, first)
    told_and_repaired(first, data, caplog)


def test_segments_of_a_copy_of_the_store_that_went_its_own_way_are_refused(tmp_path, caplog):
    """Same uuid, same seq, same shapes: only the checksum in the manifest tells."""
    first, second = tmp_path / "a.db", tmp_path / "b.db"
    with open_store(first):
        pass
    shutil.copy(first, second)
    data, _ = make(first, 1), make(second, 2)
    put_in_place(second, first)
    told_and_repaired(first, data, caplog)


@pytest.mark.parametrize("newer", ["database", "folder"])
def test_a_restored_backup_beside_an_index_of_another_time(tmp_path, caplog, newer):
    path, old = tmp_path / "memory.db", tmp_path / "old"
    data = make(path, 1)
    shutil.copytree(folder_of(path), old / "index")
    shutil.copy(path, old / "memory.db")
    with open_store(path) as store:
        store.delete("1-3")
        added = vectors(30, 5)
        store.add_many(ids=[f"5-{number}" for number in range(30)], embeddings=added)
        store.optimize()
    if newer == "database":
        shutil.rmtree(folder_of(path))
        shutil.copytree(old / "index", folder_of(path))
        del data["1-3"]
        data |= {f"5-{number}": row for number, row in enumerate(added)}
    else:
        shutil.copy(old / "memory.db", path)
    told_and_repaired(path, data, caplog)


def test_a_folder_deleted_while_the_store_is_open(tmp_path):
    path = tmp_path / "memory.db"
    data = make(path, 1)
    with open_store(path) as store, open_store(path) as other:
        all_found(store, data)
        shutil.rmtree(folder_of(path))
        all_found(store, data)
        all_found(other, data)
        assert other.info()["problems"]
        store.add(id="late", embedding=vectors(1, 6)[0])
        data["late"] = vectors(1, 6)[0]
        assert store.merge().kind == "base"
        for each in (store, other):
            all_found(each, data)
            assert each.check().ok


@pytest.mark.parametrize("moment", ["before the segment is built", "before it is published"])
def test_a_folder_deleted_while_a_merge_runs(tmp_path, monkeypatch, moment):
    path = tmp_path / "memory.db"
    with open_store(path) as store:
        data = make(path, 1)
        name = "build_segment" if moment == "before the segment is built" else "_publish"
        real = getattr(maintenance, name)

        def deleted(*args, **options):
            monkeypatch.setattr(maintenance, name, real)
            shutil.rmtree(folder_of(path))
            return real(*args, **options)

        monkeypatch.setattr(maintenance, name, deleted)
        if name == "build_segment":
            with pytest.raises(OSError, match="No such file"):
                store.optimize()
        else:
            assert store.optimize().kind == "base"
        all_found(store, data)
        assert store.merge().kind == "base"
        all_found(store, data)
        assert store.check().ok


OTHER_USER = """
import logging, os, sys, tempfile
import agentmem
from agentmem import maintenance
logging.basicConfig(level=logging.WARNING)
store_path, uid = sys.argv[1], 65534
# All modules are loaded while they may be read: what follows is done once on another store.
agentmem.MemoryStore(":memory:").search("words")
with tempfile.TemporaryDirectory() as folder:
    with agentmem.MemoryStore(folder + "/m.db", embedder=None, dimension=8, merge="manual") as store:
        store.add_many(embeddings=[[1, 2, 3, 4, 5, 6, 7, number] for number in range(30)])
        store.merge()
        store.add(embedding=[1] * 8)
        store.search(embedding=[1] * 8, k=500)
        store.info()
        store.merge()
os.setuid(uid)
maintenance.TAIL_ROWS = 10
for mode in ("manual", "background"):
    with agentmem.MemoryStore(store_path, embedder=None, dimension=8, merge=mode) as store:
        before = store.count()
        for number in range(6):
            store.add(id=f"{mode}-{number}", embedding=[1, 2, 3, 4, 5, 6, 7, number])
            assert len(store.search(embedding=[1] * 8, k=500)) == before + number + 1
        store.wait_for_merge(30)
        assert len(store.search(embedding=[1] * 8, k=500)) == before + 6
        if sys.argv[2] == "0":
            assert store.info()["problems"], "an index that may not be read is told"
        try:
            store.merge()
        except OSError as error:
            assert "denied" in str(error) and "memory.db-index" in str(error), error
        else:
            raise AssertionError("the merge should have been refused")
"""


@ROOT
@pytest.mark.parametrize("mode", [0o000, 0o555])
def test_a_folder_that_may_not_be_read_or_written(tmp_path, mode):
    path = tmp_path / "memory.db"
    make(path, 1)
    for place in (tmp_path, *tmp_path.parents):
        if place.stat().st_uid == 0 and not place.stat().st_mode & 0o001:
            place.chmod(place.stat().st_mode | 0o011)
    for file in (path, tmp_path):
        os.chown(file, 65534, 65534)
    for file in segments(path):
        file.chmod(0o644)
    folder_of(path).chmod(mode)
    done = subprocess.run(
        [sys.executable, "-c", OTHER_USER, str(path), str(mode)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert ("left out" in done.stderr) == (mode == 0)
    folder_of(path).chmod(0o700)
    with open_store(path) as store:
        assert store.count() == 72
        assert store.merge().rows == 72 if mode == 0 else store.merge().rows in (12, 72)
        assert store.check().ok


@ROOT
def test_no_space_for_the_index(tmp_path, monkeypatch):
    """The index lies on a small disk of its own, which others fill; the database has room."""
    path, disk = tmp_path / "memory.db", tmp_path / "memory.db-index"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"mount is not allowed: {mounted.stderr.strip()}")
    try:
        with open_store(path) as store:
            data = dict(zip([f"n{number}" for number in range(900)], vectors(900, 1), strict=True))
            store.add_many(ids=list(data), embeddings=np.array(list(data.values())))
            refused = 0
            monkeypatch.setattr(maintenance, "_remove_strays", lambda database, folder: None)
            for room in range(0, 500, 25):
                ballast = disk / "ballast"
                ballast.write_bytes(bytes((1000 - room) << 10))
                try:
                    store.optimize()
                except OSError as error:
                    refused += bool(re.search("space|disk full", str(error)))
                left = {file.name for file in disk.iterdir()} - {"ballast", "merge.lock"}
                assert len(left) == len(store.info()["index"]["parts"]) - 1, left
                assert store.check().ok
                ballast.unlink()
            assert refused >= 5
            assert {hit.id for hit in store.search(embedding=vectors(1, 99)[0], k=1000)} == set(data)
            assert store.optimize().kind == "base"
            assert store.check().ok
    finally:
        subprocess.run(["umount", str(disk)], check=True)


FEW_FILES = """
import logging, os, resource, sys, threading
import agentmem
from agentmem import maintenance
logging.basicConfig(level=logging.WARNING)
maintenance.TAIL_ROWS = 10
with agentmem.MemoryStore(":memory:", embedder=None, dimension=8) as warm:
    warm.add(id="a", embedding=[1] * 8)
    assert warm.search(embedding=[1] * 8), "what is imported late is loaded"
store = agentmem.MemoryStore(sys.argv[1], embedder=None, dimension=8)
assert store.count() == 60
limit = len(os.listdir("/proc/self/fd")) - 1
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
assert len(store.search(embedding=[1] * 8, k=100)) == 60
assert store.info()["problems"]
store.add(id="more", embedding=[2] * 8)
assert len(store.search(embedding=[1] * 8, k=100)) == 61
errors = []

def from_another_thread():
    with store.snapshot():
        try:
            store.count()
        except agentmem.StoreError as error:
            errors.append(str(error))

from_another_thread()
assert len(errors) == 1 and "open more files" in errors[0], errors
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
assert len(store.search(embedding=[1] * 8, k=100)) == 61
assert store.merge().kind in ("delta", "base")
assert store.check().ok and store.info()["problems"] == []
store.close()
"""


def test_too_many_open_files(tmp_path):
    path = tmp_path / "memory.db"
    make(path, 1)
    done = subprocess.run([sys.executable, "-c", FEW_FILES, str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "a background merge cannot be started" in done.stderr
    with open_store(path) as store:
        assert store.count() == 61
        assert store.check().ok
