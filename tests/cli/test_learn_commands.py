"""``agentmem learn`` and ``agentmem weights``."""

import numpy as np
import pytest

from agentmem import MemoryStore
from agentmem.rerank.weights import HeadWeights, start

DIMENSION = 4


@pytest.fixture
def taught():
    """A store of the working folder with 50 judged queries: the important note is right."""
    rng = np.random.default_rng(0)
    with MemoryStore("memory.db", embedder=None, dimension=DIMENSION, merge="manual") as store:
        for number in range(60):
            importance = 0.9 if number < 5 else 0.1
            vector = rng.standard_normal(DIMENSION)
            store.add(f"topic{number % 5}", id=f"n{number}", embedding=vector, importance=importance)
        for number in range(50):
            wrong = f"n{number % 5 + 5 * rng.integers(1, 12)}"
            vector = rng.standard_normal(DIMENSION)
            store.feedback(
                f"topic{number % 5} {number}", embedding=vector, accepted=[f"n{number % 5}"], rejected=[wrong]
            )
    return store


def first(topic="topic1"):
    """Return the first hit of a search by text."""
    with MemoryStore("memory.db", embedder="stored", merge="manual") as store:
        return store.search(topic, k=1)[0].id


def test_learning_saving_and_the_way_back(agentmem, taught, tmp_path):
    done = agentmem("learn", "--output", "w.npz", "--json")
    assert done.code == 0, done.err
    assert done.json["promoted"], done.json["reason"]
    assert first() == "n1"
    assert HeadWeights.from_bytes((tmp_path / "w.npz").read_bytes()).dimension == DIMENSION
    told = agentmem("weights", "history")
    assert told.out.startswith("  1  ")
    assert " active " in told.out
    assert "searches rank by the constants" in agentmem("weights", "rollback").out
    assert agentmem("weights", "rollback").code == 3
    assert agentmem("weights", "install", "--file", "w.npz", "--json").json[-1]["active"]
    assert agentmem("weights", "save", "--file", "again.npz").code == 0
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "w.npz").read_bytes()
    text = agentmem("learn").out
    assert "kept aside: on" in text
    assert "50 queries" in text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["learn", "--folds", "namespace"], 2, "--folds needs --data"),
        (["learn", "--output", "memory.db"], 2, "exists already"),
        (["learn", "--db", "none.db"], 1, "no store"),
        (["weights", "save"], 2, "need --file"),
        (["weights", "history", "--file", "x"], 2, "take none"),
        (["weights", "save", "--file", "memory.db"], 2, "exists already"),
        (["weights", "install", "--file", "memory.db"], 2, "is the store"),
        (["weights", "install", "--file", "none"], 1, "none"),
        (["weights", "save", "--file", "new"], 3, "no learned weights"),
    ],
)
def test_what_is_refused(agentmem, taught, arguments, code, message):
    done = agentmem(*arguments)
    assert (done.code, done.err.count("\n")) == (code, 1)
    assert message in done.err


def test_a_labelled_set_teaches(agentmem, tmp_path):
    (tmp_path / "qrels").mkdir()
    lines = [f'{{"_id": "d{n}", "text": "topic{n % 5} {"why?" if n >= 5 else ""}"}}' for n in range(40)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    asked = [f'{{"_id": "q{n}", "text": "topic{n % 5} {n}"}}' for n in range(60)]
    (tmp_path / "queries.jsonl").write_text("\n".join(asked))
    for split, rows in [("train", range(50)), ("test", range(50, 60))]:
        body = "".join(f"q{n}\td{n % 5}\t1\n" for n in rows)
        (tmp_path / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{body}")
    done = agentmem("learn", "--data", ".", "--output", "w.npz", "--json")
    assert done.code == 0, done.err
    assert done.json["queries"] == 50
    assert HeadWeights.from_bytes((tmp_path / "w.npz").read_bytes()).embedder != "given"
    assert not (tmp_path / "memory.db").exists()
    refused = agentmem("learn", "--data", ".", "--split", "test")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "test split" in refused.err
    assert agentmem("learn", "--data", ".", "--folds", "namespace", "--output", "x").code == 2
    assert "two namespaces" in agentmem("learn", "--data", ".", "--folds", "namespace").err


def test_weights_of_another_model_are_refused(agentmem, taught, tmp_path):
    (tmp_path / "other.npz").write_bytes(start("other", DIMENSION).to_bytes())
    done = agentmem("weights", "install", "--file", "other.npz")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "fitted with embedder 'other'" in done.err
