"""Integrity, vacuum and the JSON that is stored."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem.errors import StoreBusy
from agentmem.storage.jsontext import dump, load, load_all, protect

json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=8,
)


@given(st.lists(json_values, max_size=4))
def test_stored_json_comes_back(values):
    texts = [dump(value) for value in values]
    assert all("\0" not in text and "\\u0000" not in text.replace("\\\\", "") for text in texts)
    assert [load(text) for text in texts] == load_all(texts) == values


def test_stored_json_is_canonical():
    assert dump({"b": 1, "a": [1, {"d": "é", "c": None}]}) == '{"a":[1,{"c":null,"d":"é"}],"b":1}'
    assert dump({"b": 1, "a": 2}) == dump({"a": 2, "b": 1})
    assert (dump({}), load("{}")) == ("{}", {})
    assert protect("a\0b") == "a\ufdd0\ufdd1b"
    with pytest.raises(ValueError, match="Out of range"):
        dump({"x": float("nan")})
    with pytest.raises(TypeError):
        dump({"x": {1}})


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("DELETE FROM embeddings WHERE label = 1", "1 records without a row in embeddings"),
        ("INSERT INTO embeddings VALUES (99, NULL, '', '')", "1 rows in embeddings without a record"),
        ("INSERT INTO links VALUES ('a', 'x', 'ghost')", "1 links with an end"),
        ("DELETE FROM changes WHERE seq = 1", "1 records whose version"),
        ("DROP TRIGGER records_fts_update; UPDATE records SET text = 'other' WHERE label = 1", "full-text"),
    ],
)
def test_integrity_finds(on_disk, make, damage, says):
    with on_disk.transaction() as writer:
        writer.insert_many([make("a"), make("b")])
    assert on_disk.integrity() == []
    with on_disk.transaction() as writer:
        for statement in damage.split("; "):
            writer.connection.run(statement)
    problems = on_disk.integrity()
    assert len(problems) == 1
    assert says in problems[0]


def test_vacuum_rebuilds_a_full_text_index_that_went_wrong(on_disk, make):
    with on_disk.transaction() as writer:
        writer.insert(make("a", "right"))
        writer.connection.run("DROP TRIGGER records_fts_update")
        writer.connection.run("UPDATE records SET text = 'changed'")
    assert on_disk.integrity()
    on_disk.vacuum()
    assert on_disk.integrity() == []
    with on_disk.read() as reader:
        assert reader.ids_where({"@text": {"$match": "changed"}}, None) == ["a"]


def test_vacuum_leaves_no_trace_of_deleted_text(on_disk, make):
    with on_disk.transaction() as writer:
        writer.insert_many([make(str(i), f"xylophonist number{i} " * 20) for i in range(200)])
    with on_disk.transaction() as writer:
        writer.delete([str(i) for i in range(1, 200)])
    with on_disk.read() as reader:
        before = reader.table_stats()["bytes"]
    on_disk.vacuum()
    with on_disk.read() as reader:
        assert reader.table_stats()["bytes"] < before
        assert reader.table_stats()["free_bytes"] == 0
        assert reader.fetch([1])[0].id == "0"
    assert on_disk.integrity() == []
    path = on_disk.path
    on_disk.close()
    for file in Path(path).parent.iterdir():
        assert b"number77" not in file.read_bytes()


def test_vacuum_says_when_a_reader_is_in_the_way(tmp_path, make):
    from agentmem.storage.database import Database

    database = Database.open(tmp_path / "m.db", timeout=0.05)
    with database.transaction() as writer:
        writer.insert(make("a"))
    with database.read() as reader:
        reader.seq()
        with database.transaction() as writer:
            writer.insert(make("b"))
        with pytest.raises(StoreBusy, match="reader"):
            database.vacuum()
        assert not database.checkpoint()
    database.vacuum()
    assert database.checkpoint()
    database.close()


def test_vacuum_and_checkpoint_in_memory(db, make):
    with db.transaction() as writer:
        writer.insert(make("a"))
    db.vacuum()
    assert db.checkpoint()
