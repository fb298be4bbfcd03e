"""A long life: ``python tests/fuzz/soak.py --searches 1000000 --adds 1000000``.

Searches of every kind on a small store, after which the process is no larger and has no more open files; and adds, with
the merges that they bring, of which the second half adds few bytes a record to the process.  Memory is RssAnon of
/proc/self/status: what the process has for itself, without the index files that it maps.  ``--db`` keeps the store of
the adds; the same command then goes on where it was.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from agentmem import MemoryStore
from agentmem.progress import track

HERE = Path(__file__).parent
DIMENSION = 32
RECORDS = 1_000
WARM_UP = 0.1
"""The share of the searches after which memory is measured for the first time."""
BATCH = 1_000
GROWTH = 8 << 20
"""Bytes by which any number of searches may make the process grow."""
SLACK, BYTES_A_RECORD = 32 << 20, 64
"""The second half of the adds may make the process grow by this, for SQLite's page caches, and so much a record."""
WORDS = [f"word{number}" for number in range(16)]
MECHANISMS = ["auto", "auto", "dense", "lexical", "rrf", "convex", "hyperbolic-attention", "standard-mha"]
NAMESPACES = [None, None, "users/1", "users/2", "users/", "absent"]


@dataclass(frozen=True)
class Outcome:
    """What a run did to the process: operations, seconds, bytes of its own memory and open files before and after."""

    done: int
    seconds: float
    memory: tuple[int, int]
    handles: tuple[int, int]

    @property
    def growth(self) -> int:
        """Bytes of memory gained."""
        return self.memory[1] - self.memory[0]

    def __str__(self) -> str:
        """Tell it in a line."""
        return (
            f"{self.done} in {self.seconds:.0f} s ({self.done / self.seconds:.0f} a second); memory "
            f"{self.memory[0] >> 10} -> {self.memory[1] >> 10} KiB; open files {self.handles[0]} -> {self.handles[1]}"
        )


def memory() -> int:
    """Return the bytes that the process has for itself."""
    gc.collect()
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found, "/proc/self/status has no RssAnon"
    return int(found[1]) << 10


def handles() -> int:
    """Return the number of open files."""
    return len(os.listdir("/proc/self/fd"))


def add_batch(store: MemoryStore, first: int, count: int, seed: int) -> None:
    """Add records number ``first`` and on; which they are follows from the seed."""
    chance = np.random.default_rng([seed, first])
    words = chance.choice(WORDS, (count, 6))
    store.add_many(
        [" ".join(row) for row in words],
        embeddings=chance.standard_normal((count, DIMENSION)),
        ids=[str(first + place) for place in range(count)],
        metadatas=[{"n": first + place, "topic": row[0]} for place, row in enumerate(words.tolist())],
        namespace=[f"users/{place % 4}" for place in range(count)],
        threads=[f"t{place // 20}" for place in range(count)],
    )


def search(store: MemoryStore, chance: random.Random) -> None:
    """Search in one of many ways."""
    vector = [chance.gauss(0, 1) for _ in range(DIMENSION)]
    text = " ".join(chance.choices(WORDS, k=3))
    filter = chance.choice(
        [
            None,
            None,
            {"topic": chance.choice(WORDS)},
            {"n": {"$lt": chance.randrange(RECORDS)}},
            {"@text": {"$match": text}},
        ]
    )
    scope = {"namespace": chance.choice(NAMESPACES), "filter": filter, "k": chance.choice((1, 5, 10))}
    kind = chance.random()
    if kind < 0.4:
        store.search(embedding=vector, exact=chance.random() < 0.1, **scope)
    elif kind < 0.5:
        store.knn([vector], **scope)
    else:
        store.search(
            text, embedding=vector, mechanism=chance.choice(MECHANISMS), explain=chance.random() < 0.2, **scope
        )


def measured(total: int, warm_up: int, step: Callable[[int], None], name: str, show: bool) -> Outcome:
    """Call ``step(number)`` so often, and compare the process after the warm-up with that at the end."""
    start, before = time.perf_counter(), (0, 0)
    with track(name, total, show) as advance:
        for number in range(total):
            if number == warm_up:
                before = memory(), handles()
            step(number)
            advance(1)
    seconds = time.perf_counter() - start
    return Outcome(total, seconds, (before[0], memory()), (before[1], handles()))


def soak_searches(folder: Path, count: int, *, seed: int = 0, show: bool = False) -> Outcome:
    """Search a small store, half of it merged, ``count`` times."""
    with MemoryStore(folder / "searches.db", embedder=None, dimension=DIMENSION, cache_size=100) as store:
        add_batch(store, 0, RECORDS // 2, seed)
        store.merge()
        add_batch(store, RECORDS // 2, RECORDS // 2, seed)
        chance = random.Random(seed)
        return measured(count, int(count * WARM_UP), lambda number: search(store, chance), "searching", show)


def soak_adds(path: Path, count: int, *, seed: int = 0, show: bool = False) -> Outcome:
    """Bring a store to ``count`` records, a thousand at a time; a search after each lets the store merge."""
    with MemoryStore(path, embedder=None, dimension=DIMENSION) as store:
        chance = random.Random(seed)

        def step(number: int) -> None:
            add_batch(store, first + number * BATCH, BATCH, seed)
            search(store, chance)
            store.wait_for_merge()

        first = store.count()
        rest = (count - first) // BATCH
        outcome = measured(rest, rest // 2, step, "adding", show)
        assert store.count() == first + rest * BATCH
    return replace(outcome, done=outcome.done * BATCH)


def searches_hold(outcome: Outcome) -> bool:
    """Say whether the searches left the process as it was."""
    return outcome.growth <= GROWTH and outcome.handles[1] <= outcome.handles[0]


def adds_hold(outcome: Outcome) -> bool:
    """Say whether the adds cost no more memory than is stated; connections that wait in the pool are open files."""
    return outcome.growth <= SLACK + BYTES_A_RECORD * outcome.done // 2 and outcome.handles[1] <= outcome.handles[0] + 4


def main() -> None:
    """Parse the command line, soak, and say whether the bounds held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=0)
    parser.add_argument("--adds", type=int, default=0, help="records in the end, those of --db included")
    parser.add_argument("--db", type=Path, help="where the adds go; by default a temporary folder")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        if arguments.searches:
            outcome = soak_searches(Path(folder), arguments.searches, seed=arguments.seed, show=True)
            print("searches:", outcome)
            failed |= not searches_hold(outcome)
        if arguments.adds:
            path = arguments.db or Path(folder) / "adds.db"
            outcome = soak_adds(path, arguments.adds, seed=arguments.seed, show=True)
            print("adds:", outcome)
            failed |= not adds_hold(outcome)
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
