"""Stores whose power goes at any moment, and what comes back: ``python power_loss.py --help``.

A writer's calls to the system are recorded (``power_shim.c``, preloaded), with what it was told is stored.  At cuts of
chance in that record, what the disk may then hold (``power_disk.py``) is laid out, opened and compared.  With "full"
every acknowledged commit must be there, with "normal" all up to one of them; with "off", where SQLite syncs nothing,
neither can be expected, and the comparison must say so.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from drill_work import Model, Step, found_by, held_by, make_small, open_store
from power_disk import Disk, Event, recorded

HERE = Path(__file__).parent
CUTS = 50
"""Cuts of one recording."""
MAKING = 60
"""One cut in ten falls within so many events from the first, while the store is being made."""
STEPS = (40, 40, 30)
"""Operations of the three processes that write one recording; the second leaves its write-ahead log to the third."""
ENDS = ("close", "die", "close")


def compiler() -> str | None:
    """Return a C compiler that makes what the loader of this system preloads, or None."""
    return (shutil.which("cc") or shutil.which("gcc")) if sys.platform == "linux" else None


def compile_shim(folder: Path) -> Path:
    """Compile the recorder."""
    shim = folder / "power_shim.so"
    flags = ["-O2", "-Wall", "-shared", "-fPIC", "-o", shim]
    command = [compiler() or "cc", *flags, HERE / "power_shim.c", "-ldl"]
    subprocess.run(command, check=True)
    return shim


def record(folder: Path, shim: Path, durability: str, seed: str) -> list[Event]:
    """Let writers work in a fresh folder; return what they did."""
    root = folder.resolve() / f"record-{durability}-{seed}"
    root.mkdir()
    log = root.with_suffix(".log")
    # Behind what is preloaded already: the sanitizers' runtime must come first.
    libraries = " ".join(filter(None, [os.environ.get("LD_PRELOAD"), str(shim)]))
    preload = {"LD_PRELOAD": libraries, "POWER_ROOT": str(root), "POWER_LOG": str(log)}
    for turn, (steps, end) in enumerate(zip(STEPS, ENDS, strict=True)):
        arguments = [root / "memory.db", f"{seed}.{turn}", durability, steps, end]
        command = [sys.executable, HERE / "power_writer.py", *arguments]
        subprocess.run([str(each) for each in command], env={**os.environ, **preload}, check=True)
    events = list(recorded(log))
    disk = Disk()
    for event in events:
        disk.apply(event)
    there = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert disk.contents() == there, "the recording is not what the writers did"
    log.unlink()
    shutil.rmtree(root)
    return events


class Told:
    """What the writers of a recording have begun, and what was acknowledged."""

    def __init__(self) -> None:
        self.states: list[Model] = [{}]
        self._pending: Step | None = None

    def apply(self, event: Event) -> None:
        """Take note of what is told."""
        if event.data == b"done":
            assert self._pending is not None
            self.states.append(self._pending.applied(self.states[-1]))
            self._pending = None
        elif event.kind == "w":
            self._pending = Step(**json.loads(event.data))

    def newest(self, found: Model) -> int | None:
        """Return after how many operations the store held this, the one under way included; None for never."""
        possible = self.states if self._pending is None else [*self.states, self._pending.applied(self.states[-1])]
        return max((number for number, state in enumerate(possible) if state == found), default=None)


@dataclass
class Outcome:
    """What came back after the cuts of one durability.

    Attributes:
        kinds: cuts by what they brought: "whole", "under way" (whole, and the operation under way with it),
            "suffix lost", "hole" (what never was), "damaged".
        missing: acknowledged operations that were lost, by cut.
        unsynced: writes that were not certain, by cut.
        index_rebuilt: cuts after which a segment of the index was left out, and rebuilt from the database.
        faults: what was damaged, or never was.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    missing: list[int] = field(default_factory=list)
    unsynced: list[int] = field(default_factory=list)
    events: int = 0
    acknowledged: int = 0
    index_rebuilt: int = 0
    faults: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, object]:
        """Return the figures, the first of the faults among them."""
        return {
            "cuts": self.kinds.total(),
            "recorded_events": self.events,
            "recorded_operations": self.acknowledged,
            **{kind: self.kinds[kind] for kind in ("whole", "under way", "suffix lost", "hole", "damaged")},
            "operations_missing": spread(self.missing),
            "unsynced_at_the_cut": spread(self.unsynced),
            "index_rebuilt": self.index_rebuilt,
            "faults": self.faults[:10],
        }


