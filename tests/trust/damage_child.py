"""Harms the segments of a store in one way after the other; a crash ends this process, and so the test that runs it.

python damage_child.py FOLDER HARM SEED
"""

from __future__ import annotations

import faulthandler
import logging
import shutil
import sys
from pathlib import Path

import damage_kit as kit

from agentmem.errors import SegmentDamaged
from agentmem.index.segment import Segment

HARMS = {
    "headers": lambda raw, seed: kit.forged_headers(raw),
    "cut": lambda raw, seed: kit.cut(raw),
    "flipped": lambda raw, seed: kit.flipped(raw, 3, seed),
    "wild": kit.wild,
}


class Told(logging.Handler):
    """Keeps what was logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(record.getMessage())


def examine(pristine: Path, folder: Path, kind: str, spoilt: bytes, expected: list, told: Told) -> bool:
    """Harm a copy of the store, ask it, check it and repair it; return whether the segment was refused at open."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pristine, folder)
    path = folder / "memory.db"
    file = kit.segment(folder / "memory.db-index", kind)
    file.write_bytes(spoilt)
    told.lines.clear()
    with kit.open_store(path) as store:
        found = kit.answers(store)
        problems = store.info()["problems"]
        report = store.check()
        assert not report.ok, "check() says nothing"
        assert report.records == store.count()
        if problems:
            assert found == expected, "the segment was left out, and the answers are not those of the records"
            assert any(file.name in line and "rebuilt" in line for line in told.lines), told.lines
            assert "optimize()" in problems[0]
        else:
            assert any(file.name in line and "optimize()" in line for line in report.problems), report.problems
        store.merge()
        assert store.check().ok, store.check().problems
        assert store.info()["problems"] == []
        assert kit.answers(store) == expected, "not repaired"
    return bool(problems)


def open_alone(spoilt: bytes) -> None:
    """Open a segment that no manifest vouches for: it is refused, or used, and nothing else happens."""
    try:
        Segment.open(spoilt).verify()
    except SegmentDamaged:
        return


def main(folder: Path, harm: str, seed: int, step: int) -> None:
    """Run all cases of one harm, and print how many there were and how many were refused at open."""
    faulthandler.enable()
    kit.shrink()
    told = Told()
    logging.getLogger("agentmem").addHandler(told)
    pristine = folder / "pristine"
    pristine.mkdir(parents=True)
    kit.make_store(pristine / "memory.db")
    with kit.open_store(pristine / "memory.db") as store:
        expected = kit.answers(store)
        assert store.check().ok
    bare = folder / "bare"
    bare.mkdir()
    shutil.copy(pristine / "memory.db", bare / "memory.db")
    with kit.open_store(bare / "memory.db") as store:
        assert kit.answers(store) == expected, "the records alone answer otherwise"
    cases = refused = 0
    for kind in ("base", "delta"):
        raw = kit.segment(pristine / "memory.db-index", kind).read_bytes()
        for number, (what, spoilt) in enumerate(HARMS[harm](raw, seed)):
            print(f"{kind}: {what}", file=sys.stderr, flush=True)
            open_alone(spoilt)
            if number % step:
                continue
            refused += examine(pristine, folder / "harmed", kind, spoilt, expected, told)
            cases += 1
    print(cases, refused)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
