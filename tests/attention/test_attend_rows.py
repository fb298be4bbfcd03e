"""attend_rows: gather and attention in one pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import assert_within_budget, softmax

from agentmem.attention import attend_rows
from agentmem.errors import InvalidInput, InvalidVector


def rows(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_known_answer(backend: str) -> None:
    # logits ln 3 and 0 over rows 2 and 0: weights 3/4 and 1/4
    matrix = np.array([[0, 4], [9, 9], [4, 0]], np.float32)
    query = np.array([np.log(3) / 4, 0], np.float32)
    came = attend_rows(matrix, np.array([2, 0]), query, scale=1.0, backend=backend)
    np.testing.assert_allclose(came.output, [3, 1], rtol=1e-6)
    np.testing.assert_allclose(came.weights, [0.75, 0.25], rtol=1e-6)
    assert came.backend == backend


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 4), st.integers(0, 100), st.integers(1, 70), st.integers(0, 2**31))
def test_any_shape(backend: str, batch: int, m: int, dim: int, seed: int) -> None:
    matrix, query = rows(seed, 40, dim), rows(seed + 1, batch, dim)
    rng = np.random.default_rng(seed)
    lists = rng.integers(0, 40, (batch, m))
    lengths = rng.integers(0, m + 1, batch)
    lists[np.arange(m) >= lengths[:, None]] = -1
    matrix.flags.writeable = lists.flags.writeable = query.flags.writeable = False
    came = attend_rows(matrix, lists, query, backend=backend)
    assert came.weights is not None
    assert came.output.shape == (batch, dim)
    assert came.weights.shape == (batch, m)
    for i, length in enumerate(lengths):
        chosen = matrix[lists[i, :length]]
        assert_within_budget(came.output[i][None], softmax, query[i][None], chosen, chosen)
        assert (came.weights[i, length:] == 0).all()
    if batch and m:
        one = attend_rows(matrix, lists[0], query[0], backend=backend)
        np.testing.assert_array_equal(one.output, came.output[0])
        shared = attend_rows(matrix, lists[0], query, backend=backend)
        np.testing.assert_array_equal(shared.output[0], came.output[0])


def test_mapped_file_and_other_layouts(backend: str, tmp_path: Path) -> None:
    matrix, query, chosen = rows(1, 50, 33), rows(2, 33), np.array([7, 7, 49, 0])
    np.save(tmp_path / "matrix.npy", matrix)
    expected = attend_rows(matrix, chosen, query, backend=backend).output
    mapped = np.load(tmp_path / "matrix.npy", mmap_mode="r")
    np.testing.assert_array_equal(attend_rows(mapped, chosen, query, backend=backend).output, expected)
    wide = np.repeat(matrix, 2, axis=1)[:, ::2]
    wide_query = np.repeat(query, 2)[::2]
    narrow = chosen.astype(np.int32)
    np.testing.assert_array_equal(attend_rows(wide, narrow, wide_query, backend=backend).output, expected)


def test_impossible_inputs(backend: str) -> None:
    matrix, query, chosen = rows(1, 5, 4), rows(2, 4), np.array([0, 1])
    with pytest.raises(InvalidInput, match="rows: 5 is outside the matrix of 5 rows"):
        attend_rows(matrix, np.array([0, 5]), query, backend=backend)
    with pytest.raises(InvalidInput, match="only other negative ones may follow"):
        attend_rows(matrix, np.array([0, -1, 2]), query, backend=backend)
    with pytest.raises(InvalidVector, match=r"query: expected 4 numbers a row as in matrix, came shape \(3,\)"):
        attend_rows(matrix, chosen, query[:3], backend=backend)
    with pytest.raises(InvalidInput, match="query: expected float32, came float64"):
        attend_rows(matrix, chosen, query.astype(float), backend=backend)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="matrix: expected float32 or float64, came int64"):
        attend_rows(np.zeros((5, 4), int), chosen, query, backend=backend)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"rows: expected integers of shape \(m,\)"):
        attend_rows(matrix, chosen.astype(float), query, backend=backend)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"rows: expected integers .* came int64 of shape \(3, 2\)"):
        attend_rows(matrix, np.zeros((3, 2), int), np.stack([query] * 2), backend=backend)
    with pytest.raises(InvalidInput, match="matrix: expected 2 dimensions"):
        attend_rows(query, chosen, query, backend=backend)
    matrix[1, 2] = np.nan
    with pytest.raises(InvalidVector, match=r"expected finite numbers, came NaN or infinity at \[.*1, 2\]"):
        attend_rows(matrix, chosen, query, backend=backend)
    matrix[1, 2] = 0
    query[0] = np.inf
    with pytest.raises(InvalidVector, match="query: expected finite"):
        attend_rows(matrix, chosen, query, backend=backend)
