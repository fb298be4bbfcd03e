"""Records that were read lately: the same as read anew, the caller's own, bounded, and of committed versions only."""

import pytest
from storage_kit import make_record, stamped

from agentmem.storage import kept
from agentmem.storage.database import Database
from agentmem.storage.jsontext import dump
from agentmem.storage.kept import KeptRecords


def read_twice(database, labels):
    """Return what a first and a second reading of some labels give."""
    readings = []
    for _ in range(2):
        with database.read() as reader:
            readings.append(reader.fetch(labels))
    return readings


def test_a_second_reading_asks_sqlite_for_nothing_and_gives_the_same(tmp_path):
    statements = []
    on_disk = stamped(Database.open(tmp_path / "memory.db", trace=statements.append))
    with on_disk.transaction() as writer:
        label = writer.insert(make_record("a", metadata={"topic": "tea", "nested": {"deep": [1, 2]}}))
        other = writer.insert(make_record("b", metadata={"topic": "tea"}))
    with on_disk.read() as reader:
        first = reader.fetch([other, label])
    statements.clear()
    with on_disk.read() as reader:
        second = reader.fetch([other, label])
    assert second == first
    assert [each.id for each in second] == ["b", "a"]
    assert not [sql for sql in statements if "records" in sql]
    on_disk.close()


@pytest.mark.parametrize("metadata", [{}, {"topic": "tea"}, {"topic": "{t[e]a}"}, {"nested": {"deep": [1, 2]}}])
def test_what_a_caller_does_to_the_metadata_stays_with_the_caller(on_disk, metadata):
    with on_disk.transaction() as writer:
        label = writer.insert(make_record("a", metadata=metadata))
    for _ in range(3):
        with on_disk.read() as reader:
            found = reader.fetch([label])[0].metadata
        assert found == metadata
        found["topic"] = "coffee"
        found.get("nested", {})["deep"] = None


def test_a_label_that_is_not_there_is_left_out_each_time(on_disk):
    with on_disk.transaction() as writer:
        label = writer.insert(make_record("a"))
    first, second = read_twice(on_disk, [label, label + 1])
    assert [each.id for each in first] == [each.id for each in second] == ["a"]


def test_a_version_that_is_rolled_back_is_not_kept(on_disk, make):
    def write_and_fail():
        with on_disk.transaction() as writer, on_disk.read() as reader:
            read.append(reader.fetch([writer.insert(make("a", text="never"))])[0])
            raise RuntimeError("changed my mind")

    read = []
    with pytest.raises(RuntimeError, match="changed my mind"):
        write_and_fail()
    assert read[0].text == "never"
    with on_disk.transaction() as writer:
        assert writer.insert(make("b", text="instead")) == read[0].label
    assert [each[0].text for each in read_twice(on_disk, [read[0].label])] == ["instead", "instead"]


def test_the_oldest_go_first_and_large_ones_are_not_kept(on_disk, monkeypatch):
    with on_disk.transaction() as writer:
        labels = [writer.insert(make_record(f"r{i}", text="x" * 1000)) for i in range(50)]
        large = writer.insert(make_record("large", text="x" * kept.LARGEST))
    with on_disk.read() as reader:
        records = reader.fetch([*labels, large])
    rows = [(each.id, each.text, dump(each.metadata), *each[3:]) for each in records]
    monkeypatch.setattr(kept, "BYTES", 20_000)
    memory = KeptRecords()
    memory.add(rows, [each.metadata for each in records])
    found = {each.label for each in memory.get([*labels, large])}
    there = [label in found for label in [*labels, large]]
    assert not there[-1]
    assert 5 <= sum(there) <= 20
    assert there[:-1] == sorted(there[:-1])
    memory.clear()
    assert memory.get(labels) == []


def test_vacuum_forgets_what_was_read(on_disk):
    with on_disk.transaction() as writer:
        label = writer.insert(make_record("a"))
    read_twice(on_disk, [label])
    with on_disk.transaction() as writer:
        writer.delete(["a"])
    on_disk.vacuum()
    with on_disk.read() as reader:
        assert reader.fetch([label]) == []
