"""Many processes, then many threads, on one store: ``python tests/trust/stress.py --writers 4 --readers 20``.

Writers announce in shared memory what they are about to commit and what was acknowledged.  A reader looks there before
and after each read, so it knows which versions of a record it may see.  Meanwhile processes merge in competition, and
one of them is killed again and again as it does.  Prints a summary as JSON; the exit status is 1 when it has problems.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from agentmem import MemoryStore, StoreBusy, maintenance

SPAWN = multiprocessing.get_context("spawn")
DIMENSION = 16
KEYS = 800
FILLER = 12_000
"""Records beside those that are written: enough for a graph."""
TIMEOUT_S = 5.0
MERGERS = 2
LONG_MERGE_S = 0.5
"""While a merge of this length goes on, at least one search must begin and end."""
MOST_MISSED = 0.01
"""The share of graph searches that may miss the very vector they ask for."""
QUERIES = 60
MECHANISMS = ("dense", "lexical", "rrf", "convex")
"""Those whose scores do not depend on the time of day."""

Tell = Callable[[dict[str, Any]], object]
"""Takes what a role has to report."""
Span = tuple[float, float]
"""When something began and ended, by the clock that all processes share."""


@dataclass(frozen=True)
class Board:
    """What is announced about each key, as ``serial * 2 + present``; serials count the key's changes.

    Attributes:
        begun: int64 (KEYS,), the newest state that may be committed by now.
        acknowledged: int64 (KEYS,), the newest state that a writer knows to be committed.
        merging: by merger, 1 while it holds the merge lock.
        stopped: its one value is 1 when everybody is to end.
    """

    begun: Any
    acknowledged: Any
    merging: Any
    stopped: Any

    @classmethod
    def new(cls) -> Board:
        """Return a board in memory that spawned processes share."""
        return cls(SPAWN.RawArray("q", KEYS), SPAWN.RawArray("q", KEYS), SPAWN.RawArray("q", MERGERS + 1),
                   SPAWN.RawArray("q", 1))  # fmt: skip

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
        tell({"asked": asked, "answered": time.monotonic(), "busy": report.busy, "kind": report.kind,
              "published": published[:]})  # fmt: skip
        published.clear()
        time.sleep(chance.random() * 0.2)


def process(work: Callable[..., None], path: str, journal: str, board: Board, *arguments: Any) -> None:
    """Run a role in a process of its own, and write what it tells into its journal, a line each."""
    with open(journal, "a", buffering=1) as lines:

        def tell(line: dict[str, Any]) -> None:
            lines.write(json.dumps(line) + "\n")

        try:
            with open_store(path) as store:
                work(store, board, tell, *arguments)
        except BaseException:
            tell({"error": traceback.format_exc()})
            sys.exit(1)


@dataclass(frozen=True)
class Merge:
    """One merge: asked for, begun under the lock, ended, answered; of one that was killed, when it was surely over."""

    asked: float
    began: float
    ended: float
    answered: float
    killed: bool


def problems_of_merges(merges: list[Merge], refused: list[Span]) -> list[str]:
    """Return what contradicts one lock that one process holds at a time and that dies with its holder.

    Args:
        merges: of all processes.
        refused: the calls that reported "busy".
    """
    ended = sorted((each for each in merges if not each.killed), key=lambda each: each.began)
    problems = [f"at once: {one}, {two}" for one, two in pairwise(ended) if two.began < one.ended]
    problems += [
        f"refused from {start:.4f} to {end:.4f}, when nobody merged"
        for start, end in refused
        if not any(each.asked <= end and start <= each.answered for each in merges)
    ]
    return problems


def merges_of(lines: Iterable[dict[str, Any]], deaths: list[float]) -> tuple[list[Merge], list[Span]]:
    """Return one merger's merges, and its calls that were refused; ``deaths`` are when its processes were reaped."""
    merges: list[Merge] = []
    refused: list[Span] = []
    for line in lines:
        if "began" in line:
            over = min((death for death in deaths if death > line["began"]), default=float("inf"))
            merges.append(Merge(line["asked"], line["began"], over, over, killed=True))
        elif "ended" in line:
            merges[-1] = replace(merges[-1], ended=line["ended"], killed=False)
        elif line.get("busy"):
            refused.append((line["asked"], line["answered"]))
        elif "answered" in line:
            merges[-1] = replace(merges[-1], answered=line["answered"])
    return merges, refused


