"""A short soak; ``tests/fuzz/soak.py`` runs a million."""

from __future__ import annotations

from pathlib import Path

import pytest
import soak

if not Path("/proc/self/status").exists():
    pytest.skip("memory and open files are read from /proc", allow_module_level=True)


def test_searches_leave_no_memory_and_no_open_file_behind(tmp_path: Path) -> None:
    outcome = soak.soak_searches(tmp_path, 12_000)
    assert outcome.done == 12_000
    assert soak.searches_hold(outcome), outcome


def test_adds_cost_few_bytes_a_record_and_go_on_where_they_were(tmp_path: Path) -> None:
    path = tmp_path / "adds.db"
    assert soak.soak_adds(path, 4_000).done == 4_000
    outcome = soak.soak_adds(path, 20_000)
    assert outcome.done == 112_000
    assert soak.adds_hold(outcome), outcome


def test_growth_and_open_files_are_seen(tmp_path: Path) -> None:
    kept, files = [], []

    def step(number: int) -> None:
        kept.append(bytearray(b"x" * 400_000))
        files.append((tmp_path / str(number)).open("w"))

    outcome = soak.measured(200, 50, step, "leaking", False)
    for file in files:
        file.close()
    assert outcome.growth > soak.GROWTH
    assert outcome.handles[1] == outcome.handles[0] + 150
    assert not soak.searches_hold(outcome)
    assert not soak.adds_hold(outcome)
