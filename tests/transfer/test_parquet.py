"""Parquet keeps what lines of JSON keep, to the bit."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from command_kit import run
from hypothesis import given, settings
from hypothesis import strategies as st

from agentmem import MemoryStore

arrow = pytest.importorskip("pyarrow", reason='pip install "agentmem[parquet]"')
parquet = pytest.importorskip("pyarrow.parquet")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
floats = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | floats | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
single = st.floats(-1e9, 1e9, width=32)
records = st.fixed_dictionaries(
    {
        "text": st.none() | texts,
        "embedding": st.lists(single, min_size=3, max_size=3).filter(lambda v: np.linalg.norm(v) > 1e-12),
        "metadata": st.dictionaries(texts, json_values, max_size=3),
        "namespace": texts,
        "thread": st.none() | texts,
        "session": st.none() | texts,
        "speaker": st.none() | texts,
        "position": st.none() | floats,
        "importance": st.floats(0, 1),
        "created_at": floats,
        "ttl": st.none() | st.floats(1e6, 1e300),
    }
)


def done(*arguments):
    """Run a command that succeeds."""
    ended = run(*arguments)
    assert ended.code == 0, ended
    return ended


def through_parquet(folder, *options):
    """Export a store as lines; export it as Parquet, import that, and export the copy as lines: return both."""
    first, second, file, copy = (folder / name for name in ("1.jsonl", "2.jsonl", "x.parquet", "copy.db"))
    done("export", "--db", folder / "memory.db", first, *options)
    done("export", "--db", folder / "memory.db", file, "--format", "parquet", *options)
    done("import", "--db", copy, file, "--from", "parquet")
    done("export", "--db", copy, second, *options)
    return first.read_bytes(), second.read_bytes()


@settings(max_examples=30)
@given(
    given_records=st.dictionaries(texts.filter(str.strip), records, max_size=5),
    metric=st.sampled_from(["cosine", "ip", "l2"]),
    links=st.lists(st.tuples(st.integers(0, 9), texts, st.integers(0, 9)), max_size=4),
)
def test_there_and_back_to_the_bit(given_records, metric, links):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "memory.db"
        with MemoryStore(path, embedder=None, dimension=3, metric=metric, merge="manual") as store:
            for id, fields in given_records.items():
                store.add(id=id, **fields)
            ids = list(given_records)
            for source, kind, target in links if ids else ():
                id = ids[source % len(ids)]
                store.update(id, links=[*store.links(id), (kind, ids[target % len(ids)])])
        first, second = through_parquet(folder, "--embeddings")
        assert first == second
        assert first.count(b"\n") == len(given_records) + 1


def test_texts_of_the_bundled_model(tmp_path):
    with MemoryStore(tmp_path / "memory.db", merge="manual") as store:
        store.add_many([f"text {n}" for n in range(2_500)], metadatas=[{"n": n} for n in range(2_500)])
        store.add("\u0b83", id="no vector")
    first, second = through_parquet(tmp_path, "--embeddings")
    assert first == second
    file = parquet.ParquetFile(tmp_path / "x.parquet")
    kind = file.schema_arrow.field("embedding").type
    assert (kind.list_size, kind.value_type) == (256, arrow.float32())
    assert file.metadata.num_rows == 2_501
    assert (tmp_path / "x.parquet").stat().st_mode & 0o777 == 0o600


def test_without_vectors_the_texts_are_embedded_anew(tmp_path):
    with MemoryStore(tmp_path / "memory.db", merge="manual") as store:
        store.add("tea", id="a", created_at=1.0)
    done("export", "--db", tmp_path / "memory.db", tmp_path / "x.parquet", "--format", "parquet")
    assert "embedding" not in parquet.read_schema(tmp_path / "x.parquet").names
    done("import", "--db", tmp_path / "copy.db", tmp_path / "x.parquet", "--from", "parquet")
    with MemoryStore(tmp_path / "memory.db") as one, MemoryStore(tmp_path / "copy.db") as other:
        assert np.array_equal(one.vector("a"), other.vector("a"))
        assert one.get("a")._replace(label=0) == other.get("a")._replace(label=0)


def test_a_table_of_another_program(agentmem, tmp_path):
    rows = [
        {"text": "one", "metadata": {"n": 1}, "embedding": [1.0, 0.0]},
        {"text": "one", "metadata": {"n": 1}, "embedding": [1.0, 0.0]},
        {"text": "two", "metadata": {"n": 2}, "embedding": [0.0, 1.0]},
    ]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "x.parquet")
    assert agentmem("import", "x.parquet", "--from", "parquet", "--json").json["written"] == 3
    assert agentmem("import", "x.parquet", "--from", "parquet", "--json").json["skipped"] == 3
    assert agentmem("info", "--json").json["dimension"] == 2
    line = json.loads(agentmem("export", "-f", '{"n": 2}').out)
    assert (line["text"], line["metadata"]) == ("two", {"n": 2})


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"text": "x", "colour": 1}, "unknown field colour"),
        ({"text": "x", "metadata": "{"}, "row 1, metadata: not JSON"),
        ({"text": "x", "links": [["a", "b"]]}, "links"),
        ({"text": "x", "embedding": "no"}, "embedding"),
        ({"text": 7}, "text must be a string"),
        ({"id": 7, "text": "x"}, "id must be a string"),
    ],
)
def test_a_bad_row_is_named(agentmem, tmp_path, row, words):
    parquet.write_table(arrow.Table.from_pylist([row]), tmp_path / "x.parquet")
    ended = agentmem("import", "x.parquet", "--from", "parquet")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert words in ended.err


def test_what_is_not_parquet(agentmem, tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"no")
    assert "not a Parquet file" in agentmem("import", "x.parquet", "--from", "parquet").err
    assert agentmem("add", "tea").code == 0
    assert agentmem("export", "--format", "parquet").code == 2


def test_a_killed_import_goes_on(agentmem, tmp_path):
    count = 6_000
    rows = [{"text": f"memory number {n} of many"} for n in range(count)]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "x.parquet")
    words = ["import", "x.parquet", "--from", "parquet", "--json"]
    child = subprocess.Popen([sys.executable, "-m", "agentmem.cli", *words], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    stored = 0
    while not stored and time.monotonic() < deadline:
        time.sleep(0.02)
        if (tmp_path / "memory.db").exists() and agentmem("info").code == 0:
            stored = agentmem("info", "--json").json["records"]
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    before = agentmem("info", "--json").json["records"]
    assert before >= stored > 0
    report = agentmem(*words).json
    assert (report["written"], report["skipped"]) == (count - before, before)
    with MemoryStore(tmp_path / "memory.db", merge="manual") as store:
        assert store.count() == count
        assert store.check().ok
