"""Merges: turning the tail into segments, in the foreground or in a process of its own.

One process merges a store at a time (an operating-system lock that dies with its holder).  A segment is written under a
new name, synced, reopened, verified and probed, and counts only from the commit that puts it into the manifest: a merge
that is killed anywhere leaves the store as it was.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agentmem import faults
from agentmem.errors import SegmentDamaged
from agentmem.identity import Identity, read_identity
from agentmem.index.build import build_segment
from agentmem.index.segment import Segment
from agentmem.index.view import View
from agentmem.live_index import index_folder
from agentmem.rows import Rows
from agentmem.storage.database import Database
from agentmem.storage.manifest import SegmentRow

log = logging.getLogger("agentmem.maintenance")

TAIL_ROWS = 4_000
"""A tail of more rows is merged in the background: scanning it costs about 35 µs a search."""
GRAPH_ROWS = 10_000
"""Below this many rows an int8 scan with rescoring is faster than a graph, and exact but for ties."""
DELTA_SHARE = 8
"""The delta is merged into a new base when it is more than one part in this many of it."""
DEAD_SHARE = 5
"""A base with more than one dead row in this many is rebuilt."""
PROBES = 100
PAUSE_S = 10.0
"""So long after a background merge has ended, however it ended, no other is started: a failure would repeat itself."""
MIN_RECALL = 0.5
"""A graph that finds less than this of an exact scan on its own rows is broken, not merely hard, and not published."""

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class MergeReport:
    """What a merge did.

    Attributes:
        kind: "base", "delta", or "none" when there was nothing to do.
        rows: rows in the new segment.
        graph: it has a graph.
        recall: recall@10 of the graph on probes from its own rows, 1.0 where it has none.
        bytes: size of the file.
        busy: nothing was done because another process is merging the store.
    """

    kind: Literal["base", "delta", "none"]
    rows: int = 0
    graph: bool = False
    recall: float = 1.0
    bytes: int = 0
    busy: bool = False


def merge_lock(folder: Path) -> AbstractContextManager[bool]:
    """Hold the merge lock of a store; see ``work_lock``."""
    return work_lock(folder, "merge")


@contextmanager
def work_lock(folder: Path, work: str) -> Iterator[bool]:
    """Hold the lock of one kind of work on a store; yields False when another process has it.

    The lock dies with its process, whatever this process has forked meanwhile.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder / f"{work}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    _lock_files.add(descriptor)
    try:
        yield _try_lock(descriptor)
    finally:
        if descriptor in _lock_files:
            _lock_files.remove(descriptor)
            os.close(descriptor)


_lock_files: set[int] = set()


def _let_go_of_locks() -> None:
    """In a forked child: close the parent's lock files, since a lock lasts as long as any copy of its descriptor."""
    while _lock_files:
        os.close(_lock_files.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_of_locks)


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def merge(
    database: Database, identity: Identity, *, full: bool = False, threads: int = 1, progress: Progress | None = None
) -> MergeReport:
    """Merge the tail (and, when it is time or ``full``, everything) into a new segment and publish it.

    Args:
        database: the store's database, on disk and writable.
        identity: of the store.
        full: rebuild the base from every live record, with a graph if there are ``GRAPH_ROWS`` of them.
        threads: of the graph's building.
        progress: called with the share done of each segment that is built, 0 to 1.

    Raises:
        OSError: the index folder cannot be written, or the disk is full; the store is as it was.
    """
    folder = index_folder(database.path)
    if folder is None:
        return MergeReport("none")
    with merge_lock(folder) as mine:
        if not mine:
            log.info("another process merges this store")
            return MergeReport("none", busy=True)
        faults.point("merge:begun")
        _remove_strays(database, folder)
        return _merge_locked(database, identity, folder, full, threads, progress)


def _merge_locked(
    database: Database, identity: Identity, folder: Path, full: bool, threads: int, progress: Progress | None
) -> MergeReport:
    with database.read() as reader:
        reader.check_generation(identity.generation)
        seq = reader.seq()
        manifest = reader.segments()
        base = next((row for row in manifest if row.kind == "base"), None)
        old = _verified(folder, base, identity)
        dead = len(reader.dead_since(old.header["seq"])) if old else 0
        rows = reader.index_rows(after_label=old.header["max_label"] if old else 0)
        whole = full or old is None or len(rows) * DELTA_SHARE > old.n or dead * DEAD_SHARE > old.n
        if whole and old is not None:
            rows = reader.index_rows(after_label=0)
    faults.point("merge:rows-read")
    if len(rows) == 0:
        if whole:
            _publish(database, identity, folder, manifest, None)
        return MergeReport("none")
    delta = next((row for row in manifest if row.kind == "delta"), None)
    unchanged = delta is not None and (delta.max_label, delta.n_rows) == (rows.labels[-1], len(rows))
    if unchanged and not whole and _verified(folder, delta, identity) is not None:
        return MergeReport("none")
    build = _Builder(database, identity, folder, seq, rows, threads, progress)
    if not whole:
        return build.publish("delta", len(rows) >= GRAPH_ROWS, None, manifest)
    graph = len(rows) >= GRAPH_ROWS
    if graph and old is None and not full:
        build.publish("base", False, None, manifest)
        with database.read() as reader:
            manifest = reader.segments()
    return build.publish("base", graph, old, manifest)


