"""Candidates made by hand, for every test of the heads."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from agentmem.rerank.evidence import DENSE, LEXICAL, Evidence

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
    whole = {name: columns.pop(name) for name in ("peers", "neighbours", "links", "ancestors") if name in columns}
    blank.update(columns)
    arrays = {name: np.asarray(value, DTYPES.get(name, np.float32)) for name, value in blank.items()}
    return Evidence(**arrays, **whole)


@pytest.fixture(scope="session")
def make() -> Callable[..., Evidence]:
    """Return the maker of candidates."""
    return build
