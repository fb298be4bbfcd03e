"""A segment: an immutable part of the index, mapped from a container."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.index.container import Container, damaged, open_container
from agentmem.index.part import Graph, Postings
from agentmem.index.quantise import code_stride
from agentmem.records import METRICS, Float32, Int64, Metric

COLUMNS = {
    "labels": "<i8",
    "label_order": "<i4",
    "scales": "<f4",
    "norms": "<f4",
    "has_vector": "|u1",
    "thread_key": "<i8",
    "session_key": "<i8",
    "speaker_key": "<i8",
    "position": "<f8",
    "created_at": "<f8",
    "expires_at": "<f8",
    "importance": "<f4",
    "lengths": "<u4",
}
"""Blocks of shape (n,); each is an attribute of the same name."""
LABEL_ROOM = 4
"""Rows are looked up by label in a table, made when first asked for, unless it were this many times the rows."""
NAMING = frozenset({"labels", "label_order", "namespace_bytes", "namespace_offsets", "namespace_rows"})
"""Blocks by which records are named: small, and compared with their checksums whenever a segment is opened."""
FACTS = {
    "store_uuid": str,
    "seq": int,
    "kind": str,
    "metric": str,
    "dimension": int,
    "n": int,
    "max_label": int,
    "tokenizer_hash": str,
}
"""What a header says of a segment, besides its graph."""


class Segment:
    """n rows sorted by (namespace, thread_key, position, label), with postings and, above a size, a graph.

    Implements ``Part``; see there for the columns.

    Attributes:
        path: the file, or None for a segment in memory.
        header: store_uuid, seq, kind ("base" or "delta"), metric, dimension, n, max_label, tokenizer_hash, graph.
        n: number of rows.
        metric: "cosine", "ip" or "l2".
        dimension: of the vectors.
        label_order: int32 (n,), the rows in ascending order of label.
        namespace_rows: int64 (m + 1,), where the rows of each of the m namespaces begin.
        postings: the inverted index of the rows' terms.
        graph: over the distinct vectors, or None for a flat segment.
    """

    labels: Int64
    label_order: NDArray[np.int32]
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

    def __init__(self, container: Container, path: Path | None) -> None:
        """Take the columns of an open container; use ``Segment.open``."""
        self._container = container
        self.path = path
        self.header: Mapping[str, Any] = container.header
        self._check_facts()
        self.checksum = container.checksum
        self.n: int = self.header["n"]
        self.dimension: int = self.header["dimension"]
        self.metric: Metric = self.header["metric"]
        for name, dtype in COLUMNS.items():
            setattr(self, name, self._take(name, dtype, self.n))
        self.vectors: Float32 = self._take("vectors", "<f4", self.n, self.dimension)
        self.codes: NDArray[np.int8] = self._take("codes", "|i1", self.n, code_stride(self.dimension))
        self.token_offsets: Int64 = self._take("token_offsets", "<i8", self.n + 1)
        self.tokens: NDArray[np.unsignedinteger[Any]] = self._ragged("tokens", ("<u2", "<u4"), self.token_offsets)
        self.term_offsets: Int64 = self._take("term_offsets", "<i8", self.n + 1)
        self.terms: NDArray[np.uint32] = self._ragged("terms", ("<u4",), self.term_offsets)
        self.namespace_rows: Int64 = self._take("namespace_rows", "<i8", None)
        self._namespace_offsets: Int64 = self._take("namespace_offsets", "<i8", len(self.namespace_rows))
        self._namespace_bytes: NDArray[np.uint8] = self._ragged("namespace_bytes", ("|u1",), self._namespace_offsets)
        self._check_offsets("namespace_rows", self.namespace_rows, self.n)
        self._check_rows("label_order", self.label_order)
        if self.n and self.labels.min() < 0:
            raise damaged(container.name, "labels from 0 on", int(self.labels.min()))
        self._check_names()
        self.postings = self._take_postings()
        self.graph = self._take_graph()

    @classmethod
    def open(cls, source: Path | bytes, *, store_uuid: str | None = None, checksum: int | None = None) -> Segment:
        """Map a segment; check its header, its blocks' types, shapes and bounds, offsets, and what names records.

        The rest of what the blocks hold is not read: a wild link, posting or token is met where it is used, and found
        by ``verify``.

        Args:
            source: a path, or the bytes of a segment.
            store_uuid: the store that it must belong to, or None for any.
            checksum: that it must have, or None for any.

        Raises:
            SegmentDamaged: it cannot be trusted, or belongs to another store.
        """
        segment = cls(open_container(source, checksum), None if isinstance(source, bytes) else Path(source))
        if store_uuid is not None and segment.header["store_uuid"] != store_uuid:
            raise damaged(segment._container.name, f"a segment of store {store_uuid}", segment.header["store_uuid"])
        segment._container.verify(only=NAMING)
        return segment

    def close(self) -> None:
        """Let go of the map; it ends with the last array taken from it."""
        self._container.close()

    def verify(self) -> None:
        """Compare every block with its checksum.

        Raises:
            SegmentDamaged: a block holds other bytes than were written.
        """
        self._container.verify()

    @cached_property
    def namespaces(self) -> tuple[str, ...]:
        """The distinct namespaces, sorted."""
        data, offsets = self._namespace_bytes.tobytes(), self._namespace_offsets.tolist()
        return tuple(data[start:stop].decode("utf-8", "surrogatepass") for start, stop in pairwise(offsets))

    @cached_property
    def min_expiry(self) -> float:
        """The earliest time at which a row expires, epoch seconds; +inf for never."""
        return float(self.expires_at.min(initial=np.inf))

    def namespace_range(self, name: str) -> tuple[int, int]:
        """Return the rows [start, stop) of exactly this namespace; empty where there are none."""
        index = bisect_left(self.namespaces, name)
        if index == len(self.namespaces) or self.namespaces[index] != name:
            return 0, 0
        return int(self.namespace_rows[index]), int(self.namespace_rows[index + 1])

    def prefix_range(self, prefix: str) -> tuple[int, int]:
        """Return the rows [start, stop) of the namespaces that begin with ``prefix``."""
        first = bisect_left(self.namespaces, prefix)
        last = bisect_left(self.namespaces, True, lo=first, key=lambda name: not name.startswith(prefix))
        return int(self.namespace_rows[first]), int(self.namespace_rows[last])

    def rows_of(self, labels: Int64) -> Int64:
        """Return the row of each label, -1 where this segment does not have it."""
        if self.n == 0:
            return np.full(len(labels), -1, np.int64)
        table = self._row_of_label
        if table is not None:
            places = labels - self._first_label
            there = (places >= 0) & (places < len(table))
            return np.where(there, table[np.where(there, places, 0)], -1).astype(np.int64)
        places = np.searchsorted(self.labels, labels, sorter=self.label_order)
        rows = self.label_order[np.minimum(places, self.n - 1)].astype(np.int64)
        return np.where(self.labels[rows] == labels, rows, -1)

    @cached_property
    def _first_label(self) -> int:
        return int(self.labels[self.label_order[0]])

    @cached_property
    def _row_of_label(self) -> NDArray[np.int32] | None:
        """The row of each label from the first one on, -1 for none; None where the labels lie too far apart."""
        room = int(self.labels[self.label_order[-1]]) - self._first_label + 1
        if not 0 < room <= LABEL_ROOM * self.n:
            return None
        table = np.full(room, -1, np.int32)
        inside = (self.labels >= self._first_label) & (self.labels < self._first_label + room)
        table[self.labels[inside] - self._first_label] = np.flatnonzero(inside)
        return table

    def _check_facts(self) -> None:
        header = self.header
        facts = header.get("graph", "")
        sound = (
            all(type(header.get(name)) is kind for name, kind in FACTS.items())
            and min(header["seq"], header["n"], header["max_label"]) >= 0
            and header["dimension"] >= 1
            and header["metric"] in METRICS
        )
        if sound and facts is not None:
            sound = (
                isinstance(facts, dict)
                and all(type(facts.get(name)) is int for name in ("M", "entry", "max_level"))
                and facts["M"] >= 1
                and -1 <= facts["entry"] < header["n"]
                and facts["max_level"] >= 0
            )
        if not sound:
            raise damaged(self._container.name, "a segment's header", {name: header.get(name) for name in FACTS})

    def _check_names(self) -> None:
        try:
            sorted_ = all(one < other for one, other in pairwise(self.namespaces))
        except UnicodeDecodeError as error:
            raise damaged(self._container.name, "namespaces in UTF-8", error) from error
        if not sorted_:
            raise damaged(self._container.name, "namespaces in ascending order", "others")

    def _take(self, block: str, dtype: str, *shape: int | None) -> NDArray[Any]:
        found = self._container.blocks.get(block)
        if found is None:
            raise damaged(self._container.name, f"a block {block!r}", list(self._container.blocks))
        fits = len(shape) == found.ndim and all(a is None or a == b for a, b in zip(shape, found.shape, strict=True))
        if not fits or found.dtype.str != dtype:
            raise damaged(self._container.name, f"{dtype} {shape} in {block!r}", f"{found.dtype.str} {found.shape}")
        return found

    def _check_offsets(self, name: str, offsets: Int64, end: int) -> None:
        if not len(offsets) or offsets[0] != 0 or offsets[-1] != end or bool((offsets[1:] < offsets[:-1]).any()):
            raise damaged(self._container.name, f"ascending offsets from 0 to {end} in {name!r}", "others")

    def _check_rows(self, name: str, rows: NDArray[Any]) -> None:
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.n:
            raise damaged(self._container.name, f"rows below {self.n} in {name!r}", "others")

    def _ragged(self, block: str, dtypes: tuple[str, ...], offsets: Int64) -> NDArray[Any]:
        found = self._container.blocks.get(block)
        dtype = dtypes[0] if found is None or found.dtype.str not in dtypes else found.dtype.str
        data = self._take(block, dtype, None)
        self._check_offsets(f"offsets of {block}", offsets, len(data))
        return data

    def _take_postings(self) -> Postings:
        terms = self._take("posting_terms", "<u4", None)
        offsets = self._take("posting_offsets", "<i8", len(terms) + 1)
        rows = self._ragged("posting_rows", ("<u4",), offsets)
        return Postings(terms, offsets, rows, self._take("posting_counts", "|u1", len(rows)))

    def _take_graph(self) -> Graph | None:
        facts = self.header["graph"]
        if facts is None:
            return None
        group_offsets = group_rows = None
        if "group_offsets" in self._container.blocks:
            group_offsets = self._take("group_offsets", "<i8", self.n + 1)
            group_rows = self._ragged("group_rows", ("<u4",), group_offsets)
            self._check_rows("group_rows", group_rows)
        links = self._take("links", "<u4", self.n, 1 + 2 * facts["M"])
        upper_offsets = self._take("upper_offsets", "<i8", self.n + 1)
        upper = self._ragged("upper", ("<u4",), upper_offsets)
        unreachable = self._take("unreachable", "<i8", None)
        self._check_rows("unreachable", unreachable)
        return Graph(
            links=links,
            upper_offsets=upper_offsets,
            upper=upper,
            entry=facts["entry"],
            max_level=facts["max_level"],
            M=facts["M"],
            group_offsets=group_offsets,
            group_rows=group_rows,
            unreachable=unreachable,
        )
