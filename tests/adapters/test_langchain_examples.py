"""The examples for LangChain, LangGraph and mem0 run alone, and do what they say; so does the page's code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def run(name, tmp_path):
    """Run an example by itself; return what it prints."""
    path = EXAMPLES / f"{name}.py"
    done = subprocess.run([sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())
    return done.stdout


def test_the_prompt_holds_the_passage_that_answers(tmp_path):
    pytest.importorskip("langchain_core", reason='pip install "agentmem[langchain]"')
    text = run("langchain_rag", tmp_path)
    assert "open the sluice by two turns" in text
    assert text.rstrip().endswith("what do I have to do?")


def test_the_graph_remembers_and_keeps_people_apart(tmp_path):
    pytest.importorskip("langgraph.store.base", reason='pip install "agentmem[langgraph]"')
    replies = [line for line in run("langgraph_memory", tmp_path).splitlines() if line.startswith("Agent: ")]
    assert "flower pot" in replies[2]
    assert "peanuts" in replies[3]
    assert replies[4] == "Agent: I do not know that yet."


def test_mem0_finds_what_it_was_told(tmp_path):
    pytest.importorskip("mem0", reason='pip install "agentmem[mem0]"')
    pytest.importorskip("langchain_community", reason='pip install "agentmem[mem0]"')
    text = run("mem0_memory", tmp_path)
    assert text.count("(score 0.") == 2
    assert text.index("flower pot") < text.index("peanuts")


@pytest.mark.parametrize(("tag", "module"), [("langchain", "langchain_core"), ("langgraph", "langgraph.store.base")])
def test_the_page_s_code_runs(tag, module, tmp_path, monkeypatch):
    pytest.importorskip(module, reason=f'pip install "agentmem[{tag}]"')
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "integrations.md").read_text(encoding="utf-8")
    blocks = re.findall(rf"^```python {tag}\n(.*?)^```$", page, re.M | re.S)
    assert len(blocks) == 1
    exec(compile(blocks[0], "docs/integrations.md", "exec"), {"__name__": "__docs__"})
    assert list(tmp_path.glob("*.db"))
