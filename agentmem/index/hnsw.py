"""The graph: built by hnswlib, then turned from hnswlib's saved file into arrays in the rows of a segment, and back.

hnswlib 0.6.2 to 0.8.0 save a fixed layout: a header of 96 bytes; each node's links at level 0, its vector and its
label, in records of one size; then for each node the bytes of its upper levels and their links.  Some builds that
install the same module name write another one: the layout is recognised by walking the lists to the end of the file.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, log, log2
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np
from numpy.typing import NDArray

from agentmem.index.container import Progress
from agentmem.index.part import Graph
from agentmem.index.segment import Segment
from agentmem.records import Float32, Int64, Metric

_HEADER = struct.Struct("<6QiI3QdQ")
_FIELDS = ("level0", "capacity", "count", "record", "label", "data", "max_level", "entry", "maxM", "maxM0", "M")
_CHUNK = 8192
ONE = np.float32(1)
_BATCH = 2000
"""Nodes added between two reports of progress."""


@dataclass(frozen=True, slots=True)
class GraphSettings:
    """How a graph is built; see ``build_segment``."""

    metric: Metric
    M: int
    ef_construction: int
    threads: int
    seed: int

    @property
    def space(self) -> str:
        """Hnswlib's name of the distance; cosine rows are normalised already, so it is the inner product."""
        return "l2" if self.metric == "l2" else "ip"


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows of equal vector.

    Attributes:
        representative: int64 (n,), the first row of each row's group; itself for a row that stands alone.
        nodes: int64, the representatives of the rows that have a vector, ascending.
    """

    representative: Int64
    nodes: Int64


def group_equal(vectors: Float32, has_vector: NDArray[np.bool_]) -> Groups:
    """Find the rows of equal vector, by a hash of each row and a comparison of those that share one.

    Rows whose hashes collide though they differ stand alone.
    """
    rows = np.flatnonzero(has_vector)
    _, first, inverse = np.unique(_hashes(vectors, rows), return_index=True, return_inverse=True)
    leaders = rows[first[inverse.reshape(-1)]]
    followers = np.flatnonzero(leaders != rows)
    for start in range(0, len(followers), _CHUNK):
        some = followers[start : start + _CHUNK]
        differs = (vectors[rows[some]] != vectors[leaders[some]]).any(axis=1)
        leaders[some[differs]] = rows[some[differs]]
    representative = np.arange(len(vectors), dtype=np.int64)
    representative[rows] = leaders
    return Groups(representative, rows[leaders == rows])


def _hashes(vectors: Float32, rows: Int64) -> NDArray[np.uint64]:
    """Return the inner product modulo 2⁶⁴ of each row's words with random odd factors."""
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 1 << 63, vectors.shape[1], np.uint64) * np.uint64(2) + np.uint64(1)
    result = np.empty(len(rows), np.uint64)
    for start in range(0, len(rows), _CHUNK):
        words = vectors[rows[start : start + _CHUNK]].view(np.uint32)
        result[start : start + _CHUNK] = words.astype(np.uint64) @ factors
    return result


def build_graph(
    labels: Int64,
    vectors: Float32,
    has_vector: NDArray[np.bool_],
    settings: GraphSettings,
    *,
    folder: Path,
    extend: Segment | None = None,
    progress: Progress | None = None,
) -> Graph:
    """Build the graph over the distinct vectors of a segment's rows.

    Args:
        labels: int64 (n,), distinct; hnswlib knows the nodes by them.
        vectors: float32 (n, dim), normalised under cosine.
        has_vector: (n,).
        settings: of the build.
        folder: where hnswlib's file may lie for a moment.
        extend: its nodes and links are kept if all its rows with a vector are among the labels and its metric,
            dimension and M are the same; otherwise the graph is built from nothing.
        progress: told the share that is done.

    Raises:
        OSError: hnswlib's file is not as long as it has to be: the disk is full, or the layout is not known.
    """
    groups = group_equal(vectors, has_vector)
    if not len(groups.nodes):
        return _empty_graph(len(labels), settings.M)
    order = np.argsort(labels)
    scale = _scale(vectors, settings.metric)
    kept = _kept_rows(extend, labels, order, settings, vectors.shape[1])
    fresh = groups.nodes
    with _temporary(folder) as path:
        index = hnswlib.Index(settings.space, vectors.shape[1])
        if extend is not None and kept is not None:
            fresh = np.setdiff1d(groups.nodes, groups.representative[kept], assume_unique=True)
            write_hnswlib_file(extend, path, settings.ef_construction, scale)
            index.load_index(str(path), len(kept) + len(fresh))
        else:
            index.init_index(len(fresh), settings.M, settings.ef_construction, settings.seed)
        for start in range(0, len(fresh), _BATCH):
            some = fresh[start : start + _BATCH]
            index.add_items(vectors[some] * scale, labels[some], settings.threads)
            if progress is not None:
                progress((start + len(some)) / (len(fresh) + _BATCH))
        expected = index.index_file_size()
        index.save_index(str(path))
        del index
        if path.stat().st_size != expected:
            raise OSError(f"{path}: hnswlib saved {path.stat().st_size} of {expected} bytes; is the disk full?")
        return _transcode(path, labels, order, groups, vectors.shape[1])


