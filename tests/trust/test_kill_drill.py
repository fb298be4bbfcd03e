"""Processes are killed while they write: what they acknowledged is there, what they deleted is not, and all is well."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from drill_work import Step, Verdict, judge

from agentmem import faults

DRILL = Path(__file__).with_name("kill_drill.py")
VERBS = {"add", "add_many", "upsert", "update", "delete", "delete_where", "transaction"}


def drill(folder, rounds, seed=7):
    command = [sys.executable, str(DRILL), "--rounds", str(rounds), "--seed", str(seed), "--folder", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_hundred_killed_writers_lose_nothing_and_bring_nothing_back(tmp_path):
    assert json.loads(drill(tmp_path, 20).stdout)["rounds"] == 20
    done = drill(tmp_path, 100)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert (summary["lost"], summary["resurrected"], summary["torn"]) == (0, 0, 0)
    assert summary["rounds"] == sum(summary["kills"].values()) == 100
    assert summary["kills"]["chance"] == 50
    assert all(kills >= 2 for cause, kills in summary["kills"].items() if cause in faults.POINTS)
    assert set(summary["acknowledged_by_verb"]) >= VERBS
    assert summary["operations_under_way"] > 40
    assert "--seed 7" in drill(tmp_path, 101, seed=8).stderr


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ({"a": "1", "b": "1"}, Verdict()),
        ({"a": "2", "c": "1"}, Verdict()),
        ({"a": "2", "b": "1"}, Verdict(torn=True)),
        ({"a": "1", "b": "1", "c": "1"}, Verdict(torn=True)),
        ({"a": "3", "b": "1"}, Verdict(torn=True)),
        ({"a": "2", "c": "1", "d": "1"}, Verdict(resurrected=1)),
        ({"a": "1", "b": "1", "k": None}, Verdict(lost=1)),
    ],
)
def test_the_comparison_sees_what_is_lost_resurrected_or_torn(found, verdict):
    step = Step("transaction", {"a": "2", "c": "1"}, ("b",))
    kept = {"k": "1", **found}
    assert judge(kept, {"a": "1", "b": "1", "k": "1"}, step) == verdict
