"""LlamaIndex and Haystack: each stays out of agentmem until its adapter is asked for; each has an example."""

import importlib
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import agentmem

EXAMPLES = Path(__file__).parents[2] / "examples"
FRAMEWORKS = {"llama_index": ("llama-index", "llama_index_rag"), "haystack": ("haystack", "haystack_pipeline")}


def child(*arguments, **options):
    """Run Python in a process of its own."""
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=300, **options)


def skip_without(framework):
    """Skip a test whose framework is not installed; it is not imported here."""
    if find_spec(framework) is None:
        pytest.skip(f'pip install "agentmem[{FRAMEWORKS[framework][0]}]"')


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_agentmem_does_without(framework):
    code = (
        "import sys, agentmem, agentmem.adapters, agentmem.adapters.mmr\n"
        "for name in agentmem.__all__: getattr(agentmem, name)\n"
        f"assert not [name for name in sys.modules if name.split('.')[0] == {framework!r}]\n"
    )
    done = child("-c", code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_framework_that_is_missing_is_named_with_its_remedy(framework, monkeypatch):
    for name in [name for name in sys.modules if name.startswith(f"agentmem.adapters.{framework}")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.split(".")[0] == framework]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, framework, None)
    extra = FRAMEWORKS[framework][0]
    with pytest.raises(agentmem.errors.MissingExtra, match=rf'adapters\.{framework} .*"agentmem\[{extra}\]"'):
        importlib.import_module(f"agentmem.adapters.{framework}")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_its_example_runs_alone(framework, tmp_path):
    name = FRAMEWORKS[framework][1]
    skip_without(framework)
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = child("-W", "error", str(EXAMPLES / f"{name}.py"), cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert "open the sluice by two turns" in done.stdout.split("passages", 1)[1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_the_page_says_runs(framework, tmp_path):
    extra = FRAMEWORKS[framework][0]
    skip_without(framework)
    page = (EXAMPLES.parent / "docs" / "integrations.md").read_text(encoding="utf-8")
    code = re.findall(rf"^```python {extra}\n(.*?)^```$", page, re.M | re.S)
    assert len(code) == 1
    done = child("-W", "error", "-c", code[0], cwd=tmp_path, env={**os.environ, "HAYSTACK_TELEMETRY_ENABLED": "False"})
    assert done.returncode == 0, done.stderr
    assert not done.stderr
