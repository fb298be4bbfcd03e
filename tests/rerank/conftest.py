"""Candidates made by hand, for every test of the heads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from agentmem.rerank.evidence import DENSE, LEXICAL, Ancestors, Evidence, Links, Neighbours

DTYPES = {
    "labels": np.int64,
    "first_round": np.bool_,
    "sources": np.uint8,
    "thread_key": np.int64,
    "session_key": np.int64,
    "speaker_key": np.int64,
    "created_at": np.float64,
    "asks": np.bool_,
    "tells_time": np.bool_,
}


def build(size: int, **columns: object) -> Evidence:
    """Return plain, indifferent candidates, with the columns given."""
    blank: dict[str, object] = {
        "labels": np.arange(1, size + 1),
        "dense": np.zeros(size),
        "lexical": np.zeros(size),
        "phrase": np.zeros(size),
        "lead": np.zeros(size),
        "late": np.zeros(size),
        "first_round": np.ones(size),
        "sources": np.full(size, DENSE | LEXICAL),
        "thread_key": np.zeros(size),
        "session_key": np.zeros(size),
        "speaker_key": np.zeros(size),
        "created_at": np.full(size, 1e9),
        "importance": np.full(size, 0.5),
        "asks": np.zeros(size),
        "tells_time": np.zeros(size),
        "feedback": np.zeros(size),
    }
    whole = {
        name: columns.pop(name) for name in ("peers", "neighbours", "links", "ancestors", "inside") if name in columns
    }
    blank.update(columns)
    arrays = {name: np.asarray(value, DTYPES.get(name, np.float32)) for name, value in blank.items()}
    return Evidence(**arrays, **whole)


def drawn(seed: int, size: int, holes: bool) -> Evidence:
    """Return candidates of which everything is random, a third of some columns NaN for holes."""
    rng = np.random.default_rng(seed)

    def column(scale: float) -> np.ndarray:
        values = rng.random(size) * scale
        if holes:
            values[rng.random(size) < 0.3] = np.nan
        return values

    vectors = rng.standard_normal((size, 8))
    beside = rng.integers(0, size, 3 * size)
    offsets = rng.choice([-3, -2, -1, 1, 2, 3], 3 * size)
    around = Neighbours(
        beside.astype(np.int32), offsets.astype(np.int8), *(rng.random((3, 3 * size)).astype(np.float32))
    )
    first_round = rng.random(size) < 0.7
    return build(
        size,
        inside=first_round | (rng.random(size) < 0.5),
        labels=rng.permutation(size) + 1,
        dense=column(1),
        lexical=column(20),
        phrase=column(5),
        lead=column(20),
        late=column(1),
        first_round=first_round,
        sources=rng.integers(1, 4, size),
        thread_key=rng.integers(0, 2, size),
        session_key=rng.integers(0, 3, size),
        speaker_key=rng.integers(0, 3, size),
        created_at=column(1e9),
        asks=rng.integers(0, 2, size),
        tells_time=rng.integers(0, 2, size),
        peers=(vectors @ vectors.T).astype(np.float32),
        neighbours=around,
        links=Links(np.zeros(1, np.int32), np.full(1, size - 1, np.int32)),
        ancestors=Ancestors(np.full(1, size // 2, np.int32), np.zeros(1, np.int32), np.zeros(1, np.int32), column(6.0)),
    )


@pytest.fixture(scope="session")
def draw() -> Callable[[int, int, bool], Evidence]:
    """Return the maker of random candidates: ``draw(seed, size, holes)``."""
    return drawn


@pytest.fixture(scope="session")
def make() -> Callable[..., Evidence]:
    """Return the maker of candidates."""
    return build
