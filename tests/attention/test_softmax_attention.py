"""scaled-dot, standard-mha, cross-attention and flash-attention-v2."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import ODD, assert_within_budget, heads, softmax

from agentmem.attention import attend, score
from agentmem.errors import InvalidInput

LN2, LN3 = math.log(2), math.log(3)
SOFTMAX = ("scaled-dot", "standard-mha", "cross-attention", "flash-attention-v2")


def rows(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_known_answer_one_head(backend: str) -> None:
    # logits ln 3 and 0: weights 3/4 and 1/4
    key = np.array([[1, 0], [0, 1]], np.float32)
    value = np.array([[1, 2], [3, 4]], np.float32)
    query = np.array([[1, 0]], np.float32)
    result = attend(query, key, value, params={"scale": LN3}, return_weights=True, backend=backend)
    np.testing.assert_allclose(result.output, [[1.5, 2.5]], rtol=1e-6)
    np.testing.assert_allclose(result.weights, [[[0.75, 0.25]]], rtol=1e-6)
    assert result.backend == backend


def test_known_answer_two_heads(backend: str) -> None:
    # head 0: logits ln 3, 0 -> 3/4 of 4; head 1: logits 0, ln 2 -> 2/3 of 3
    key, value = np.array([[1, 0], [0, 1]], np.float32), np.array([[4, 0], [0, 3]], np.float32)
    query = np.array([[LN3, LN2]], np.float32)
    result = attend(query, key, value, mechanism="standard-mha", params={"heads": 2, "scale": 1.0}, backend=backend)
    np.testing.assert_allclose(result.output, [[3.0, 2.0]], rtol=1e-6)


def test_known_answer_causal(backend: str) -> None:
    # equal logits: each query averages what it sees
    value = np.array([[1], [2], [6]], np.float32)
    for block in (0, 1, 2):
        params = {"causal": True, "block_size": block}
        result = attend(
            np.zeros((3, 4), np.float32),
            np.zeros((3, 4), np.float32),
            value,
            mechanism="flash-attention-v2",
            params=params,
            backend=backend,
        )
        np.testing.assert_allclose(result.output, [[1.0], [1.5], [3.0]], rtol=1e-6)


def test_causal_ends_align(backend: str) -> None:
    # two queries at the end of three keys; four queries over two keys see nothing at first
    key, value = np.zeros((3, 2), np.float32), np.array([[1], [2], [6]], np.float32)
    late = attend(key[:2], key, value, params={"causal": True}, backend=backend)
    np.testing.assert_allclose(late.output, [[1.5], [3.0]], rtol=1e-6)
    early = attend(np.zeros((4, 2), np.float32), key[:2], value[:2], params={"causal": True}, backend=backend)
    np.testing.assert_allclose(early.output, [[0], [0], [1], [1.5]], rtol=1e-6)


@pytest.mark.parametrize("n_keys", ODD)
@pytest.mark.parametrize("dim", [1, 7, 97, 384])
def test_parity_over_odd_shapes(backend: str, n_keys: int, dim: int) -> None:
    query, key, value = rows(1, 3, dim), rows(2, n_keys, dim), rows(3, n_keys, 33)
    result = attend(query, key, value, backend=backend)
    assert_within_budget(result.output, softmax, query, key, value)


@pytest.mark.parametrize("mechanism", SOFTMAX[1:])
@pytest.mark.parametrize("n_heads", [1, 3, 8])
def test_parity_of_heads(backend: str, mechanism: str, n_heads: int) -> None:
    query, key, value = rows(4, 33, n_heads * 13), rows(5, 97, n_heads * 13), rows(6, 97, n_heads * 5)
    result = attend(query, key, value, mechanism=mechanism, params={"heads": n_heads}, backend=backend)
    assert_within_budget(result.output, heads, query, key, value, n=n_heads)


@pytest.mark.parametrize("block", [1, 8, 13, 64, 4096])
def test_flash_is_exact(backend: str, block: int) -> None:
    query, key = rows(7, 70, 40), rows(8, 301, 40) * 3
    flash = attend(
        query,
        key,
        mechanism="flash-attention-v2",
        params={"block_size": block},
        return_weights=True,
        backend=backend,
    )
    assert flash.weights is not None
    assert_within_budget(flash.weights[0], softmax, query, key, np.eye(301, dtype=np.float32))
    assert_within_budget(flash.output, softmax, query, key, key)


def test_one_identity_head_is_scaled_dot(backend: str) -> None:
    query, key = rows(9, 5, 24), rows(10, 31, 24)
    plain = attend(query, key, backend=backend).output
    eye = np.eye(24, dtype=np.float32)
    weights = {"query": eye, "key": eye, "value": eye, "output": eye}
    one = attend(query, key, mechanism="standard-mha", params={"heads": 1}, weights=weights, backend=backend)
    np.testing.assert_allclose(one.output, plain, rtol=1e-6, atol=1e-7)


def test_projections_apply(backend: str) -> None:
    query, key, value = rows(11, 2, 6), rows(12, 9, 6), rows(13, 9, 4)
    learned = {"query": rows(14, 6, 8), "key": rows(15, 6, 8), "value": rows(16, 4, 10), "output": rows(17, 10, 3)}
    came = attend(query, key, value, mechanism="standard-mha", params={"heads": 2}, weights=learned, backend=backend)
    q, k, v = query @ learned["query"], key @ learned["key"], value @ learned["value"]
    np.testing.assert_allclose(came.output, heads(q, k, v, 2) @ learned["output"], rtol=1e-4, atol=1e-5)


def test_three_dimensions_are_heads(backend: str) -> None:
    query, key, value = rows(18, 4, 3, 10), rows(19, 4, 33, 10), rows(20, 4, 33, 6)
    came = attend(query, key, value, mechanism="standard-mha", return_weights=True, backend=backend)
    assert came.weights is not None
    assert came.weights.shape == (4, 3, 33)
    for head in range(4):
        assert_within_budget(came.output[head], softmax, query[head], key[head], value[head])


@pytest.mark.parametrize("mechanism", SOFTMAX)
def test_masks_keep(backend: str, mechanism: str) -> None:
    query, key = rows(21, 4, 16), rows(22, 33, 16)
    params = {} if mechanism == "scaled-dot" else {"heads": 1}
    mask = np.random.default_rng(0).random((4, 33)) < 0.4
    mask[2] = False
    came = attend(query, key, mechanism=mechanism, params=params, mask=mask, backend=backend)
    assert (came.output[2] == 0).all()
    assert_within_budget(came.output, softmax, query, key, key, mask=mask)
    shared = attend(query, key, mechanism=mechanism, params=params, mask=mask[0], backend=backend)
    assert_within_budget(shared.output, softmax, query, key[mask[0]], key[mask[0]])


def test_mask_by_head(backend: str) -> None:
    query, key, mask = rows(23, 2, 8), rows(24, 9, 8), np.ones((2, 2, 9), bool)
    mask[1] = False
    came = attend(query, key, mechanism="standard-mha", params={"heads": 2}, mask=mask, backend=backend)
    assert_within_budget(came.output[:, :4], softmax, query[:, :4], key[:, :4], key[:, :4])
    assert (came.output[:, 4:] == 0).all()


@pytest.mark.parametrize("mechanism", SOFTMAX)
def test_no_candidates(backend: str, mechanism: str) -> None:
    came = attend(rows(1, 3, 16), rows(1, 0, 16), mechanism=mechanism, return_weights=True, backend=backend)
    assert came.output.tolist() == np.zeros((3, 16)).tolist()
    assert score(rows(1, 16), rows(1, 0, 16), mechanism=mechanism, backend=backend).shape == (0,)
    none = attend(rows(1, 0, 16), rows(1, 3, 16), mechanism=mechanism, backend=backend)
    assert none.output.shape == (0, 16)


@pytest.mark.parametrize("size", [1e4, 1e-20])
def test_huge_and_tiny_logits(backend: str, size: float) -> None:
    query, key = rows(25, 3, 31) * np.float32(size), rows(26, 33, 31)
    assert_within_budget(attend(query, key, backend=backend).output, softmax, query, key, key)


def test_duplicated_keys_share_evenly(backend: str) -> None:
    key = np.repeat(rows(27, 3, 20), 11, axis=0)
    came = attend(key[:1], key, return_weights=True, backend=backend)
    assert came.weights is not None
    for group in came.weights[0, 0].reshape(3, 11):
        np.testing.assert_allclose(group, group[0], rtol=1e-6)
    np.testing.assert_allclose(came.weights.sum(), 1.0, rtol=1e-5)


def test_read_only_and_non_contiguous(backend: str) -> None:
    query, wide = rows(28, 3, 40), rows(29, 66, 80)
    key = wide[::2, ::2]
    assert not key.flags.c_contiguous
    expected = attend(query, np.ascontiguousarray(key), backend=backend).output
    query.flags.writeable = wide.flags.writeable = False
    np.testing.assert_array_equal(attend(query, key, backend=backend).output, expected)


def test_float64_is_computed_in_float64() -> None:
    query, key = rows(30, 2, 8).astype(np.float64), rows(31, 5, 8).astype(np.float64)
    came = attend(query, key)
    assert (came.backend, came.output.dtype) == ("numpy", np.float64)
    np.testing.assert_allclose(came.output, softmax(query, key, key), rtol=1e-13)


def test_scores(backend: str) -> None:
    query, keys = rows(32, 24), rows(33, 33, 24)
    exps = np.exp(keys.astype(np.float64) @ query / math.sqrt(24))
    expected = exps / exps.sum()
    for mechanism in ("scaled-dot", "flash-attention-v2", "cross-attention"):
        came = score(query, keys, mechanism=mechanism, backend=backend)
        assert came.dtype == np.float32
        np.testing.assert_allclose(came, expected, rtol=1e-4, atol=1e-6)
    shares = score(query, keys, mechanism="standard-mha", params={"heads": 4}, backend=backend)
    weights = attend(query[None], keys, mechanism="standard-mha", params={"heads": 4}, return_weights=True).weights
    assert weights is not None
    np.testing.assert_allclose(shares, weights.mean((0, 1)), rtol=1e-5)


@pytest.mark.parametrize("block_q", [1, 7, 32, 100, 10_000])
@pytest.mark.parametrize("block_kv", [0, 16])
def test_blocks_of_queries_change_no_number(backend: str, block_q: int, block_kv: int) -> None:
    query, key, value = rows(17, 150, 40), rows(18, 301, 40), rows(19, 301, 24)
    for options in ({}, {"return_weights": True}):  # by tiles, and row by row
        params = {"heads": 2, "causal": True, "block_q": block_q, "block_kv": block_kv}
        came = attend(query, key, value, mechanism="flash-attention-v2", params=params, backend=backend, **options)
        visible = np.tri(150, 301, 151, dtype=bool)
        for head in range(2):
            part, wide = slice(20 * head, 20 * head + 20), slice(12 * head, 12 * head + 12)
            assert_within_budget(
                came.output[:, wide], softmax, query[:, part], key[:, part], value[:, wide], mask=visible
            )
        params = params | {"block_kv": 0, "block_size": block_kv}
        same = attend(query, key, value, mechanism="flash-attention-v2", params=params, backend=backend, **options)
        np.testing.assert_array_equal(came.output, same.output)


def test_blocks_are_checked() -> None:
    call = {"mechanism": "flash-attention-v2"}
    with pytest.raises(InvalidInput, match="block_kv is another name of block_size, came 32 and 16"):
        attend(rows(1, 2, 4), rows(2, 3, 4), params={"block_size": 16, "block_kv": 32}, **call)
    for name in ("block_q", "block_kv"):
        with pytest.raises(InvalidInput, match=f"{name} must be a whole number, at least 0, not -1"):
            attend(rows(1, 2, 4), rows(2, 3, 4), params={name: -1}, **call)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 40),
    st.integers(1, 120),
    st.integers(1, 70),
    st.integers(1, 40),
    st.integers(0, 50),
    st.integers(0, 2**31),
    st.booleans(),
)
def test_any_shape(
    backend: str, n_queries: int, n_keys: int, dim: int, value_dim: int, block: int, seed: int, causal: bool
) -> None:
    query, key, value = rows(seed, n_queries, dim), rows(seed + 1, n_keys, dim), rows(seed + 2, n_keys, value_dim)
    mask = np.random.default_rng(seed).random((n_queries, n_keys)) < 0.7
    params = {"block_size": block, "causal": causal}
    came = attend(query, key, value, mechanism="flash-attention-v2", params=params, mask=mask, backend=backend)
    visible = mask & np.tri(n_queries, n_keys, n_keys - n_queries, dtype=bool) if causal else mask
    assert_within_budget(came.output, softmax, query, key, value, mask=visible)