def _verified(folder: Path, row: SegmentRow | None, identity: Identity) -> Segment | None:
    if row is None:
        return None
    try:
        segment = Segment.open(folder / row.name, store_uuid=identity.uuid, checksum=row.checksum)
        segment.verify()
    except (SegmentDamaged, OSError) as error:
        log.warning("the segment %s cannot be used and is rebuilt: %s", row.name, error)
        return None
    if segment.header["tokenizer_hash"] != identity.tokenizer_hash or segment.dimension != identity.dimension:
        return None
    return segment


def _remove_strays(database: Database, folder: Path) -> None:
    """Unlink the files that no manifest row names: left behind by a merge that was killed, or superseded."""
    with database.read() as reader:
        named = {row.name for row in reader.segments()}
    for path in folder.iterdir():
        if path.name not in named and path.suffix != ".lock":
            path.unlink(missing_ok=True)


def _publish(
    database: Database, identity: Identity, folder: Path, superseded: list[SegmentRow], made: SegmentRow | None
) -> None:
    """Put a segment in the place of others, in one commit; their files go after it.

    It is synced: a power loss that took it back would name files that are gone.
    """
    with database.synced_transaction() as writer, database.read() as reader:
        reader.check_generation(identity.generation)
        faults.point("publish:begun")
        for row in superseded:
            writer.drop_segment(row.name)
        if made is not None:
            writer.put_segment(made)
        faults.point("publish:manifest-written")
    faults.point("publish:committed")
    for row in superseded:
        (folder / row.name).unlink(missing_ok=True)
    faults.point("publish:old-unlinked")


@dataclass(frozen=True, slots=True)
class _Builder:
    database: Database
    identity: Identity
    folder: Path
    seq: int
    rows: Rows
    threads: int
    progress: Progress | None

    def publish(
        self, kind: Literal["base", "delta"], graph: bool, old: Segment | None, manifest: list[SegmentRow]
    ) -> MergeReport:
        """Build, verify and publish one segment; the manifest rows that it supersedes go with the same commit."""
        path = self.folder / f"{kind}-{self.seq}-{uuid.uuid4().hex[:8]}.seg"
        extend = old if graph and old is not None and old.graph is not None else None
        try:
            self._build(path, kind, graph, extend)
        except SegmentDamaged as error:
            log.warning("the old segment cannot be extended, the new one is built from the records alone: %s", error)
            self._build(path, kind, graph, None)
        segment = Segment.open(path, store_uuid=self.identity.uuid)
        faults.point("merge:reopened")
        segment.verify()
        faults.point("merge:verified")
        recall = self._recall(segment) if graph else 1.0
        faults.point("merge:probed")
        if recall < MIN_RECALL:
            log.error("the new graph finds only %.3f of an exact scan; a flat segment is published instead", recall)
            path.unlink()
            return self.publish(kind, False, None, manifest)
        made = SegmentRow(
            name=path.name,
            kind=kind,
            seq=self.seq,
            max_label=segment.header["max_label"],
            n_rows=segment.n,
            bytes=path.stat().st_size,
            checksum=segment.checksum,
        )
        superseded = [row for row in manifest if kind == "base" or row.kind == "delta"]
        _publish(self.database, self.identity, self.folder, superseded, made)
        return MergeReport(kind, segment.n, graph, recall, made.bytes)

    def _build(self, path: Path, kind: str, graph: bool, extend: Segment | None) -> None:
        build_segment(
            path,
            self.rows,
            store_uuid=self.identity.uuid,
            seq=self.seq,
            kind=kind,
            metric=self.identity.metric,
            tokenizer_hash=self.identity.tokenizer_hash,
            graph=graph,
            threads=self.threads,
            extend=extend,
            progress=self.progress,
        )

    def _recall(self, segment: Segment) -> float:
        view = View.of(
            [segment], self.identity.dimension, self.identity.metric, self.rows.tokens.dtype.type, seq=self.seq
        )
        return view.audit(sample=PROBES, k=10, ef=None, seed=self.seq)


_MERGE = f"""\
import sys
sys.path = [*filter(None, sys.path), {str(Path(__file__).parents[1])!r}]
from agentmem.maintenance import main
main()
"""
"""What a process of its own runs: this very package, and nothing that lies in the folder where it happens to start."""


class BackgroundMerger:
    """Starts a merge in a low-priority process of its own when the tail has grown, one at a time.

    Args:
        path: of the store.
        done: called, in a thread of its own, when a merge has succeeded.
    """

    def __init__(self, path: str, done: Callable[[], None]) -> None:
        self._path = path
        self._done = done
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: threading.Thread | None = None
        self._ended = -PAUSE_S

    def start(self) -> None:
        """Start a merge unless one started here is running, or has ended just now.

        Where no process can be started, that is logged: whoever searches needs no merge.
        """
        with self._lock:
            if self._process is not None or time.monotonic() < self._ended + PAUSE_S:
                return
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _MERGE, self._path],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                )
            except OSError as error:
                log.error("a background merge cannot be started: %s", error)
                self._ended = time.monotonic()
                return
            self._watcher = threading.Thread(target=self._watch, args=(self._process,), daemon=True)
            self._watcher.start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the merge started here, if any, has ended; return whether it has."""
        watcher = self._watcher
        if watcher is None:
            return True
        watcher.join(timeout)
        return not watcher.is_alive()

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        _, errors = process.communicate()
        if process.returncode:
            log.error("the background merge failed (%d): %s", process.returncode, errors.decode(errors="replace"))
        else:
            self._done()
        with self._lock:
            self._ended = time.monotonic()
            self._process = None


def main() -> None:
    """Merge the store named on the command line, at low priority."""
    if hasattr(os, "nice"):
        os.nice(10)
    database = Database.open(sys.argv[1])
    try:
        merge(database, read_identity(database))
    finally:
        database.close()
