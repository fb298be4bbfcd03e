"""The index of one open store: segments and tail, brought up to the database's seq at every search."""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from agentmem.errors import SegmentDamaged
from agentmem.identity import Identity
from agentmem.index.segment import Segment
from agentmem.index.view import View
from agentmem.storage.database import Database
from agentmem.storage.manifest import SegmentRow
from agentmem.storage.reader import Reader

log = logging.getLogger("agentmem.index")


class _Superseded(Exception):
    """The manifest that was read names a file that is gone: another process may have published since."""


@dataclass(frozen=True, slots=True)
class _State:
    """A view, the last label that it covers, and the manifest rows whose segments it maps."""

    view: View
    max_label: int
    manifest: tuple[str, ...]


def index_folder(path: str) -> Path | None:
    """Return the folder of a store's derived files, or None for a store in memory."""
    return None if path == ":memory:" else Path(f"{path}-index")


class LiveIndex:
    """Follows the database; every view that it hands out is immutable and belongs to one seq.

    Segments that are missing, damaged or another store's are left out, with a warning: their rows are read from the
    database into the tail, and the next merge writes them anew.
    """

    def __init__(self, database: Database, identity: Identity) -> None:
        self.identity = identity
        self.problems: list[str] = []
        self._database = database
        self._folder = index_folder(database.path)
        self._lock = threading.RLock()
        self._state: _State | None = None

    def view(self, reader: Reader, missing: set[str], *, private: bool = False) -> View | None:
        """Return the view of the reader's snapshot; None when the caller is to try again with a newer one.

        That is when the index has moved past the snapshot already, or when its manifest names a file that is gone: at
        the second try a file that is still named is missing indeed.

        Args:
            reader: an open read transaction.
            missing: files that the caller's earlier tries found gone, before this transaction began; added to here.
            private: the reader sees uncommitted changes; the view is this call's own and is not kept.

        Raises:
            EmbedderMismatch: the store was re-embedded.
        """
        seq = reader.seq()
        state = self._state
        if state is not None and state.view.seq == seq and not private:
            return state.view
        with self._lock:
            try:
                return self._brought_up(reader, seq, missing, private)
            except _Superseded:
                return None

    def reload(self) -> None:
        """Forget the view; the next search reads the manifest anew."""
        with self._lock:
            self._state = None

    def _brought_up(self, reader: Reader, seq: int, missing: set[str], private: bool) -> View | None:
        reader.check_generation(self.identity.generation)
        state = self._state
        if state is None:
            state = self._load(reader, missing)
            if not private:
                self._state = state
        if state.view.seq == seq:
            return state.view
        if state.view.seq > seq:
            return None
        if private:
            return self._advance(state, reader, seq).view
        manifest = tuple(row.name for row in reader.segments())
        state = self._load(reader, missing) if manifest != state.manifest else self._advance(state, reader, seq)
        self._state = state
        return state.view

    def _advance(self, state: _State, reader: Reader, seq: int) -> _State:
        rows = reader.index_rows(after_label=state.max_label)
        view = state.view.apply(rows, reader.dead_since(state.view.seq), seq)
        max_label = int(rows.labels[-1]) if len(rows) else state.max_label
        return _State(view, max_label, state.manifest)

    def _load(self, reader: Reader, missing: set[str]) -> _State:
        manifest = reader.segments()
        segments: list[Segment] = []
        self.problems = []
        for row in manifest:
            if row.kind == "delta" and not segments:
                continue
            segment = self._open_segment(row, missing)
            if segment is not None:
                segments.append(segment)
        covered = max((segment.header["max_label"] for segment in segments), default=0)
        seq = min((segment.header["seq"] for segment in segments), default=0)
        identity = self.identity
        view = View.of(segments, identity.dimension, identity.metric, identity.token_dtype, seq=seq)
        state = _State(view, covered, tuple(row.name for row in manifest))
        return self._advance(state, reader, reader.seq())

    def _open_segment(self, row: SegmentRow, missing: set[str]) -> Segment | None:
        if self._folder is None:
            return None
        path = self._folder / row.name
        try:
            segment = Segment.open(path, store_uuid=self.identity.uuid, checksum=row.checksum)
        except (SegmentDamaged, OSError) as error:
            if row.name not in missing and not os.path.exists(path):
                missing.add(row.name)
                raise _Superseded from error
            self.problems.append(f"{row.name}: {error}")
            log.warning("index segment %s is left out and will be rebuilt: %s", path, error)
            return None
        identity = self.identity
        expected = (row.seq, identity.dimension, identity.metric, identity.tokenizer_hash)
        if tuple(segment.header[name] for name in ("seq", "dimension", "metric", "tokenizer_hash")) != expected:
            self.problems.append(
                f"{row.name}: not the segment that the manifest names; merge() or optimize() rebuilds it"
            )
            log.warning("index segment %s is not the one that the manifest names; it will be rebuilt", path)
            segment.close()
            return None
        return segment
