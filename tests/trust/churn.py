"""Thousands of copies among others, deleted, changed and added again: ``python tests/trust/churn.py --rounds 20``.

In a heavy round half of the records go, a third of the others get a new version, and what went comes back; a light one
does so with one in twenty, which the index takes as a delta.  Before the merge that ends a round, many are looked for
by their own vectors; after it all of them by the graph, and many exactly; the copies are all to be found each time.
Prints a line of JSON a round; the exit status is 1 when something was lost or a bound is broken.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agentmem import MemoryStore

DIMENSION = 8
OTHERS = 20_000
COPIES = 5_000
TEXT = "the same words again and again"
BATCH = 5_000
DRAWN = 1_000
"""So many are looked for where not all are."""
RECALL = 0.9
DISK_SHARE, DISK_A_CHANGE = 1.5, 128
"""Files may grow to this much of what they were at first, and by so many bytes for each change: the log of changes."""
MEMORY = 64 << 20
"""Bytes by which the process may grow."""


@dataclass(frozen=True)
class Round:
    """What a round came to.

    Attributes:
        number: of the round; 0 is the store as it was made.
        changes: versions written and records deleted, since the store was made.
        merged: what the merge made, "base" or "delta".
        lost_by_graph: records whose own vector did not find them, before or after the merge.
        lost_exactly: the same, of exact searches.
        recall: as the store's check has it.
        problems: of the store's check.
        disk: bytes of the database, its log and the index.
        memory: bytes that the process has for itself.
        seconds: that it took.
    """

    number: int
    changes: int
    merged: str
    lost_by_graph: int
    lost_exactly: int
    recall: float
    problems: tuple[str, ...]
    disk: int
    memory: int
    seconds: float


def memory() -> int:
    """Return the bytes that the process has for itself."""
    gc.collect()
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found, "/proc/self/status has no RssAnon"
    return int(found[1]) << 10


def disk(path: Path) -> int:
    """Return the bytes of a store's files."""
    files = [path, Path(f"{path}-wal"), *Path(f"{path}-index").iterdir()]
    return sum(file.stat().st_size for file in files)


class Churn:
    """A store of copies and others, and the vectors that it is to hold."""

    def __init__(self, store: MemoryStore, others: int, copies: int, seed: int) -> None:
        self.store = store
        self.others, self.copies = others, copies
        self.chance = np.random.default_rng(seed)
        self.vectors = self.chance.standard_normal((others + copies, DIMENSION)).astype(np.float32)
        self.vectors[others:] = self.vectors[others]
        self.changes = 0
        self._put(np.arange(others + copies))

    def _put(self, numbers: NDArray[np.int64]) -> None:
        for start in range(0, len(numbers), BATCH):
            batch = numbers[start : start + BATCH]
            self.store.add_many(
                [TEXT if number >= self.others else f"memory number {number}" for number in batch.tolist()],
                ids=[str(number) for number in batch.tolist()],
                embeddings=self.vectors[batch],
                on_conflict="replace",
            )
        self.changes += len(numbers)

    def churn(self, share: float) -> None:
        """Delete a share of the records, change a third of the others as often, and add again what went."""
        drawn = self.chance.permutation(self.others + self.copies)
        gone, stay = np.split(drawn, [int(len(drawn) * share)])
        changed = stay[: int(len(stay) * share * 2 / 3)]
        assert self.store.delete(*map(str, gone.tolist())) == len(gone)
        self.changes += len(gone)
        anew = drawn[drawn < self.others]
        anew = anew[np.isin(anew, gone) | np.isin(anew, changed)]
        self.vectors[anew] = self.chance.standard_normal((len(anew), DIMENSION))
        self._put(changed)
        self._put(gone)

    def lost(self, numbers: NDArray[np.int64], *, exact: bool) -> int:
        """Return how many of these others are not found by their own vectors, and of the copies by theirs."""
        nearest, _ = self.store.knn(self.vectors[numbers], 1, exact=exact)
        lost = int((nearest[:, 0] != numbers.astype(str)).sum())
        same, distances = self.store.knn(self.vectors[[self.others]], self.copies, exact=exact)
        wanted = {str(number) for number in range(self.others, self.others + self.copies)}
        return lost + len(wanted - set(same[0, distances[0] < 1e-6]))

    def drawn(self) -> NDArray[np.int64]:
        """Return numbers of some of the others."""
        return self.chance.choice(self.others, DRAWN, replace=False)

    def round(self, number: int) -> Round:
        """Run a round."""
        start = time.monotonic()
        if number:
            self.churn(0.5 if number % 2 else 0.05)
        by_graph, exactly = self.lost(self.drawn(), exact=False), self.lost(self.drawn(), exact=True)
        merged = self.store.merge()
        by_graph += self.lost(np.arange(self.others), exact=False)
        exactly += self.lost(self.drawn(), exact=True)
        report = self.store.check()
        assert self.store.count() == report.records == self.others + self.copies
        self.store.database.checkpoint()
        return Round(
            number,
            self.changes,
            merged.kind,
            by_graph,
            exactly,
            report.recall,
            report.problems,
            disk(Path(self.store.path)),
            memory(),
            round(time.monotonic() - start, 2),
        )


def broken(first: Round, last: Round) -> list[str]:
    """Return the bounds that a round breaks, measured against the first."""
    bytes_allowed = DISK_SHARE * first.disk + DISK_A_CHANGE * (last.changes - first.changes)
    bounds = {
        "lost": last.lost_by_graph + last.lost_exactly == 0,
        "problems": not last.problems,
        "recall": last.recall >= RECALL,
        "disk": last.disk <= bytes_allowed,
        "memory": last.memory <= first.memory + MEMORY,
    }
    return [name for name, holds in bounds.items() if not holds]


def main() -> None:
    """Run the rounds that the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--others", type=int, default=OTHERS)
    parser.add_argument("--copies", type=int, default=COPIES)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rounds: list[Round] = []
    with tempfile.TemporaryDirectory(prefix="churn-") as folder:
        path = os.path.join(folder, "memory.db")
        with MemoryStore(path, embedder=None, dimension=DIMENSION, merge="manual") as store:
            churn = Churn(store, options.others, options.copies, options.seed)
            for number in range(options.rounds + 1):
                rounds.append(churn.round(number))
                print(json.dumps(asdict(rounds[-1])), flush=True)
    sys.exit(any(broken(rounds[0], each) for each in rounds))


if __name__ == "__main__":
    main()
