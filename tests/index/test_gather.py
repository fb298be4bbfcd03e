"""Columns of a few rows, and distinct rows, on either backend."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from view_model import BACKENDS, backend

from agentmem.index import kernels

on_backends = pytest.mark.parametrize("name", BACKENDS)


@on_backends
def test_columns_of_every_width_are_taken(name: str) -> None:
    rng = np.random.default_rng(0)
    kinds = (np.int64, np.float64, np.float32, np.uint32, np.uint8)
    columns = tuple(rng.integers(0, 200, 50).astype(kind) for kind in kinds)
    rows, places = rng.integers(0, 50, 7), rng.permutation(9)[:7]
    with backend(name):
        plain = tuple(np.zeros(7, kind) for kind in kinds)
        kernels.take(columns, rows, None, plain)
        placed = tuple(np.zeros(9, kind) for kind in kinds)
        kernels.take(columns, rows, places, placed)
    for column, one, other in zip(columns, plain, placed, strict=True):
        assert one.tolist() == column[rows].tolist()
        assert other[places].tolist() == column[rows].tolist()
        assert not other[np.setdiff1d(np.arange(9), places)].any()


@on_backends
@pytest.mark.parametrize("row", [5, 10**15])
def test_a_row_outside_is_refused(name: str, row: int) -> None:
    with backend(name), pytest.raises(IndexError):
        kernels.take((np.zeros(5),), np.array([0, row]), None, (np.zeros(2),))


@on_backends
@settings(max_examples=60, deadline=None, derandomize=True)
@given(rows=st.lists(st.one_of(st.integers(0, 40), st.integers(0, 2**62)), max_size=120))
def test_distinct_rows_and_their_places(name: str, rows: list[int]) -> None:
    numbers = np.array(rows, np.int64)
    with backend(name):
        distinct, places = kernels.distinct_places(numbers)
    assert distinct.dtype == places.dtype == np.int64
    assert distinct.tolist() == sorted(set(rows))
    assert distinct[places].tolist() == rows
