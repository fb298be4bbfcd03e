"""A store is given another embedding model, while it is searched and written, and through deaths."""

import json
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from reembed_kit import Model, wrong_vectors

import agentmem
from agentmem import faults, maintenance
from agentmem.storage.reader import Feedback

DRILL = Path(__file__).with_name("reembed_drill.py")
OLD = Model("old", 6)
COUNT = 50


def new(meanwhile=lambda texts: None, dimension=9):
    return Model("new", dimension, meanwhile)


def opened(path, embedder=OLD, **options):
    return agentmem.MemoryStore(path, embedder=embedder, merge="manual", **options)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "memory.db"


@pytest.fixture
def store(path):
    """Fifty records with vectors of the old model, ids "0" to "49", merged."""
    with opened(path) as store:
        store.add_many([f"memory {number}" for number in range(COUNT)], ids=[str(number) for number in range(COUNT)])
        store.merge()
        yield store


@pytest.fixture
def other(store, path):
    """Another store object on the same file, as another process would have it."""
    with opened(path) as other:
        other.search("memory")
        yield other


def nearest(store, model, text):
    return store.search(embedding=model.vector(text), k=1, exact=True)[0].text


def waiting(store):
    """Return the texts whose new vectors wait in the database."""
    with store.database.read() as reader:
        rows = reader.connection.all("SELECT text FROM records JOIN reembedded USING (label) ORDER BY label")
    return [text for (text,) in rows]


def test_every_record_gets_a_vector_of_the_new_model_and_nothing_else_changes(store, path):
    store.update("7", metadata={"topic": "tea"}, links=[("about", "8")])
    store.add("expired at once", id="expired", ttl=1e-6)
    with store.database.read() as reader:
        before = reader.page(0, 100, None, None, None)
    seq = store.seq
    model = new()
    report = store.reembed(model, batch=7)
    assert (report.embedded, report.resumed, report.switched) == (COUNT + 1, 0, True)
    assert (report.embedder, report.dimension, report.metric) == ("new", 9, "cosine")
    assert sorted(model.seen) == sorted([record.text for record in before])
    with store.database.read() as reader:
        assert reader.page(0, 100, None, None, None) == before
    assert store.links("7") == [("about", "8")]
    assert [change.op for change in store.changes(seq)] == ["reembed"]
    for _ in range(2):
        assert wrong_vectors(store, model) == []
        assert nearest(store, model, "memory 31") == "memory 31"
        assert store.search("memory 31")[0].id == "31"
        assert store.check().ok
        store.merge()
        assert store.stats()["index"]["parts"][0]["rows"] == COUNT + 1
    store.close()
    with pytest.raises(agentmem.EmbedderMismatch, match=r"dimension 6 instead of 9.*store\.reembed"):
        opened(path)
    with opened(path, model) as again:
        again.add("memory 50", id="50")
        assert wrong_vectors(again, model) == []
        assert again.check().ok


def test_the_metric_stays_unless_another_is_given(path):
    with opened(path, OLD, metric="ip") as store:
        store.add("memory")
        assert store.reembed(new()).metric == "ip"
        assert store.reembed(new(), metric="l2").metric == "l2"
    with opened(path, new(), metric="l2") as store:
        distances = store.knn([new().vector("memory")], 1)[1]
        assert distances.tolist() == [[0.0]]
    with pytest.raises(agentmem.EmbedderMismatch, match="metric 'ip' instead of 'l2'"):
        opened(path, new(), metric="ip")


def test_given_vectors_with_a_text_are_replaced_and_texts_without_an_embedding_have_none(path):
    class Mute(Model):
        def vector(self, text):
            return np.zeros(self.dimension, np.float32) if "unheard" in text else super().vector(text)

    model = Mute("mute", 5)
    with opened(path, None, dimension=3) as store:
        store.add("memory", id="a", embedding=[1, 2, 3])
        store.add("unheard", id="b", embedding=[3, 2, 1])
        assert store.reembed(model).embedded == 2
        assert np.array_equal(store.vector("a"), model.vector("memory"))
        assert store.vector("b") is None
        assert {hit.id for hit in store.search("unheard memory")} == {"a", "b"}
        assert store.reembed("static").dimension == 256
        assert store.vector("b") is not None
        assert store.check().ok