def _scale(vectors: Float32, metric: Metric) -> np.float32:
    """Return the power of two that brings short vectors to length 1 or more, under the inner product.

    hnswlib's distance is 1 - ip in float32: it would drown the products of vectors much shorter than 1.
    """
    longest = float(np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64).max()))
    return np.float32(2.0 ** min(ceil(-log2(longest)), 100) if metric == "ip" and 0 < longest < 1 else 1.0)


@contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(prefix="graph.", suffix=".tmp", dir=folder)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _empty_graph(count: int, M: int) -> Graph:
    return Graph(
        links=np.zeros((count, 1 + 2 * M), np.uint32),
        upper_offsets=np.zeros(count + 1, np.int64),
        upper=np.zeros(0, np.uint32),
        entry=-1,
        max_level=0,
        M=M,
        group_offsets=None,
        group_rows=None,
        unreachable=np.zeros(0, np.int64),
    )


def graph_nodes(segment: Segment) -> Int64:
    """Return the rows of a segment that are nodes of its graph: one for each distinct vector, ascending."""
    nodes = segment.has_vector != 0
    graph = segment.graph
    if graph is not None and graph.group_offsets is not None and graph.group_rows is not None:
        heads = np.repeat(np.arange(segment.n, dtype=np.uint32), np.diff(graph.group_offsets))
        nodes[graph.group_rows[graph.group_rows != heads]] = False
    return np.flatnonzero(nodes)


def _kept_rows(
    extend: Segment | None, labels: Int64, order: Int64, settings: GraphSettings, dimension: int
) -> Int64 | None:
    """Return the new rows of the old nodes, or None where the old graph cannot be kept."""
    if extend is None or extend.graph is None or extend.graph.entry < 0:
        return None
    if (extend.metric, extend.dimension, extend.graph.M) != (settings.metric, dimension, settings.M):
        return None
    nodes = extend.labels[graph_nodes(extend)]
    rows = order[np.minimum(np.searchsorted(labels, nodes, sorter=order), len(labels) - 1)]
    return rows if bool((labels[rows] == nodes).all()) else None


def _read_header(path: Path, dimension: int) -> dict[str, int]:
    """Return the sizes of hnswlib's file, checked against each other."""
    with open(path, "rb") as file:
        raw = file.read(_HEADER.size)
    if len(raw) < _HEADER.size:
        raise OSError(f"{path}: {len(raw)} bytes are no graph of hnswlib")
    header: dict[str, int] = dict(zip(_FIELDS, _HEADER.unpack(raw), strict=False))
    data = 4 + 4 * header["maxM0"]
    found = (header["data"], header["label"], header["record"], header["level0"], header["maxM0"])
    if found != (data, data + 4 * dimension, data + 4 * dimension + 8, 0, 2 * header["maxM"]):
        raise OSError(f"{path}: this is not the layout of hnswlib 0.6.2 to 0.8.0; install hnswlib from PyPI")
    return header


def _record_type(M: int, dimension: int) -> np.dtype[Any]:
    return np.dtype(
        [
            ("count", "<u2"),
            ("flags", "<u2"),
            ("links", "<u4", (2 * M,)),
            ("vector", "<f4", (dimension,)),
            ("label", "<u8"),
        ]
    )


def _transcode(path: Path, labels: Int64, order: Int64, groups: Groups, dimension: int) -> Graph:
    header = _read_header(path, dimension)
    count, M = header["count"], header["M"]
    records = np.memmap(path, _record_type(M, dimension), "r", _HEADER.size, (count,))
    tail = np.fromfile(path, "<u4", offset=_HEADER.size + records.nbytes)
    named = np.searchsorted(labels, records["label"].astype(np.int64), sorter=order)
    row_of = groups.representative[order[named]]
    links = np.zeros((len(labels), 1 + 2 * M), np.uint32)
    for start in range(0, count, _CHUNK):
        some = records[start : start + _CHUNK]
        links[row_of[start : start + _CHUNK]] = _renumber(some["count"], some["links"], row_of)
    upper_offsets, upper = _upper_lists(path, tail, row_of, len(labels), M)
    graph = Graph(
        links=links,
        upper_offsets=upper_offsets,
        upper=upper,
        entry=int(row_of[header["entry"]]),
        max_level=header["max_level"],
        M=M,
        group_offsets=None,
        group_rows=None,
        unreachable=np.zeros(0, np.int64),
    )
    return _with_groups(graph, groups)


def _renumber(counts: NDArray[Any], links: NDArray[Any], row_of: Int64) -> NDArray[np.uint32]:
    """Return (m, 1 + width): counts, then the linked rows; what lies behind the count becomes 0."""
    result = np.zeros((len(counts), 1 + links.shape[1]), np.uint32)
    result[:, 0] = counts
    used = np.arange(links.shape[1]) < np.asarray(counts)[:, None]
    result[:, 1:][used] = row_of[links[used]]
    return result


