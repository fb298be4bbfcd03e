"""Versions, labels, seq, links, full text: what the writer promises."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from storage_kit import stamped

from agentmem.errors import DuplicateId, InvalidInput
from agentmem.records import Feedback, Record
from agentmem.storage.database import Database
from agentmem.storage.manifest import SegmentRow
from agentmem.storage.writer import Writer

ODD = [
    "nul\0inside",
    "'; DROP TABLE records; --",
    "quotes \" and ' and `",
    "\u202eright to left \u0627\u0644\u0633\u0644\u0627\u0645",
    "\U0001f600 emoji \ufdd0 noncharacter",
    "%_like\\wild",
    " ",
    "\n\t\r",
    "x" * 100_000,
]


def test_a_record_comes_back_as_it_was_given(db, make):
    given = make(
        "a",
        "Some Text",
        metadata={"b": [1, 2.5, None, True], "a": {"x": "\0"}},
        namespace="users/1",
        thread="t",
        position=1.5,
        session="s",
        speaker="Ann",
        expires_at=1e9,
        importance=0.25,
    )
    with db.transaction() as writer:
        label = writer.insert(given)
    with db.read() as reader:
        (record,) = reader.fetch([label])
        vector = reader.vector("a")
    for name in set(Record.__slots__) - {"label"}:
        assert getattr(record, name) == getattr(given, name), name
    assert record.label == label
    np.testing.assert_array_equal(vector, given.vector)


def test_the_schema_is_read_anew_after_many_rows_so_that_the_full_text_index_forgets_them(tmp_path, make):
    statements: list[str] = []
    database = stamped(Database.open(tmp_path / "m.db", trace=statements.append))
    ids = [str(number) for number in range(1_000)]

    def ends_of(change: Callable[[Writer], object]) -> list[str]:
        """Return the statements from the commit on."""
        statements.clear()
        with database.transaction() as writer:
            change(writer)
        return statements[statements.index("COMMIT") :]

    anew = ["COMMIT", "PRAGMA writable_schema = RESET"]
    assert ends_of(lambda writer: writer.insert_many([make(id, f"word{id}") for id in ids])) == anew
    assert ends_of(lambda writer: writer.insert(make("one more", "word7"))) == ["COMMIT"]
    with database.read() as reader:
        assert reader.ids_where({"@text": {"$match": "word7"}}, None) == ["7", "one more"]
    with pytest.raises(DuplicateId), database.transaction() as writer:
        writer.insert_many([make(id) for id in [*ids, "new"]])
    assert ends_of(lambda writer: writer.delete(["one more"])) == anew
    assert ends_of(lambda writer: writer.delete(["7"])) == ["COMMIT"]
    assert ends_of(lambda writer: writer.delete([*ids, "8"])) == ["COMMIT"]
    assert ends_of(lambda writer: writer.insert(make("8", "word7"))) == ["COMMIT"]
    with database.read() as reader:
        assert reader.ids_where({"@text": {"$match": "word7"}}, None) == ["8"]
    assert database.integrity() == []
    database.close()


def test_a_record_without_text_or_without_vector(db, make):
    with db.transaction() as writer:
        writer.insert(make("no text", None))
        writer.insert(make("no vector", vector=None))
    with db.read() as reader:
        assert reader.get(["no text"])[0].text is None
        assert reader.vector("no vector") is None
        rows = reader.index_rows()
    assert rows.has_vector.tolist() == [True, False]
    assert not rows.vectors[1].any()


@pytest.mark.parametrize("odd", ODD, ids=lambda text: repr(text)[:20])
def test_odd_strings_survive_everywhere(db, make, odd):
    with db.transaction() as writer:
        writer.insert(make("target"))
        writer.insert(
            make(odd, odd, namespace=odd, thread=odd, session=odd, speaker=odd, metadata={odd: [odd, {odd: odd}]})
        )
        writer.link(odd, odd, "target")
        writer.set_config(odd, odd)
    with db.read() as reader:
        record = reader.get([odd])[0]
        assert (record.id, record.text, record.namespace, record.thread) == (odd, odd, odd, odd)
        assert record.metadata == {odd: [odd, {odd: odd}]}
        assert reader.links(odd) == [(odd, "target")]
        assert reader.config(odd) == odd
        assert dict(reader.namespaces())[odd] == 1
        assert len(reader.labels_where({"@id": odd}, odd, None)) == 1
        assert len(reader.labels_where({"@text": {"$in": [odd, "x"]}}, None, None)) == 1
    with db.transaction() as writer:
        assert writer.delete([odd]) == 1


def test_a_megabyte_of_text(db, make):
    text = "Ünï\0 cødé' " * 100_000
    with db.transaction() as writer:
        writer.insert(make("a", text, metadata={"copy": text}))
    with db.read() as reader:
        record = reader.get(["a"])[0]
        assert reader.count({"copy": text}, None, None) == 1
    assert (record.text, record.metadata["copy"]) == (text, text)


def test_every_update_is_a_new_version_under_a_new_label(db, make):
    with db.transaction() as writer:
        first = writer.insert(make("a", "old words", created_at=1.0, expires_at=50.0))
        second = writer.upsert(make("a", "new words", created_at=2.0), keep_created_at=True, keep_expiry=True)
    with db.transaction() as writer:
        third = writer.upsert(make("a", "newest words", created_at=3.0))
    assert first < second < third
    with db.read() as reader:
        assert reader.labels_where(None, None, None).tolist() == [third]
        assert reader.dead_since(0).tolist() == [first, second]
        assert reader.dead_since(2).tolist() == [second]
        assert reader.get(["a"])[0].created_at == 3.0
        assert [change.op for change in reader.changes()] == ["put"] * 3
        assert len(reader.labels_where({"@text": {"$match": "old"}}, None, None)) == 0
        assert len(reader.labels_where({"@text": {"$match": "newest"}}, None, None)) == 1


def test_upsert_keeps_what_it_is_told_to_keep(db, make):
    with db.transaction() as writer:
        writer.insert(make("a", created_at=1.0, expires_at=50.0))
        writer.upsert(make("a", created_at=2.0), keep_created_at=True, keep_expiry=True)
    with db.read() as reader:
        record = reader.get(["a"])[0]
    assert (record.created_at, record.expires_at) == (1.0, 50.0)


def test_labels_are_never_reused(db, make):
    seen = set()
    for turn in range(5):
        with db.transaction() as writer:
            labels = {label for _, label in writer.insert_many([make(f"{turn}-{i}") for i in range(3)])}
            assert not labels & seen
            seen |= labels
            assert writer.delete([f"{turn}-{i}" for i in range(3)]) == 3
    with db.read() as reader:
        assert set(reader.dead_since(0).tolist()) == seen


def test_duplicate_id_leaves_nothing(db, make):
    with db.transaction() as writer:
        writer.insert(make("a", "first"))
    with pytest.raises(DuplicateId, match="'a'"), db.transaction() as writer:
        writer.insert(make("a", "second"))
    with db.transaction() as writer:
        with pytest.raises(DuplicateId):
            writer.insert(make("a", "third"))
        writer.insert(make("b", "fourth"))
    with db.read() as reader:
        assert reader.seq() == 2
        assert [record.text for record in reader.get(["a", "b"])] == ["first", "fourth"]
        stats = reader.table_stats()
    assert (stats["records"], stats["embeddings"], stats["changes"]) == (2, 2, 2)


@pytest.mark.parametrize("clash", [[0, 1, 2, 1], [0, 9, 1]], ids=["within the batch", "with the store"])
def test_insert_many_is_atomic(db, make, clash):
    with db.transaction() as writer:
        writer.insert(make("9", "old"))
        with pytest.raises(DuplicateId, match=repr(str(clash[-1] if clash[1] == 1 else 9))):
            writer.insert_many([make(str(i)) for i in clash])
        writer.insert(make("after"))
    with db.read() as reader:
        assert reader.ids_where(None, None) == ["9", "after"]
        assert reader.seq() == 2


def test_insert_many_replaces(db, make):
    with db.transaction() as writer:
        old = writer.insert(make("a", "old", created_at=1.0))
        batch = [make("a", "one", created_at=2.0), make("b", "two"), make("a", "three", created_at=3.0)]
        answer = writer.insert_many(batch, "replace", keep_created_at=True)
    assert [id for id, _ in answer] == ["a", "b", "a"]
    assert answer[0][1] == answer[2][1] != old
    with db.read() as reader:
        assert [(r.text, r.created_at) for r in reader.get(["a", "b"])] == [("three", 1.0), ("two", 100.0)]
        assert reader.dead_since(0).tolist() == [old]


def test_insert_many_skips(db, make):
    with db.transaction() as writer:
        writer.insert(make("a", "old"))
        answer = writer.insert_many([make("a", "new"), make("b", "one"), make("b", "two")], "skip")
    assert [label is None for _, label in answer] == [True, False, True]
    with db.read() as reader:
        assert [record.text for record in reader.get(["a", "b"])] == ["old", "one"]
        assert reader.seq() == 2


def test_insert_many_of_nothing_and_unknown_policy(db, make):
    with db.transaction() as writer:
        assert writer.insert_many([]) == []
        with pytest.raises(InvalidInput, match="'merge'"):
            writer.insert_many([make("a")], "merge")


def test_insert_many_crosses_its_staging_size(db, make):
    records = [make(str(i), f"word{i}", vector=None) for i in range(5_001)]
    with db.transaction() as writer:
        answer = writer.insert_many(records)
    assert [label for _, label in answer] == list(range(1, 5_002))
    with db.read() as reader:
        assert reader.count(None, None, 0.0) == 5_001
        assert reader.ids_where({"@text": {"$match": "word5000"}}, None) == ["5000"]
        assert [record.id for record in reader.fetch(list(range(1, 5_002)))] == [str(i) for i in range(5_001)]


def test_seq_grows_by_one_with_every_change(db, make):
    with db.transaction() as writer:
        writer.insert_many([make(str(i)) for i in range(4)])
        writer.upsert(make("2"))
        writer.delete(["0", "0", "unknown", "3"])
    with db.read() as reader:
        changes = reader.changes()
        assert reader.seq() == 7
        assert reader.changes(since=5, limit=1) == [changes[5]]
    assert [change.seq for change in changes] == list(range(1, 8))
    assert [(change.op, change.id) for change in changes[4:]] == [("put", "2"), ("delete", "0"), ("delete", "3")]


def test_links_need_both_ends_and_die_with_either(db, make):
    with db.transaction() as writer:
        with pytest.raises(InvalidInput, match="'nobody'"):
            writer.insert(make("a", links=[("parent", "nobody")]))
        writer.insert_many([make("a", links=[("parent", "b")]), make("b", links=[("child", "a")]), make("c")])
        with pytest.raises(InvalidInput, match="'ghost'"):
            writer.link("ghost", "x", "a")
        with pytest.raises(InvalidInput, match="'ghost'"):
            writer.insert_many([make("d", links=[("x", "ghost")])])
        writer.link("c", "see", "a")
        writer.link("c", "see", "a")
        label = writer.upsert(make("a", "again", links=[("also", "c")]))
    with db.read() as reader:
        assert reader.links("a") == [("also", "c"), ("parent", "b")]
        assert reader.has_links()
        b, c = (record.label for record in reader.get(["b", "c"]))
        source, kinds, target = reader.links_from([c, label, b], 10)
        triples = list(zip(source, kinds, target.tolist(), strict=True))
        assert triples == [(c, "see", label), (label, "also", c), (label, "parent", b), (b, "child", label)]
        assert reader.links_from([c, label], 2)[1] == ["see", "also"]
    with db.transaction() as writer:
        assert not writer.unlink("c", "no", "a")
        assert writer.unlink("c", "see", "a")
        writer.delete(["a"])
    with db.read() as reader:
        assert not reader.has_links()
        assert reader.links("b") == []


def test_unlink_all_and_self_link(db, make):
    with db.transaction() as writer:
        writer.insert(make("a", links=[("self", "a")]))
        writer.insert(make("b", links=[("to", "a"), ("to", "b")]))
        assert writer.unlink_all("b") == 2
    with db.read() as reader:
        assert reader.links("a") == [("self", "a")]


def test_next_position(db, make):
    with db.transaction() as writer:
        assert writer.next_position("n", "t") == 0.0
        writer.insert(make("a", namespace="n", thread="t", position=4.0))
        writer.insert(make("b", namespace="other", thread="t", position=9.0))
        assert writer.next_position("n", "t") == 5.0


def change_and_fail(db, records, doomed):
    with db.transaction() as writer:
        writer.insert_many(records)
        writer.delete(doomed)
        writer.set_config("key", "value")
        raise RuntimeError("inner")


def test_nested_transaction_undoes_only_itself(db, make):
    with db.transaction() as writer:
        writer.insert(make("outer"))
        with pytest.raises(RuntimeError, match="inner"):
            change_and_fail(db, [make("inner")], ["outer"])
        writer.insert(make("after"))
    with db.read() as reader:
        assert reader.ids_where(None, None) == ["outer", "after"]
        assert [change.seq for change in reader.changes()] == [1, 2]


def test_exception_undoes_everything(db, make):
    with pytest.raises(RuntimeError, match="inner"):
        change_and_fail(db, [make("a"), make("b")], ["a"])
    with db.read() as reader:
        assert (reader.seq(), reader.config("key"), reader.table_stats()["records"]) == (0, None, 0)
    assert not db.in_transaction()


def test_a_transaction_reads_its_own_writes(db, make):
    with db.transaction() as writer:
        assert db.in_transaction()
        writer.insert(make("a"))
        with db.read() as reader:
            assert reader.seq() == 1
            assert reader.get(["a"])[0] is not None
    assert not db.in_transaction()


def test_manifest_and_feedback(db, make):
    row = SegmentRow("base-1.seg", "base", 7, 9, 5, 4096, 0xFFFF_FFFF)
    with db.transaction() as writer:
        writer.put_segment(SegmentRow("delta-2.seg", "delta", 8, 12, 3, 512, 17, 5.0))
        writer.put_segment(row)
        for at in (1.0, 2.0):
            writer.add_feedback(Feedback(at, "q\0", np.ones(3, np.float32), ("a", "b"), ("a",), ()))
        writer.add_feedback(Feedback(3.0, None, None))
    with db.read() as reader:
        base, delta = reader.segments()
        kept = reader.feedback(limit=2)
    assert base.published_at > 0
    assert (base.name, base.kind, base.seq, base.max_label, base.n_rows, base.bytes, base.checksum) == (
        "base-1.seg", "base", 7, 9, 5, 4096, 0xFFFF_FFFF,
    )  # fmt: skip
    assert (delta.checksum, delta.published_at) == (17, 5.0)
    assert [each.at for each in kept] == [2.0, 3.0]
    assert (kept[0].query, kept[0].shown, kept[0].accepted, kept[0].rejected) == ("q\0", ("a", "b"), ("a",), ())
    np.testing.assert_array_equal(kept[0].vector, np.ones(3, np.float32))
    with db.transaction() as writer:
        assert writer.drop_segment("base-1.seg")
        assert not writer.drop_segment("base-1.seg")


def test_full_text_stays_true_through_random_changes(db, make):
    rng = random.Random(7)
    words = ["running", "runner", "cats", "cat", "happily", "naïve", "x1"]
    alive: dict[str, str | None] = {}
    for _ in range(60):
        with db.transaction() as writer:
            id = str(rng.randrange(12))
            text = None if rng.random() < 0.1 else " ".join(rng.choices(words, k=4))
            action = rng.random()
            if action < 0.5:
                writer.upsert(make(id, text))
                alive[id] = text
            elif action < 0.7:
                writer.insert_many([make(id, text), make("b" + id, text)], "replace")
                alive[id] = alive["b" + id] = text
            else:
                writer.delete([id])
                alive.pop(id, None)
    with db.read() as reader:
        found = reader.ids_where({"@text": {"$match": "cat"}}, None)
    assert sorted(found) == sorted(id for id, text in alive.items() if text and {"cat", "cats"} & set(text.split()))