def test_the_model_that_the_store_has_is_nothing_to_do(store):
    model = Model("old", 6)
    report = store.reembed(model)
    assert (report.switched, report.embedded, report.embedder, model.seen) == (False, 0, "old", [])
    assert store.seq == COUNT
    with opened(store.path) as other:
        assert other.search("memory 3")


@pytest.mark.parametrize("text", [None, "", " \t\n\v\f\r\x1c\x85\xa0\u2003\u3000"])
def test_records_without_a_text_are_refused_at_the_beginning(store, text):
    store.add(text, id="mute", embedding=np.ones(6))
    model = new()
    with pytest.raises(agentmem.InvalidInput, match=r"1 records have a vector but no text.*update\(id, text="):
        store.reembed(model)
    assert model.seen == []
    store.delete("mute")
    assert store.reembed(model).embedded == COUNT


def test_a_record_without_a_text_that_comes_in_meanwhile_stops_the_switch_and_loses_nothing(store, other):
    coming = iter(["mute"])

    def add(texts):
        for id in coming:
            other.add(id=id, embedding=np.ones(6))

    with pytest.raises(agentmem.InvalidInput, match="1 records have a vector but no text"):
        store.reembed(new(add))
    assert wrong_vectors(other, OLD) == ["mute"]
    assert store.search("memory 3")[0].id == "3"
    other.delete("mute")
    report = store.reembed(new())
    assert (report.embedded, report.resumed) == (0, COUNT)


def test_the_store_is_searched_with_the_old_vectors_until_the_switch(store, other):
    before = [hit.id for hit in store.search("memory 3", k=COUNT)]
    found = []

    def search(texts):
        found.extend([hit.id for hit in each.search("memory 3", k=COUNT)] for each in (store, other))

    store.reembed(new(search), batch=10)
    assert len(found) >= 10
    assert all(ids == before for ids in found)


def test_what_is_written_meanwhile_is_seen(store, other):
    turns = iter(range(100))

    def write(texts):
        if store.database.in_transaction():
            return
        turn = next(turns)
        for each, name in ((store, "s"), (other, "o")):
            each.add(f"added {name} {turn}", id=f"{name}{turn}")
            each.update(f"{turn}", text=f"changed {name} {turn}")
            each.update(f"{49 - turn}", metadata={"turn": turn})
        other.delete(f"{20 + turn}")

    model = new(write)
    assert store.reembed(model, batch=9).embedded == len(model.seen)
    assert next(turns) > 6
    texts = {record.id: record.text for record in store.iterate()}
    assert texts["0"] == "changed o 0"
    assert texts["s0"] == "added s 0"
    assert "20" not in texts
    assert wrong_vectors(store, model) == []
    assert set(texts.values()) <= set(model.seen)
    assert waiting(store) == []
    assert store.check().ok


def test_what_comes_in_last_is_embedded_within_the_switch_and_a_whole_batch_before_it(store, other, monkeypatch):
    late = iter([12, 10, 5, 3])
    point = faults.point

    def add(name):
        if name == "reembed:staged" and len(waiting(store)) >= other.count():
            other.add_many([f"late {other.count() + number}" for number in range(next(late, 0))])
        point(name)

    monkeypatch.setattr(faults, "point", add)
    inside = []
    model = new(lambda texts: inside.append(len(texts)) if store.database.in_transaction() else None)
    assert store.reembed(model, batch=10).embedded == COUNT + 30
    assert inside == [3]
    assert wrong_vectors(store, model) == []


WRITES = {
    "add": lambda store: store.add("one more"),
    "add_many": lambda store: store.add_many(["one more"]),
    "add_messages": lambda store: store.add_messages([{"role": "user", "content": "one more"}], thread="t"),
    "upsert": lambda store: store.upsert("other", id="3"),
    "update": lambda store: store.update("3", metadata={"a": 1}),
    "delete": lambda store: store.delete("3"),
    "given": lambda store: store.add(embedding=np.ones(6)),
}
READS = {
    "search": lambda store: store.search("memory 3"),
    "search_many": lambda store: store.search_many(["memory 3"]),
    "knn": lambda store: store.knn(np.ones((1, 6))),
    "vector": lambda store: store.vector("3"),
    "stats": lambda store: store.stats(),
    "check": lambda store: store.check(),
    "merge": lambda store: store.merge(),
    "optimize": lambda store: store.optimize(),
    "reembed": lambda store: store.reembed(new()),
}