def _upper_lists(
    path: Path, tail: NDArray[np.uint32], row_of: Int64, n_rows: int, M: int
) -> tuple[Int64, NDArray[np.uint32]]:
    """Walk the upper lists exactly to the end of the file; return offsets and lists in the order of the rows."""
    words = tail.tolist()
    starts: list[int] = []
    owners: list[int] = []
    place = 0
    for node in range(len(row_of)):
        size = words[place] // 4 if place < len(words) else -1
        if size < 0 or size % (1 + M) or place + 1 + size > len(words):
            raise OSError(f"{path}: the upper lists of hnswlib's file do not end where they should")
        for start in range(place + 1, place + 1 + size, 1 + M):
            starts.append(start)
            owners.append(node)
        place += 1 + size
    if place != len(words):
        raise OSError(f"{path}: {len(words) - place} words lie behind the upper lists of hnswlib's file")
    rows = row_of[np.array(owners, np.int64)]
    order = np.argsort(rows, kind="stable")
    lists = tail[np.array(starts, np.int64)[order, None] + np.arange(1 + M)]
    offsets = np.zeros(n_rows + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=n_rows) * (1 + M), out=offsets[1:])
    return offsets, _renumber(lists[:, 0] & 0xFFFF, lists[:, 1:], row_of).reshape(-1)


def _with_groups(graph: Graph, groups: Groups) -> Graph:
    """Add the groups of equal vectors and the rows that no walk finds."""
    n_rows = len(graph.links)
    members = np.bincount(groups.representative, minlength=n_rows)
    group_offsets = group_rows = None
    if members.max() > 1:
        shared = members[groups.representative] > 1
        rows = np.flatnonzero(shared)
        group_rows = rows[np.argsort(groups.representative[rows], kind="stable")].astype(np.uint32)
        group_offsets = np.zeros(n_rows + 1, np.int64)
        np.cumsum(np.where(members > 1, members, 0), out=group_offsets[1:])
    return Graph(
        links=graph.links,
        upper_offsets=graph.upper_offsets,
        upper=graph.upper,
        entry=graph.entry,
        max_level=graph.max_level,
        M=graph.M,
        group_offsets=group_offsets,
        group_rows=group_rows,
        unreachable=np.setdiff1d(groups.nodes, reachable(graph), assume_unique=True),
    )


def reachable(graph: Graph) -> Int64:
    """Return the rows that a walk over level 0 from the entry comes to, ascending."""
    seen = np.zeros(len(graph.links), np.bool_)
    front = np.array([graph.entry], np.int64)
    width = np.arange(graph.links.shape[1] - 1)
    while len(front):
        seen[front] = True
        lists = graph.links[front]
        linked = lists[:, 1:][width < lists[:, :1]]
        fresh = np.zeros(len(seen), np.bool_)
        fresh[linked] = True
        front = np.flatnonzero(fresh & ~seen)
    return np.flatnonzero(seen)


def write_hnswlib_file(segment: Segment, path: Path, ef_construction: int, scale: np.float32 = ONE) -> None:
    """Write a segment's graph as a file that hnswlib can load and add to.

    Args:
        segment: its labels name the nodes.
        path: the file to write.
        ef_construction: for the nodes to be added.
        scale: the vectors are multiplied by it.
    """
    graph = segment.graph
    if graph is None:
        raise ValueError("a flat segment has no graph to write")
    nodes, M, dimension = graph_nodes(segment), graph.M, segment.dimension
    number = np.zeros(segment.n, np.int64)
    number[nodes] = np.arange(len(nodes))
    kind = _record_type(M, dimension)
    data = 4 + 8 * M
    sizes = (0, len(nodes), len(nodes), kind.itemsize, data + 4 * dimension, data)
    with open(path, "wb") as file:
        entry = int(number[graph.entry])
        file.write(_HEADER.pack(*sizes, graph.max_level, entry, M, 2 * M, M, 1 / log(M), ef_construction))
        for start in range(0, len(nodes), _CHUNK):
            rows = nodes[start : start + _CHUNK]
            records = np.zeros(len(rows), kind)
            lists = _renumber(graph.links[rows, 0], graph.links[rows, 1:], number)
            records["count"], records["links"] = lists[:, 0], lists[:, 1:]
            records["vector"], records["label"] = segment.vectors[rows] * scale, segment.labels[rows]
            file.write(records.tobytes())
        upper = graph.upper.reshape(-1, 1 + M)
        lists = _renumber(upper[:, 0], upper[:, 1:], number)
        offsets = (graph.upper_offsets // (1 + M)).tolist()
        for row in nodes.tolist():
            block = lists[offsets[row] : offsets[row + 1]].tobytes()
            file.write(len(block).to_bytes(4, "little") + block)
