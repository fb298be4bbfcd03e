"""``agentmem evaluate``, on a small conversation set of the test's own."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from agentmem.rerank.weights import HEADS, HeadWeights, start

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
TURNS = {
    "x": [
        "I moved to Lisbon in May",
        "Tea with lemon is my favourite",
        "My sister plays the violin",
        "The car broke down",
    ],
    "y": ["We adopted a grey cat", "The garden needs rain", "I study marine biology", "Chess club meets on Fridays"],
}
QUESTIONS = [
    ("x", "who plays the violin?", 2, 1),
    ("x", "which drink is the favourite?", 1, 2),
    ("y", "what colour is the cat?", 0, 1),
    ("y", "when does the chess club meet?", 3, 5),
]


@pytest.fixture
def folder(tmp_path):
    """Eight turns in two conversations, four questions, half of them for training."""
    folder = tmp_path / "made"
    (folder / "qrels").mkdir(parents=True)
    corpus = [
        {"_id": f"{space}{n}", "text": text, "metadata": {"namespace": space, "thread": space, "position": n}}
        for space, turns in TURNS.items()
        for n, text in enumerate(turns)
    ]
    queries = [
        {"_id": f"q{n}", "text": text, "metadata": {"namespace": space, "category": category}}
        for n, (space, text, _, category) in enumerate(QUESTIONS)
    ]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    for split, rows in (("train", (0, 2)), ("test", (1, 3))):
        lines = [f"q{n}\t{QUESTIONS[n][0]}{QUESTIONS[n][2]}\t1\n" for n in rows]
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    np.save(folder / "corpus.npy", np.eye(8, dtype=np.float16))
    np.save(folder / "queries.npy", np.eye(8, dtype=np.float16)[[2, 1, 4, 7]])
    return folder


def figures(report):
    """Return a report without its times."""
    for each in report["pipelines"].values():
        for name in ("p50_us", "p95_us", "stages"):
            del each[name]
    return report


def test_given_vectors_as_json(agentmem, folder):
    done = agentmem(
        "evaluate", "--data", folder, "--split", "test", "--vectors", "given", "--pipelines", "dense,auto", "--json"
    )
    assert done.code == 0, done.err
    report = done.json
    assert (report["dataset"], report["split"], report["queries"]) == ("made", "test", 2)
    assert list(report["pipelines"]) == ["dense", "auto"]
    dense = report["pipelines"]["dense"]
    assert dense["recall@10"] == dense["ndcg@10"] == dense["mrr"] == 1
    assert dense["ci95"]["recall@10"] == [1, 1]
    assert dense["p50_us"] > 0
    assert {"scope", "candidates", "rerank"} <= set(dense["stages"])
    assert report["pipelines"]["auto"]["against"]["recall@10"]["difference"] == 0


def test_the_bundled_model_on_all_splits_but_a_category(agentmem, folder):
    arguments = ("evaluate", "--data", folder, "--split", "all", "--exclude-category", "5", "--json")
    report = agentmem(*arguments).json
    assert report["queries"] == 3
    assert set(report["pipelines"]["auto"]["categories"]) == {"1", "2"}
    assert set(report["pipelines"]["auto"]["namespaces"]) == {"x", "y"}
    assert figures(agentmem(*arguments).json) == figures(report)


def test_tables_for_people(agentmem, folder):
    done = agentmem("evaluate", "--data", folder, "--pipelines", "lexical,hnsw")
    assert done.code == 0, done.err
    assert done.out.startswith("## made\n")
    assert "| lexical |" in done.out
    assert "### Against lexical" in done.out
    assert "0 searches walked a graph" in done.out


def test_the_result_goes_to_a_file_as_well(agentmem, folder, tmp_path):
    done = agentmem("evaluate", "--data", folder, "--pipelines", "rrf", "--output", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())["pipelines"].keys() == {"rrf"}
    done = agentmem("evaluate", "--data", folder, "--pipelines", "rrf", "--output", tmp_path / "out.md", "--json")
    assert (tmp_path / "out.md").read_text().startswith("## made\n")
    assert done.json["dataset"] == "made"


def saved(path, embedder="given", dimension=8, *, turned=False):
    """Write weights: the constants, or such that the best comes last."""
    origin = start(embedder, dimension)
    points = -origin.points if turned else origin.points
    made = HeadWeights(embedder, dimension, HEADS, points, origin.gate, origin.query, origin.key)
    path.write_bytes(made.to_bytes())
    return path


def test_saved_weights_are_pipelines_called_as_their_files(agentmem, folder, tmp_path):
    same, turned = saved(tmp_path / "same.npz"), saved(tmp_path / "turned.npz", turned=True)
    arguments = ("--pipelines", "auto,dense", "--weights", turned, "--weights", same)
    report = agentmem("evaluate", "--data", folder, "--vectors", "given", *arguments, "--json").json
    assert list(report["pipelines"]) == ["auto", "dense", "turned.npz", "same.npz"]
    auto, other, constants = (report["pipelines"][name] for name in ("auto", "turned.npz", "same.npz"))
    assert {name: auto[name] for name in ("mrr", "ndcg@10")} == {name: constants[name] for name in ("mrr", "ndcg@10")}
    assert auto["mrr"] == 1
    assert other["mrr"] < 0.5
    assert other["against"]["mrr"]["loss"] == 2
    assert constants["against"]["mrr"]["tie"] == 2
    arguments = ("--pipelines", "", "--weights", turned)
    alone = agentmem("evaluate", "--data", folder, "--vectors", "given", *arguments, "--json")
    assert list(alone.json["pipelines"]) == ["turned.npz"]
    assert figures(alone.json)["pipelines"]["turned.npz"]["mrr"] == other["mrr"]


def test_weights_that_cannot_rank_are_told(agentmem, folder, tmp_path):
    (tmp_path / "none.npz").write_bytes(b"nothing")
    other, twice = saved(tmp_path / "other.npz", "another"), saved(tmp_path / "auto")
    for file, code, words in (
        (tmp_path / "none.npz", 2, "no weights"),
        (other, 1, "'another'"),
        (twice, 2, "each once"),
    ):
        done = agentmem("evaluate", "--data", folder, "--vectors", "given", "--weights", file)
        assert (done.code, done.err.count("\n")) == (code, 1)
        assert words in done.err


def test_folds_need_namespaces_and_no_test_queries(agentmem, folder):
    report = agentmem("evaluate", "--data", folder, "--split", "all", "--folds", "namespace", "--json").json
    assert report["folds"] == "namespace"
    done = agentmem("evaluate", "--data", folder, "--folds", "namespace")
    assert done.code == 2
    assert "never trained on" in done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--pipelines", "dens"), "no mechanism is called 'dens'"),
        (("--pipelines", "rrf,rrf"), "each once"),
        (("--split", "dev"), "the splits of this set: test, train, all"),
        (("--exclude-category", "2", "--exclude-category", "5"), "no query"),
        (("--max-descendants", "9"), "edges.tsv"),
        (("--k", "0"), "--k"),
    ],
)
def test_what_cannot_be_used_is_one_line(agentmem, folder, arguments, words):
    done = agentmem("evaluate", "--data", folder, *arguments)
    assert done.code == 2
    assert words in done.err
    assert done.err.count("\n") == 1


def test_nothing_is_left_behind(agentmem, folder, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    assert agentmem("evaluate", "--data", folder).code == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_the_page_on_evaluation_defines_every_measure(agentmem, folder):
    measures = set(agentmem("evaluate", "--data", folder, "--json").json["pipelines"]["dense"]["ci95"])
    defined = set(re.findall(r"^\| `(\w+(?:@\w+)?)` \|", PAGE, re.M)) | {f"recall@{c}" for c in (1, 5, 10, 30)}
    assert measures <= defined
    assert "c = 1, 5, 10 of searches" in PAGE


def test_the_pages_python_runs(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(re.search(r"^```py\n(.*?)^```", PAGE, re.M | re.S)[1].replace("DIR", str(folder)), {})
    assert 0 < float(capsys.readouterr().out) <= 1
