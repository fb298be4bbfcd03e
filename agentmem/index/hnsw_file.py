"""The file that hnswlib 0.6.2 to 0.8.0 saves, read into a graph over the rows of a segment and written from one.

A header of 96 bytes; each node's links at level 0, its vector and its label, in records of one size; then for each node
the bytes of its upper levels and their links.  Some builds that install the same module name write another layout: it
is recognised by walking the lists to the end of the file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from math import log
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.index.part import Graph
from agentmem.records import Float32, Int64

_HEADER = struct.Struct("<6QiI3QdQ")
_FIELDS = ("level0", "capacity", "count", "record", "label", "data", "max_level", "entry", "maxM", "maxM0", "M")
_CHUNK = 8192


def read_graph(path: Path, dimension: int, n_rows: int, rows_of: Callable[[Int64], Int64]) -> Graph:
    """Read a saved file.

    Args:
        path: the file.
        dimension: of the vectors.
        n_rows: of the segment; rows that are no nodes have no links.
        rows_of: the rows of some of the file's labels.

    Raises:
        OSError: the file is of another layout, or incomplete.
    """
    header = _read_header(path, dimension)
    count, M = header["count"], header["M"]
    records = np.memmap(path, _record_type(M, dimension), "r", _HEADER.size, (count,))
    tail = np.fromfile(path, "<u4", offset=_HEADER.size + records.nbytes)
    row_of = rows_of(records["label"].astype(np.int64))
    links = np.zeros((n_rows, 1 + 2 * M), np.uint32)
    for start in range(0, count, _CHUNK):
        some = records[start : start + _CHUNK]
        links[row_of[start : start + _CHUNK]] = _renumber(some["count"], some["links"], row_of)
    upper_offsets, upper = _upper_lists(path, tail, row_of, n_rows, M)
    return Graph(
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


def write_graph(
    path: Path,
    graph: Graph,
    nodes: Int64,
    vectors: Float32,
    labels: Int64,
    ef_construction: int,
    scale: np.float32,
) -> None:
    """Write a file that hnswlib can load and add to.

    Args:
        path: the file to write.
        graph: its links are trusted: verify a mapped segment first.
        nodes: the rows that are its nodes.
        vectors: float32 (n, dim) of the rows.
        labels: int64 (n,), the names of the nodes.
        ef_construction: for the nodes to be added.
        scale: the vectors are multiplied by it.
    """
    M, dimension = graph.M, vectors.shape[1]
    number = np.zeros(len(labels), np.int64)
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
            records["vector"], records["label"] = vectors[rows] * scale, labels[rows]
            file.write(records.tobytes())
        upper = graph.upper.reshape(-1, 1 + M)
        lists = _renumber(upper[:, 0], upper[:, 1:], number)
        offsets = (graph.upper_offsets // (1 + M)).tolist()
        for row in nodes.tolist():
            block = lists[offsets[row] : offsets[row + 1]].tobytes()
            file.write(len(block).to_bytes(4, "little") + block)
