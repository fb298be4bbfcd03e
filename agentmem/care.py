"""The verbs that look after a store: merging its index, checking everything, compacting, backing up."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import TIMEOUT_MAX

import numpy as np

from agentmem import maintenance
from agentmem import validation as check
from agentmem.core import StoreCore
from agentmem.errors import SegmentDamaged, StoreBusy, StoreReadOnly
from agentmem.progress import track
from agentmem.storage import copies
from agentmem.telemetry import timed, told


@contextmanager
def _shares(description: str, show: bool) -> Iterator[Callable[[float], None]]:
    """Give a function that is told the share that is done, and shows it where ``show`` is true."""
    done = 0.0
    with track(description, 1.0, show) as advance:

        def report(share: float) -> None:
            nonlocal done
            if share > done:
                advance(share - done)
                done = share

        yield report


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What ``check`` found.

    Attributes:
        problems: one line each; empty when all is well.
        recall: recall@10 of the index against an exact scan, over the sampled records.
        records: live records.
    """

    problems: tuple[str, ...] = field(default=())
    recall: float = 1.0
    records: int = 0

    @property
    def ok(self) -> bool:
        """Say whether there are no problems."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What ``verify`` found.

    Attributes:
        problems: one line each; empty when all is well.
        records: how many the backup holds, expired ones included; 0 where they could not be counted.
    """

    problems: tuple[str, ...] = field(default=())
    records: int = 0

    @property
    def ok(self) -> bool:
        """Say whether there are no problems."""
        return not self.problems


def examine(core: StoreCore, sample: int, report: Callable[[str], None]) -> CheckReport:
    """Do what ``CareVerbs.check`` says; ``report`` is told the name of each step as it begins."""
    report("tables and vectors")
    problems = list(core.database.integrity())
    with core.snapshot() as (reader, view):
        problems += core.index.problems
        for number, segment in enumerate(view.segments, 1):
            report(f"checksums of segment {number} of {len(view.segments)}")
            try:
                segment.verify()
            except SegmentDamaged as error:
                problems.append(str(error))
        report("agreement of index and records")
        stored = reader.labels_where(None, None, None)
        indexed = np.sort(view.live_labels())
        if not np.array_equal(stored, indexed):
            missing = np.setdiff1d(stored, indexed, assume_unique=True)
            extra = np.setdiff1d(indexed, stored, assume_unique=True)
            problems.append(f"index and records differ: {len(missing)} records not indexed, {len(extra)} dead ones are")
        report("recall of the index")
        recall = view.audit(sample=sample, k=10, ef=None, seed=0)
    return CheckReport(tuple(problems), recall, len(stored))


class CareVerbs(StoreCore):
    """merge, optimize, wait_for_merge, vacuum, backup, verify, check."""

    @timed()
    def merge(self) -> maintenance.MergeReport:
        """Merge the tail into the index now, if another process is not doing so.

        Raises:
            OSError: the index folder cannot be written, or the disk is full; the store is as it was, and answers.
        """
        return self._merge(full=False, report=lambda _: None)

    @timed()
    def optimize(self, progress: bool = False, threads: int | None = None) -> maintenance.MergeReport:
        """Rebuild the index over all live records.

        Args:
            progress: show a progress bar.
            threads: that build the graph, all cores by default; one builds the same graph every time.

        Raises:
            OSError: as for ``merge``.
        """
        threads = None if threads is None else check.check_count(threads, "threads", low=1)
        with _shares("building the index", check.check_flag(progress, "progress")) as report:
            return self._merge(full=True, threads=threads, report=report)

    def _merge(
        self, *, full: bool, report: Callable[[float], None], threads: int | None = None
    ) -> maintenance.MergeReport:
        if self._read_only:
            raise StoreReadOnly("the store was opened read-only; open it with read_only=False to merge its index")
        if threads is None:
            threads = (os.cpu_count() or 1) if full else 1
        result = maintenance.merge(self.database, self.identity, full=full, threads=threads, progress=report)
        self.index.reload()
        return result

    def wait_for_merge(self, timeout: float | None = None) -> bool:
        """Wait for the background merge that this store started, if one is running.

        Args:
            timeout: seconds at most; None for no end.

        Returns:
            Whether none is running now.
        """
        timeout = None if timeout is None else check.check_number(timeout, "timeout", low=0.0, high=TIMEOUT_MAX)
        return self._merger is None or self._merger.wait(timeout)

    @timed()
    def vacuum(self) -> None:
        """Give back free space and overwrite what was deleted, in the database and, by a rebuild, in the index.

        Raises:
            StoreBusy: another process reads, writes or merges; what was done stays, and the call may be retried.
        """
        self.database.vacuum()
        if self._merge(full=True, report=lambda _: None).busy:
            raise StoreBusy(f"{self.path}: another process is merging the index; retry when it is done")

    @told()
    def backup(self, path: str | os.PathLike[str], progress: bool = False) -> int:
        """Copy the store to a new file, while others may read and write it; return the bytes written.

        The copy is of one moment: every commit before it, no part of any after it.  It is one file with mode 0600 that
        holds everything; to restore it, copy it to where no process has a store open, and open it there.

        Args:
            path: of the new file.
            progress: show a progress bar.

        Raises:
            InvalidInput: the path exists, is ":memory:", or is the store itself; or inside a transaction.
            StoreError: it cannot be written; nothing is left behind.
        """
        path = check.check_path(path)
        with _shares("backing up", check.check_flag(progress, "progress")) as report:
            return self.database.backup(path, report)

    @staticmethod
    def verify(path: str | os.PathLike[str]) -> VerifyReport:
        """Check a backup, or any store that no process has open, without changing it.

        SQLite's integrity check, the full-text index and the tables compared with each other, vectors, metadata.

        Raises:
            NotAStore: nothing there, or no store.
            SchemaTooNew: written by a newer agentmem.
        """
        records, problems = copies.verify(check.check_path(path))
        return VerifyReport(tuple(problems), records)

    @told()
    def check(self, sample: int = 100) -> CheckReport:
        """Check everything: SQLite's integrity, the full-text index, checksums of segments, agreement of index and
        records, and the recall of the index against an exact scan.

        Args:
            sample: how many records' vectors are searched for.
        """
        return examine(self, check.check_count(sample, "sample", low=1), lambda step: None)
