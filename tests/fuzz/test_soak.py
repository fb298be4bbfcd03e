"""A short soak, in processes whose memory nothing else has used; ``tests/fuzz/soak.py`` runs a million."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import soak

if not Path("/proc/self/status").exists():
    pytest.skip("memory and open files are read from /proc", allow_module_level=True)

LEAK = """
import soak
kept, files = [], []
def step(number):
    kept.append(b"x" * 400_000 + bytes(number))
    files.append(open("/dev/null"))
outcome = soak.measured(200, 50, step, "leaking", False)
print(outcome.growth > 50_000_000, outcome.handles[1] - outcome.handles[0], soak.searches_hold(outcome),
      soak.adds_hold(outcome))
"""


def python(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=300, cwd=soak.HERE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_searches_leave_no_memory_and_no_open_file_behind() -> None:
    assert python("soak.py", "--searches", "8000").startswith("searches: 8000 in ")


def test_adds_cost_few_bytes_a_record_and_go_on_where_they_were(tmp_path: Path) -> None:
    path = str(tmp_path / "adds.db")
    assert python("soak.py", "--adds", "8000", "--db", path).startswith("adds: 8000 in ")
    assert python("soak.py", "--adds", "24000", "--db", path).startswith("adds: 16000 in ")


def test_growth_and_open_files_are_seen() -> None:
    assert python("-W", "ignore", "-c", LEAK).split() == ["True", "150", "False", "False"]
