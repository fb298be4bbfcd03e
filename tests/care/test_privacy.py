"""What is deleted is gone after vacuum; files are the owner's alone; no memory turns up in a log or an error."""

import logging
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import traceback

import numpy as np
import pytest
from care_kit import fill, vector

import agentmem
from agentmem.embed import StaticEmbedder
from agentmem.errors import AgentMemError
from agentmem.index.quantise import quantise
from agentmem.storage.terms import Analyzer

MARK = "zqxwvu77"
"""In every field of what is to be forgotten."""
WORDS = {"deleted": "qqzvx71", "updated": "xxqvz72", "purged": "zzvqx73"}
"""In the text of each marked record: terms that share no first letter with others, which FTS5 then stores in one piece,
and that its stemmer leaves as they are."""


def marked(name):
    """Return the fields of a record that is to leave no trace."""
    return {
        "text": f"the {WORDS[name]} walked seven quagmires under a xylophone",
        "embedding": vector(sum(name.encode())),
        "metadata": {"about": f"{MARK}meta{name}"},
        "namespace": f"{MARK}space{name}",
        "thread": f"{MARK}thread{name}",
        "session": f"{MARK}session{name}",
        "speaker": f"{MARK}speaker{name}",
    }


def needles(name):
    """Return the bytes that each part of a marked record leaves in files."""
    fields = marked(name)
    unit = fields["embedding"] / np.linalg.norm(fields["embedding"].astype(np.float64)).astype(np.float32)
    return {
        "term": WORDS[name].encode(),
        "text": b"quagmires under a xylophone",
        **{part: f"{MARK}{part}{name}".encode() for part in ("meta", "space", "thread", "session", "speaker")},
        "vector": fields["embedding"].tobytes(),
        "unit vector": unit.tobytes()[:8],
        "codes": quantise(unit[None])[0][0, :8].tobytes(),
        "tokens": StaticEmbedder().token_ids([fields["text"]])[0].tobytes(),
        "stems": Analyzer().encode(fields["text"])[4:12],
        "query of feedback": f"{MARK}query{name}".encode(),
    }


def bytes_of(folder):
    """Return the bytes of every file below a folder, read by another process: SQLite's locks stay as they are."""
    files = sorted(str(path) for path in folder.rglob("*") if path.is_file())
    return subprocess.run(["cat", *files], capture_output=True, check=True).stdout


def left(folder, names):
    """Return which parts of marked records are in a store's files."""
    data = bytes_of(folder)
    return {part for name in names for part, needle in needles(name).items() if needle in data}


@pytest.mark.parametrize("graph_rows", [10_000, 100])
@pytest.mark.parametrize("secure_delete", ["ON", "OFF"])
def test_what_was_deleted_or_replaced_is_gone_after_vacuum(tmp_path, monkeypatch, graph_rows, secure_delete):
    monkeypatch.setattr("agentmem.maintenance.GRAPH_ROWS", graph_rows)
    with agentmem.MemoryStore(tmp_path / "memory.db", embedder=None, dimension=8, merge="manual") as store:
        with store.database.transaction() as writer:
            writer.connection.all(f"PRAGMA secure_delete = {secure_delete}")
        fill(store, 300)
        for name in ("deleted", "updated", "purged"):
            store.add(id=f"doomed-{name}", **marked(name), ttl=0.001 if name == "purged" else None)
            store.feedback(f"{MARK}query{name}", accepted=[f"doomed-{name}"])
        store.optimize()
        fill(store, 50, start=300)
        store.merge()
        names = ("deleted", "updated", "purged")
        assert left(tmp_path, names) == set(needles("deleted")), "the test looks for bytes that are never written"
        store.delete("doomed-deleted")
        replaced = dict.fromkeys(("namespace", "thread", "session", "speaker"), "plain")
        store.upsert("new words", id="doomed-updated", embedding=vector(9_999), **replaced)
        store.purge_expired()
        store.vacuum()
        assert left(tmp_path, names) == {"query of feedback"}
        assert left(tmp_path, ("deleted", "purged")) == set()
        store.delete("doomed-updated")
        store.vacuum()
        assert left(tmp_path, names) == set()
        assert store.check().ok
        assert len(store.search(embedding=vector(3), k=1000)) == 350
        store.delete_where(namespace="")
        store.vacuum()
        assert b"memory number" not in bytes_of(tmp_path)
    assert left(tmp_path, names) == set()


