"""Copies and churn, small; ``tests/trust/churn.py`` runs more rounds on more records."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from churn import MEMORY, Round, broken

from agentmem.backend import kernels

CHURN = Path(__file__).with_name("churn.py")
FIRST = Round(0, 100, "base", 0, 0, 1.0, (), 1_000_000, 1_000_000, 1.0)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.skipif(kernels("graph") is None, reason="the kernels are not built, or not asked for: no graph is walked")
def test_copies_and_others_are_found_whatever_goes_and_comes_back():
    command = [sys.executable, str(CHURN), "--rounds", "2", "--others", "11000", "--copies", "2000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [json.loads(line)["merged"] for line in done.stdout.splitlines()] == ["base", "base", "delta"]


def test_a_broken_bound_is_told():
    assert broken(FIRST, FIRST) == []
    grown = replace(FIRST, changes=1_100, disk=1_628_000, memory=1_000_000 + MEMORY)
    assert broken(FIRST, grown) == []
    assert broken(FIRST, replace(grown, disk=1_628_001)) == ["disk"]
    assert broken(FIRST, replace(grown, memory=grown.memory + 1, recall=0.89)) == ["recall", "memory"]
    assert broken(FIRST, replace(FIRST, lost_exactly=1)) == ["lost"]
    assert broken(FIRST, replace(FIRST, lost_by_graph=1, problems=("one",))) == ["lost", "problems"]
