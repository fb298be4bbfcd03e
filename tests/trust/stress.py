"""Many processes, then many threads, on one store: ``python tests/trust/stress.py --writers 4 --readers 20``.

They write and read as ``stress_roles`` says, so that what is lost or stale is noticed.  Meanwhile processes merge in
competition, and one of them is killed again and again as it does.  Prints a summary as JSON; the exit status is 1 when
it has problems.
"""

from __future__ import annotations

import argparse
import json
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
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from stress_roles import DIMENSION, FILLER, MERGERS, SPAWN, Board, fill, merge, open_store, read, state_of, write
from stress_verdict import Merge, Span, during, merges_of, milliseconds, problems_of_merges, unanswered

from agentmem import MemoryStore

MOST_MISSED = 0.01
"""The share of graph searches that may miss the very vector they ask for."""
PATIENCE_S = 60.0
"""So much longer a run goes on until a merger was killed and a delta was written: on a busy machine that takes time."""
QUERIES = 60
MECHANISMS = ("dense", "lexical", "rrf", "convex")
"""Those whose scores do not depend on the time of day."""


def process(work: Callable[..., None], path: str, journal: str, board: Board, *arguments: Any) -> None:
    """Run a role in a process of its own, and write what it tells into its journal, a line each."""
    with open(journal, "a", buffering=1) as lines:

        def tell(line: dict[str, Any]) -> None:
            lines.write(json.dumps(line) + "\n")

        try:
            with open_store(path) as store:
                tell({"opened": time.monotonic()})
                work(store, board, tell, *arguments)
        except BaseException:
            tell({"error": traceback.format_exc()})
            sys.exit(1)


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

    def journal(name: str) -> Path:
        return folder / f"{name}.jsonl"

    def start(name: str, work: Callable[..., None], *arguments: Any) -> Any:
        arguments = (work, path, str(journal(name)), board, *arguments, seed)
        started = SPAWN.Process(target=process, args=arguments, name=name)
        started.start()
        return started

    others = [start(f"writer{number}", write, number, writers) for number in range(writers)]
    others += [start(f"reader{number}", read, number) for number in range(readers)]
    others += [start(f"merger{number}", merge, number) for number in range(MERGERS)]
    chance, deaths, victim = random.Random(seed), [], start("victim", merge, MERGERS)
    for each in [*others, victim]:
        while each.is_alive() and not (journal(each.name).exists() and journal(each.name).stat().st_size):
            time.sleep(0.01)
    end = time.monotonic() + seconds
    while time.monotonic() < end or (time.monotonic() < end + PATIENCE_S and not (deaths and board.deltas[0])):
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
        lines.stem: [json.loads(line) for line in lines.read_text().splitlines()] for lines in folder.glob("*.jsonl")
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
