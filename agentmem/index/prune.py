"""Taking dead rows out of a graph: who linked to one links to the nearest of its neighbours instead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from agentmem.index.part import Graph
from agentmem.records import Float32, Int64

_CHUNK = 2048
"""Rows repaired, or pairs scored, at a time."""


def without_rows(graph: Graph, keep: Int64, vectors: Float32, l2: bool) -> Graph:
    """Return the graph with only some of its nodes, in the same numbering of the rows.

    A live row that loses links gets as many of the nearest live neighbours of the neighbours it lost.  Rows may become
    unreachable by it: walk the result.

    Args:
        graph: its links are trusted.
        keep: the nodes that live, at least one.
        vectors: float32 (n, dim) of the rows.
        l2: nearest by distance, not by inner product.
    """
    dead = np.ones(len(graph.links), np.bool_)
    dead[keep] = False
    every = np.arange(len(graph.links))
    links = _repaired(graph.links, every, vectors, l2, dead)
    levels = np.diff(graph.upper_offsets) // (1 + graph.M)
    levels[dead] = 0
    offsets = np.zeros(len(levels) + 1, np.int64)
    np.cumsum(levels * (1 + graph.M), out=offsets[1:])
    upper = np.zeros((int(offsets[-1]) // (1 + graph.M), 1 + graph.M), np.uint32)
    old_lists = graph.upper.reshape(-1, 1 + graph.M)
    old_offsets, new_offsets = graph.upper_offsets[:-1] // (1 + graph.M), offsets[:-1] // (1 + graph.M)
    for level in range(1, graph.max_level + 1):
        rows = np.flatnonzero(np.diff(graph.upper_offsets) >= level * (1 + graph.M))
        repaired = _repaired(old_lists[old_offsets[rows] + level - 1], rows, vectors, l2, dead)
        alive = ~dead[rows]
        upper[new_offsets[rows[alive]] + level - 1] = repaired[alive]
    entry = int(keep[np.argmax(levels[keep])]) if dead[graph.entry] else graph.entry
    return replace(
        graph,
        links=links,
        upper_offsets=offsets,
        upper=upper.reshape(-1),
        entry=entry,
        max_level=int(levels[entry]),
        unreachable=np.zeros(0, np.int64),
    )


def _repaired(
    lists: NDArray[np.uint32], rows: Int64, vectors: Float32, l2: bool, dead: NDArray[np.bool_]
) -> NDArray[np.uint32]:
    """Return the lists (m, 1 + width) of ``rows`` at one level, repaired; those of dead rows are empty."""
    place = np.zeros(len(dead), np.int64)
    place[rows] = np.arange(len(rows))
    used = np.arange(lists.shape[1] - 1) < lists[:, :1]
    lost = used & dead[lists[:, 1:]]
    result = lists.copy()
    result[dead[rows]] = 0
    affected = np.flatnonzero(lost.any(axis=1) & ~dead[rows])
    for start in range(0, len(affected), _CHUNK):
        some = affected[start : start + _CHUNK]
        owners, links = _live_links(some, lists, used, lost)
        heirs, others = _inherited(some, lists, rows, place, used, lost, dead)
        fresh = ~np.isin(heirs * len(dead) + others, owners * len(dead) + links)
        heirs, others = heirs[fresh], others[fresh]
        order = np.lexsort((-_nearness(vectors, rows[some[heirs]], others, l2), heirs))
        heirs, others = heirs[order], others[order]
        chosen = _rank(heirs) < lost[some].sum(axis=1)[heirs]
        result[some] = _assemble(
            len(some),
            lists.shape[1],
            np.concatenate([owners, heirs[chosen]]),
            np.concatenate([links, others[chosen]]),
        )
    return result


def _live_links(
    some: Int64, lists: NDArray[np.uint32], used: NDArray[np.bool_], lost: NDArray[np.bool_]
) -> tuple[Int64, Int64]:
    owners, slots = np.nonzero(used[some] & ~lost[some])
    return owners, lists[some[owners], 1 + slots].astype(np.int64)


def _inherited(
    some: Int64,
    lists: NDArray[np.uint32],
    rows: Int64,
    place: Int64,
    used: NDArray[np.bool_],
    lost: NDArray[np.bool_],
    dead: NDArray[np.bool_],
) -> tuple[Int64, Int64]:
    """Return pairs of (index in ``some``, live neighbour of a lost neighbour), each once, none with itself."""
    heirs, slots = np.nonzero(lost[some])
    lists_lost = place[lists[some[heirs], 1 + slots]]
    pairs, slots = np.nonzero(used[lists_lost])
    others = lists[lists_lost[pairs], 1 + slots].astype(np.int64)
    heirs = heirs[pairs]
    keep = ~dead[others] & (others != rows[some[heirs]])
    codes = np.unique(heirs[keep] * len(dead) + others[keep])
    return codes // len(dead), codes % len(dead)


def _nearness(vectors: Float32, left: Int64, right: Int64, l2: bool) -> Float32:
    result = np.empty(len(left), np.float32)
    for start in range(0, len(left), _CHUNK):
        a, b = vectors[left[start : start + _CHUNK]], vectors[right[start : start + _CHUNK]]
        result[start : start + _CHUNK] = -np.square(a - b).sum(axis=1) if l2 else np.einsum("ij,ij->i", a, b)
    return result


def _rank(sorted_ids: Int64) -> Int64:
    """Return how many equal ids stand before each one."""
    return np.arange(len(sorted_ids)) - np.searchsorted(sorted_ids, sorted_ids)


def _assemble(count: int, width: int, owners: Int64, links: Int64) -> NDArray[np.uint32]:
    result = np.zeros((count, width), np.uint32)
    order = np.argsort(owners, kind="stable")
    owners = owners[order]
    result[:, 0] = np.bincount(owners, minlength=count)
    result[owners, 1 + _rank(owners)] = links[order]
    return result
