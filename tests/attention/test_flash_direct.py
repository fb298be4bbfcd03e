"""The lean functions: what attend gives, on every path of the kernels, into the caller's buffers."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import ODD, assert_within_budget, exponential, heads, poincare, softmax

from agentmem.attention import attend, direct
from agentmem.attention.buffers import BufferPool
from agentmem.attention.engine import native
from agentmem.attention.threads import num_threads, set_num_threads
from agentmem.errors import InvalidInput, InvalidVector


def rows(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    set_num_threads(request.param)
    yield request.param
    set_num_threads(None)


def test_known_answer() -> None:
    # logits ln 3 and 0: weights 3/4 and 1/4
    out = direct.attention(np.array([np.log(3), 0], np.float32), np.eye(2, dtype=np.float32), scale=1.0)
    np.testing.assert_allclose(out, [0.75, 0.25], rtol=1e-6)


@pytest.mark.parametrize("n_keys", ODD)
@pytest.mark.parametrize("n_heads", [1, 2, 8])
def test_one_query(n_keys: int, n_heads: int) -> None:
    query, key, value = rows(1, 13 * n_heads), rows(2, n_keys, 13 * n_heads), rows(3, n_keys, 5 * n_heads)
    out = direct.attention(query, key, value, heads=n_heads)
    assert out.shape == (5 * n_heads,)
    assert_within_budget(out[None], heads, query[None], key, value, n=n_heads)


def amid_nan(array: np.ndarray, begin: int) -> np.ndarray:
    """The array, ``begin`` numbers behind a multiple of 64 bytes, with NaN on both sides."""
    room = np.full(array.size + 48, np.nan, np.float32)
    at = -room.ctypes.data // 4 % 16 + begin
    view = room[at : at + array.size].reshape(array.shape)
    view[:] = array
    return view


@settings(max_examples=150, deadline=None)
@given(
    n_keys=st.integers(8, 40),
    n_heads=st.sampled_from([1, 2, 3, 8]),
    dim=st.sampled_from([16, 32, 48, 80, 128, 384]),
    value_dim=st.sampled_from([16, 48, 384]),
    begins=st.tuples(st.integers(0, 15), st.integers(0, 15)),
    apart=st.booleans(),
)
def test_one_query_wherever_its_arrays_begin(
    n_keys: int, n_heads: int, dim: int, value_dim: int, begins: tuple[int, int], apart: bool
) -> None:
    query, key, value = rows(1, dim * n_heads), rows(2, n_keys, dim * n_heads), rows(3, n_keys, value_dim * n_heads)
    laid = [x.reshape(n_keys, n_heads, -1).swapaxes(0, 1) if apart else x for x in (key, value)]
    keys, values = (amid_nan(np.ascontiguousarray(x), begin) for x, begin in zip(laid, begins, strict=True))
    out = direct.attention(query.reshape(n_heads, 1, dim) if apart else query, keys, values, heads=n_heads)
    assert_within_budget(out.reshape(1, -1), heads, query[None], key, value, n=n_heads)


@pytest.mark.parametrize("dim", [13, 48])
@pytest.mark.parametrize("step", [0.5, 3.0, 20.0, -20.0])
def test_one_query_whose_scores_rise_and_fall(dim: int, step: float) -> None:
    query, key, value = rows(1, 2 * dim), rows(2, 45, 2 * dim), rows(3, 45, 2 * dim)
    query[0] = query[dim] = 1.0
    key[:, 0] = key[:, dim] = step * np.sqrt(dim) * np.arange(45)
    key[:, dim] *= -1
    out = direct.attention(query, key, value, heads=2)
    assert_within_budget(out[None], heads, query[None], key, value, n=2)


@settings(max_examples=80, deadline=None)
@given(
    n_queries=st.integers(1, 140),
    n_keys=st.integers(1, 600),
    dim=st.sampled_from([1, 7, 16, 31, 64, 97]),
    value_dim=st.sampled_from([1, 15, 16, 33, 64, 100]),
    seed=st.integers(0, 2**31),
    causal=st.booleans(),
    n_threads=st.integers(1, 3),
)
def test_many_queries(
    n_queries: int, n_keys: int, dim: int, value_dim: int, seed: int, causal: bool, n_threads: int
) -> None:
    query, key, value = rows(seed, n_queries, dim), rows(seed + 1, n_keys, dim), rows(seed + 2, n_keys, value_dim)
    visible = np.tri(n_queries, n_keys, n_keys - n_queries, dtype=bool) if causal else None
    set_num_threads(n_threads)
    out = direct.attention(query, key, value, causal=causal)
    set_num_threads(None)
    assert_within_budget(out, softmax, query, key, value, mask=visible)


def test_heads_in_front_and_inside_agree(threads: int) -> None:
    query, key, value = rows(4, 4, 70, 24), rows(5, 4, 301, 24), rows(6, 4, 301, 17)
    split = direct.attention(query, key, value)
    inside = direct.attention(*(np.ascontiguousarray(np.concatenate(x, 1)) for x in (query, key, value)), heads=4)
    for head in range(4):
        assert_within_budget(split[head], softmax, query[head], key[head], value[head])
    np.testing.assert_array_equal(np.concatenate(split, 1), inside)


def test_it_is_what_attend_gives(threads: int) -> None:
    query, key = rows(7, 65, 48), rows(8, 1100, 48)
    np.testing.assert_array_equal(direct.attention(query, key), attend(query, key).output)
    np.testing.assert_allclose(direct.attention(query[0], key), attend(query[:1], key).output[0], rtol=1e-5, atol=1e-6)


def test_threads_change_nothing() -> None:
    query, key = rows(9, 200, 64), rows(10, 700, 64)
    outs = []
    for n in (1, 2, 4):
        set_num_threads(n)
        outs.append(direct.attention(query, key, causal=True))
    set_num_threads(None)
    np.testing.assert_array_equal(outs[0], outs[1])
    np.testing.assert_array_equal(outs[0], outs[2])


@pytest.mark.parametrize("shape", [(40,), (3, 40), (20, 40), (2, 20, 20)])
def test_out_is_written_and_returned(shape: tuple[int, ...]) -> None:
    query, key = rows(11, *shape), rows(12, 9, 40) if len(shape) < 3 else rows(12, 2, 9, 20)
    out = np.full(shape, np.nan, np.float32)
    assert direct.attention(query, key, out=out) is out
    np.testing.assert_array_equal(out, direct.attention(query, key))


def test_poincare_scores_are_distances() -> None:
    query, key = rows(13, 20) / 4, rows(14, 97, 20) / 4
    came = direct.poincare_scores(query, key, curvature=0.7, beta=2.0)
    points = exponential(query[None].astype(float), 0.7), exponential(key.astype(float), 0.7)
    np.testing.assert_allclose(came, -2 * poincare(*points, 0.7)[0], rtol=1e-4)
    at_zero = direct.poincare_scores(np.zeros(20, np.float32), key)
    np.testing.assert_allclose(at_zero, -np.linalg.norm(key, axis=1), rtol=1e-5)  # distance(0, exp(v)) = |v|


@pytest.mark.skipif(native() is None, reason="NumPy's own way allocates")
def test_nothing_is_allocated_in_the_steady_state() -> None:
    pool, query, key = BufferPool(), rows(15, 64), rows(16, 300, 64)
    batch = rows(17, 40, 64)

    def turn() -> None:
        with pool.borrow((64,)) as out:
            direct.attention(query, key, out=out)
        with pool.borrow((40, 64)) as outs:
            direct.attention(batch, key, out=outs)

    turn()
    turn()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(50):
            turn()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    array = 64 * 4
    assert after - before < array, "each turn leaves something behind"
    assert peak - before < 8 * array, "a turn allocates an array"


def test_float64_is_computed_in_float64() -> None:
    query, key = rows(18, 8).astype(float), rows(19, 5, 8).astype(float)
    np.testing.assert_allclose(direct.attention(query, key), softmax(query[None], key, key)[0], rtol=1e-13)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("n_queries", [1, 3, 40])
@pytest.mark.parametrize("where", [0, 1, 2])
def test_what_is_not_finite_is_refused(bad: float, n_queries: int, where: int) -> None:
    arrays = [rows(20, n_queries, 33), rows(21, 50, 33), rows(22, 50, 19)]
    arrays[where][-1, -1] = bad
    with pytest.raises(InvalidVector, match="NaN or infinity"):
        direct.attention(*arrays)
    with pytest.raises(InvalidVector, match="NaN or infinity"):
        direct.attention(arrays[0][-1], arrays[1], arrays[2])


@pytest.mark.skipif(native() is None, reason="NumPy computes in float64")
def test_overflowing_scores_are_refused() -> None:
    with pytest.raises(InvalidInput, match="exceed float32"):
        direct.attention(np.full((40, 8), -1e30, np.float32), np.full((9, 8), 1e30, np.float32))


def test_arrays_that_do_not_fit() -> None:
    query, key = rows(23, 8), rows(24, 5, 8)
    with pytest.raises(InvalidVector, match="rows of 8 numbers"):
        direct.attention(query, rows(0, 5, 9))
    with pytest.raises(InvalidInput, match="float16"):
        direct.attention(query.astype(np.float16), key)
    with pytest.raises(InvalidInput, match="do not divide"):
        direct.attention(query, key, heads=3)
    with pytest.raises(InvalidInput, match="heads"):
        direct.attention(query, key, heads=0)
    with pytest.raises(InvalidInput, match=r"out: expected float32 of shape \(8,\), came float32 of shape \(7,\)"):
        direct.attention(query, key, out=np.empty(7, np.float32))
    with pytest.raises(InvalidInput, match="may be written"):
        direct.attention(query, key, out=np.broadcast_to(np.float32(0), (8,)))
    with pytest.raises(InvalidInput, match="curvature"):
        direct.poincare_scores(query, key, curvature=0.0)
    with pytest.raises(InvalidVector, match="rows of 8 numbers"):
        direct.poincare_scores(query, rows(0, 5, 9))


def test_no_keys_give_zeros() -> None:
    assert direct.attention(rows(1, 8), rows(1, 0, 8)).tolist() == [0.0] * 8
    assert direct.attention(rows(1, 9, 8), rows(1, 0, 8)).tolist() == np.zeros((9, 8)).tolist()
    assert direct.poincare_scores(rows(1, 8), rows(1, 0, 8)).shape == (0,)


def test_threads_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    for n in (0, 65, True, 1.5):
        with pytest.raises(InvalidInput, match="from 1 to 64"):
            set_num_threads(n)  # type: ignore[arg-type]
    for words, expected in (("3", 3), ("many", None)):
        monkeypatch.setenv("AGENTMEM_NUM_THREADS", words)
        set_num_threads(None)
        if expected:
            assert num_threads() == expected
        else:
            with pytest.raises(InvalidInput, match="AGENTMEM_NUM_THREADS"):
                num_threads()
    monkeypatch.undo()
    set_num_threads(None)
