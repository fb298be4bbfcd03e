"""The named steps: the list is what the sources call, and the variable that kills is taken at its word."""

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import agentmem
from agentmem import faults

PACKAGE = Path(agentmem.__file__).parent


def points_called():
    """Return the name of each step that the package calls, in no order."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "faults.point":
                yield ast.literal_eval(node.args[0])


def test_the_list_of_steps_is_what_the_sources_call():
    assert sorted(points_called()) == sorted(faults.POINTS)


def test_a_process_dies_at_the_step_that_is_named_and_at_no_other():
    code = (
        "from agentmem import faults; faults.point('merge:begun'); print(1, flush=True); faults.point('merge:probed')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, faults.VARIABLE: "merge:probed:kill"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "1\n")


@pytest.mark.parametrize("value", ["merge:probed", "merge:nowhere:kill", ""])
def test_a_value_that_names_no_step_is_refused(monkeypatch, value):
    monkeypatch.setenv(faults.VARIABLE, value)
    with pytest.raises(agentmem.InvalidInput, match=r"AGENTMEM_FAULT must be .*vacuum:log-emptied"):
        faults.point("merge:begun")
