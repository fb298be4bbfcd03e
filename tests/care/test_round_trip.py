"""What is exported with its vectors and imported into a new store is exported again as the same bytes."""

import json
import stat
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from care_kit import content, fill, vector
from command_kit import run
from hypothesis import given, settings
from hypothesis import strategies as st

import agentmem

LONG = "a megabyte of text, and a word more. " * 30_000
ODD = [
    "nul\0inside",
    "\u202eright to left \u0627\u0644\u0633\u0644\u0627\u0645",
    "\U0001f600 \ufdd0 noncharacters \uffff",
    "lines\r\n\u2028\u2029\x85 of all kinds",
    "quotes \" ' \\ and {}",
]


def there_and_back(folder, content_of=content):
    """Export ``folder/memory.db``, import that, export the copy; return both files' bytes, having compared contents."""
    first, second, copy = folder / "first.jsonl", folder / "second.jsonl", folder / "copy.db"
    for arguments in (
        ("export", "--embeddings", "--db", folder / "memory.db", first),
        ("import", "--db", copy, first),
        ("export", "--embeddings", "--db", copy, second),
    ):
        done = run(*arguments)
        assert done.code == 0, done
    with (
        agentmem.MemoryStore(folder / "memory.db", embedder="stored", merge="manual") as store,
        agentmem.MemoryStore(copy, embedder="stored", merge="manual") as other,
    ):
        assert content_of(store) == content_of(other)
        assert (store.identity.embedder, store.identity.metric) == (other.identity.embedder, other.identity.metric)
        assert other.check().ok
    return first.read_bytes(), second.read_bytes()


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
words = texts.filter(str.strip)
names = st.none() | texts
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
        "thread": names,
        "session": names | st.integers(-(2**63) + 1, 2**63 - 1),
        "speaker": names,
        "position": st.none() | floats,
        "importance": st.floats(0, 1),
        "created_at": floats,
        "ttl": st.none() | st.floats(1e6, 1e300),
    }
)


@settings(max_examples=30)
@given(
    given_records=st.dictionaries(words, records, max_size=5),
    metric=st.sampled_from(["cosine", "ip", "l2"]),
    links=st.lists(st.tuples(st.integers(0, 9), texts, st.integers(0, 9)), max_size=4),
)
def test_given_vectors_come_back_to_the_bit(given_records, metric, links):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with agentmem.MemoryStore(
            folder / "memory.db", embedder=None, dimension=3, metric=metric, merge="manual"
        ) as store:
            for id, fields in given_records.items():
                store.add(id=id, **fields)
            ids = list(given_records)
            for source, kind, target in links if ids else ():
                id = ids[source % len(ids)]
                store.update(id, links=[*store.links(id), (kind, ids[target % len(ids)])])
        first, second = there_and_back(folder)
        assert first == second
        assert first.count(b"\n") == len(given_records) + 1


def test_texts_of_the_bundled_model_come_back(tmp_path):
    """Some texts hold no word that the model knows: they have no vector, and get none on the way."""
    with agentmem.MemoryStore(tmp_path / "memory.db", merge="manual") as store:
        store.add_many([*ODD, LONG], ids=[str(n) for n in range(len(ODD) + 1)])
        store.add(id="no text", embedding=np.arange(store.identity.dimension))
        store.add("\u0b83", id="no vector")
        assert store.vector("no vector") is None
        dimension = store.identity.dimension
    first, second = there_and_back(tmp_path)
    assert first == second
    head, *lines = map(json.loads, first.splitlines())
    assert head["store"]["dimension"] == dimension
    assert {line["id"]: line["embedding"] for line in lines}["no vector"] is None
    assert {line["id"]: line.get("text") for line in lines}["5"] == LONG


def test_odd_texts_links_and_times(store, tmp_path):
    store.add_many(ODD, embeddings=[vector(n) for n in range(len(ODD))], ids=[f"{n}\0é" for n in range(len(ODD))])
    store.update("0\0é", links=[("next", "1\0é"), ("near", "4\0é")], metadata={"deep": json.loads("[" * 90 + "]" * 90)})
    store.add("a", id="a", embedding=vector(7), links=[("back", "0\0é")], created_at=-5, ttl=1e9)
    store.add("", id="empty text", embedding=[0, 0, 0, -0.0, 1e-42, 3.4e10, 1, 1], thread="", session="", speaker="")
    store.add(id="none", embedding=vector(8), importance=0.0, position=0.0, metadata={"big": 2**63 - 1, "f": 5e-324})
    store.close()
    first, second = there_and_back(tmp_path)
    assert first == second


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_a_zero_vector_beside_a_text_is_kept(tmp_path, metric):
    with agentmem.MemoryStore(
        tmp_path / "memory.db", embedder=None, dimension=3, metric=metric, merge="manual"
    ) as store:
        store.add("origin", id="o", embedding=[0, 0, 0])
        assert store.vector("o").tolist() == [0, 0, 0]
    first, second = there_and_back(tmp_path)
    assert first == second


