"""Harmed segment files: no crash, no answer that check() would not doubt, and the next merge makes all good."""

import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("damage_child.py")


@pytest.mark.parametrize(
    ("harm", "step", "least", "always"),
    [("headers", 7, 15, True), ("cut", 10, 30, True), ("flipped", 3, 50, False), ("wild", 5, 40, False)],
)
def test_harmed_segments_are_told_and_repaired(tmp_path, harm, step, least, always):
    command = [sys.executable, str(CHILD), str(tmp_path / "stores"), harm, "7", str(step)]
    done = subprocess.run(command, cwd=CHILD.parent, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, f"ended by {done.returncode}: {done.stderr[-3000:]}"
    cases, refused = map(int, done.stdout.split())
    assert cases >= least
    assert refused == cases if always else 0 < refused < cases
