"""Writers that are killed, round after round, and what they left behind: ``python kill_drill.py --help``.

In each round a child process opens the store of the folder and writes: every verb, merges, vacuums.  In the even rounds
it dies at a moment of chance, in the odd ones at the next of ``POINTS``; what is migrated is a copy of the store or, in
every other turn through the points, a store that is being made.  Then the store is opened and compared with what the
child had logged before it died.  The child is forked, not started anew, which spares a round the time in which Python
starts.

A killed process loses nothing that it has handed to the system: this shows atomicity and recovery, not syncing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import sys
import time
import traceback
from collections import Counter
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from drill_migration import next_schema
from drill_work import Model, Step, Work, found_by, held_by, judge, make_small, open_store, perform

from agentmem import faults, maintenance
from agentmem.storage.schema import SCHEMA_VERSION

POINTS = [point for point in faults.POINTS if not point.startswith(("learn:", "reembed:"))]
"""Changes of the model have a drill of their own."""
LONGEST_S = 0.2
"""A child that is killed by chance lives so long at most."""
STUCK_S = 30.0
"""One that was to die at a step, and has not come to it by then, never will."""


@dataclass
class State:
    """What is known after so many rounds; kept in the folder."""

    seed: int
    rounds: int = 0
    model: Model = field(default_factory=dict)
    acknowledged: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    resurrected: int = 0
    torn: int = 0
    under_way: int = 0
    recovery_ms: list[float] = field(default_factory=list)


class Drill:
    """The rounds in one folder.

    Args:
        folder: made when absent; rounds go on where those in it ended.
        seed: of the work and of the moments of death.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "memory.db"
        self.migrated = folder / "migrated.db"
        self._saved = folder / "state.json"
        self.state = State(seed)
        if self._saved.exists():
            kept = json.loads(self._saved.read_text())
            self.state = State(**kept | {name: Counter(kept[name]) for name in ("acknowledged", "kills")})
        if self.state.seed != seed:
            raise SystemExit(f"{folder} holds rounds of --seed {self.state.seed}; give that seed, or another folder")

    def run(self, rounds: int) -> None:
        """Go on until so many rounds are done, or one shows a fault."""
        if self._log.exists():
            self._settle("interrupted")
        while self.state.rounds < rounds and self.sound:
            number = self.state.rounds
            point = POINTS[number // 2 % len(POINTS)] if number % 2 else None
            self._settle(self._kill(number, point))

    @property
    def _log(self) -> Path:
        """Return the file in which the child of this round says what it does."""
        return self.path.with_name(f"round-{self.state.rounds}.jsonl")

    @property
    def sound(self) -> bool:
        """Say whether nothing was lost, resurrected or torn."""
        return not (self.state.lost or self.state.resurrected or self.state.torn)

    @property
    def _makes_new(self) -> bool:
        """Say whether a migration in this round is that of a store that is being made."""
        return self.state.rounds // 2 // len(POINTS) % 2 == 1

    def summary(self) -> dict[str, object]:
        """Return the figures."""
        state = self.state
        p50, p99, most = np.percentile(state.recovery_ms, (50, 99, 100)).round(1).tolist()
        return {
            "rounds": state.rounds,
            "seed": state.seed,
            "acknowledged": state.acknowledged.total(),
            "acknowledged_by_verb": dict(sorted(state.acknowledged.items())),
            "operations_under_way": state.under_way,
            "lost": state.lost,
            "resurrected": state.resurrected,
            "torn": state.torn,
            "kills": {name: state.kills[name] for name in ("chance", "interrupted", *POINTS)},
            "recovery_ms": {"p50": p50, "p99": p99, "max": most},
        }

    def _kill(self, number: int, point: str | None) -> str:
        """Let a child write until it dies; return of what."""
        seed = f"{self.state.seed}-{number}"
        child = os.fork()
        if child == 0:
            self._write(seed, point)
        if point is None:
            time.sleep(random.Random(seed).uniform(0.0, LONGEST_S))
            os.kill(child, signal.SIGKILL)
        until = time.monotonic() + STUCK_S
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if time.monotonic() > until:
                os.kill(child, signal.SIGKILL)
                raise SystemExit(f"round {number}: the child did not come to {point}")
            time.sleep(0.002)
        if os.waitstatus_to_exitcode(ended[1]) != -signal.SIGKILL:
            raise SystemExit(f"round {number}: the child was to die at {point or 'a moment of chance'}, and did not")
        return point or "chance"

    def _write(self, seed: str, point: str | None) -> None:
        """Be the child: write, and log, until death."""
        try:
            parent = os.getppid()
            make_small()
            log = os.open(self._log, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
            with open_store(self.path) as store:
                work = Work(seed, self.state.model)

                def carry_out(step: Step) -> None:
                    os.write(log, json.dumps(asdict(step)).encode() + b"\n")
                    perform(store, step)
                    work.done(step)
                    os.write(log, b"done\n")

                if point is not None:
                    chance = random.Random(seed)
                    for _ in range(chance.randrange(5)):
                        carry_out(work.next())
                    carry_out(work.add_many(maintenance.GRAPH_ROWS))
                    self._head_for(point, chance.choice(("merge", "optimize")), carry_out)
                while os.getppid() == parent and point is None:
                    carry_out(work.next())
        except BaseException:
            traceback.print_exc()
        os._exit(1)

    def _head_for(self, point: str, merge: str, carry_out) -> None:
        kind = point.split(":")[0]
        if kind == "migrate":
            for name in self.path.parent.glob("migrated.db*"):
                name.unlink()
            if not self._makes_new:
                with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(self.migrated)) as target:
                    source.backup(target)
        os.environ[faults.VARIABLE] = f"{point}:kill"
        if kind == "migrate":
            with next_schema():
                open_store(self.migrated)
        carry_out(Step("vacuum" if kind == "vacuum" else merge))

    def _settle(self, cause: str) -> None:
        """Open what a child left, compare it with the child's log, and save the state."""
        state = self.state
        before, pending = state.model, None
        lines = self._log.read_text().split("\n")[:-1] if self._log.exists() else []
        for line in lines:
            if line == "done":
                assert pending is not None, "the log says that something is done that was not begun"
                state.acknowledged[pending.verb] += 1
                before, pending = pending.applied(before), None
            else:
                told = json.loads(line)
                pending = Step(**told | {"deletes": tuple(told["deletes"])})
        start = time.perf_counter()
        with open_store(self.path) as store:
            store.search(embedding=np.ones(store.identity.dimension))
            state.recovery_ms.append(round((time.perf_counter() - start) * 1e3, 2))
            found = held_by(store)
            verdict = judge(found, before, pending)
            assert found_by(store, len(found)) == set(found), "a search does not find what is live"
            report = store.check()
            assert report.ok, report.problems
        if cause.startswith("migrate:"):
            _check_migrated(self.migrated, {} if self._makes_new else found)
        log = self._log
        state.lost += verdict.lost
        state.resurrected += verdict.resurrected
        state.torn += verdict.torn
        state.under_way += pending is not None
        state.kills[cause] += 1
        state.rounds += 1
        state.model = found
        fresh = self._saved.with_suffix(".fresh")
        fresh.write_text(json.dumps(vars(state)))
        fresh.replace(self._saved)
        if self.sound:
            log.unlink(missing_ok=True)


def _check_migrated(path: Path, model: Model) -> None:
    """A store whose migration was killed is as it was, or migrated; what is as it was can be used, then migrated."""
    with closing(sqlite3.connect(path)) as raw:
        migrated = raw.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 1,)
    for schema in [next_schema()] if migrated else [nullcontext(), next_schema()]:
        with schema, open_store(path) as store:
            assert held_by(store) == model
            assert store.database.integrity() == []
    with closing(sqlite3.connect(path)) as raw:
        drilled = raw.execute(
            "SELECT r.id FROM records r JOIN drilled d ON d.id = r.id AND drilled = 'drilled ' || r.id"
        )
        assert {id for (id,) in drilled} == set(model)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Kill writers of a store and compare what they left with what they said."
    )
    parser.add_argument("--rounds", type=int, default=2000, help="rounds in all; those in the folder count")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, required=True, help="of the store and of the rounds that were done")
    options = parser.parse_args()
    drill = Drill(options.folder, options.seed)
    drill.run(options.rounds)
    summary = json.dumps(drill.summary(), indent=2)
    (options.folder / "summary.json").write_text(summary + "\n")
    print(summary)
    sys.exit(not drill.sound)


if __name__ == "__main__":
    main()
