"""Of a damaged file, every memory is saved whose pages SQLite can read, and nothing that was never stored."""

import json
import random
import sqlite3
from collections import defaultdict

import numpy as np
import pytest
from care_kit import content, fill

import agentmem
from agentmem.storage.connection import PAGE_BYTES
from agentmem.storage.recovery import Recovery

PAGE = PAGE_BYTES
COUNT = 4_000


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a store with deletions, updates, links and long texts, its content, and its pages by owner."""
    path = tmp_path_factory.mktemp("whole") / "memory.db"
    with agentmem.MemoryStore(path, embedder=None, dimension=8, merge="manual") as store:
        fill(store, COUNT)
        store.update("id-5", text="long " * 20_000, embedding=[1] * 8)
        for n in range(10, 60, 10):
            store.update(f"id-{n}", links=[("next", f"id-{n + 1}"), ("far", f"id-{n + 2000}")])
        store.delete(*(f"id-{n}" for n in range(100, 300)))
        kept = content(store)
    raw = sqlite3.connect(path)
    names = raw.execute("SELECT name, rootpage FROM sqlite_master WHERE rootpage > 0").fetchall()
    data = path.read_bytes()
    raw.close()
    pages = defaultdict(list)
    for name, root in names:
        for page, kind in walk(data, root):
            pages[name, kind].append(page)
    return data, kept, pages


def walk(data, page):
    """Yield (page, "leaf" or "interior") of a b-tree, by the file format: the test's own way to know what is where."""
    at = (page - 1) * PAGE + (100 if page == 1 else 0)
    interior = data[at] in (2, 5)
    yield page, "interior" if interior else "leaf"
    if interior:
        cells = int.from_bytes(data[at + 3 : at + 5], "big")
        for cell in range(cells):
            place = int.from_bytes(data[at + 12 + 2 * cell : at + 14 + 2 * cell], "big")
            yield from walk(data, int.from_bytes(data[(page - 1) * PAGE + place :][:4], "big"))
        yield from walk(data, int.from_bytes(data[at + 8 : at + 12], "big"))


def damaged(folder, data, pages, seed):
    """Write a copy with some pages overwritten by seeded noise."""
    noise, broken = random.Random(seed), bytearray(data)
    for page in pages:
        broken[(page - 1) * PAGE : page * PAGE] = noise.randbytes(PAGE)
    path = folder / "broken.db"
    path.write_bytes(broken)
    return path


def rows(path, table):
    """Return the rows that a connection of the test's own can read one by one in a table."""
    raw = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    found = set()
    raw.execute("PRAGMA writable_schema = ON")
    for label in range(1, COUNT + 10):
        try:
            found |= set(raw.execute(f"SELECT label, * FROM {table} NOT INDEXED WHERE label = ?", (label,)))
        except sqlite3.Error:
            continue
    raw.close()
    return found


def readable(path, table, data):
    """Return the labels of the rows that can be read one by one, and are what was written."""
    whole = path.with_name("whole.db")
    whole.write_bytes(data)
    found = {row[0] for row in rows(path, table) & rows(whole, table)}
    whole.unlink()
    return found


def recovered(path, kept):
    """Return what is read of a file, having compared every record with what was stored."""
    recovery = Recovery(str(path))
    found = {}
    for each, share in recovery.records():
        assert 0 < share <= 1
        record, vector, links = kept[each.record.id]
        assert each.record._replace(label=0) == record
        assert each.vector is None or each.vector.tobytes() == vector
        assert tuple(each.links) in (links, ())
        found[each.record.label] = each
    tables = recovery.damaged_tables()
    recovery.close()
    return found, recovery.losses, tables


KINDS = [
    ("records", "leaf"),
    ("records", "interior"),
    ("embeddings", "leaf"),
    ("embeddings", "interior"),
    ("links", "leaf"),
    ("changes", "leaf"),
    ("changes", "interior"),
    ("records_place", "interior"),
    ("sqlite_autoindex_records_1", "leaf"),
    ("records_fts_data", "leaf"),
    ("records_fts_idx", "leaf"),
    ("sqlite_sequence", "leaf"),
    ("config", "leaf"),
    ("feedback", "leaf"),
]


@pytest.mark.parametrize(("table", "kind"), KINDS)
@pytest.mark.parametrize("seed", [1, 2])
def test_what_can_be_read_is_read(whole, tmp_path, table, kind, seed):
    data, kept, pages = whole
    chosen = random.Random(seed).sample(pages[table, kind], min(seed, len(pages[table, kind])))
    path = damaged(tmp_path, data, chosen, seed)
    found, losses, tables = recovered(path, kept)
    assert [each.name for each in tmp_path.iterdir()] == ["broken.db"]
    assert set(found) == readable(path, "records", data)
    assert {label for label, each in found.items() if not each.vector_lost} == set(found) & readable(
        path, "embeddings", data
    )
    ids = {each.record.id for each in found.values()}
    assert len(tables) >= 1
    if table not in ("records", "changes"):
        assert ids == set(kept)
    if table != "changes":
        assert (set(losses.ids), losses.unknown) == (set(kept) - ids, 0)
    if (table, kind) == ("records", "leaf"):
        cells = sum(int.from_bytes(data[(page - 1) * PAGE + 3 :][:2], "big") for page in chosen)
        assert 0 < len(losses.ids) <= cells
    if table == "links":
        assert losses.links > 0


