"""Many processes and threads on one store, for seconds; ``tests/trust/stress.py`` goes on for as long as it is told."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from stress_roles import may_see
from stress_verdict import Merge, merges_of, problems_of_merges, unanswered

STRESS = Path(__file__).with_name("stress.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a process")
def test_many_processes_and_threads_lose_nothing_and_read_nothing_stale():
    command = [sys.executable, str(STRESS), "--writers", "4", "--readers", "20", "--seconds", "30", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    processes, threads = json.loads(done.stdout).values()
    assert processes["problems"] == threads["problems"] == []
    assert processes["merges"]["killed"] > 0
    assert processes["merges"]["delta"] > 0
    assert processes["search_ms"]["during merges"]["count"] > 10
    assert threads["answers compared"] == 20 * 300
    assert min(part[what] for part in (processes["wrote"], threads["wrote"]) for what in ("commits", "changes")) > 10
    assert min(part["read"][kind] for part in (processes, threads) for kind in ("get", "exact", "graph")) > 10


@pytest.mark.parametrize(
    ("found", "before", "after", "allowed"),
    [
        (3, 3, 3, True),
        (1, 3, 3, False),
        (5, 3, 3, False),
        (5, 3, 5, True),
        (None, 3, 3, False),
        (None, 3, 5, False),
        (None, 3, 4, True),
        (None, 3, 7, True),
        (None, 4, 4, True),
        (3, 4, 4, False),
        (3, 4, 7, False),
    ],
)
def test_what_a_reader_may_see(found, before, after, allowed):
    """States are serial * 2 + present: 3 is the first version, 4 its successor's absence, 5 its successor."""
    assert may_see(found, before, after) == allowed


def test_the_journals_tell_two_merges_at_once_and_a_lock_that_nobody_holds():
    lines = [
        {"asked": 1.0, "answered": 1.1, "busy": True},
        {"began": 2.1, "asked": 2.0},
        {"ended": 2.9},
        {"asked": 2.0, "answered": 3.0, "busy": False},
        {"began": 4.1, "asked": 4.0},
        {"error": "killed"},
    ]
    merges, refused = merges_of(lines, [3.5, 5.0])
    assert merges == [Merge(2.0, 2.1, 2.9, 3.0, killed=False), Merge(4.0, 4.1, 5.0, 5.0, killed=True)]
    assert refused == [(1.0, 1.1)]
    assert len(problems_of_merges(merges, refused)) == 1
    assert problems_of_merges(merges, [(1.5, 2.0), (4.5, 4.6)]) == []
    assert len(problems_of_merges([*merges, Merge(2.5, 2.6, 3.5, 3.6, killed=False)], [])) == 1


def test_a_long_merge_in_which_no_search_is_answered_is_a_problem():
    assert unanswered([(1.0, 1.1), (1.9, 2.1)], [(1.2, 2.0)])
    assert not unanswered([(1.0, 1.1), (1.3, 1.4), (2.7, 2.8)], [(1.2, 2.0), (2.5, 2.6)])
    assert not unanswered([(1.0, 1.1), (1.9, 2.1)], [(0.1, 0.9), (2.2, 3.0)])
