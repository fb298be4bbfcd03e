"""flash-attention-v3, flash-decoding, and the codes that v3 reads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import ODD, assert_within_budget, heads, softmax

from agentmem.attention import attend, score
from agentmem.attention.quantise import BITS, encode, from_bf16, quantise_keys, rotate, to_bf16, unrotate
from agentmem.attention.threads import set_num_threads
from agentmem.errors import InvalidInput, InvalidVector

PRECISIONS = ("int8", "bf16", "int4")
ERROR = {"int8": 5e-3, "bf16": 2e-3, "int4": 0.12}


def rows(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def relative(came: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(came - exact) / np.linalg.norm(exact))


# Codes


def test_known_bf16() -> None:
    # 1 + 2⁻⁸ is half way between 1 and 1 + 2⁻⁷: to even, 1; 1 + 3·2⁻⁸ goes up
    x = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, -2.5, 0.0], np.float32)
    assert to_bf16(x).tolist() == [0x3F80, 0x3F80, 0x3F82, 0xC020, 0]
    assert from_bf16(to_bf16(x)).tolist() == [1.0, 1.0, 1 + 2**-6, -2.5, 0.0]


def test_known_codes() -> None:
    # two groups: all 2, and all -1 but for one 0.5; word l has number l of both, the first group in the lower half
    x = np.full((1, 32), 2.0, np.float32)
    x[0, 16:] = -1.0
    x[0, 20] = 0.5
    codes = encode(x, "int16")
    assert codes.scales is not None
    np.testing.assert_allclose(codes.scales, [[2 / 32767, 1 / 32767]], rtol=1e-6)
    words = [(0x8001 << 16) | 0x7FFF] * 16
    words[4] = (0x4000 << 16) | 0x7FFF
    assert codes.words[0].tolist() == words
    np.testing.assert_allclose(codes.decode(), x, atol=2e-5)


@pytest.mark.parametrize("dim", [1, 16, 96, 384, 1000])
def test_the_rotation_is_orthogonal_and_undone(dim: int) -> None:
    x = rows(1, 5, dim)
    np.testing.assert_allclose(unrotate(rotate(x)), x, atol=1e-5)
    np.testing.assert_allclose(rotate(x) @ rotate(x).T, x @ x.T, rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(rotate(x), rotate(x.copy()))


def test_the_rotation_spreads_an_outlier() -> None:
    x = np.zeros((1, 128), np.float32)
    x[0, 5] = 128**0.5
    np.testing.assert_allclose(np.abs(rotate(x)), 1.0, rtol=1e-5)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 9), dim=st.integers(1, 200), precision=st.sampled_from([*BITS]), seed=st.integers(0, 2**31))
def test_errors_stay_in_their_bounds(n: int, dim: int, precision: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((n, dim)) * 10.0 ** rng.integers(-3, 4, (n, 1))).astype(np.float32)
    codes = encode(x, precision)
    wide = np.zeros((n, codes.decode().shape[1]), np.float32)
    wide[:, :dim] = x
    if precision == "bf16":
        assert (np.abs(codes.decode() - wide) <= 2.0**-8 * np.abs(wide) * 1.0001).all()
        return
    target = (rotate(wide) if codes.rotated else wide).reshape(n, -1, 16)
    error = np.abs(codes.decode().reshape(target.shape) - target)
    largest = np.abs(target).max(2, keepdims=True)
    assert (error <= largest / (2 * (2 ** (codes.bits - 1) - 1)) * 1.01).all()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_bytes_held(precision: str) -> None:
    codes = quantise_keys(rows(2, 100, 384), precision=precision)
    scales = 0 if precision == "bf16" else 384 // 16 * 4
    assert codes.nbytes == 100 * (384 * BITS[precision] // 8 + scales)
    both = quantise_keys(rows(2, 100, 384), rows(3, 100, 32), precision=precision)
    assert both.nbytes == codes.nbytes + 100 * (2 * 32 + 4 * 2)


# Attention over codes


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("n", [*ODD, 300])
@pytest.mark.parametrize("shared", [True, False])
def test_the_kernel_reads_what_the_codes_say(backend: str, precision: str, n: int, shared: bool) -> None:
    query, key = rows(4, 3, 97), rows(5, n, 97)
    value = None if shared else rows(6, n, 33)
    codes = quantise_keys(key, value, precision=precision)
    came = codes.attend(query, backend=backend)
    k, v = codes.decode()
    assert_within_budget(came, softmax, query, k, v)
    np.testing.assert_allclose(codes.attend(query[0], backend=backend), came[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shared", [True, False])
def test_relative_errors(backend: str, precision: str, shared: bool) -> None:
    """Unit rows, as a store keeps them, where keys are values; rows of unit variance where values are their own."""
    query, key = rows(7, 8, 384), rows(8, 2000, 384)
    value = None if shared else rows(9, 2000, 384)
    if shared:
        query, key = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query, key))
    came = quantise_keys(key, value, precision=precision).attend(query, backend=backend)
    exact = softmax(*(x.astype(float) for x in (query, key, key if value is None else value)))
    assert relative(came, exact) <= ERROR[precision]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_v3_is_the_codes(backend: str, precision: str) -> None:
    query, key, value = rows(10, 5, 64), rows(11, 70, 64), rows(12, 70, 48)
    params = {"precision": precision}
    came = attend(query, key, value, mechanism="flash-attention-v3", params=params, backend=backend)
    assert came.backend == backend
    codes = quantise_keys(key, value, precision=precision)
    np.testing.assert_allclose(came.output, codes.attend(query), rtol=2e-4, atol=2e-5)
    shared = attend(query, key, mechanism="flash-attention-v3", params=params, backend=backend)
    np.testing.assert_allclose(
        shared.output, quantise_keys(key, precision=precision).attend(query), rtol=2e-4, atol=2e-5
    )


def test_v3_heads_masks_and_causal_order(backend: str) -> None:
    query, key, mask = rows(13, 9, 64), rows(14, 33, 64), np.random.default_rng(0).random((9, 33)) < 0.5
    mask[4] = False
    params = {"heads": 4, "precision": "bf16", "causal": True}
    came = attend(query, key, mechanism="flash-attention-v3", params=params, mask=mask, backend=backend)
    exact = heads(query, key, key, 4, mask=mask & np.tri(9, 33, 24, dtype=bool))
    assert (came.output[4] == 0).all()
    assert relative(came.output, exact) <= 6e-3
    split = attend(
        *(np.ascontiguousarray(x.reshape(len(x), 4, 16).transpose(1, 0, 2)) for x in (query, key)),
        mechanism="flash-attention-v3",
        params={"precision": "bf16", "causal": True},
        mask=mask,
        backend=backend,
    )
    np.testing.assert_allclose(split.output.transpose(1, 0, 2).reshape(9, 64), came.output, rtol=1e-5, atol=1e-6)


def test_v3_scores_keep_the_order_but_for_rounding(backend: str) -> None:
    query, key = rows(15, 64), rows(16, 200, 64)
    exact = score(query, key, mechanism="scaled-dot", backend=backend)
    came = score(query, key, mechanism="flash-attention-v3", params={"precision": "bf16"}, backend=backend)
    np.testing.assert_allclose(came, exact, rtol=0.05)
    near = np.array([[1.0], [1.0 + 2.0**-9], [0.5]], np.float32)  # one code for two keys
    coarse = score(np.ones(1, np.float32), near, mechanism="flash-attention-v3", params={"precision": "bf16"})
    assert coarse[0] == coarse[1] > coarse[2]


def test_no_keys_and_zero_keys(backend: str) -> None:
    empty = quantise_keys(rows(0, 0, 40))
    assert empty.attend(rows(1, 40), backend=backend).tolist() == [0.0] * 40
    zeros = quantise_keys(np.zeros((5, 40), np.float32))
    assert zeros.attend(rows(1, 40), backend=backend).tolist() == [0.0] * 40


def test_impossible_codes() -> None:
    with pytest.raises(InvalidInput, match="precision: expected one of int8, int4, bf16"):
        quantise_keys(rows(0, 3, 4), precision="fp8")
    with pytest.raises(InvalidInput, match="values: expected 3 rows"):
        quantise_keys(rows(0, 3, 4), rows(0, 2, 4))
    with pytest.raises(InvalidVector, match="keys: expected finite"):
        quantise_keys(np.full((2, 4), np.nan, np.float32))
    codes = quantise_keys(rows(0, 3, 4))
    with pytest.raises(InvalidVector, match="rows of 4"):
        codes.attend(rows(0, 5))
    with pytest.raises(InvalidVector, match="NaN or infinity"):
        codes.attend(np.array([1, np.inf, 0, 0], np.float32))
    with pytest.raises(InvalidInput, match="float32"):
        codes.attend(np.zeros(4))
    with pytest.raises(InvalidVector, match="NaN or infinity"):
        to_bf16(np.array([3.4e38], np.float32))


# Flash-decoding


def test_known_answer_of_parts(backend: str) -> None:
    # logits ln 1, ln 2, ln 3: weights 1/6, 2/6, 3/6 whatever the parts
    query, key = np.ones((1, 1), np.float32), np.log(np.array([[1], [2], [3]], np.float32))
    value = np.array([[6], [12], [24]], np.float32)
    for parts in (1, 2, 3, 5):
        params = {"parts": parts, "scale": 1.0}
        came = attend(query, key, value, mechanism="flash-decoding", params=params, backend=backend)
        np.testing.assert_allclose(came.output, [[17.0]], rtol=1e-6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    n_queries=st.integers(1, 5),
    n_keys=st.sampled_from([1, 31, 32, 33, 97, 300]),
    n_heads=st.sampled_from([1, 3, 8]),
    parts=st.integers(0, 9),
    seed=st.integers(0, 2**31),
    causal=st.booleans(),
    threads=st.integers(1, 3),
)
def test_parts_are_exact(
    backend: str, n_queries: int, n_keys: int, n_heads: int, parts: int, seed: int, causal: bool, threads: int
) -> None:
    query, key = rows(seed, n_queries, 7 * n_heads), rows(seed + 1, n_keys, 7 * n_heads) * 2
    value = rows(seed + 2, n_keys, 5 * n_heads)
    set_num_threads(threads)
    params = {"heads": n_heads, "parts": parts, "causal": causal}
    came = attend(query, key, value, mechanism="flash-decoding", params=params, backend=backend)
    set_num_threads(None)
    visible = np.tri(n_queries, n_keys, n_keys - n_queries, dtype=bool) if causal else None
    assert_within_budget(came.output, heads, query, key, value, n=n_heads, mask=visible)


def test_more_heads_than_one_pass_takes(backend: str) -> None:
    query, key = rows(17, 2, 130), rows(18, 40, 130)
    came = attend(query, key, mechanism="flash-decoding", params={"heads": 65, "parts": 3}, backend=backend)
    assert_within_budget(came.output, heads, query, key, key, n=65)


def test_decoding_takes_masks_over_keys(backend: str) -> None:
    query, key, mask = rows(19, 2, 16), rows(20, 50, 16), np.arange(50) % 3 == 0
    came = attend(
        query, key, mechanism="flash-decoding", params={"parts": 4}, mask=mask, return_weights=True, backend=backend
    )
    assert_within_budget(came.output, softmax, query, key[mask], key[mask])
    assert came.weights is not None
    assert (came.weights[..., ~mask] == 0).all()
    np.testing.assert_allclose(came.weights[0] @ key, came.output, rtol=1e-4, atol=1e-5)
    nothing = attend(query, key, mechanism="flash-decoding", mask=np.zeros(50, bool), backend=backend)
    assert (nothing.output == 0).all()
    with pytest.raises(InvalidInput, match="mask or causal"):
        attend(query, key, mechanism="flash-decoding", params={"causal": True}, mask=mask, backend=backend)


def test_decoding_refuses_what_is_not_finite(backend: str) -> None:
    key = rows(21, 5000, 8)
    key[4321, 3] = np.nan
    with pytest.raises(InvalidVector, match=r"key: .*\[4321, 3\]"):
        attend(rows(22, 1, 8), key, mechanism="flash-decoding", backend=backend)


@pytest.mark.parametrize("mechanism", ["flash-attention-v2", "flash-attention-v3", "flash-decoding"])
def test_weights_are_what_values_are_mixed_by(backend: str, mechanism: str) -> None:
    query, key, identity = rows(23, 3, 16), rows(24, 12, 16), np.eye(12, dtype=np.float32)
    came = attend(query, key, identity, mechanism=mechanism, return_weights=True, backend=backend)
    assert came.weights is not None
    np.testing.assert_allclose(came.output, came.weights[0], rtol=1e-4, atol=1e-6)
    ranked = score(query[0], key, mechanism=mechanism, backend=backend)
    np.testing.assert_allclose(
        ranked, attend(query[:1], key, identity, mechanism=mechanism, backend=backend).output[0], rtol=1e-2
    )
