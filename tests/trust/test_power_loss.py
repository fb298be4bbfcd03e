"""The power goes while a store is written to: what was promised to be there is, and the store is sound."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from power_disk import Disk, Event
from power_loss import compiler

SIMULATION = Path(__file__).with_name("power_loss.py")
needs_compiler = pytest.mark.skipif(compiler() is None, reason="needs Linux and a C compiler for the recorder")


def simulate(durability, cuts):
    command = [sys.executable, str(SIMULATION), "--durability", durability, "--cuts", str(cuts), "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


@needs_compiler
def test_with_full_durability_no_acknowledged_commit_is_lost():
    failed, summary = simulate("full", 30)
    assert not failed, summary
    assert summary["whole"] + summary["under way"] == summary["cuts"] == 30
    assert summary["unsynced_at_the_cut"]["max"] > 0


@needs_compiler
def test_with_normal_durability_what_is_there_is_all_up_to_one_commit():
    failed, summary = simulate("normal", 30)
    assert not failed, summary
    assert (summary["hole"], summary["damaged"], summary["faults"]) == (0, 0, [])
    assert summary["suffix lost"] > 0
    assert summary["operations_missing"]["max"] > 0


@needs_compiler
def test_the_comparison_sees_what_comes_of_not_syncing_at_all():
    failed, summary = simulate("off", 30)
    assert failed
    assert summary["damaged"] > 0
    assert summary["suffix lost"] > 0


def outcomes(*events):
    """Return all that a disk may hold after some events, as far as chance shows."""
    disk = Disk()
    for event in events:
        disk.apply(event)
    return {json.dumps({k: v.hex() for k, v in disk.after_loss(random.Random(i)).items()}) for i in range(400)}


def content_of(outcome, path="a"):
    return bytes.fromhex(json.loads(outcome)[path])


MADE = [Event("c", "a", 0, b""), Event("w", "a", 0, b"x" * 1024), Event("s", "a", 0, b""), Event("s", "", 0, b"")]


def test_what_was_synced_is_there():
    assert [content_of(each) for each in outcomes(*MADE)] == [b"x" * 1024]


def test_each_sector_of_an_unsynced_write_is_there_or_not():
    contents = {content_of(each) for each in outcomes(*MADE, Event("w", "a", 500, b"y" * 24))}
    assert contents == {
        b"x" * 500 + first + second + b"x" * 500
        for first in (b"x" * 12, b"y" * 12)
        for second in (b"x" * 12, b"y" * 12)
    }


def test_a_later_write_may_be_there_without_an_earlier_one_and_a_hole_holds_zeros_or_rubbish():
    contents = {content_of(each) for each in outcomes(*MADE, *(Event("w", "a", at, b"y") for at in (1024, 1026)))}
    assert {len(each) for each in contents} == {1024, 1025, 1027}
    holes = {each[1024:1026] for each in contents if len(each) == 1027}
    assert {b"y\0", b"\0\0"} < holes


def test_a_cut_may_be_there_or_not():
    assert {len(content_of(each)) for each in outcomes(*MADE, Event("t", "a", 10, b""))} == {10, 1024}


def test_names_are_certain_from_the_sync_of_their_folder_on():
    renamed = [*MADE, Event("r", "a", 0, b"b"), Event("c", "f/c", 0, b""), Event("s", "f/c", 0, b"")]
    assert {tuple(json.loads(each)) for each in outcomes(*renamed)} == {("a",), ("b",), ("a", "f/c"), ("b", "f/c")}
    assert {tuple(json.loads(each)) for each in outcomes(*renamed, Event("s", "", 0, b""))} == {("b",), ("b", "f/c")}
    removed = [*MADE, Event("u", "a", 0, b"")]
    assert {tuple(json.loads(each)) for each in outcomes(*removed)} == {("a",), ()}
    assert {tuple(json.loads(each)) for each in outcomes(*removed, Event("s", "", 0, b""))} == {()}
