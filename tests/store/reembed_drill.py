"""Changes of the model that are killed, round after round: ``python reembed_drill.py --help``.

In each round a forked child goes on with the change that is under way, or begins the next one, and another store object
adds, updates and deletes records meanwhile.  The child dies at a moment of chance or, in every other round, at one of
the steps ``reembed:...`` of ``agentmem.faults``.  Then the store is compared with what the child had logged.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from reembed_kit import Model, wrong_vectors

import agentmem
from agentmem import faults

POINTS = [point for point in faults.POINTS if point.startswith("reembed:")]
RECORDS = 60
LONGEST_S = 0.08
"""A child that is killed by chance lives so long at most."""
BATCH_S = 0.004
"""What it takes to embed a batch."""


def model_of(generation: int, meanwhile=lambda texts: None) -> Model:
    """Return the model that a store has at a generation; some have the dimension of the one before."""
    return Model(f"model-{generation}", 4 + generation // 2 % 3, meanwhile)


class Child:
    """One round's work: changes the model until death or the end.

    Args:
        path: of the store.
        log: where it says which texts it embeds, and which writes it begins and has done.
        seed: of the writes.
        held: what the store holds, texts by id.
    """

    def __init__(self, path: Path, log: Path, seed: str, held: dict[str, str]) -> None:
        self._log = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        self._chance = random.Random(seed)
        self._seed = seed
        self._held = dict(held)
        self._count = 0
        self._store = agentmem.MemoryStore(path, embedder="stored", merge="manual")
        generation = self._store.identity.generation
        self._other = agentmem.MemoryStore(path, embedder=model_of(generation), merge="manual")
        self._next = model_of(generation + 1, self._meanwhile)

    def run(self) -> None:
        self._store.reembed(self._next, batch=7)

    def _say(self, **said) -> None:
        os.write(self._log, json.dumps(said).encode() + b"\n")

    def _meanwhile(self, texts) -> None:
        self._say(embeds=list(texts))
        time.sleep(BATCH_S)
        if self._chance.random() < 0.5 and not self._store.database.in_transaction():
            self._write()

    def _write(self) -> None:
        verb = self._chance.choice(("add", "update", "delete"))
        self._count += 1
        text = f"memory {self._seed}-{self._count}"
        id = text if verb == "add" else self._chance.choice(sorted(self._held))
        self._say(id=id, text=None if verb == "delete" else text)
        if verb == "add":
            self._other.add(text, id=id)
        elif verb == "update":
            self._other.update(id, text=text)
        else:
            self._other.delete(id)
        self._held[id] = text
        if verb == "delete":
            del self._held[id]
        self._say(done=True)


class Drill:
    """The rounds in one folder, which is new."""

    def __init__(self, folder: Path, seed: int) -> None:
        folder.mkdir(parents=True)
        self._path = folder / "memory.db"
        self._seed = seed
        self._held = {str(number): f"memory {number}" for number in range(RECORDS)}
        self._staged: set[str] = set()
        self._generation = 1
        self.figures: Counter[str] = Counter()
        with agentmem.MemoryStore(self._path, embedder=model_of(1), merge="manual") as store:
            store.add_many(list(self._held.values()), ids=list(self._held))

    def round(self, number: int) -> None:
        """Have a child work and die, and compare what it left."""
        point = POINTS[number // 2 % len(POINTS)] if number % 2 else None
        log = self._path.with_name(f"round-{number}.jsonl")
        child = os.fork()
        if child == 0:
            self._work(log, f"{self._seed}-{number}", point)
        if point is None:
            time.sleep(random.Random(f"{self._seed}-{number}").uniform(0.01, LONGEST_S))
            os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, -signal.SIGKILL), f"round {number}: the child failed"
        assert code == 0 or point is None or code == -signal.SIGKILL
        self.figures[f"killed at {point or 'chance'}" if code else "came to the end"] += 1
        self._settle(log)

    def _work(self, log: Path, seed: str, point: str | None) -> None:
        """Be the child."""
        try:
            child = Child(self._path, log, seed, self._held)
            if point is not None:
                os.environ[faults.VARIABLE] = f"{point}:kill"
            child.run()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    def _settle(self, log: Path) -> None:
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        embedded = [text for line in lines for text in line.get("embeds", ())]
        writes = [line for line in lines if "embeds" not in line]
        pending = writes.pop() if writes and "id" in writes[-1] else None
        for write in writes:
            if "id" in write:
                self._apply(self._held, write)
        with agentmem.MemoryStore(self._path, embedder="stored", merge="manual") as store:
            found = {record.id: record.text for record in store.iterate()}
            possible = [self._held]
            if pending is not None:
                possible.append(self._apply(dict(self._held), pending))
            assert found in possible, "a record was lost, torn or resurrected"
            generation = store.identity.generation
            assert generation in (self._generation, self._generation + 1)
            self.figures["embedded"] += len(embedded)
            self.figures["embedded again"] += len(self._staged & set(embedded))
            self.figures["mixed"] += len(wrong_vectors(store, model_of(generation)))
            self.figures["writes"] += len(writes) // 2
            self.figures["switches"] += generation - self._generation
            with store.database.read() as reader:
                waiting = reader.connection.all("SELECT r.text FROM records r JOIN reembedded USING (label)")
                for_model = reader.config("reembedding")
            if generation > self._generation:
                assert (waiting, for_model) == ([], None), "the switch left something behind"
            self._staged = {text for (text,) in waiting}
            report = store.check()
            assert report.ok, report.problems
        self._held, self._generation = found, generation
        log.unlink(missing_ok=True)

    @staticmethod
    def _apply(held: dict[str, str], write: dict[str, str | None]) -> dict[str, str]:
        if write["text"] is None:
            held.pop(write["id"])
        else:
            held[write["id"]] = write["text"]
        return held


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill changes of the embedding model and go on with them.")
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, required=True, help="where the store is made; it must not exist")
    options = parser.parse_args()
    drill = Drill(options.folder, options.seed)
    for number in range(options.rounds):
        drill.round(number)
    print(json.dumps({"rounds": options.rounds, "seed": options.seed, **dict(sorted(drill.figures.items()))}))
    sys.exit(bool(drill.figures["mixed"] or drill.figures["embedded again"]))


if __name__ == "__main__":
    main()
