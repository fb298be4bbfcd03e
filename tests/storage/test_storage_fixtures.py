"""Stores of every schema version that there has been open with all that they held, and go on working."""

import importlib.util
import json
import shutil
import sqlite3
from pathlib import Path

import pytest

import agentmem
from agentmem.storage.paths import field_of
from agentmem.storage.schema import SCHEMA_VERSION, hex_key
from agentmem.storage.terms import Analyzer

ROOT = Path(__file__).parents[2]
FIXTURES = sorted((ROOT / "tests" / "fixtures").glob("schema-*.db"))


def described(store):
    """Return what a store holds, in the terms in which the fixtures are described, through JSON."""
    spec = importlib.util.spec_from_file_location("make_fixtures", ROOT / "scripts" / "make_fixtures.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return json.loads(json.dumps(made.described(store)))


def known(found, told):
    """Return what was found, without the names that the fixture's time did not know."""
    if isinstance(told, dict):
        return {name: known(found[name], value) for name, value in told.items()}
    if isinstance(told, list) and len(found) == len(told):
        return [known(*pair) for pair in zip(found, told, strict=True)]
    return found


def test_there_is_a_fixture_of_every_version():
    assert [path.stem for path in FIXTURES] == [f"schema-{number}" for number in range(1, SCHEMA_VERSION + 1)]
    for number, path in enumerate(FIXTURES, 1):
        assert path.stat().st_size < 120_000
        raw = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
        assert raw.execute("PRAGMA user_version").fetchone() == (number,)
        raw.close()


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.stem)
def test_a_store_of_every_version_opens_with_all_that_it_held(fixture, tmp_path):
    path = tmp_path / "memory.db"
    shutil.copy(fixture, path)
    told = json.loads(fixture.with_suffix(".json").read_text(encoding="utf-8"))
    assert len(told["records"]) >= 20
    assert agentmem.MemoryStore.verify(path).problems == ()
    for _ in range(2):
        with agentmem.MemoryStore(path, embedder="stored", merge="manual") as store:
            assert known(described(store), told) == told
            assert store.check().ok


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda path: path.stem)
def test_a_store_of_every_version_goes_on_working(fixture, tmp_path):
    path = tmp_path / "memory.db"
    shutil.copy(fixture, path)
    with agentmem.MemoryStore(path, embedder="stored", merge="manual") as store:
        seq, labels = store.seq, [record.label for record in store.iterate()]
        store.add("a new one", id="new", embedding=[9, 0, 0, 0, 0, 0, 0, 0], links=[("to", "note-1")])
        assert store.get("new").label > max(labels)
        assert store.seq == seq + 1
        assert store.search(embedding=[9, 0, 0, 0, 0, 0, 0, 0], k=1)[0].id == "new"
        store.update("note-0", importance=0.75)
        store.feedback("new?", accepted=["new"])
        store.delete("note-3")
        store.optimize()
        assert store.search(embedding=[9, 0, 0, 0, 0, 0, 0, 0], k=1)[0].id == "new"
        assert [each.accepted for each in store.feedback_log()][-2:] == [("no text",), ("new",)]
        assert all("note-3" not in (*each.shown, *each.accepted) for each in store.feedback_log())
        assert store.check().ok
    with agentmem.MemoryStore(path, embedder="stored", read_only=True) as store:
        assert store.count() == len(labels)
        assert store.get("note-0").importance == 0.75


def test_the_second_version_has_new_stems_and_types_in_its_indexes(tmp_path):
    path = tmp_path / "memory.db"
    shutil.copy(FIXTURES[0], path)
    raw = sqlite3.connect(path)
    raw.execute("UPDATE embeddings SET terms = x'00000000'")
    raw.execute("INSERT INTO segments VALUES ('base-1-x.seg', 'base', 1, 1, 1, 1, 'x', 0.0)")
    raw.commit()
    raw.close()
    analyzer = Analyzer()
    with agentmem.MemoryStore(path, embedder="stored", merge="manual") as store:
        assert store.info()["problems"] == []
        assert store.explain_plan({"n": {"$gt": 4}})["sqlite"] == [
            "SEARCH records USING INDEX metadata_" + hex_key(field_of("n").value) + " (<expr>>?)"
        ]
    raw = sqlite3.connect(path)
    rows = raw.execute("SELECT text, terms FROM records JOIN embeddings USING (label)").fetchall()
    assert {text: terms for text, terms in rows if text} == {text: analyzer.encode(text) for text, _ in rows if text}
    indexed = raw.execute("SELECT sql FROM sqlite_master WHERE name GLOB 'metadata_*'").fetchall()
    assert [sql.count("json_extract") + sql.count("json_type") for (sql,) in indexed] == [2]
    raw.close()