def test_what_expires_on_the_way_is_left_out_with_the_links_to_it(store, tmp_path):
    store.add("gone", id="gone", embedding=vector(1), ttl=0.000001)
    store.add("short", id="short", embedding=vector(2), ttl=0.6)
    store.add("stays", id="stays", embedding=vector(3), links=[("to", "gone"), ("to", "short")])
    export = tmp_path / "first.jsonl"
    assert run("export", "--embeddings", "--db", store.path, export).code == 0
    lines = {line.get("id"): line for line in map(json.loads, export.read_text().splitlines())}
    assert set(lines) == {None, "short", "stays"}
    assert lines["stays"]["links"] == [["to", "short"]]
    time.sleep(0.7)
    done = run("import", "--db", tmp_path / "copy.db", export, "--json")
    assert done.counts == {"lines": 2, "written": 1, "skipped": 0, "expired": 1}


def test_an_export_is_of_one_moment_and_private(store, tmp_path, monkeypatch):
    fill(store, 30)
    monkeypatch.setattr("agentmem.transfer.exporting.BATCH", 10)
    monkeypatch.setattr("agentmem.transfer.exporting.to_line", deleting(store))
    assert run("export", "--db", store.path, tmp_path / "out.jsonl").code == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 30
    assert store.count() == 29
    assert stat.S_IMODE((tmp_path / "out.jsonl").stat().st_mode) == 0o600


def deleting(store):
    """Return ``to_line``, which deletes the last record before it writes a line."""
    from agentmem.transfer.lines import to_line

    def changed(record, links):
        store.delete("id-29")
        return to_line(record, links)

    return changed


def test_vectors_of_another_kind_are_refused(store, tmp_path):
    fill(store, 3)
    export = tmp_path / "out.jsonl"
    assert run("export", "--embeddings", "--db", store.path, export).code == 0
    with agentmem.MemoryStore(tmp_path / "l2.db", embedder=None, dimension=8, metric="l2", merge="manual"):
        pass
    with agentmem.MemoryStore(tmp_path / "words.db", merge="manual"):
        pass
    for name in ("l2.db", "words.db"):
        done = run("import", "--db", tmp_path / name, export)
        assert (done.code, done.err.count("\n")) == (1, 1)
        assert "metric 'cosine'" in done.err
    head, rest = export.read_text().split("\n", 1)
    export.write_text(head.replace('"dimension": 8', '"dimension": "8"') + "\n" + rest)
    done = run("import", "--db", tmp_path / "new.db", export)
    assert done.code == 1
    assert "line 1" in done.err


def test_an_import_that_stopped_before_the_links_goes_on(store, tmp_path, monkeypatch):
    fill(store, 25)
    for n in range(25):
        store.update(f"id-{n}", links=[("next", f"id-{(n + 7) % 25}")])
    store.close()
    export = tmp_path / "first.jsonl"
    assert run("export", "--embeddings", "--db", store.path, export).code == 0
    monkeypatch.setattr("agentmem.transfer.importing.BATCH", 10)
    for broken in ("_write", "_link"):
        with monkeypatch.context() as patch:
            patch.setattr(f"agentmem.transfer.importing.{broken}", stopping(broken))
            assert run("import", "--db", tmp_path / "copy.db", export).code != 0
    with agentmem.MemoryStore(tmp_path / "copy.db", embedder="stored", merge="manual") as copy:
        assert copy.count() == 25
        assert copy.links("id-0") == []
    first, second = there_and_back(tmp_path)
    assert first == second == export.read_bytes()


def stopping(name):
    """Return a function of the import that gives up: ``_write`` at its second call, ``_link`` at its first."""
    from agentmem.transfer import importing

    original, calls = getattr(importing, name), []

    def stops(*arguments):
        calls.append(1)
        if len(calls) == 2 or name == "_link":
            raise OSError("the disk is gone")
        return original(*arguments)

    return stops


def test_replacing_keeps_times_and_takes_the_links_of_the_file(store, tmp_path):
    fill(store, 3)
    store.update("id-0", links=[("to", "id-1")])
    path = tmp_path / "in.jsonl"
    path.write_text(
        json.dumps({"id": "id-0", "embedding": [1] * 8, "links": [["to", "id-2"]]})
        + "\n"
        + json.dumps({"id": "id-1", "embedding": [2] * 8, "created_at": 5.0})
        + "\n"
    )
    assert run("import", "--db", store.path, path, "--on-conflict", "replace").code == 0
    assert (store.get("id-0").created_at, store.get("id-1").created_at) == (1000.0, 5.0)
    assert store.links("id-0") == [("to", "id-2")]