@pytest.mark.parametrize("dimension", [6, 9])
@pytest.mark.parametrize("verb", [*WRITES, *READS])
def test_who_holds_the_old_model_is_refused_at_the_next_call(store, other, verb, dimension):
    model = new(dimension=dimension)
    store.reembed(model)
    with pytest.raises(agentmem.EmbedderMismatch, match=r"re-embedded with another model.*open it again"):
        {**WRITES, **READS}[verb](other)
    assert store.count() == other.count() == COUNT
    assert other.get("3").text == "memory 3"
    assert store.get("3").metadata == {}
    assert wrong_vectors(store, model) == []
    assert store.check().ok


def test_the_old_model_is_refused_even_when_the_store_has_come_back_to_it(store, other):
    store.reembed(new())
    store.reembed(OLD)
    with pytest.raises(agentmem.EmbedderMismatch):
        other.search("memory 3")
    with opened(store.path) as again:
        assert again.search("memory 3")[0].id == "3"
        assert wrong_vectors(again, OLD) == []


def under_way(call, path):
    """Run ``call`` on a store in a thread; while it embeds, the same store object is re-embedded.  Return its error."""
    raised = []
    begun, go_on = threading.Event(), threading.Event()

    def wait(texts):
        if threading.current_thread() is thread:
            begun.set()
            assert go_on.wait(30)

    def run():
        try:
            call(store)
        except agentmem.EmbedderMismatch as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    with opened(path, Model("old", 6, wait)) as store:
        store.add("memory", id="a")
        thread.start()
        assert begun.wait(30)
        model = new(dimension=6)
        store.reembed(model)
        go_on.set()
        thread.join()
        assert wrong_vectors(store, model) == []
        call(store)
    return raised


@pytest.mark.parametrize("verb", ["add", "add_many", "search", "search_many"])
def test_a_call_under_way_at_the_switch_never_mixes_the_two(path, verb):
    assert len(under_way({**WRITES, **READS}[verb], path)) == 1


@pytest.mark.parametrize("step", ["merge:begun", "merge:file-synced"])
def test_a_merge_under_way_at_the_switch_publishes_nothing(path, monkeypatch, step):
    """The merge is of the very store object that is re-embedded: what it is held to has changed by then."""
    point = faults.point
    model = new(dimension=6)

    def switch(name):
        point(name)
        if name == step:
            monkeypatch.setattr(faults, "point", point)
            store.reembed(model)

    with opened(path) as store:
        store.add_many([f"memory {number}" for number in range(60)])
        monkeypatch.setattr(faults, "point", switch)
        with pytest.raises(agentmem.EmbedderMismatch):
            store.merge()
        with store.database.read() as reader:
            assert reader.segments() == []
        assert nearest(store, model, "memory 31") == "memory 31"
        assert store.merge().rows == 60
        assert nearest(store, model, "memory 31") == "memory 31"
        assert store.check().ok


def test_the_index_of_the_new_model_is_followed_after_background_merges(path, monkeypatch):
    monkeypatch.setattr(maintenance, "TAIL_ROWS", 20)
    with agentmem.MemoryStore(path) as store:
        store.add_many([f"memory {number}" for number in range(30)])
        store.reembed("static", metric="ip")
        store.search("memory 3")
        store.wait_for_merge(60)
        assert [part["rows"] for part in store.stats()["index"]["parts"]] == [30, 0]


def test_one_call_at_a_time(store):
    def again(texts):
        with pytest.raises(agentmem.StoreBusy, match="wait until it is done"):
            store.reembed(Model("third", 4))
        refused.append(True)

    refused = []
    store.reembed(new(again))
    assert refused == [True]
    assert store.identity.embedder == "new"


def test_a_store_in_memory_has_the_last_call_win(path):
    third = Model("third", 6)
    with opened(":memory:") as store:
        store.add_many(["memory 1", "memory 2"])
        with pytest.raises(agentmem.StoreError):
            store.reembed(new(lambda texts: store.reembed(third)))
        assert wrong_vectors(store, third) == []
        assert store.search("memory 2")[0].text == "memory 2"


