"""Columns of index rows: what storage hands to the index, one array a column, one row a live version of a record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.keys import session_key, speaker_key, thread_key
from agentmem.records import Float32, Int64

RowTuple = tuple[
    int, str, str | None, str | None, str | None, float | None, float, float | None, float, bytes | None, bytes, bytes
]
"""label, namespace, thread, session, speaker, position, created_at, expires_at, importance, vector, tokens, terms"""


@dataclass(frozen=True, slots=True)
class Rows:
    """n rows as columns.

    Attributes:
        labels: int64 (n,), strictly ascending.
        vectors: float32 (n, dim), as they were stored; zeros where there is none.
        has_vector: bool (n,).
        namespaces: n strings.
        thread_key, session_key, speaker_key: int64 (n,), 0 for none.
        position: float64 (n,), NaN for none.
        created_at: float64 (n,), epoch seconds.
        expires_at: float64 (n,), +inf for never.
        importance: float32 (n,).
        token_offsets: int64 (n + 1,) into ``tokens``, uint16 or uint32.
        term_offsets: int64 (n + 1,) into ``terms``, uint32 stem ids in the text's order, repeated as in the text.
    """

    labels: Int64
    vectors: Float32
    has_vector: NDArray[np.bool_]
    namespaces: Sequence[str]
    thread_key: Int64
    session_key: Int64
    speaker_key: Int64
    position: NDArray[np.float64]
    created_at: NDArray[np.float64]
    expires_at: NDArray[np.float64]
    importance: Float32
    token_offsets: Int64
    tokens: NDArray[np.unsignedinteger[Any]]
    term_offsets: Int64
    terms: NDArray[np.uint32]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.labels)


def _ragged(blobs: Sequence[bytes], dtype: Any) -> tuple[Int64, NDArray[Any]]:
    width = np.dtype(dtype).itemsize
    offsets = np.zeros(len(blobs) + 1, np.int64)
    np.cumsum([len(blob) // width for blob in blobs], out=offsets[1:])
    return offsets, np.frombuffer(b"".join(blobs), dtype)


def rows_from_tuples(tuples: Iterable[RowTuple], dimension: int, token_dtype: Any = np.uint16) -> Rows:
    """Turn database rows, ordered by label, into columns.

    Args:
        tuples: rows in the order of ``RowTuple``.
        dimension: the store's vector dimension.
        token_dtype: uint16 or uint32, by the size of the tokenizer's vocabulary.
    """
    rows = list(tuples)
    count = len(rows)
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * 12
    labels, namespaces, threads, sessions, speakers, position, created, expires, importance, vectors, tokens, terms = (
        columns
    )
    blank = bytes(4 * dimension)
    matrix = np.frombuffer(b"".join(blob or blank for blob in vectors), np.float32).reshape(count, dimension)
    token_offsets, token_ids = _ragged(tokens, token_dtype)
    term_offsets, term_ids = _ragged(terms, np.uint32)
    result = Rows(
        labels=np.array(labels, np.int64),
        vectors=matrix,
        has_vector=np.array([blob is not None for blob in vectors], np.bool_),
        namespaces=namespaces,
        thread_key=np.array([thread_key(n, t) for n, t in zip(namespaces, threads, strict=True)], np.int64),
        session_key=np.array(
            [session_key(n, t, s) for n, t, s in zip(namespaces, threads, sessions, strict=True)], np.int64
        ),
        speaker_key=np.array([speaker_key(name) for name in speakers], np.int64),
        position=np.array([np.nan if p is None else p for p in position], np.float64),
        created_at=np.array(created, np.float64),
        expires_at=np.array([np.inf if e is None else e for e in expires], np.float64),
        importance=np.array(importance, np.float32),
        token_offsets=token_offsets,
        tokens=token_ids,
        term_offsets=term_offsets,
        terms=term_ids,
    )
    if any(a >= b for a, b in pairwise(labels)):
        raise ValueError("rows must come in strictly ascending order of label")
    return result
