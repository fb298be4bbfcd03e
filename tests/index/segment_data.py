"""Rows, segments and brute-force answers for the tests of the index."""

from __future__ import annotations

from typing import Any

import numpy as np

from agentmem.index.build import build_segment
from agentmem.index.segment import Segment
from agentmem.rows import Rows


def make_rows(vectors: np.ndarray, **columns: Any) -> Rows:
    """Return rows with labels 1, 2, ... and plain columns, but for those given."""
    n = len(vectors)
    plain: dict[str, Any] = {
        "labels": np.arange(1, n + 1, dtype=np.int64),
        "vectors": np.ascontiguousarray(vectors, np.float32),
        "has_vector": np.ones(n, np.bool_),
        "namespaces": [""] * n,
        "thread_key": np.zeros(n, np.int64),
        "session_key": np.zeros(n, np.int64),
        "speaker_key": np.zeros(n, np.int64),
        "position": np.full(n, np.nan),
        "created_at": np.arange(n, dtype=np.float64),
        "expires_at": np.full(n, np.inf),
        "importance": np.full(n, 0.5, np.float32),
        "token_offsets": np.zeros(n + 1, np.int64),
        "tokens": np.zeros(0, np.uint16),
        "term_offsets": np.zeros(n + 1, np.int64),
        "terms": np.zeros(0, np.uint32),
    }
    return Rows(**{**plain, **columns})


def segment_bytes(rows: Rows, *, metric: str = "cosine", graph: bool = False, **options: Any) -> bytes:
    """Build a segment in memory."""
    built = build_segment(
        None,
        rows,
        store_uuid="store",
        seq=7,
        kind="base",
        metric=metric,
        tokenizer_hash="tokens",
        graph=graph,
        **options,
    )
    assert isinstance(built, bytes)
    return built


def make_segment(rows: Rows, *, metric: str = "cosine", graph: bool = False, **options: Any) -> Segment:
    """Build a segment in memory and open it."""
    return Segment.open(segment_bytes(rows, metric=metric, graph=graph, **options))


def clustered(n: int, dim: int, seed: int) -> np.ndarray:
    """Return n float32 vectors around a few dozen centres: like embeddings, unlike noise."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(max(2, n // 100), dim))
    return (centres[rng.integers(len(centres), size=n)] + 0.7 * rng.normal(size=(n, dim))).astype(np.float32)


def exact_order(segment: Segment, query: np.ndarray, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return all rows with a vector, best first, and their float64 scores."""
    rows = np.flatnonzero(segment.has_vector)
    some, query = segment.vectors[rows].astype(np.float64), query.astype(np.float64)
    scores = -np.square(some - query).sum(axis=1) if metric == "l2" else some @ query
    order = np.lexsort((rows, -scores))
    return rows[order], scores[order]
