"""What the reader answers: scopes, expiry, pages, rows for the index."""

from __future__ import annotations

import numpy as np
import pytest

from agentmem.errors import StoreError
from agentmem.storage.connection import PAGE_BYTES
from agentmem.storage.database import Database


@pytest.fixture
def places(db, make):
    names = ["", "users", "users/1", "users/1/", "users/1/a", "users/10", "users/2", "usersx", "users/é"]
    with db.transaction() as writer:
        writer.insert_many([make(str(i), namespace=name) for i, name in enumerate(names)])
    return db, names


@pytest.mark.parametrize(
    "scope", [None, "", "users", "users/", "users/1", "users/1/", "users/1/a", "/", "users/1%", "_"]
)
def test_namespace_scopes(places, scope):
    db, names = places
    if scope is None:
        expected = names
    elif scope.endswith("/"):
        expected = [name for name in names if name.startswith(scope)]
    else:
        expected = [name for name in names if name == scope]
    with db.read() as reader:
        labels = reader.labels_where(None, scope, None)
        assert [record.namespace for record in reader.fetch(labels)] == expected
        assert reader.count(None, scope, 0.0) == reader.count(None, scope, None) == len(expected)
        assert [record.namespace for record in reader.page(0, 100, None, scope, None)] == expected


def test_namespaces(places):
    db, names = places
    with db.read() as reader:
        assert reader.namespaces() == [(name, 1) for name in sorted(names)]
        assert reader.namespaces("users/1") == [(n, 1) for n in sorted(names) if n.startswith("users/1")]
        assert reader.namespaces("zzz") == []


def test_full_text_within_a_namespace(db, make):
    with db.transaction() as writer:
        writer.insert(make("a", "joined the book clubs", namespace="users/1"))
        writer.insert(make("b", "joining a book club", namespace="users/10"))
        writer.insert(make("c", "no such thing", namespace="users/1"))
    match = {"@text": {"$match": "join AND club*"}}
    with db.read() as reader:
        assert reader.ids_where(match, None) == ["a", "b"]
        assert reader.ids_where(match, "users/1") == ["a"]
        assert reader.ids_where(match, "users/1/") == []
        assert reader.ids_where({"$or": [match, {"@id": "c"}]}, "users/1") == ["a", "c"]
        assert reader.ids_where({"$not": match}, None) == ["c"]
        assert reader.ids_where({"$not": match}, "users/1") == ["c"]
        assert reader.ids_where({"@text": {"$not": {"$match": "thing"}}}, "users/1") == ["a"]


def test_expiry(db, make):
    with db.transaction() as writer:
        writer.insert_many([make("never"), make("early", expires_at=10.0), make("late", expires_at=20.0)])
    with db.read() as reader:
        for now, alive in ((5.0, 3), (10.0, 2), (15.0, 2), (20.0, 1)):
            assert reader.count(None, None, now) == reader.count({}, "", now) == alive
            assert reader.count({"@id": {"$exists": True}}, None, now) == alive
            assert len(reader.labels_where(None, None, now)) == alive
            assert len(reader.page(0, 9, None, None, now)) == alive
        assert reader.count(None, None, None) == 3
        assert reader.expired(15.0) == ["early"]
        assert (reader.next_expiry(5.0), reader.next_expiry(10.0), reader.next_expiry(20.0)) == (10.0, 20.0, None)


def test_order_of_fetch_and_get(db, make):
    with db.transaction() as writer:
        labels = [label for _, label in writer.insert_many([make(str(i)) for i in range(40)])]
    wanted = [labels[7], 10**6, labels[3], labels[39], labels[3]]
    with db.read() as reader:
        assert [record.id for record in reader.fetch(wanted)] == ["7", "3", "39", "3"]
        assert [record.id for record in reader.fetch(np.array(labels[::-1]))] == [str(i) for i in range(39, -1, -1)]
        assert [record and record.id for record in reader.get(["5", "no", "5", "0"])] == ["5", None, "5", "0"]
        assert reader.ids_of(wanted) == {labels[3]: "3", labels[7]: "7", labels[39]: "39"}
        assert reader.fetch([]) == []
        assert reader.get([]) == []


def test_pages_cover_everything_once(db, make):
    with db.transaction() as writer:
        writer.insert_many([make(str(i), metadata={"even": i % 2 == 0}) for i in range(25)])
    seen, after = [], 0
    while True:
        with db.read() as reader:
            page = reader.page(after, 4, {"even": True}, None, None)
        if not page:
            break
        seen += [record.id for record in page]
        after = page[-1].label
    assert seen == [str(i) for i in range(0, 25, 2)]


def test_index_rows(db, make):
    with db.transaction() as writer:
        labels = [label for _, label in writer.insert_many([make(str(i), position=float(i)) for i in range(6)])]
        writer.delete(["2"])
    with db.read() as reader:
        rows = reader.index_rows()
        tail = reader.index_rows(after_label=labels[3])
        some = reader.index_rows(after_label=0, limit=2)
        vector = reader.vector("0")
    assert rows.labels.tolist() == [label for i, label in enumerate(labels) if i != 2]
    assert (tail.labels.tolist(), some.labels.tolist()) == (labels[4:], labels[:2])
    np.testing.assert_array_equal(rows.vectors[0], vector)
    assert (rows.tokens[:3].tolist(), rows.terms[:2].tolist()) == ([0, 1, 2], [0, 1])
    assert rows.tokens.dtype == np.uint16


def test_index_rows_need_the_stamp(tmp_path):
    database = Database.open(tmp_path / "memory.db")
    with database.read() as reader, pytest.raises(StoreError, match="stamped"):
        reader.index_rows()
    database.close()


def test_a_reader_sees_one_moment(on_disk, make):
    with on_disk.read() as reader:
        assert reader.seq() == 0
        with on_disk.transaction() as writer:
            writer.insert(make("a"))
        assert reader.seq() == 0
        assert reader.get(["a"]) == [None]
    with on_disk.read() as reader:
        assert reader.seq() == 1


def test_metadata_index_is_used(db, make):
    with db.transaction() as writer:
        writer.insert_many([make(str(i), metadata={"topic": f"t{i % 50}", "a": {"b'c": i}}) for i in range(200)])
        for path in ("topic", "topic", "a.b'c"):
            writer.create_metadata_index(path)
    with db.read() as reader:
        for filter in ({"topic": "t3"}, {"topic": {"$in": ["t3", "t4"]}}, {"a.b'c": {"$gt": 190}}, {"a.b'c": 3}):
            assert any("USING INDEX metadata_" in line for line in reader.explain(filter, None)), filter
        assert reader.count({"topic": {"$in": ["t3", "t4"]}}, None, None) == 8
        assert reader.count({"a.b'c": {"$gt": 190}}, None, None) == 9
        assert not any("metadata_" in line for line in reader.explain({"other": 1}, None))


@pytest.mark.parametrize("path", ["@thread", 'a"b', "", "a.\\\\"])
def test_what_cannot_be_indexed(db, path):
    with db.transaction() as writer, pytest.raises(ValueError, match=r"metadata|indexed"):
        writer.create_metadata_index(path)


def test_table_stats(db, make):
    with db.transaction() as writer:
        writer.insert(make("a"))
    with db.read() as reader:
        stats = reader.table_stats()
    assert (stats["records"], stats["changes"], stats["links"]) == (1, 1, 0)
    assert stats["bytes"] >= PAGE_BYTES
    assert stats["bytes"] % PAGE_BYTES == 0