def test_an_embedder_that_fails_loses_nothing_of_what_it_made(store):
    def fail(texts):
        if len(waiting(store)) == 30:
            raise ConnectionError("no route")

    with pytest.raises(agentmem.EmbeddingFailed, match="no route"):
        store.reembed(new(fail), batch=10)
    assert waiting(store) == [f"memory {number}" for number in range(30)]
    assert wrong_vectors(store, OLD) == []
    store.update("3", text="changed")
    model = new()
    report = store.reembed(model, batch=10)
    assert (report.embedded, report.resumed) == (21, 29)
    assert model.seen == [f"memory {number}" for number in range(30, COUNT)] + ["changed"]
    assert wrong_vectors(store, model) == []


def test_what_waits_for_another_model_is_dropped(store):
    def fail(texts):
        raise ConnectionError("no route")

    def begin():
        calls = iter([lambda texts: None])
        with pytest.raises(agentmem.EmbeddingFailed):
            store.reembed(new(lambda texts: next(calls, fail)(texts)), batch=20)
        assert len(waiting(store)) == 20

    begin()
    third = Model("third", 5)
    assert store.reembed(third).embedded == COUNT
    assert wrong_vectors(store, third) == []
    begin()
    store.delete("3")
    store.vacuum()
    assert store.info()["tables"]["reembedded"] == 19
    assert not store.reembed(third).switched
    assert waiting(store) == []


def test_what_cannot_be_used_is_refused(store, path):
    with store.transaction(), pytest.raises(agentmem.InvalidInput, match="transaction of its own"):
        store.reembed(new())
    with pytest.raises(agentmem.InvalidInput, match="needs an embedder"):
        store.reembed(None)
    with pytest.raises(agentmem.InvalidInput, match="'static'"):
        store.reembed("statik")
    with pytest.raises(agentmem.InvalidInput, match="batch"):
        store.reembed(new(), batch=0)
    with pytest.raises(agentmem.InvalidInput, match="metric"):
        store.reembed(new(), metric="cosinus")
    with opened(path, read_only=True) as reader, pytest.raises(agentmem.StoreReadOnly, match="re-embed"):
        reader.reembed(new())
    assert store.identity.embedder == "old"


def test_judged_queries_lose_their_vectors(store):
    with store.database.transaction() as writer:
        writer.add_feedback(Feedback(1.0, "memory", OLD.vector("memory"), ("1",)))
    store.reembed(new())
    with store.database.read() as reader:
        assert [(each.query, each.vector) for each in reader.feedback()] == [("memory", None)]


def test_killed_again_and_again_nothing_is_embedded_twice_and_all_comes_to_its_end(tmp_path):
    command = [sys.executable, str(DRILL), "--rounds", "96", "--folder", str(tmp_path / "drill")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    assert (figures["embedded again"], figures["mixed"]) == (0, 0)
    assert figures["switches"] >= 10  # some 28 on an idle machine, fewer on a busy one
    assert figures["writes"] >= 20
    assert figures["killed at reembed:staged"] >= 4, "only where something is left to embed"
    assert figures["killed at reembed:switching"] == figures["killed at reembed:switched"] == 16


def test_the_command(tmp_path):
    path = tmp_path / "memory.db"
    with opened(path, None, dimension=4) as store:
        store.add("The spare key is under the flower pot", embedding=np.ones(4))
    command = [sys.executable, "-m", "agentmem.cli", "reembed", "--db", str(path), "--json", "--embedder"]
    done = subprocess.run([*command, "static"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert (report["embedded"], report["dimension"], report["switched"]) == (1, 256, True)
    with agentmem.MemoryStore(path, merge="manual") as store:
        assert store.stats()["index"]["parts"][0]["kind"] == "segment"
        assert store.search("where is the key?")[0].text.startswith("The spare key")


def test_a_store_of_the_schema_before_is_migrated(store, path):
    store.close()
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("DROP TABLE reembedded")
        raw.execute("DELETE FROM config WHERE key = 'generation'")
        raw.execute("DELETE FROM _sqlite_migrations WHERE name LIKE 'm003%'")
        raw.execute("PRAGMA user_version = 2")
    with opened(path) as again:
        assert again.search("memory 3")[0].id == "3"
        model = new()
        assert again.reembed(model).embedded == COUNT
        assert wrong_vectors(again, model) == []
        assert again.check().ok