def spread(values: list[int]) -> dict[str, float]:
    p50, most = np.percentile(values, (50, 100)).tolist() if values else (0.0, 0.0)
    return {"p50": p50, "max": most}


def cut(events: list[Event], cuts: int, seed: str, folder: Path, outcome: Outcome) -> None:
    """Let the power go at so many moments of a recording, and note in ``outcome`` what comes back."""
    chance = random.Random(seed)
    moments = Counter(chance.randint(0, MAKING if chance.random() < 0.1 else len(events)) for _ in range(cuts))
    disk, told = Disk(), Told()
    for moment in range(len(events) + 1):
        for _ in range(moments[moment]):
            outcome.unsynced.append(disk.unsynced)
            _lay_out(disk.after_loss(chance), folder, without_index=chance.random() < 0.1)
            try:
                _compare(folder / "memory.db", told, outcome)
            except Exception as error:  # whatever a damaged store raises, it is damaged
                outcome.kinds["damaged"] += 1
                outcome.faults.append(f"{seed}, event {moment}: {error!r}")
        if moment < len(events):
            event = events[moment]
            (told if event.path == "told" else disk).apply(event)
    outcome.events += len(events)
    outcome.acknowledged += len(told.states) - 1


def _lay_out(files: dict[str, bytes], folder: Path, *, without_index: bool) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        if not (without_index and "/" in name):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)


def _compare(path: Path, told: Told, outcome: Outcome) -> None:
    """Open a store that lost its power: it is sound, it is one that once was, and it goes on."""
    acknowledged = len(told.states) - 1
    with open_store(path) as store:
        found = held_by(store)
        newest = told.newest(found)
        assert store.database.integrity() == []
        assert found_by(store, len(found)) == set(found), "a search does not find what is live"
        outcome.index_rebuilt += bool(store.index.problems)
        store.add("written after the loss", id="after", embedding=[1.0] * store.identity.dimension)
        store.optimize()
        report = store.check()
        assert report.ok, report.problems
        assert store.count() == len(found) + 1
    if newest is None:
        outcome.kinds["hole"] += 1
        outcome.faults.append(f"after {acknowledged} operations: {len(found)} records that were never together")
        return
    outcome.missing.append(max(0, acknowledged - newest))
    outcome.kinds["suffix lost" if newest < acknowledged else "whole" if newest == acknowledged else "under way"] += 1


def simulate(durability: str, cuts: int, seed: int) -> dict[str, object]:
    """Record writers, cut their power so many times, and return the figures."""
    make_small()
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shim = compile_shim(folder)
        for number, start in enumerate(range(0, cuts, CUTS)):
            events = record(folder, shim, durability, f"{seed}-{number}")
            cut(events, min(CUTS, cuts - start), f"{durability}-{seed}-{number}", folder / "cut", outcome)
    return outcome.summary()


def main() -> None:
    parser = argparse.ArgumentParser(description="Cut the power of stores; compare what comes back.")
    parser.add_argument("--durability", choices=("full", "normal", "off"), required=True)
    parser.add_argument("--cuts", type=int, default=500)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    logging.getLogger("agentmem").addHandler(logging.NullHandler())
    if compiler() is None:
        raise SystemExit("there is no C compiler here, or this is not Linux: the recorder cannot be built")
    summary = simulate(options.durability, options.cuts, options.seed)
    print(json.dumps(summary, indent=2))
    allowed = {"normal": ("whole", "under way", "suffix lost")}.get(options.durability, ("whole", "under way"))
    sys.exit(sum(summary[kind] for kind in allowed) != options.cuts)


if __name__ == "__main__":
    main()
