"""A process is killed while it writes: what it acknowledged is there, what it deleted is not, and all is well."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import agentmem

ROUNDS = 50
CHILD = Path(__file__).with_name("writer_child.py")


def run_and_kill(path, seed, seconds):
    """Let a writer run for some time after its first acknowledgement, kill it, and return the lines that it printed."""
    child = subprocess.Popen([sys.executable, str(CHILD), str(path), str(seed)], stdout=subprocess.PIPE, text=True)
    first = child.stdout.readline()
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    rest, _ = child.communicate()
    lines = [first, *rest.splitlines()]
    return [json.loads(line) for line in lines if line.rstrip().endswith("]")]


def test_nothing_acknowledged_is_lost_and_nothing_deleted_is_back(tmp_path):
    path = tmp_path / "memory.db"
    chance = random.Random(7)
    model = {}
    acknowledged = 0
    for round_number in range(ROUNDS):
        pending = None
        for state, op, rid, text in run_and_kill(path, round_number, chance.uniform(0.0, 0.08)):
            if state == "try":
                pending = (op, rid, text)
                continue
            pending = None
            acknowledged += 1
            if op == "put":
                model[rid] = text
            elif op == "delete":
                del model[rid]
        with agentmem.MemoryStore(path, embedder=None, dimension=4, merge="manual") as store:
            found = {record.id: record.text for record in store.iterate()}
            if pending is not None and pending[0] != "merge":
                _, rid, text = pending
                assert found.get(rid) in (model.get(rid), text)
                model = {**model, rid: found[rid]} if rid in found else {k: v for k, v in model.items() if k != rid}
            assert found == model
            if round_number % 5 == 0 or round_number == ROUNDS - 1:
                report = store.check()
                assert report.ok, report.problems
                hits = store.search(embedding=[1.0, 1.0, 1.0, 1.0], k=len(model) + 10)
                assert {hit.id for hit in hits} == set(model)
    assert acknowledged > ROUNDS
