"""What processes and threads do to one store: write, read, merge; and the board on which they announce it.

Writers announce what they are about to commit and what was acknowledged.  A reader looks there before and after each
read, so it knows which versions of a record it may see.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from stress_verdict import Span

from agentmem import MemoryStore, StoreBusy, maintenance

SPAWN = multiprocessing.get_context("spawn")
DIMENSION = 16
KEYS = 800
FILLER = 12_000
"""Records beside those that are written: enough for a graph."""
TIMEOUT_S = 5.0
MERGERS = 2

Tell = Callable[[dict[str, Any]], object]
"""Takes what a role has to report."""


@dataclass(frozen=True)
class Board:
    """What is announced about each key, as ``serial * 2 + present``; serials count the key's changes.

    Attributes:
        begun: int64 (KEYS,), the newest state that may be committed by now.
        acknowledged: int64 (KEYS,), the newest state that a writer knows to be committed.
        merging: by merger, 1 while it holds the merge lock.
        deltas: its one value is 1 when a merge has written a delta.
        stopped: its one value is 1 when everybody is to end.
    """

    begun: Any
    acknowledged: Any
    merging: Any
    deltas: Any
    stopped: Any

    @classmethod
    def new(cls) -> Board:
        """Return a board in memory that spawned processes share."""
        return cls(*(SPAWN.RawArray("q", size) for size in (KEYS, KEYS, MERGERS + 1, 1, 1)))

    def announced(self, what: str) -> list[int]:
        """Return a copy of ``begun`` or ``acknowledged``."""
        return np.frombuffer(getattr(self, what), np.int64).tolist()

    @property
    def running(self) -> bool:
        """Say whether to go on."""
        return not self.stopped[0]


def may_see(found: int | None, before: int, after: int) -> bool:
    """Say whether a read may have found a state (None: no record) of a key.

    Args:
        found: the state that was found.
        before: the state that was acknowledged when the read began.
        after: the newest that may have been committed when it ended.
    """
    if found is not None:
        return before <= found <= after
    return not (before & 1 and after & 1) or (after >> 1) - (before >> 1) > 1


def open_store(path: str) -> MemoryStore:
    """Open the store of a run."""
    return MemoryStore(path, embedder=None, dimension=DIMENSION, merge="manual", timeout=TIMEOUT_S)


def vector(key: int, serial: int) -> list[float]:
    """Return the vector of a key's version; those of all keys lie to one side, away from the filler."""
    drawn = np.random.default_rng([key, serial]).standard_normal(DIMENSION)
    drawn[0] += 4
    return drawn.tolist()


def fill(store: MemoryStore, seed: int) -> None:
    """Add the records that stay, and merge them."""
    chance = np.random.default_rng(seed)
    words = chance.integers(0, 50, (FILLER, 4)).tolist()
    store.add_many(
        [" ".join(f"word{word}" for word in row) for row in words],
        embeddings=chance.standard_normal((FILLER, DIMENSION)),
    )
    store.optimize()


def planned(state: int, chance: random.Random) -> int:
    """Return the state that a key is to have next: what is absent comes back, what is present goes or changes."""
    serial = (state >> 1) + 1
    return serial << 1 | (not state & 1 or chance.random() < 0.6)


def change(store: MemoryStore, key: int, old: int, new: int) -> None:
    """Bring a key from one state to the next."""
    name, serial = f"key{key}", new >> 1
    given = {"text": f"{name} serial{serial}", "metadata": {"key": key, "serial": serial},
             "embedding": vector(key, serial)}  # fmt: skip
    if not new & 1:
        assert store.delete(name) == 1, f"{name} was there and is not"
    elif not old & 1:
        store.add(id=name, **given)
    elif serial % 3:
        store.upsert(id=name, **given)
    else:
        store.update(name, **given)