def milliseconds(searches: list[Span]) -> dict[str, float]:
    """Return count, median, 99th percentile and maximum of how long searches took."""
    if not searches:
        return {"count": 0}
    took = [(end - start) * 1e3 for start, end in searches]
    p50, p99, most = np.percentile(took, [50, 99, 100]).round(2).tolist()
    return {"count": len(took), "p50": p50, "p99": p99, "max": most}


def during(searches: list[Span], spans: Iterable[Span]) -> list[bool]:
    """Return for each search whether it overlaps a span."""
    starts = np.array([start for start, _ in searches])
    ends = np.array([end for _, end in searches])
    result = np.zeros(len(searches), bool)
    for begin, end in spans:
        result |= (starts < end) & (ends > begin)
    return result.tolist()


def unanswered(searches: list[Span], spans: Iterable[Span]) -> list[str]:
    """Return the long spans, from the first search to the last, within which no search began and ended."""
    first, last = min(searches)[0], max(end for _, end in searches)
    return [
        f"no search was answered in a merge of {end - begin:.2f} s"
        for begin, end in spans
        if end - begin > LONG_MERGE_S
        and first < begin
        and end < last
        and not any(begin <= start and done <= end for start, done in searches)
    ]


def problems_at_the_end(path: str, board: Board) -> list[str]:
    """Return what the store, opened anew, has lost or kept against what was acknowledged, and what its check finds."""
    with open_store(path) as store:
        report = store.check()
        problems = list(report.problems)
        if report.recall < 0.9:
            problems.append(f"recall is {report.recall}")
        found = dict(state_of(record) for record in store.iterate() if record.metadata)
        wanted = {key: state for key, state in enumerate(board.announced("acknowledged")) if state & 1}
        if found != wanted:
            problems.append(f"lost or come back: {sorted(set(found.items()) ^ set(wanted.items()))}")
        if store.count() != FILLER + len(wanted):
            problems.append(f"{store.count()} records of {FILLER + len(wanted)}")
    return problems


def run_processes(folder: Path, writers: int, readers: int, seconds: float, seed: int) -> dict[str, Any]:
    """Let processes write, read and merge on one store; return the summary."""
    path, board = str(folder / "memory.db"), Board.new()
    with open_store(path) as store:
        fill(store, seed)

    def start(name: str, work: Callable[..., None], *arguments: Any) -> Any:
        journal = str(folder / f"{name}.jsonl")
        started = SPAWN.Process(target=process, args=(work, path, journal, board, *arguments, seed), name=name)
        started.start()
        return started

    others = [start(f"writer{number}", write, number, writers) for number in range(writers)]
    others += [start(f"reader{number}", read, number) for number in range(readers)]
    others += [start(f"merger{number}", merge, number) for number in range(MERGERS)]
    chance, deaths, victim = random.Random(seed), [], start("victim", merge, MERGERS)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if board.merging[MERGERS]:
            time.sleep(chance.random() * 0.03)
            os.kill(victim.pid, signal.SIGKILL)
            victim.join()
            deaths.append(time.monotonic())
            board.merging[MERGERS] = 0
            victim = start("victim", merge, MERGERS)
        time.sleep(0.001)
    board.stopped[0] = 1
    for each in [*others, victim]:
        each.join()
    told = {
        journal.stem: [json.loads(line) for line in journal.read_text().splitlines()]
        for journal in folder.glob("*.jsonl")
    }
    failed = [f"{each.name} ended with {each.exitcode}" for each in [*others, victim] if each.exitcode]
    return summary(path, board, told, deaths, failed)


