"""Each example runs alone, and does what it says."""

import subprocess
import sys
from pathlib import Path
from runpy import run_path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name):
    """Return an example's names."""
    return run_path(str(EXAMPLES / f"{name}.py"), run_name="example")


# Those of a framework are run where its adapter is tested.
PLAIN = [path for path in sorted(EXAMPLES.glob("*.py")) if "agentmem.adapters" not in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: path.stem)
def test_it_runs_alone(path, tmp_path):
    done = subprocess.run([sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert not done.stderr
    assert not list(tmp_path.iterdir())


def test_the_agent_remembers_across_restarts():
    key, peanuts, dentist = load("agent_loop")["main"]()
    assert "flower pot" in key
    assert "Ines" in peanuts
    assert "14 March" in dentist


def test_the_agent_does_not_know_what_it_never_heard(tmp_path):
    live = load("agent_loop")["live"]
    assert live(tmp_path / "agent.db", ["Where is my key?"]) == ["I do not know that yet."]


def test_the_prompt_holds_the_passage_that_answers():
    text = load("rag_folder")["main"]()
    assert "open the sluice by two turns" in text
    assert "opening-up.txt" in text
    assert text.endswith("what do I have to do?")


def test_only_changed_files_are_read_again(tmp_path):
    import agentmem

    index_folder = load("rag_folder")["index_folder"]
    (tmp_path / "a.txt").write_text("one\n\ntwo", encoding="utf-8")
    (tmp_path / "b.txt").write_text("three", encoding="utf-8")
    with agentmem.MemoryStore(":memory:") as store:
        assert index_folder(store, tmp_path) == 2
        assert index_folder(store, tmp_path) == 0
        (tmp_path / "a.txt").write_text("four", encoding="utf-8")
        assert index_folder(store, tmp_path) == 1
        assert {record.text for record in store.iterate()} == {"three", "four"}


def test_hooks_choose():
    plain, newest, code = load("choose_mechanism")["main"]()
    assert len({hit.record.metadata["subject"] for hit in plain}) < len(plain)
    subjects = [hit.record.metadata["subject"] for hit in newest]
    assert len(set(subjects)) == len(subjects)
    assert newest[0].text.startswith("New wireless password")
    assert code[0].explanation.mechanism == "lexical"
    assert "E-417" in code[0].text


def test_attention_over_blocks_is_measured():
    import numpy as np

    output, cases = load("flash_attention")["main"]()
    assert output.shape == (128,)
    assert np.isfinite(output).all()
    assert [case.n_keys for case in cases] == [100, 1000, 4000]
    assert all(case.speedup > 0 for case in cases)
