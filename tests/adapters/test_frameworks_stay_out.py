"""Frameworks are imported by their own adapters only; where one is absent, an adapter says what to install."""

import subprocess
import sys

import pytest

FRAMEWORKS = ("langchain_core", "langgraph", "mem0", "pydantic")


def run(code):
    """Run code in a process of its own; return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_package_imports_no_framework():
    code = (
        "import sys, agentmem, agentmem.adapters, agentmem.adapters.mmr\n"
        "agentmem.MemoryStore(':memory:').close()\n"
        f"print(sorted(set({FRAMEWORKS!r}) & set(sys.modules)))"
    )
    assert run(code).strip() == "[]"


@pytest.mark.parametrize(
    ("module", "absent", "extra"),
    [
        ("agentmem.adapters.langchain", "langchain_core", "langchain"),
        ("agentmem.adapters.langgraph", "langgraph", "langgraph"),
        ("agentmem.adapters.mem0", "langchain_core", "langchain"),
    ],
)
def test_a_missing_extra_is_one_clear_error(module, absent, extra):
    code = (
        "import sys\n"
        f"sys.modules[{absent!r}] = None\n"
        "from agentmem.errors import MissingExtra\n"
        f"try:\n    import {module}\nexcept MissingExtra as error:\n    print(error)"
    )
    assert f'pip install "agentmem[{extra}]"' in run(code)