def write(store: MemoryStore, board: Board, tell: Tell, number: int, of: int, seed: int) -> None:
    """Change the keys that are this writer's, one or several in a commit, until the board says to stop."""
    chance = random.Random(f"{seed} writer {number}")
    done: Counter[str] = Counter()
    while board.running:
        keys = chance.sample(range(number, KEYS, of), chance.choice((1, 1, 1, 10)))
        states = {key: (board.acknowledged[key], planned(board.acknowledged[key], chance)) for key in keys}
        for key, (_, new) in states.items():
            board.begun[key] = new
        while not commit(store, states):
            done["busy"] += 1
        for key, (_, new) in states.items():
            board.acknowledged[key] = new
        done["commits"] += 1
        done["changes"] += len(keys)
        time.sleep(chance.random() * 0.01)
    tell({"wrote": done})


def commit(store: MemoryStore, states: dict[int, tuple[int, int]]) -> bool:
    """Change keys in one transaction; return False where the lock was held past the timeout, and nothing else."""
    start = time.monotonic()
    try:
        with store.transaction():
            for key, (old, new) in states.items():
                change(store, key, old, new)
    except StoreBusy:
        waited = time.monotonic() - start
        assert waited > 0.9 * TIMEOUT_S, f"StoreBusy after {waited:.3f} s already"
        return False
    return True


def state_of(record: Any) -> tuple[int, int]:
    """Return the key and the state that a record shows."""
    return record.metadata["key"], record.metadata["serial"] << 1 | 1


def read(store: MemoryStore, board: Board, tell: Tell, number: int, seed: int) -> None:
    """Read in all ways until the board says to stop, and compare each answer with what was announced."""
    chance = random.Random(f"{seed} reader {number}")
    searches: list[Span] = []
    done: Counter[str] = Counter()
    while board.running:
        key, kind = chance.randrange(KEYS), chance.choice(("get", "exact", "graph", "graph"))
        before = board.announced("acknowledged")
        start = time.monotonic()
        if kind == "get":
            records = [record for record in store.get_many([f"key{key}"]) if record is not None]
        else:
            hits = store.search(embedding=vector(key, before[key] >> 1), k=10, exact=kind == "exact")
            searches.append((start, time.monotonic()))
            assert len(hits) == 10, f"{len(hits)} hits of 10"
            records = [hit.record for hit in hits if hit.record.metadata]
        after = board.announced("begun")
        found = dict(state_of(record) for record in records)
        assert len(found) == len(records), f"two versions of one record: {records}"
        for seen, state in found.items():
            assert may_see(state, before[seen], after[seen]), f"{kind}: {seen}, {state}, {before[seen]}, {after[seen]}"
        if kind == "graph" and before[key] == after[key] and before[key] & 1:
            done["graph, still there"] += 1
            done["graph, missed"] += key not in found
        elif kind == "get" or before[key] == after[key]:
            state = found.get(key)
            assert may_see(state, before[key], after[key]), f"{kind}: {key}, {state}, {before[key]}, {after[key]}"
        done[kind] += 1
        time.sleep(chance.random() * 0.02)
    tell({"read": done, "searches": searches})


def merge(store: MemoryStore, board: Board, tell: Tell, number: int, seed: int) -> None:
    """Merge until the board says to stop; each step is told when it is taken, since this process may be killed."""
    chance = random.Random(f"{seed} merger {number} {os.getpid()}")
    published: list[Span] = []
    merges, publishes = maintenance._merge_locked, maintenance._publish

    def watched(*arguments: Any) -> maintenance.MergeReport:
        tell({"began": time.monotonic(), "asked": asked})
        board.merging[number] = 1
        report = merges(*arguments)
        board.merging[number] = 0
        tell({"ended": time.monotonic()})
        return report

    def publishing(*arguments: Any) -> None:
        start = time.monotonic()
        publishes(*arguments)
        published.append((start, time.monotonic()))

    maintenance._merge_locked, maintenance._publish = watched, publishing
    os.nice(10)
    while board.running:
        asked = time.monotonic()
        report = store.optimize() if chance.random() < 0.2 else store.merge()
        if report.kind == "delta":
            board.deltas[0] = 1
        tell({"asked": asked, "answered": time.monotonic(), "busy": report.busy, "kind": report.kind,
              "published": published[:]})  # fmt: skip
        published.clear()
        time.sleep(chance.random() * 0.2)
