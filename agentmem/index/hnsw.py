"""The graph: built or extended by hnswlib over distinct vectors, then held in the rows of a segment."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil, log2
from pathlib import Path

import hnswlib
import numpy as np
from numpy.typing import NDArray

from agentmem import faults
from agentmem.index.container import Progress
from agentmem.index.hnsw_file import read_graph, write_graph
from agentmem.index.locality import insertion_order
from agentmem.index.part import Graph
from agentmem.index.prune import without_rows
from agentmem.index.segment import Segment
from agentmem.records import Float32, Int64, Metric

_CHUNK = 8192
_BATCH = 2000
"""Nodes added between two reports of progress."""
_MOST_DEAD = 0.2
"""A graph that lost a larger share of its nodes is built anew."""
_MOST_UNREACHABLE = 0.001
"""As is one that would leave a larger share unreachable."""


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


@dataclass(frozen=True, slots=True)
class _Kept:
    """An old graph to go on from.

    Attributes:
        graph: of an old segment, without the rows that died.
        nodes: its nodes, as old rows.
        rows: the same nodes, as new rows.
    """

    graph: Graph
    nodes: Int64
    rows: Int64


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
        extend: the segment whose graph is gone on from, if its metric, dimension and M are the same and at most a
            fifth of its nodes are no longer among the labels; otherwise the graph is built from nothing.
        progress: told the share that is done.

    Raises:
        OSError: hnswlib's file is not as long as it has to be: the disk is full, or the layout is not known.
        SegmentDamaged: ``extend`` does not hold what was written.
    """
    groups = group_equal(vectors, has_vector)
    if not len(groups.nodes):
        return _empty_graph(len(labels), settings.M)
    order = np.argsort(labels)
    kept = None if extend is None else _kept(extend, labels, order, settings, vectors.shape[1])
    with _temporary(folder) as path:
        _run_hnswlib(path, labels, vectors, groups, settings, extend, kept, progress)
        graph = read_graph(
            path,
            vectors.shape[1],
            len(labels),
            lambda some: groups.representative[order[np.searchsorted(labels, some, sorter=order)]],
        )
    graph = _with_groups(graph, groups)
    if kept is not None and len(graph.unreachable) > _MOST_UNREACHABLE * len(groups.nodes):
        return build_graph(labels, vectors, has_vector, settings, folder=folder, progress=progress)
    return graph


def _run_hnswlib(
    path: Path,
    labels: Int64,
    vectors: Float32,
    groups: Groups,
    settings: GraphSettings,
    extend: Segment | None,
    kept: _Kept | None,
    progress: Progress | None,
) -> None:
    """Build or extend a graph and save it."""
    index = hnswlib.Index(settings.space, vectors.shape[1])
    scale = _scale(vectors, settings.metric)
    if extend is not None and kept is not None:
        fresh = np.setdiff1d(groups.nodes, groups.representative[kept.rows], assume_unique=True)
        write_graph(path, kept.graph, kept.nodes, extend.vectors, extend.labels, settings.ef_construction, scale)
        index.load_index(str(path), len(kept.nodes) + len(fresh))
    else:
        fresh = groups.nodes
        index.init_index(len(fresh), settings.M, settings.ef_construction, settings.seed)
    fresh = insertion_order(vectors, fresh, settings.seed)
    for start in range(0, len(fresh), _BATCH):
        some = fresh[start : start + _BATCH]
        index.add_items(vectors[some] * scale, labels[some], settings.threads)
        if progress is not None:
            progress((start + len(some)) / (len(fresh) + _BATCH))
    expected = index.index_file_size()
    index.save_index(str(path))
    faults.point("merge:graph-saved")
    if path.stat().st_size != expected:
        raise OSError(f"{path}: hnswlib saved {path.stat().st_size} of {expected} bytes; is the disk full?")


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


def _kept(extend: Segment, labels: Int64, order: Int64, settings: GraphSettings, dimension: int) -> _Kept | None:
    """Return the old graph without its dead, or None where it cannot be kept."""
    graph = extend.graph
    if graph is None or graph.entry < 0 or not len(labels):
        return None
    if (extend.metric, extend.dimension, graph.M) != (settings.metric, dimension, settings.M):
        return None
    extend.verify()
    nodes = graph_nodes(extend)
    names = extend.labels[nodes]
    rows = order[np.minimum(np.searchsorted(labels, names, sorter=order), len(labels) - 1)]
    alive = labels[rows] == names
    if np.mean(~alive) > _MOST_DEAD:
        return None
    if not alive.all():
        graph = without_rows(graph, nodes[alive], extend.vectors, settings.metric == "l2")
    return _Kept(graph, nodes[alive], rows[alive])


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
    return replace(
        graph,
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
