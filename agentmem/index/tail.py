"""The tail: the newest rows, in memory, in order of label; a write is searchable as soon as it is appended."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections.abc import Container
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.index import kernels
from agentmem.index.part import CODE_ALIGN, Postings
from agentmem.index.quantise import quantise
from agentmem.index.scores import normalised
from agentmem.records import Float32, Int64, Metric
from agentmem.rows import Rows

SCANNED_ROWS = 1024
"""So many of the newest rows are scanned term by term; the older ones are inverted, whenever a quarter is new."""

ThreadEntry = tuple[bool, float, int]
"""(has no position, position, row): entries of one thread compare as (position with none last, label)."""


class _Thread:
    """The rows of one thread in buffers."""

    __slots__ = ("entries", "newest", "rows")

    def __init__(self) -> None:
        self.entries: list[ThreadEntry] = []
        self.newest = -1
        self.rows: Int64 | None = None
        """The rows of ``entries``, made when asked for."""


class _Buffers:
    """Arrays that only grow.  Tails share them, each sees its own first rows; one writer at a time holds the lock."""

    def __init__(self, dimension: int, token_dtype: Any) -> None:
        stride = -(-dimension // CODE_ALIGN) * CODE_ALIGN
        self.lock = threading.Lock()
        self.used = 0
        self.arrays: dict[str, NDArray[Any]] = {
            "labels": np.empty(0, np.int64),
            "vectors": np.empty((0, dimension), np.float32),
            "codes": np.empty((0, stride), np.int8),
            "scales": np.empty(0, np.float32),
            "norms": np.empty(0, np.float32),
            "has_vector": np.empty(0, np.uint8),
            "thread_key": np.empty(0, np.int64),
            "session_key": np.empty(0, np.int64),
            "speaker_key": np.empty(0, np.int64),
            "position": np.empty(0, np.float64),
            "created_at": np.empty(0, np.float64),
            "expires_at": np.empty(0, np.float64),
            "importance": np.empty(0, np.float32),
            "lengths": np.empty(0, np.uint32),
            "namespace_ids": np.empty(0, np.int32),
            "token_offsets": np.zeros(1, np.int64),
            "tokens": np.empty(0, token_dtype),
            "term_offsets": np.zeros(1, np.int64),
            "terms": np.empty(0, np.uint32),
        }
        self.ids: dict[str, int] = {}
        self.names: list[str] = []
        """The names of ``ids``, sorted."""
        self.threads: dict[int, _Thread] = {}
        self.threaded = 0
        """The rows that ``threads`` covers."""
        self.postings: Postings | None = None
        self.inverted = 0
        """The rows that ``postings`` covers."""

    def write(self, name: str, start: int, values: NDArray[Any]) -> None:
        """Put values at ``start``; a full array moves into one of twice the size, and older tails keep the old one."""
        array = self.arrays[name]
        stop = start + len(values)
        if stop > len(array):
            grown = np.empty((max(stop, 2 * len(array), 64), *array.shape[1:]), array.dtype)
            grown[:start] = array[:start]
            self.arrays[name] = array = grown
        array[start:stop] = values

    def write_ragged(self, name: str, offsets: str, start: int, row_offsets: Int64, values: NDArray[Any]) -> None:
        first = int(self.arrays[offsets][start])
        self.write(name, first, values[row_offsets[0] : row_offsets[-1]])
        self.write(offsets, start + 1, row_offsets[1:] - row_offsets[0] + first)

    def identify(self, names: list[str]) -> NDArray[np.int32]:
        """Return the numbers of namespaces, new ones numbered on."""
        ids = self.ids
        for name in names:
            if name not in ids:
                ids[name] = len(ids)
                insort(self.names, name)
        return np.array([ids[name] for name in names], np.int32)


class Tail:
    """A ``Part`` over the first n rows of buffers that may have grown since.  Immutable, safe to share.

    Besides the columns of ``Part``: ``namespace_ids`` int32 (n,), ``term_offsets`` int64 (n + 1,), ``terms`` uint32,
    and ``min_expiry``, the earliest time at which a row expires.
    """

    labels: Int64
    vectors: Float32
    codes: NDArray[np.int8]
    scales: Float32
    norms: Float32
    has_vector: NDArray[np.uint8]
    thread_key: Int64
    session_key: Int64
    speaker_key: Int64
    position: NDArray[np.float64]
    created_at: NDArray[np.float64]
    expires_at: NDArray[np.float64]
    importance: Float32
    lengths: NDArray[np.uint32]
    namespace_ids: NDArray[np.int32]
    token_offsets: Int64
    tokens: NDArray[np.unsignedinteger[Any]]
    term_offsets: Int64
    terms: NDArray[np.uint32]

    def __init__(self, buffers: _Buffers, n: int, metric: Metric, min_expiry: float) -> None:
        self._buffers = buffers
        self.n = n
        self.metric: Metric = metric
        self.min_expiry = min_expiry
        columns = self.__dict__
        for name, array in buffers.arrays.items():
            columns[name] = array[:n]
        for name, offsets in (("tokens", "token_offsets"), ("terms", "term_offsets")):
            columns[offsets] = buffers.arrays[offsets][: n + 1]
            columns[name] = buffers.arrays[name][: columns[offsets][n]]

    @classmethod
    def empty(cls, dimension: int, metric: Metric, token_dtype: Any) -> Tail:
        """Return a tail of no rows.

        Args:
            dimension: of the vectors.
            metric: of the store.
            token_dtype: uint16 or uint32.
        """
        return cls(_Buffers(dimension, token_dtype), 0, metric, np.inf)

    def append(self, rows: Rows) -> Tail:
        """Return a tail with rows added; this one stays as it is.

        The arrays are shared while each append follows on the newest tail; an append to an older tail copies them.

        Raises:
            ValueError: the labels do not go on ascending.
        """
        if len(rows) == 0:
            return self
        labels = rows.labels
        if (self.n and labels[0] <= self.labels[-1]) or (labels[1:] <= labels[:-1]).any():
            raise ValueError("rows must be appended in strictly ascending order of label")
        buffers = self._buffers
        with buffers.lock:
            if buffers.used == self.n:
                return self._written(buffers, rows)
        return self._written(self._forked(), rows)

    def _written(self, buffers: _Buffers, rows: Rows) -> Tail:
        start = self.n
        vectors = normalised(rows.vectors) if self.metric == "cosine" else rows.vectors
        codes, scales = quantise(vectors)
        columns: dict[str, NDArray[Any]] = {
            "vectors": vectors,
            "codes": codes,
            "scales": scales,
            "norms": np.einsum("ij,ij->i", vectors, vectors),
            "lengths": np.diff(rows.term_offsets),
            "namespace_ids": buffers.identify(list(rows.namespaces)),
        }
        for name in ("labels", "has_vector", "thread_key", "session_key", "speaker_key"):
            columns[name] = getattr(rows, name)
        for name in ("position", "created_at", "expires_at", "importance"):
            columns[name] = getattr(rows, name)
        for name, values in columns.items():
            buffers.write(name, start, values)
        buffers.write_ragged("tokens", "token_offsets", start, rows.token_offsets, rows.tokens)
        buffers.write_ragged("terms", "term_offsets", start, rows.term_offsets, rows.terms)
        buffers.used = start + len(rows)
        return Tail(buffers, buffers.used, self.metric, min(self.min_expiry, float(rows.expires_at.min())))

    def _forked(self) -> _Buffers:
        """Return buffers of this tail's rows alone.  They are full, so that the first write moves them elsewhere."""
        buffers = _Buffers(self.vectors.shape[1], self.tokens.dtype)
        buffers.arrays = {name: getattr(self, name) for name in buffers.arrays}
        with self._buffers.lock:
            buffers.ids = dict(self._buffers.ids)
            buffers.names = list(self._buffers.names)
        buffers.used = self.n
        return buffers

    def rows_of(self, labels: Int64) -> Int64:
        """Return the rows of labels, int64, -1 for those that are not here."""
        if self.n == 0:
            return np.full(len(labels), -1, np.int64)
        rows = np.searchsorted(self.labels, labels)
        found = self.labels[np.minimum(rows, self.n - 1)] == labels
        return np.where(found, rows, -1)

    def namespace_mask(self, namespace: str) -> NDArray[np.uint8]:
        """Return which rows lie in a namespace, uint8 (n,); a trailing "/" means the branch below it."""
        buffers = self._buffers
        if not namespace.endswith("/"):
            same: NDArray[np.bool_] = self.namespace_ids == buffers.ids.get(namespace, -1)
            return same.view(np.uint8)
        with buffers.lock:
            first = bisect_left(buffers.names, namespace)
            last = bisect_left(buffers.names, namespace[:-1] + "0", first)
            inside = np.zeros(len(buffers.ids) + 1, np.uint8)
            inside[[buffers.ids[name] for name in buffers.names[first:last]]] = 1
        mask: NDArray[np.uint8] = inside[self.namespace_ids]
        return mask

    def thread(self, key: int) -> Int64:
        """Return the rows of a thread in order of (position, label): the same array until the thread grows."""
        buffers = self._buffers
        thread = self._caught_up().get(key)
        if thread is None:
            return np.empty(0, np.int64)
        with buffers.lock:
            if thread.rows is None:
                thread.rows = np.array([row for _, _, row in thread.entries], np.int64)
            rows, newest = thread.rows, thread.newest
        return rows if newest < self.n else rows[rows < self.n]

    def thread_keys(self) -> Container[int]:
        """Return the threads that have rows here, or in a newer tail of the same buffers."""
        return self._caught_up()

    def _caught_up(self) -> dict[int, _Thread]:
        buffers = self._buffers
        if buffers.threaded < self.n:
            with buffers.lock:
                first = buffers.threaded
                keys = self.thread_key[first:].tolist()
                positions = self.position[first:].tolist()
                for row, (key, position) in enumerate(zip(keys, positions, strict=True), first):
                    if key:
                        thread = buffers.threads.setdefault(key, _Thread())
                        missing = position != position
                        insort(thread.entries, (missing, 0.0 if missing else position, row))
                        thread.newest, thread.rows = row, None
                buffers.threaded = max(first, self.n)
        return buffers.threads

    def postings_of(self, wanted: NDArray[np.uint32]) -> tuple[Postings, ...]:
        """Return postings that together hold all rows of the wanted terms; some may name rows past n.

        Args:
            wanted: uint32, ascending and distinct.
        """
        buffers = self._buffers
        if self.n - buffers.inverted > max(SCANNED_ROWS, buffers.inverted // 4):
            with buffers.lock:
                if self.n > buffers.inverted:
                    buffers.postings = kernels.invert(self.term_offsets, self.terms, 0, self.n, None)
                    buffers.inverted = self.n
        with buffers.lock:
            postings, inverted = buffers.postings, buffers.inverted
        newest = kernels.invert(self.term_offsets, self.terms, min(inverted, self.n), self.n, wanted)
        return (newest,) if postings is None else (postings, newest)
