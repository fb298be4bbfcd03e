"""The order in which vectors enter a graph."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem.index.locality import ROWS_PER_CELL, SCATTERED, insertion_order


def clustered(count, seed, dim=8):
    """Return vectors around ten centres, each vector of another one than the last."""
    chance = np.random.default_rng(seed)
    centres = chance.normal(size=(10, dim))
    return (centres[np.arange(count) % 10] + 0.01 * chance.normal(size=(count, dim))).astype(np.float32)


@given(st.integers(0, 1000), st.integers(1, 24), st.integers(0, 9), st.booleans())
def test_every_row_comes_once(count, dim, seed, equal):
    vectors = np.ones((2 * count, dim), np.float32) if equal else clustered(2 * count, seed, dim)
    rows = np.random.default_rng(seed).choice(2 * count, count, replace=False)
    order = insertion_order(vectors, rows, seed)
    np.testing.assert_array_equal(np.sort(order), np.sort(rows))
    np.testing.assert_array_equal(order, insertion_order(vectors, rows, seed))


def test_few_rows_stay_as_they_are():
    rows = np.arange(2 * ROWS_PER_CELL - 1)[::-1]
    assert insertion_order(clustered(len(rows), 1), rows, 1) is rows


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e6])
def test_a_few_from_everywhere_then_region_by_region(scale):
    count = 5_000
    vectors = clustered(count, seed=3) * np.float32(scale)
    order = insertion_order(vectors, np.arange(count), seed=5)
    few = count // SCATTERED
    assert set(order[:few] % 10) == set(range(10))
    changes = np.count_nonzero(np.diff(order[few:] % 10))
    assert changes < 200  # as given, each of 5,000 rows lies in another region than the one before
