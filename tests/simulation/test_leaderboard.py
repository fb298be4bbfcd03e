"""The leaderboard: every mechanism on every set found, reasons for what cannot run, and going on after a stop."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from agentmem import attention
from agentmem.errors import InvalidInput

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def leaderboard(tmp_path, monkeypatch):
    """The script, with a results folder of the test's own and no page to render."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    names = ("leaderboard", "machine", "tables")
    module = importlib.import_module("leaderboard")
    (tmp_path / "results").mkdir()
    monkeypatch.setattr(module.machine, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(module, "PARTIAL", tmp_path / "results" / "leaderboard.partial.json")
    monkeypatch.setattr(module.tables, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(module.tables, "PAGES", (tmp_path / "page.md",))
    (tmp_path / "page.md").write_text("<!-- measured: leaderboard -->\n<!-- end -->\n")
    yield module
    for name in names:
        del sys.modules[name]


@pytest.fixture
def root(tmp_path):
    """Two sets of eight documents, one of them a conversation, and a folder that is none."""
    for name, thread in (("chat", "t"), ("notes", None)):
        folder = tmp_path / "root" / name
        (folder / "qrels").mkdir(parents=True)
        corpus = [
            {"_id": f"d{n}", "text": f"note {n}", "metadata": {"thread": thread, "position": n if thread else None}}
            for n in range(8)
        ]
        queries = [{"_id": f"q{n}", "text": f"note {n}?", "metadata": {"category": n}} for n in range(8)]
        (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
        (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
        (folder / "qrels" / "test.tsv").write_text("head\n" + "".join(f"q{n}\td{n}\t1\n" for n in range(8)))
        np.save(folder / "corpus.npy", np.eye(8, 16))
        np.save(folder / "queries.npy", np.eye(8, 16)[::-1])
    (tmp_path / "root" / "nothing").mkdir()
    return tmp_path / "root"


def run(module, root, monkeypatch):
    """Run the script and return its result."""
    monkeypatch.setattr(sys, "argv", ["leaderboard.py", "--data-root", str(root)])
    module.main()
    return json.loads((module.machine.RESULTS / "leaderboard.json").read_text())


def test_every_mechanism_is_measured_on_every_set(leaderboard, root, monkeypatch, tmp_path):
    result = run(leaderboard, root, monkeypatch)
    assert list(result["sets"]) == ["chat", "notes"]
    for each in result["sets"].values():
        assert (each["queries"], each["vectors"]) == (7, "given"), "category 5 is left out"
        assert set(attention.registry.list()) | {"dense", "lexical", "rrf", "convex", "prf", "auto"} == set(
            each["pipelines"]
        )
    notes = result["sets"]["notes"]["pipelines"]
    assert notes["memory-attention"]["lacking"] == ["positions", "segment_ids", "weights"]
    assert result["sets"]["chat"]["pipelines"]["memory-attention"]["lacking"] == ["weights"]
    assert notes["scaled-dot"]["verdict"] == "same"
    assert notes["lexical"]["verdict"] == "gain"
    page = (tmp_path / "page.md").read_text()
    assert all(f"| {name} |" in page for name in attention.registry.list())
    assert "`memory-attention` without positions, segment_ids, weights: notes" in page
    assert not leaderboard.PARTIAL.exists()


def test_what_cannot_run_is_listed_with_the_reason(leaderboard, root, monkeypatch, tmp_path):
    evaluate = leaderboard.evaluate

    def refusing(store, dataset, pipelines, **options):
        if any(pipeline.name == "moe-attention" for pipeline in pipelines):
            raise InvalidInput("moe-attention needs weights")
        return evaluate(store, dataset, pipelines, **options)

    monkeypatch.setattr(leaderboard, "evaluate", refusing)
    result = run(leaderboard, root, monkeypatch)
    assert result["sets"]["chat"]["pipelines"]["moe-attention"] == {"reason": "moe-attention needs weights"}
    page = (tmp_path / "page.md").read_text()
    assert "| moe-attention | not run | not run |" in page
    assert "`moe-attention` on chat: moe-attention needs weights" in page


def test_a_stopped_run_goes_on_with_the_next_set(leaderboard, root, monkeypatch):
    measure, measured = leaderboard.measure, []

    def stopping(folder, *options):
        measured.append(folder.name)
        if measured == ["chat", "notes"]:
            raise KeyboardInterrupt
        return measure(folder, *options)

    monkeypatch.setattr(leaderboard, "measure", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(leaderboard, root, monkeypatch)
    assert list(run(leaderboard, root, monkeypatch)["sets"]) == ["chat", "notes"]
    assert measured == ["chat", "notes", "notes"]


def test_other_code_starts_anew(leaderboard):
    leaderboard.PARTIAL.write_text(json.dumps({"fingerprint": "old", "sets": {"chat": {}}}))
    assert leaderboard.kept_sets("new") == {}
    assert leaderboard.kept_sets("old") == {"chat": {}}
