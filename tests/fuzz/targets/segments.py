"""Segments: a file that was changed anywhere is refused when it is opened, or searched without harm."""

from __future__ import annotations

import struct
import zlib
from functools import cache

import numpy as np

from agentmem.errors import SegmentDamaged
from agentmem.index.build import build_segment
from agentmem.index.segment import Segment
from agentmem.index.view import View
from agentmem.rerank import kernels
from agentmem.rows import Rows

N, DIMENSION = 40, 6
NOW = 2.0


@cache
def original(graph: bool) -> bytes:
    """Return a sound segment of forty rows, with duplicates, terms, tokens, threads and namespaces."""
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((N, DIMENSION)).astype(np.float32)
    vectors[7] = vectors[3]
    made = build_segment(
        None,
        Rows(
            labels=np.arange(1, N + 1, dtype=np.int64),
            vectors=vectors,
            has_vector=np.arange(N) % 9 != 8,
            namespaces=["", "users/1", "users/10", "team"] * (N // 4),
            thread_key=np.arange(N, dtype=np.int64) // 10,
            session_key=np.arange(N, dtype=np.int64) // 5,
            speaker_key=np.arange(N, dtype=np.int64) % 3,
            position=np.arange(N, dtype=np.float64),
            created_at=np.arange(N, dtype=np.float64),
            expires_at=np.where(np.arange(N) % 11 == 10, 1.0, np.inf),
            importance=np.full(N, 0.5, np.float32),
            token_offsets=np.arange(N + 1, dtype=np.int64) * 2,
            tokens=(np.arange(2 * N) % 50).astype(np.uint16),
            term_offsets=np.arange(N + 1, dtype=np.int64) * 2,
            terms=(np.arange(2 * N) % 7).astype(np.uint32),
        ),
        store_uuid="store",
        seq=7,
        kind="base",
        metric="cosine",
        tokenizer_hash="tokens",
        graph=graph,
    )
    assert isinstance(made, bytes)
    return made


def resealed(data: bytes) -> bytes:
    """Return a changed file with the sizes and the checksum that it would have if it had been written so."""
    if len(data) < 64:
        return data
    room = min(struct.unpack_from("<I", data, 12)[0], len(data) - 64)
    prefix = data[:16] + struct.pack("<Q", len(data)) + data[24:60]
    return prefix + struct.pack("<I", zlib.crc32(prefix + data[64 : 64 + room])) + data[64:]


def patched(data: bytes) -> bytes:
    """Return a sound segment with what ``data`` says written over it.

    The bits of the first byte: with a graph, the checksum made right again, places within the header only.  Then come a
    place in 2 bytes (units of 4 bytes, or of 1 in the header) and 4 bytes that are to stand there, any number of times.
    """
    flags = data[0] if data else 0
    whole = bytearray(original(bool(flags & 1)))
    header = struct.unpack_from("<I", whole, 12)[0]
    for start in range(1, len(data) - 5, 6):
        place = struct.unpack_from("<H", data, start)[0]
        place = 64 + place % header if flags & 4 else place * 4 % len(whole)
        whole[place : place + 4] = data[start + 2 : start + 6][: len(whole) - place]
    return resealed(bytes(whole)) if flags & 2 else bytes(whole)


def run(data: bytes) -> None:
    """Open what ``data`` makes of a sound segment and ask it everything."""
    try:
        search(Segment.open(patched(data)))
    except SegmentDamaged:
        return


def search(segment: Segment) -> None:
    """Ask a segment everything that a store asks."""
    if (segment.n, segment.dimension, segment.metric) != (N, DIMENSION, "cosine"):
        return
    view = View.of([segment], DIMENSION, "cosine", np.uint16, seq=7)
    query, few = np.linspace(-1, 1, DIMENSION, dtype=np.float32), np.arange(3, dtype=np.uint32)
    with np.errstate(all="ignore"):
        for namespace in (None, "users/", "users/1", "absent"):
            scope = view.scope(namespace, NOW)
            for exact in (False, True):
                rows, _ = view.nearest(query, 5, scope, None, exact)
                assert ((rows >= 0) & (rows < N)).all()
            found = view.lexical(few, 5, scope).rows
            assert ((found >= 0) & (found < N)).all()
            rows = view.rows_in(scope)
            view.neighbours(rows, 2, scope)
            view.columns(rows)
            for _, part, local in view.parts_of(rows):
                kernels.holding(part.token_offsets, part.tokens, local, few)
                kernels.holding(part.term_offsets, part.terms, local, few)
                kernels.phrase_scores(part.term_offsets, part.terms, local, few, np.ones(3, np.float32))
                kernels.lead_scores(part.term_offsets, part.terms, local, few, np.ones(3, np.float32))
            view.labels(rows)
        view.nearest(query, 5, view.scope(None, NOW, np.arange(1, 20, 2)), 10, False)
        view.plan(view.scope(None, NOW))
        view.rows_of(np.arange(N + 2))
        view.describe()