def test_ids_stay_in_the_change_log_and_nowhere_else(store, tmp_path):
    fill(store, 5)
    store.add(id="doomed", **marked("deleted"), links=[("to", "id-1")])
    store.update("id-2", links=[("to", "doomed")])
    store.feedback("which?", accepted=["id-1"], shown=["doomed", "id-1"])
    store.merge()
    store.delete("doomed")
    store.vacuum()
    assert [(change.op, change.id) for change in store.changes() if change.id == "doomed"] == [
        ("put", "doomed"),
        ("delete", "doomed"),
    ]
    assert b"doomed" not in bytes_of(tmp_path / "memory.db-index")
    store.close()
    raw = sqlite3.connect(store.path)
    tables = [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0")]
    holders = {name for name in tables for row in raw.execute(f"SELECT * FROM {name}") if "doomed" in repr(row)}
    raw.close()
    assert holders == {"changes"}


def test_a_reader_in_the_way_is_said_and_the_next_vacuum_does_it(tmp_path):
    with (
        agentmem.MemoryStore(tmp_path / "memory.db", embedder=None, dimension=8, merge="manual", timeout=0.05) as store,
        agentmem.MemoryStore(tmp_path / "memory.db", embedder=None, dimension=8, read_only=True) as other,
    ):
        store.add(id="doomed", **marked("deleted"))
        with other.database.read() as reader:
            assert reader.seq() == 1
            store.delete("doomed")
            with pytest.raises(agentmem.StoreBusy, match="retry"):
                store.vacuum()
            assert left(tmp_path, ["deleted"])
        store.vacuum()
        assert left(tmp_path, ["deleted"]) == set()


def test_files_are_for_their_owner_only_whatever_the_umask(tmp_path, command, monkeypatch):
    monkeypatch.setattr("agentmem.maintenance.GRAPH_ROWS", 100)
    before = os.umask(0)
    try:
        with agentmem.MemoryStore("memory.db", embedder=None, dimension=8, merge="manual") as store:
            fill(store, 300)
            store.optimize()
            fill(store, 10, start=300)
            store.merge()
            store.vacuum()
            fill(store, 10, start=400)
            store.backup("copy.db")
            assert command("export", "all.jsonl").code == 0
            assert command("recover", "copy.db", "-o", "saved.jsonl").code == 0
            found = {path: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    finally:
        os.umask(before)
    names = {path.name for path in found}
    assert {"memory.db", "memory.db-wal", "memory.db-shm", "memory.db-index", "merge.lock"} <= names
    assert any(name.endswith(".seg") for name in names)
    assert {path.name: oct(mode) for path, mode in found.items()} == {
        path.name: "0o700" if path.is_dir() else "0o600" for path in found
    }


def bad_calls(store):
    """Yield calls with a memory's text in them, each of which is refused."""
    good = {"text": MARK, "embedding": vector(1)}
    for wrong in (
        {"importance": MARK}, {"importance": 7}, {"position": MARK}, {"ttl": MARK}, {"created_at": MARK},
        {"embedding": MARK}, {"embedding": [MARK] * 8}, {"embedding": [1, 2]}, {"links": [MARK]}, {"links": MARK},
        {"metadata": MARK}, {"metadata": {"a": {MARK}}}, {"metadata": {(MARK,): 1}}, {"metadata": {"a": float("nan")}},
        {"metadata": {"a": MARK + "\ud800"}}, {"text": MARK + "\ud800"}, {"text": [MARK]}, {"namespace": [MARK]},
        {"thread": {MARK: 1}}, {"id": "id-1"}, {"id": [MARK]}, {"embedding": None},
    ):  # fmt: skip
        yield lambda wrong=wrong: store.add(**(good | wrong))
    yield lambda: store.add_many([MARK], embeddings=[MARK])
    yield lambda: store.add_many([MARK, MARK], embeddings=[vector(1)])
    yield lambda: store.add_many(MARK)
    yield lambda: store.add_messages([MARK], thread="t")
    yield lambda: store.add_messages([{"text": MARK}], thread="t")
    yield lambda: store.add_messages([{"role": "user", "content": MARK, "importance": MARK}], thread="t")
    yield lambda: store.update("id-1", text=MARK)
    yield lambda: store.update("id-1", metadata=MARK)
    yield lambda: store.search(MARK, k=MARK)
    yield lambda: store.search(MARK, min_score=MARK)
    yield lambda: store.search(MARK, embedding=MARK)
    yield lambda: store.search(MARK, filter=MARK)
    yield lambda: store.search(MARK, filter={"a": {"$in": MARK}})
    yield lambda: store.search(MARK, filter={"a": {"$gt": [MARK]}})
    yield lambda: store.search(MARK, filter={"a": {"$exists": MARK}})
    yield lambda: store.search(MARK, filter={"@text": {"$match": [MARK]}})
    yield lambda: store.search(MARK, filter={"$and": MARK})
    yield lambda: store.search(MARK, filter={"a": {"$not": MARK}})
    yield lambda: store.search(MARK, filter={"a": {"$eq": {MARK}}})
    yield lambda: store.search(MARK, mechanism="dense")
    yield lambda: store.knn(MARK)
    yield lambda: store.feedback(MARK, accepted=["ghost"])
    yield lambda: store.feedback(MARK, accepted=MARK)
    yield lambda: store.feedback(MARK)


def told(error):
    """Return all that a log would show of an exception: its text, its causes, and the lines of code."""
    return "".join(traceback.format_exception(error))


def test_no_memory_turns_up_in_logs_or_errors(store, caplog):
    fill(store, 3)
    store.add(MARK, id="marked", embedding=vector(7))
    store.merge()
    said = []
    with caplog.at_level(logging.DEBUG):
        for number, call in enumerate(bad_calls(store)):
            with pytest.raises(AgentMemError) as refused:
                call()
            said.append((number, told(refused.value)))
        shutil.rmtree(f"{store.path}-index")
        store.index.reload()
        store.search(MARK, embedding=vector(7))
        store.merge()
    assert [(number, text) for number, text in said if MARK in text] == []
    assert caplog.records
    assert MARK not in caplog.text


def test_a_text_that_is_not_utf8_is_not_shown(store, command):
    store.add(MARK, id="a", embedding=vector(1))
    with store.database.transaction() as writer:
        writer.connection.run("DROP TRIGGER records_fts_update")
        writer.connection.run("UPDATE records SET text = CAST(? AS TEXT)", (MARK.encode() + b"\xff",))
    with pytest.raises(agentmem.StoreDamaged, match="UTF-8") as refused:
        store.get("a")
    assert MARK not in told(refused.value)
    done = command("get", "a")
    assert (done.code, MARK in done.err) == (1, False)


def test_the_command_shows_no_memory_unless_debug_is_asked_for(tmp_path, command, monkeypatch):
    def fails(self, *arguments, **options):
        raise KeyError(MARK)

    monkeypatch.setattr(agentmem.MemoryStore, "add", fails)
    done = command("add", MARK)
    assert done.code == 1
    assert MARK not in done.out + done.err
    (tmp_path / "in.jsonl").write_text(f'{{"text": "{MARK}", "importance": "{MARK}"}}\n{{"text": "{MARK}\n')
    done = command("import", "in.jsonl")
    assert done.code == 1
    assert MARK not in done.out + done.err
    shown = subprocess.run(
        [sys.executable, "-m", "agentmem.cli", "add", MARK, "--importance", "0.5", "--link", "to", "ghost", "--debug"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" in shown.stderr