def test_a_whole_file_is_read_whole(whole, tmp_path):
    data, kept, _ = whole
    found, losses, tables = recovered(damaged(tmp_path, data, [], 0), kept)
    assert {each.record.id for each in found.values()} == set(kept)
    assert all(tuple(each.links) == kept[each.record.id][2] for each in found.values())
    assert (losses.ids, losses.unknown, losses.vectors, losses.links, tables) == ([], 0, 0, 0, [])


@pytest.mark.parametrize("seed", range(6))
def test_random_pages(whole, tmp_path, seed):
    data, kept, _ = whole
    chance = random.Random(seed)
    count = len(data) // PAGE
    path = damaged(tmp_path, data, chance.sample(range(2, count + 1), chance.choice([1, 5, 20])), seed)
    found, losses, _ = recovered(path, kept)
    assert set(found) == readable(path, "records", data)
    assert set(losses.ids) <= set(kept)


@pytest.mark.parametrize("share", [0.95, 0.6, 0.3])
def test_a_file_that_was_cut_off(whole, tmp_path, share):
    data, kept, _ = whole
    path = tmp_path / "broken.db"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(agentmem.StoreDamaged, match="agentmem recover"):
        agentmem.MemoryStore(path, embedder=None, dimension=8)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    found, losses, tables = recovered(path, kept)
    assert set(found) == readable(path, "records", data)
    assert losses.unknown or set(losses.ids) == set(kept) - {each.record.id for each in found.values()}
    assert tables
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_a_header_or_schema_that_is_destroyed_is_said(whole, tmp_path, command):
    data, _, _ = whole
    noise = random.Random(3).randbytes(PAGE)
    for start, stop in ((0, 100), (0, PAGE), (100, PAGE), (0, 16)):
        path = tmp_path / "broken.db"
        path.write_bytes(data[:start] + noise[start:stop] + data[stop:])
        done = command("recover", path, "-o", "out.jsonl")
        assert (done.code, done.err.count("\n")) == (1, 1)
        assert "destroyed" in done.err
        assert "restore a backup" in done.err
    for name, text in (("empty.db", ""), ("short.db", "SQLite format 3\0")):
        (tmp_path / name).write_text(text)
        assert command("recover", name, "-o", "out.jsonl").code == 1
    assert not (tmp_path / "out.jsonl").exists()


def test_the_command_writes_what_import_reads(whole, tmp_path, command):
    data, kept, pages = whole
    path = damaged(tmp_path, data, [pages["records", "leaf"][0], pages["embeddings", "leaf"][-1]], 5)
    done = command("recover", path, "--output", "saved.jsonl", "--json")
    assert done.code == 0
    report = done.json
    assert report["read"] + report["lost"] == len(kept)
    assert report["damaged_tables"] == ["embeddings", "records"]
    assert report["without_vector"] > 0
    assert "id-10" in report["lost_ids"] or "id-1" in report["lost_ids"]
    assert (tmp_path / "saved.jsonl").stat().st_mode & 0o777 == 0o600
    assert command("recover", path, "--output", "saved.jsonl").code == 2
    assert "damaged_tables" in command("recover", path, "--output", "again.jsonl").out
    done = command("import", "saved.jsonl", "--db", "new.db", "--json")
    assert done.json["written"] == report["read"]
    lost = set(report["lost_ids"])
    with agentmem.MemoryStore("new.db", embedder="stored", merge="manual") as store:
        assert store.check().ok
        there = content(store)
    assert set(there) == set(kept) - lost
    for id, (record, vector, links) in there.items():
        assert record == kept[id][0]
        assert vector in (kept[id][1], None)
        assert links == tuple(link for link in kept[id][2] if link[1] not in lost)
    assert sum(vector is None for _, vector, _ in there.values()) == report["without_vector"]


def test_texts_of_the_bundled_model_get_their_vectors_back(tmp_path, command):
    with agentmem.MemoryStore(tmp_path / "memory.db", merge="manual") as store:
        store.add_many([f"word {n} of a text" for n in range(60)], ids=[str(n) for n in range(60)])
        kept = content(store)
    raw = sqlite3.connect(tmp_path / "memory.db")
    root = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'embeddings'").fetchone()[0]
    raw.close()
    data = (tmp_path / "memory.db").read_bytes()
    leaf = next(page for page, kind in walk(data, root) if kind == "leaf")
    path = damaged(tmp_path, data, [leaf], 1)
    report = command("recover", path, "-o", "saved.jsonl", "--json").json
    assert (report["read"], report["lost"]) == (60, 0)
    assert report["without_vector"] > 0
    lines = [json.loads(line) for line in (tmp_path / "saved.jsonl").read_text().splitlines()[1:]]
    assert sum("embedding" not in line for line in lines) == report["without_vector"]
    assert command("import", "saved.jsonl", "--db", "new.db").code == 0
    with agentmem.MemoryStore("new.db", merge="manual") as store:
        assert {id: record for id, (record, _, _) in content(store).items()} == {
            id: each[0] for id, each in kept.items()
        }
        for id in kept:
            np.testing.assert_allclose(store.vector(id), np.frombuffer(kept[id][1], np.float32), atol=1e-6)