def summary(
    path: str, board: Board, told: dict[str, list[dict[str, Any]]], deaths: list[float], problems: list[str]
) -> dict[str, Any]:
    """Return what the processes did, and every problem."""
    lines = [line for journal in told.values() for line in journal]
    problems = [*problems, *(line["error"] for line in lines if "error" in line)]
    wrote: Counter[str] = sum((Counter(line["wrote"]) for line in lines if "wrote" in line), Counter())
    reads: Counter[str] = sum((Counter(line["read"]) for line in lines if "read" in line), Counter())
    searches = [(start, end) for line in lines for start, end in line.get("searches", ())]
    merges: list[Merge] = []
    refused: list[Span] = []
    for name in told:
        if name.startswith("merger") or name == "victim":
            made, turned_away = merges_of(told[name], deaths if name == "victim" else [])
            merges, refused = merges + made, refused + turned_away
    spans = [(each.began, each.ended) for each in merges if not each.killed]
    published = [(start, end) for line in lines for start, end in line.get("published", ())]
    problems += problems_of_merges(merges, refused) + unanswered(searches, spans) + problems_at_the_end(path, board)
    if reads["graph, missed"] > MOST_MISSED * reads["graph, still there"]:
        problems.append(f"graph searches missed {reads['graph, missed']} of {reads['graph, still there']}")
    inside, publishing = during(searches, spans), during(searches, published)
    return {
        "problems": problems,
        "wrote": wrote,
        "read": reads,
        "merges": {
            **Counter(line["kind"] for line in lines if "kind" in line and not line["busy"]),
            "refused": len(refused),
            "killed": sum(each.killed for each in merges),
            "longest_s": round(max((end - begin for begin, end in spans), default=0.0), 2),
        },
        "search_ms": {
            "during merges": milliseconds([each for each, yes in zip(searches, inside, strict=True) if yes]),
            "outside": milliseconds([each for each, yes in zip(searches, inside, strict=True) if not yes]),
            "during publications": milliseconds([each for each, yes in zip(searches, publishing, strict=True) if yes]),
        },
    }


def answers(store: MemoryStore, seed: int) -> list[Any]:
    """Return the answers to many kinds of queries, in an order of their own for each seed, sorted by query."""
    chance = np.random.default_rng(1)
    vectors = chance.standard_normal((QUERIES, DIMENSION))
    words = chance.integers(0, 50, (QUERIES, 2)).tolist()
    found = []
    for number in np.random.default_rng(seed).permutation(QUERIES).tolist():
        text = " ".join(f"word{word}" for word in words[number])
        for mechanism in MECHANISMS:
            hits = store.search(text, embedding=vectors[number], k=10, mechanism=mechanism)
            found.append((number, mechanism, [(hit.id, hit.score) for hit in hits]))
        ids, distances = store.knn(vectors[[number]], 10, ef=20 + number)
        found.append((number, "knn", list(zip(ids[0].tolist(), distances[0].tolist(), strict=True))))
    return sorted(found)


def in_threads(works: Iterable[Callable[[], None]]) -> list[str]:
    """Run each in a thread of its own; return the errors."""
    errors: list[str] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException:
            errors.append(traceback.format_exc())

    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return errors


def run_threads(folder: Path, writers: int, readers: int, seconds: float, seed: int) -> dict[str, Any]:
    """Let threads share one store: first all search at once, then they write, read and merge; return the summary."""
    path, board = str(folder / "threads.db"), Board.new()
    told: list[dict[str, Any]] = []
    with open_store(path) as store:
        fill(store, seed)
        alone = answers(store, 0)

        def same(number: int) -> None:
            assert answers(store, number) == alone, f"thread {number} has other answers than one thread alone"

        def merging() -> None:
            while board.running:
                told.append({"merges": {store.merge().kind: 1}})
                time.sleep(0.1)

        problems = in_threads(partial(same, number) for number in range(readers))
        works = [partial(write, store, board, told.append, number, writers, seed) for number in range(writers)]
        works += [partial(read, store, board, told.append, number, seed) for number in range(readers)]
        timer = threading.Timer(seconds, lambda: board.stopped.__setitem__(0, 1))
        timer.start()
        problems += in_threads([*works, merging])
        timer.join()
    totals = {
        name: sum((Counter(line[name]) for line in told if name in line), Counter())
        for name in ("wrote", "read", "merges")
    }
    return {"problems": problems + problems_at_the_end(path, board), "answers compared": len(alone) * readers, **totals}


def main() -> None:
    """Run both parts as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--readers", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=300, help="of both parts together; a fifth is for threads")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stress-") as folder:
        parts = {
            name: part(Path(folder), options.writers, options.readers, share * options.seconds, options.seed)
            for name, part, share in (("processes", run_processes, 0.8), ("threads", run_threads, 0.2))
        }
    print(json.dumps(parts, indent=1))
    sys.exit(any(part["problems"] for part in parts.values()))


if __name__ == "__main__":
    main()
