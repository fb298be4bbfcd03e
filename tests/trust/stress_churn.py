"""Duplicates and churn: thousands of copies of one text among others, deleted, updated and added again, many times.

    python tests/trust/stress_churn.py --copies 5000 --others 20000 --rounds 20 --seed 7

After every round each live record is looked for by its own vector, exactly and by the graph, and sizes are compared
with their bounds.  Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import agentmem

DIM = 32
RECORD_BYTES = 1_500
"""Bound of what a live record takes on disk, in database and index, at 32 dimensions: vectors, codes, links, row."""
CHANGE_BYTES = 120
"""Bound of what a change leaves in the change log for ever."""
FIXED_BYTES = 80 << 20
"""Bound of the rest: 64 MB of write-ahead log, and pages that are partly filled."""
MEMORY_BYTES = 200 << 20
"""Bound of what the process may grow by from the second round on."""


class Churn:
    """A store, and a model of what is in it: each record's vector."""

    def __init__(self, path: Path, copies: int, others: int, seed: int) -> None:
        self.chance = np.random.default_rng(seed)
        self.path, self.copies, self.others = path, copies, others
        self.store = agentmem.MemoryStore(path, embedder=None, dimension=DIM, merge="manual")
        self.copy = self._vectors(1)[0]
        self.live: dict[str, np.ndarray] = {}
        self.made = self.changes = self.most = 0
        self.add(copies, others)

    def _vectors(self, count: int) -> np.ndarray:
        return self.chance.normal(size=(count, DIM)).astype(np.float32)

    def add(self, copies: int, others: int) -> None:
        """Add copies of the one text, and others, in a random order."""
        data = np.concatenate([np.tile(self.copy, (copies, 1)), self._vectors(others)])
        texts = ["the same text over and over"] * copies + [f"another text {self.made + n}" for n in range(others)]
        order = self.chance.permutation(len(data))
        ids = [f"r{self.made + n}" for n in range(len(data))]
        self.made += len(data)
        self.store.add_many([texts[n] for n in order], ids=ids, embeddings=data[order])
        self.live |= dict(zip(ids, data[order], strict=True))
        self.changes += len(ids)
        self.most = max(self.most, len(self.live))

    def churn(self) -> None:
        """Delete half, update a third of the rest (half of these become or stay copies), and add what was deleted."""
        ids = np.array(list(self.live))
        gone = self.chance.choice(ids, len(ids) // 2, replace=False).tolist()
        before = sum(np.array_equal(self.live[rid], self.copy) for rid in gone)
        assert self.store.delete(*gone) == len(gone)
        for rid in gone:
            del self.live[rid]
        changed = self.chance.choice(list(self.live), len(self.live) // 3, replace=False).tolist()
        for rid, fresh in zip(changed, self._vectors(len(changed)), strict=True):
            self.live[rid] = self.copy if np.array_equal(self.live[rid], self.copy) else fresh
        self.store.add_many(
            [f"updated {rid}" for rid in changed],
            ids=changed,
            embeddings=np.array([self.live[rid] for rid in changed]),
            on_conflict="replace",
        )
        self.changes += len(gone) + len(changed)
        self.add(before, len(gone) - before)

    def missing(self, *, exact: bool) -> list[str]:
        """Return the live records that are not found by their own vectors."""
        alone = [rid for rid, vector in self.live.items() if not np.array_equal(vector, self.copy)]
        found = self.store.knn(np.array([self.live[rid] for rid in alone]), 1, exact=exact)[0][:, 0]
        lost = [rid for rid, other in zip(alone, found.tolist(), strict=True) if rid != other]
        copies = {rid for rid, vector in self.live.items() if np.array_equal(vector, self.copy)}
        if copies:
            lost += copies - set(self.store.knn(self.copy[None], len(copies), exact=exact)[0][0].tolist())
        return lost

    def examine(self) -> dict[str, Any]:
        """Return what a round left: records that cannot be found, recall, bytes on disk and their bound."""
        files = [*self.path.parent.glob(f"{self.path.name}*"), *Path(f"{self.path}-index").glob("*")]
        report = self.store.check(sample=200)
        return {
            "records": len(self.live),
            "not found exactly": self.missing(exact=True),
            "not found by the graph": self.missing(exact=False),
            "recall": report.recall,
            "problems": list(report.problems),
            "disk": sum(file.stat().st_size for file in files if file.is_file()),
            "disk bound": self.most * RECORD_BYTES + self.changes * CHANGE_BYTES + FIXED_BYTES,
            "memory": resident(),
        }


def resident() -> int:
    """Return the bytes of this process that are its own: resident, without what is mapped from files."""
    words = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return (int(words[1]) - int(words[2])) * 4096


def run(path: Path, copies: int, others: int, rounds: int, seed: int) -> list[dict[str, Any]]:
    """Churn for some rounds, merging as the store's owner would and rebuilding every fifth time."""
    churn = Churn(path, copies, others, seed)
    churn.store.merge()
    found = [churn.examine()]
    for number in range(rounds):
        churn.churn()
        churn.store.optimize() if number % 5 == 4 else churn.store.merge()
        found.append(churn.examine())
    churn.store.close()
    return found


def wrong(rounds: list[dict[str, Any]]) -> list[str]:
    """Return what no round may show."""
    told = []
    for number, each in enumerate(rounds):
        told += [f"round {number}: {name} {each[name][:3]}" for name in ("problems", "not found exactly") if each[name]]
        share = len(each["not found by the graph"]) / each["records"]
        told += [f"round {number}: {share:.4f} are not found by the graph"] * (share > 0.001)
        told += [f"round {number}: recall {each['recall']}"] * (each["recall"] < 0.9)
        told += [f"round {number}: {each['disk']} bytes on disk"] * (each["disk"] > each["disk bound"])
    grown = rounds[-1]["memory"] - rounds[min(1, len(rounds) - 1)]["memory"]
    return told + [f"memory grew by {grown} bytes"] * (grown > MEMORY_BYTES)


def main() -> None:
    """Run as the command line says; exit with 1 when something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, default in (("copies", 5000), ("others", 20_000), ("rounds", 20), ("seed", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    with tempfile.TemporaryDirectory() as folder:
        rounds = run(Path(folder) / "memory.db", **vars(parser.parse_args()))
    brief = [{k: len(v) if isinstance(v, list) else v for k, v in each.items()} for each in rounds]
    print(json.dumps({"rounds": brief, "wrong": wrong(rounds)}, indent=1))
    sys.exit(bool(wrong(rounds)))


if __name__ == "__main__":
    main()
