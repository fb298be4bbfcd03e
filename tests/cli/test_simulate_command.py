"""``agentmem simulate``: a small run from the command line, taken up again, and what is refused."""

import json

import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

SMALL = ("--heads", "1,2", "--hidden", "8", "--layers", "1", "--dropout", "0", "--sizes", "0", "--dimensions", "384")
ONE = ("simulate", *SMALL, "--seeds", "1", "--workers", "1")


def test_a_run_without_data_writes_report_and_plots_and_is_not_run_again(agentmem, tmp_path):
    done = agentmem(*ONE, "--output", tmp_path / "out")
    assert done.code == 0, done.err
    assert done.out.startswith("# Multi-head attention on made-0\n")
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"results.jsonl", "report.md", "report.json", "quality.png", "weights.png", "latency.png"} <= files
    assert (tmp_path / "out" / "report.md").read_text() == done.out
    results = (tmp_path / "out" / "results.jsonl").read_bytes()
    again = agentmem(*ONE, "--output", tmp_path / "out", "--json")
    assert (tmp_path / "out" / "results.jsonl").read_bytes() == results
    assert again.json == json.loads((tmp_path / "out" / "report.json").read_text())
    assert {each["shape"] for each in again.json["configurations"]} == {"1h-8d-1L-0", "2h-8d-1L-0"}
    assert again.json["transfer"]["name"] == "made-1"


def test_quick_is_for_what_was_not_given(agentmem, tmp_path):
    done = agentmem("simulate", "--quick", *SMALL, "--seeds", "1", "--output", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    assert [each["shape"] for each in done.json["configurations"]] == ["1h-8d-1L-0", "2h-8d-1L-0"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--heads", "1,x"), "not a list of numbers"),
        (("--heads", "2,2"), "a number twice"),
        (("--heads", "3", "--hidden", "8"), "multiple of heads"),
        (("--sizes", "100"), "has 2400 documents"),
        (("--dimensions", "100"), "384 and 768"),
        (("--dropout", "1"), "less than 1"),
        (("--cross-modal", "."), "give a checkout"),
        (("--data", ".", "--cross-modal", "."), "give one of them"),
        (("--data", "."), "does not exist"),
    ],
)
def test_what_cannot_be_used_is_one_line(agentmem, tmp_path, arguments, words):
    done = agentmem("simulate", *arguments, "--output", tmp_path / "out")
    assert done.code == 2
    assert words in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
