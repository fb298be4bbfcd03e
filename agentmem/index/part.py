"""What every part of the index offers: columns over its rows, mapped from a segment or growing in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agentmem.records import Float32, Int64

CODE_ALIGN = 64
"""int8 codes are padded with zeros to a multiple of this many bytes a row, one AVX-512 register."""


@dataclass(frozen=True, slots=True)
class Postings:
    """An inverted index: the rows that hold term ``terms[i]`` are ``rows[offsets[i]:offsets[i + 1]]``, ascending.

    Attributes:
        terms: uint32 (t,), ascending.
        offsets: int64 (t + 1,).
        rows: uint32 (p,).
        counts: uint8 (p,), how often the term occurs in the row, 255 at most.
    """

    terms: NDArray[np.uint32]
    offsets: Int64
    rows: NDArray[np.uint32]
    counts: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Graph:
    """A hierarchical navigable small world graph over the rows of a segment (Malkov & Yashunin, 1603.09320).

    Rows with equal vectors are one node: the first of them (its representative) has the links, the others have none.

    Attributes:
        links: uint32 (n, 1 + M0): a row's link count at level 0, then the linked rows.
        upper_offsets: int64 (n + 1,) into ``upper``, in units of uint32; level l of row r (1 <= l) begins at
            ``upper_offsets[r] + (l - 1) * (1 + M)``: count, then the linked rows.
        upper: uint32.
        entry: the row where every search begins, or -1 for an empty graph.
        max_level: the entry's level.
        M: links a node at upper levels; M0 = 2 M at level 0.
        group_offsets, group_rows: int64 (n + 1,) and uint32: for a representative, all rows of equal vector, itself
            included, ascending; empty slices where the row stands alone.  None when there are no duplicates at all.
        unreachable: int64, rows that no walk from the entry finds: they are always scanned.
    """

    links: NDArray[np.uint32]
    upper_offsets: Int64
    upper: NDArray[np.uint32]
    entry: int
    max_level: int
    M: int
    group_offsets: Int64 | None
    group_rows: NDArray[np.uint32] | None
    unreachable: Int64


class Part(Protocol):
    """n rows as columns, in a part's own row order.  All arrays may be read-only maps.

    Segments hold their rows sorted by (namespace, thread_key, position, label); the tail in order of label.
    """

    n: int
    labels: Int64
    vectors: Float32
    """(n, dim), L2-normalised under cosine, as stored otherwise; zeros where a row has no vector."""
    codes: NDArray[np.int8]
    """(n, stride): vectors ≈ scales[:, None] * codes[:, :dim], zero-padded to a multiple of CODE_ALIGN."""
    scales: Float32
    norms: Float32
    """(n,), squared L2 norms of ``vectors``."""
    has_vector: NDArray[np.uint8]
    thread_key: Int64
    session_key: Int64
    speaker_key: Int64
    position: NDArray[np.float64]
    created_at: NDArray[np.float64]
    expires_at: NDArray[np.float64]
    importance: Float32
    lengths: NDArray[np.uint32]
    """(n,), number of terms in the row's text."""
    token_offsets: Int64
    tokens: NDArray[np.unsignedinteger[Any]]
    term_offsets: Int64
    terms: NDArray[np.uint32]
    """Stem ids in the order of each row's text."""
