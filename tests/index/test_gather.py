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


@on_backends
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    offered=st.lists(st.tuples(st.sampled_from([0, 1, 2, 4, 8]), st.lists(st.integers(0, 30), max_size=20)), max_size=5)
)
def test_a_union_tells_who_offered_each_row(name: str, offered: list[tuple[int, list[int]]]) -> None:
    wanted: dict[int, int] = {}
    for bit, rows in offered:
        for row in rows:
            wanted[row] = wanted.get(row, 0) | bit
    with backend(name):
        rows, marks = kernels.union([(bit, np.array(rows, np.int64)) for bit, rows in offered])
    assert (rows.dtype, marks.dtype) == (np.int64, np.uint8)
    assert dict(zip(rows.tolist(), marks.tolist(), strict=True)) == wanted
    assert rows.tolist() == sorted(wanted)
