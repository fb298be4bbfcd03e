"""Tables of a real LanceDB come over, whatever types their columns have."""

import datetime
import decimal

import numpy as np
import pytest

from agentmem import MemoryStore

lancedb = pytest.importorskip("lancedb", reason='pip install "agentmem[lancedb]"')
arrow = pytest.importorskip("pyarrow")

DAY = datetime.datetime(2026, 3, 1, 10, 30)


@pytest.fixture
def database(tmp_path):
    """Return a database in ``tmp_path / "lance"``."""
    return lancedb.connect(str(tmp_path / "lance"))


def rows(count, **more):
    """Return rows with an id, a text and a vector."""
    vectors = np.random.default_rng(2).standard_normal((count, 4)).astype(np.float32)
    return [{"id": n, "text": f"row {n}", "vector": vectors[n].tolist()} | more for n in range(count)]


def test_a_table_comes_over(agentmem, database, tmp_path):
    table = database.create_table("notes", data=rows(1_500, kind={"a": [1, 2]}, at=DAY, price=decimal.Decimal("1.50")))
    table.delete("id = 3")
    done = agentmem("import", "lance", "--from", "lancedb", "--json")
    assert done.counts == {"lines": 1_499, "written": 1_499, "skipped": 0, "expired": 0}
    with MemoryStore(tmp_path / "memory.db", embedder="stored") as store:
        record = store.get("7")
        assert record.text == "row 7"
        assert record.metadata == {"kind": {"a": [1, 2]}, "at": DAY.isoformat(), "price": "1.50"}
        query = [1.0, -1.0, 0.5, 0.25]
        theirs = [str(row["id"]) for row in table.search(query).metric("cosine").limit(10).to_list()]
        assert [hit.id for hit in store.search(embedding=query, k=10, mechanism="dense", exact=True)] == theirs
        (found,) = table.search().where("id = 7").to_list()
        assert store.vector("7").tolist() == found["vector"]
    again = agentmem("import", "lance", "--from", "lancedb", "--json").json
    assert (again["written"], again["skipped"]) == (0, 1_499)


def test_columns_are_named(agentmem, database, tmp_path):
    data = [{"key": f"k{n}", "body": f"body {n}", "one": [1.0, n], "two": [n, 2.0, 3.0]} for n in range(1, 4)]
    schema = arrow.schema(
        [("key", arrow.string()), ("body", arrow.string()), ("one", arrow.list_(arrow.float32(), 2)),
         ("two", arrow.list_(arrow.float16(), 3))]
    )  # fmt: skip
    database.create_table("notes", data=arrow.Table.from_pylist(data, schema=schema))
    several = agentmem("import", "lance", "--from", "lancedb")
    assert several.code == 2
    assert "'one', 'two'" in several.err
    named = ["--from", "lancedb", "--id", "key", "--text", "body", "--vector", "two"]
    assert agentmem("import", "lance", *named, "--json").json["written"] == 3
    with MemoryStore(tmp_path / "memory.db", embedder="stored") as store:
        assert store.get("k2").text == "body 2"
        assert store.get("k2").metadata == {}
        assert store.vector("k2").tolist() == [2, 2, 3]
    assert agentmem("import", "lance", "--from", "lancedb", "--text", "nothing", "--vector", "one").code == 2


def test_rows_without_ids_come_once(agentmem, database):
    same = {"text": "same", "vector": [1.0, 0.0]}
    database.create_table("notes", data=[same, same, {"text": "other", "vector": [0.0, 1.0]}])
    assert agentmem("import", "lance", "--from", "lancedb", "--json").json["written"] == 3
    assert agentmem("import", "lance", "--from", "lancedb", "--json").json["written"] == 0


def test_what_cannot_be_taken_is_listed(agentmem, database):
    data = [
        {"id": "good", "text": "good", "vector": [1.0, 0.0], "extra": None},
        {"id": "zero", "text": "zero", "vector": [0.0, 0.0], "extra": None},
        {"id": "nan", "text": "nan", "vector": [float("nan"), 1.0], "extra": None},
        {"id": "none", "text": "none", "vector": None, "extra": None},
        {"id": "", "text": "no id", "vector": [1.0, 1.0], "extra": None},
        {"id": "bytes", "text": None, "vector": [1.0, 2.0], "extra": b"\xff"},
    ]
    schema = arrow.schema(
        [("id", arrow.string()), ("text", arrow.string()), ("vector", arrow.list_(arrow.float32(), 2)),
         ("extra", arrow.binary())]
    )  # fmt: skip
    database.create_table("notes", data=arrow.Table.from_pylist(data, schema=schema), on_bad_vectors="null")
    done = agentmem("import", "lance", "--from", "lancedb", "--json").json
    reasons = {skip["id"]: skip["reason"] for skip in done["skips"]}
    assert done["written"] == len(data) - len(reasons)
    assert "zero vector" in reasons["zero"]
    assert "no embedding" in reasons["none"]
    assert "id is empty" in reasons[""]
    assert "nan" in reasons
    shown = agentmem("import", "lance", "--from", "lancedb")
    assert "row zero" in shown.out
    assert agentmem("get", "bytes", "--json").json["metadata"] == {"extra": "/w=="}


def test_a_folder_without_tables_is_refused(agentmem, tmp_path):
    (tmp_path / "folder").mkdir()
    done = agentmem("import", "folder", "--from", "lancedb")
    assert (done.code, list((tmp_path / "folder").iterdir())) == (1, [])
    assert "LanceDB" in done.err
