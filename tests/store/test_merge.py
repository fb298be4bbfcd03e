"""Merges: what they publish, and that nothing but the database is ever needed."""

import gc
import logging
import shutil
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

import agentmem
from agentmem import maintenance
from agentmem.index import planner
from agentmem.index.segment import Segment
from agentmem.storage.reader import Reader

DIM = 8


def vectors(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


@pytest.fixture
def small(monkeypatch):
    """Graphs and merges at sizes that a test can afford."""
    monkeypatch.setattr(maintenance, "GRAPH_ROWS", 40)
    monkeypatch.setattr(maintenance, "TAIL_ROWS", 50)
    monkeypatch.setattr(planner, "SCAN_ROWS", 20)


@pytest.fixture
def store(tmp_path, small):
    with agentmem.MemoryStore(tmp_path / "memory.db", embedder=None, dimension=DIM, merge="manual") as store:
        yield store


def segments(store):
    return sorted(path.name.split("-")[0] for path in Path(f"{store.path}-index").glob("*.seg"))


def kinds(store):
    return [(part["kind"], part["rows"], part["graph"]) for part in store.stats()["index"]["parts"]]


def test_the_tail_becomes_a_base_then_a_delta_then_a_new_base(store):
    store.add_many(embeddings=vectors(100))
    assert store.merge().kind == "base"
    assert kinds(store) == [("segment", 100, True), ("tail", 0, False)]
    store.add_many(embeddings=vectors(10, 1))
    assert store.merge().kind == "delta"
    assert kinds(store) == [("segment", 100, True), ("segment", 10, False), ("tail", 0, False)]
    store.add_many(embeddings=vectors(10, 2))
    report = store.merge()
    assert (report.kind, report.rows, report.graph) == ("base", 120, True)
    assert segments(store) == ["base"]
    assert store.merge().kind == "none"
    assert store.check().ok


def test_a_delta_is_written_again_only_where_something_changed(store):
    store.add_many(embeddings=vectors(100))
    store.merge()
    names = store.add_many(embeddings=vectors(10, 1))
    assert store.merge().kind == "delta"
    (path,) = Path(f"{store.path}-index").glob("delta*.seg")
    assert store.merge().kind == "none"
    assert path.exists()
    store.delete(names[0])
    assert (store.merge().kind, store.merge().kind) == ("delta", "none")
    (path,) = Path(f"{store.path}-index").glob("delta*.seg")
    path.write_bytes(path.read_bytes()[:-1])
    assert store.merge().kind == "delta"
    assert store.check().ok


def test_a_background_merge_runs_this_package_whatever_lies_in_the_folder(tmp_path, monkeypatch, caplog):
    (tmp_path / "agentmem").mkdir()
    (tmp_path / "agentmem" / "__init__.py").write_text("raise RuntimeError('not this one')")
    (tmp_path / "json.py").write_text("raise RuntimeError('nor this one')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(maintenance, "TAIL_ROWS", 50)
    with agentmem.MemoryStore("memory.db", embedder=None, dimension=DIM) as store:
        store.add_many(embeddings=vectors(100))
        store.search(embedding=vectors(1)[0])
        store.wait_for_merge(60)
        assert kinds(store) == [("segment", 100, False), ("tail", 0, False)]
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_searches_are_the_same_before_and_after_every_merge(store):
    ids = store.add_many(
        [f"note {i}" for i in range(90)], embeddings=vectors(90), threads=[f"t{i % 7}" for i in range(90)]
    )
    queries = vectors(20, 5)

    def answers():
        return [[(hit.id, round(hit.score, 4)) for hit in store.search(embedding=query, k=5)] for query in queries]

    before = answers()
    store.merge()
    assert answers() == before
    store.delete(*ids[:30])
    store.update(ids[40], embedding=queries[0])
    changed = answers()
    assert changed != before
    store.merge()
    assert answers() == changed
    store.optimize()
    assert answers() == changed
    assert store.search(embedding=queries[0], k=1)[0].id == ids[40]


def test_one_thread_builds_the_same_graph_every_time(store):
    store.add_many(embeddings=vectors(100))
    graphs = []
    for _ in range(2):
        store.optimize(threads=1)
        with store.snapshot() as (_, view):
            graphs.append(view.segments[0].graph.links.tobytes())
    assert graphs[0] == graphs[1]
    for threads in (0, "all"):
        with pytest.raises(agentmem.errors.InvalidInput, match="threads"):
            store.optimize(threads=threads)


def test_many_dead_rows_bring_a_new_base(store):
    ids = store.add_many(embeddings=vectors(100))
    store.merge()
    store.delete(*ids[:30])
    store.add(embedding=vectors(1, 9)[0])
    report = store.merge()
    assert (report.kind, report.rows) == ("base", 71)


@pytest.mark.parametrize("harm", ["removed", "truncated", "flipped", "foreign"])
def test_a_segment_that_cannot_be_trusted_is_left_out_and_written_anew(store, tmp_path, caplog, harm):
    data = vectors(100)
    ids = store.add_many(embeddings=data)
    store.merge()
    path = next(Path(f"{store.path}-index").glob("*.seg"))
    store.close()
    if harm == "removed":
        shutil.rmtree(path.parent)
    elif harm == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif harm == "flipped":
        content = bytearray(path.read_bytes())
        content[70] ^= 0xFF
        path.write_bytes(content)
    else:
        with agentmem.MemoryStore(tmp_path / "other.db", embedder=None, dimension=DIM, merge="manual") as other:
            other.add_many(embeddings=vectors(60, 3))
            other.merge()
            shutil.copy(next(Path(f"{other.path}-index").glob("*.seg")), path)
    with (
        caplog.at_level(logging.WARNING, logger="agentmem"),
        agentmem.MemoryStore(store.path, embedder=None, dimension=DIM, merge="manual") as again,
    ):
        assert [again.search(embedding=row, k=1)[0].id for row in data] == ids
        assert "rebuilt" in caplog.text
        assert not again.check().ok
        assert again.merge().kind == "base"
        assert again.check().ok
        assert kinds(again) == [("segment", 100, True), ("tail", 0, False)]


def test_a_grown_tail_is_merged_by_a_process_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(maintenance, "TAIL_ROWS", 50)
    with agentmem.MemoryStore(tmp_path / "memory.db", embedder=None, dimension=DIM) as store:
        store.add_many(embeddings=vectors(60))
        assert len(store.search(embedding=vectors(1)[0], k=60)) == 60
        store.wait_for_merge(60)
        store.add(embedding=vectors(1, 3)[0])
        assert len(store.search(embedding=vectors(1)[0], k=100)) == 61
        assert kinds(store) == [("segment", 60, False), ("tail", 1, False)]
        assert store.check().ok


def test_one_process_merges_at_a_time(store):
    store.add_many(embeddings=vectors(60))
    with maintenance.merge_lock(Path(f"{store.path}-index")) as mine:
        assert mine
        assert store.merge().kind == "none"
    assert store.merge().kind == "base"


def test_leftovers_of_a_killed_merge_are_removed_by_the_next(store):
    store.add_many(embeddings=vectors(60))
    stray = Path(f"{store.path}-index") / "base-1-dead.seg.tmp"
    stray.parent.mkdir()
    stray.write_bytes(b"half a segment")
    store.merge()
    assert not stray.exists()
    assert segments(store) == ["base"]


def test_searches_go_on_while_a_merge_publishes(store):
    data = vectors(300)
    ids = store.add_many(embeddings=data)
    wrong = []
    done = threading.Event()

    def search():
        while not done.is_set():
            for row in (0, 150, 299):
                if store.search(embedding=data[row], k=1)[0].id != ids[row]:
                    wrong.append(row)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        store.optimize()
        store.add(embedding=vectors(1, 77)[0] * 0.01 + 5)
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_thousands_of_copies_hide_nothing(store):
    copies = np.tile(vectors(1, 8), (500, 1))
    others = vectors(300, 4)
    store.add_many(embeddings=copies)
    ids = store.add_many(embeddings=others)
    store.optimize()
    assert [store.search(embedding=row, k=1, ef=60)[0].id for row in others] == ids
    assert len({hit.id for hit in store.search(embedding=copies[0], k=500)}) == 500


@pytest.mark.parametrize("others", [0, 1])
def test_vacuum_leaves_no_trace_of_deleted_text(tmp_path, others):
    path = tmp_path / "memory.db"
    with agentmem.MemoryStore(path, merge="manual") as store:
        rid = store.add("the password is xylophonequartz")
        store.add_many(["something harmless"] * others)
        store.optimize()
        store.delete(rid)
        with maintenance.merge_lock(Path(f"{path}-index")), pytest.raises(agentmem.StoreBusy, match="merging"):
            store.vacuum()
        store.vacuum()
        assert store.check().ok
        assert store.count() == others
    for file in [path, *tmp_path.glob("memory.db-wal"), *Path(f"{path}-index").glob("*")]:
        assert b"xylophonequartz" not in file.read_bytes(), file


def test_a_background_merge_is_noticed_without_a_further_write_and_not_repeated(tmp_path, monkeypatch):
    monkeypatch.setattr(maintenance, "TAIL_ROWS", 50)
    started = []
    popen = maintenance.subprocess.Popen
    monkeypatch.setattr(maintenance.subprocess, "Popen", lambda *a, **k: started.append(a) or popen(*a, **k))
    with agentmem.MemoryStore(tmp_path / "memory.db", embedder=None, dimension=DIM) as store:
        store.add_many(embeddings=vectors(60))
        until = time.monotonic() + 60
        while kinds(store)[0][1] != 60 or len(kinds(store)) != 2:
            assert len(store.search(embedding=vectors(1)[0], k=100)) == 60
            assert time.monotonic() < until
        for _ in range(20):
            store.search(embedding=vectors(1)[0])
    assert len(started) == 1


def test_a_background_merge_that_fails_is_not_started_again_at_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(maintenance, "TAIL_ROWS", 5)
    started = []
    popen = maintenance.subprocess.Popen

    def fails(command, **options):
        started.append(command)
        return popen([*command[:1], "-c", "raise SystemExit('no space left')"], **options)

    monkeypatch.setattr(maintenance.subprocess, "Popen", fails)
    with agentmem.MemoryStore(tmp_path / "memory.db", embedder=None, dimension=DIM) as store:
        store.add_many(embeddings=vectors(10))
        until = time.monotonic() + 30
        while "no space left" not in caplog.text:
            store.search(embedding=vectors(1)[0])
            assert time.monotonic() < until
        for _ in range(20):
            store.search(embedding=vectors(1)[0])
    assert len(started) == 1


def test_a_segment_superseded_while_it_is_opened_is_looked_up_anew(store, monkeypatch, caplog):
    store.add_many(embeddings=vectors(60))
    store.merge()
    with store.snapshot() as (reader, _):
        before = reader.segments()
    store.add(embedding=vectors(1, 3)[0])
    store.optimize()
    answers = [before]
    real = Reader.segments
    monkeypatch.setattr(Reader, "segments", lambda self: answers.pop() if answers else real(self))
    with caplog.at_level(logging.WARNING, logger="agentmem"):
        assert len(store.search(embedding=vectors(1)[0], k=100)) == 61
        store.index.reload()
        answers.append(before)  # another search that began before the file went
        assert len(store.search(embedding=vectors(1)[0], k=100)) == 61
    assert kinds(store) == [("segment", 61, True), ("tail", 0, False)]
    assert caplog.text == ""


def test_a_segment_that_goes_between_a_look_and_its_opening_is_looked_up_anew(store, monkeypatch, caplog):
    store.add_many(embeddings=vectors(60))
    store.merge()
    real = Segment.open

    def superseded(path, **options):
        monkeypatch.setattr(Segment, "open", real)
        with agentmem.MemoryStore(store.path, embedder=None, dimension=DIM, merge="manual") as other:
            other.optimize()
        return real(path, **options)

    monkeypatch.setattr(Segment, "open", superseded)
    with caplog.at_level(logging.WARNING, logger="agentmem"):
        assert len(store.search(embedding=vectors(1)[0], k=100)) == 60
    assert kinds(store) == [("segment", 60, True), ("tail", 0, False)]
    assert caplog.text == ""


def test_a_closed_store_lets_go_of_its_index(store):
    texts = [f"note {number} on tea" for number in range(100)]
    store.add_many(texts, embeddings=vectors(100))
    store.merge()
    for mechanism in ("auto", "memory-heads", "dense"):
        assert store.search("tea", embedding=vectors(1)[0], mechanism=mechanism)
    segment = weakref.ref(store.index._state.view.segments[0])
    assert segment() is not None
    store.close()
    gc.collect()
    assert segment() is None, "something keeps the mapped file"
