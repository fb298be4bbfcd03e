"""linear-, performer-, cosformer- and rfa-attention: feature maps, sums over keys, causal order, the gate."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import contract
import linear_oracle as exact
import numpy as np
import pytest
from contract import rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import ODD, assert_within_budget, softmax

from agentmem.attention import attend, registry, score
from agentmem.attention.engine import engine
from agentmem.attention.forms.features import directions
from agentmem.attention.reference import Reference
from agentmem.errors import InvalidInput

LN3 = math.log(3)
NAMES = ("linear-attention", "performer-attention", "cosformer-attention", "rfa-attention")
FEW = {"performer-attention": {"features": 24}, "rfa-attention": {"features": 24}}


def inputs(name: str, n_queries: int, n_keys: int, **params: object) -> dict[str, Any]:
    given: dict[str, Any] = {"params": {**FEW.get(name, {}), **params}}
    if name == "cosformer-attention":
        given["positions"] = (np.arange(n_keys - n_queries, n_keys), np.arange(n_keys))
    return given


def oracle(name: str, factor: np.ndarray | None = None) -> Any:
    """The textbook version of a mechanism with the parameters of ``inputs``, for one head."""

    def compute(query: np.ndarray, key: np.ndarray, value: np.ndarray) -> np.ndarray:
        dim, n_queries, n_keys = query.shape[1], len(query), len(key)
        if name == "linear-attention":
            scores = exact.elu(query) @ exact.elu(key).T
        elif name == "performer-attention":
            omega = directions(dim, 24, 0, True)
            scores = exact.positive(query, omega) @ exact.positive(key, omega).T
        elif name == "rfa-attention":
            omega = directions(dim, 24, 0, False)
            scores = exact.fourier(query, omega) @ exact.fourier(key, omega).T
        else:
            gap = np.arange(n_keys - n_queries, n_keys)[:, None] - np.arange(n_keys)
            longest = max(n_queries, n_keys)
            turn = np.cos(np.pi / 2 * gap / longest).astype(query.dtype)
            scores = np.maximum(query, 0) @ np.maximum(key, 0).T * turn
        return exact.shares(scores, value, factor)

    return compute


def test_known_answer_linear(backend: str) -> None:
    # φ of 0 is 1, of 2 is 3, of −ln 2 is 1/2: query (1, 1) against (1, 1), (3, 1) and (1/2, 1/2): 2, 4, 1 of 7
    key = np.array([[0, 0], [2, 0], [-math.log(2)] * 2], np.float32)
    value = np.array([[7], [14], [21]], np.float32)
    query = np.zeros((3, 2), np.float32)
    came = attend(query, key, value, mechanism="linear-attention", return_weights=True, backend=backend)
    np.testing.assert_allclose(came.output, [[13]] * 3, rtol=1e-6)
    np.testing.assert_allclose(came.weights[0, 0], np.array([2, 4, 1]) / 7, rtol=1e-6)
    causal = attend(query, key, value, mechanism="linear-attention", params={"causal": True}, backend=backend)
    np.testing.assert_allclose(causal.output, [[7], [35 / 3], [13]], rtol=1e-6)


def test_known_answer_performer(backend: str) -> None:
    # one direction, keys ±k of one length: the query cancels, the shares are e^{ωk} : e^{−ωk} = 3 : 1
    omega = float(directions(1, 1, 0, True)[0, 0])
    key = np.array([[1], [-1]], np.float32) * np.float32(LN3 / 2 / omega)
    value = np.array([[4], [8]], np.float32)
    came = attend(
        key[:1] * 5, key, value, mechanism="performer-attention", params={"features": 1, "scale": 1.0}, backend=backend
    )
    np.testing.assert_allclose(came.output, [[5]], rtol=1e-5)


def test_known_answer_cosformer(backend: str) -> None:
    # M = 3/2: one place apart is cos(π/3) = 1/2; relu drops the second coordinate
    key, value = np.array([[1, -9], [1, -9]], np.float32), np.array([[3], [6]], np.float32)
    params = {"length": 1.5}
    came = attend(
        key[1:], key, value, mechanism="cosformer-attention", params=params, positions=[7, 8], backend=backend
    )
    np.testing.assert_allclose(came.output, [[5]], rtol=1e-6)


def test_known_answer_rfa(backend: str) -> None:
    # one direction between 1 and ±1: cos 0 and cos(2ω/σ), σ chosen to make it cos(π/3) = 1/2; lengths do not count
    params = {"features": 1, "sigma": 6 * abs(float(directions(1, 1, 0, False)[0, 0])) / math.pi}
    key, value = np.array([[5], [-2]], np.float32), np.array([[3], [6]], np.float32)
    came = attend(key[:1], key, value, mechanism="rfa-attention", params=params, backend=backend)
    np.testing.assert_allclose(came.output, [[4]], rtol=1e-5)


def test_known_answer_gate(backend: str) -> None:
    # g = 1/2 everywhere: the earlier of two equal keys has 1/2 · 1/2, the later 1/2
    key, value = np.ones((2, 1), np.float32), np.array([[3], [6]], np.float32)
    params, gate = {"causal": True}, {"gate": np.zeros((1, 1), np.float32)}
    came = attend(key, key, value, mechanism="rfa-attention", params=params, weights=gate, backend=backend)
    np.testing.assert_allclose(came.output, [[3], [5]], rtol=1e-6)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("n_keys", ODD)
@pytest.mark.parametrize("name", NAMES)
def test_parity(backend: str, name: str, n_keys: int, causal: bool) -> None:
    query, key, value = rows(1, 33, 7) / 2, rows(2, n_keys, 7) / 2, np.abs(rows(3, n_keys, 5))
    factor = exact.seen(33, n_keys) if causal else None
    came = attend(query, key, value, mechanism=name, backend=backend, **inputs(name, 33, n_keys, causal=causal))
    if name == "rfa-attention":  # its estimates may be negative, and a sum near zero has no digits left to compare
        whole = exact.shares(np.ones((33, n_keys)), value, factor)
        near = oracle(name, factor)(*(x.astype(np.float64) for x in (query, key, value)))
        fair = (np.abs(near) <= 3 * np.abs(whole).max()).all(1)
        assert fair.any()
        np.testing.assert_allclose(came.output[fair], near[fair], rtol=1e-3, atol=1e-4)
    else:
        assert_within_budget(came.output, oracle(name, factor), query, key, value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(NAMES[:3]),
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(1, 40),
    st.integers(1, 40),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_any_shape(
    backend: str, name: str, n_queries: int, n_keys: int, dim: int, value_dim: int, causal: bool, seed: int
) -> None:
    query, key, value = rows(seed, n_queries, dim), rows(seed + 1, n_keys, dim), rows(seed + 2, n_keys, value_dim)
    factor = exact.seen(n_queries, n_keys) if causal else None
    came = attend(query, key, value, mechanism=name, backend=backend, **inputs(name, n_queries, n_keys, causal=causal))
    assert_within_budget(came.output, oracle(name, factor), query, key, value)


@pytest.mark.parametrize("n_queries", [3, 40])
def test_masked_padding_does_not_drown_long_rows(backend: str, n_queries: int) -> None:
    # rows of zeros have far larger exponents, −|x|²/2 + …, than rows of length 60
    query, key = rows(1, n_queries, 8), rows(2, 50, 8)
    key *= 60 / np.linalg.norm(key, axis=1, keepdims=True)
    padded, mask = np.concatenate([key, np.zeros((9, 8), np.float32)]), np.arange(59) < 50
    for causal in (False, True):
        params = {"features": 24, "causal": causal}
        given: dict[str, Any] = {"mechanism": "performer-attention", "params": params, "backend": backend}
        if causal:  # the padding in front, so that the rows keep their places
            padded, mask = padded[::-1].copy(), mask[::-1].copy()
            key = key[::-1].copy()
        expected = attend(query, key, **given).output
        np.testing.assert_allclose(attend(query, padded, mask=mask, **given).output, expected, rtol=1e-3, atol=1e-3)
        hidden = attend(query, padded, mask=np.zeros(59, bool), **given).output
        assert (hidden == 0).all()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("n_queries", [3, 40])
@pytest.mark.parametrize("lengths", [(0.2, 2), (2, 0.2)])
def test_blocks_of_keys_of_other_lengths_meet_on_one_scale(
    backend: str, lengths: tuple[float, float], n_queries: int, causal: bool
) -> None:
    query, key, value = rows(1, n_queries, 8) / 2, rows(2, 2500, 8), np.abs(rows(3, 2500, 4))
    key *= np.linspace(*lengths, 2500, dtype=np.float32)[:, None]  # each block's largest exponent is its own
    given = inputs("performer-attention", n_queries, 2500, causal=causal)
    came = attend(query, key, value, mechanism="performer-attention", backend=backend, **given).output
    factor = exact.seen(n_queries, 2500) if causal else None
    assert_within_budget(came, oracle("performer-attention", factor), query, key, value)


@pytest.mark.parametrize("n_queries", [1, 70, 300])
def test_gate_is_the_recurrence(backend: str, n_queries: int) -> None:
    query, key, value = rows(4, n_queries, 6) / 3, rows(5, 300, 6) / 3, rows(6, 300, 4)
    learned = {"gate": rows(7, 6, 2), "gate_bias": np.array([-3, 1], np.float32)}
    params = {"heads": 2, "causal": True, "features": 400}
    came = attend(query, key, value, mechanism="rfa-attention", params=params, weights=learned, backend=backend)
    omega = directions(3, 400, 0, False)
    logits = key.astype(np.float64) @ learned["gate"] + learned["gate_bias"]
    for h in range(2):
        q, k = (x[:, 3 * h : 3 * h + 3].astype(np.float64) for x in (query, key))
        scores = exact.fourier(q, omega) @ exact.fourier(k, omega).T
        expected = exact.shares(scores, value[:, 2 * h : 2 * h + 2], exact.gated(n_queries, logits[:, h]))
        np.testing.assert_allclose(came.output[:, 2 * h : 2 * h + 2], expected, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_contract(backend: str, name: str, causal: bool) -> None:
    for heads in (1, 3):
        contract.weights_are_effective(name, inputs(name, 40, 12, heads=heads, causal=causal), backend)
    contract.nothing_to_see_gives_zeros(name, lambda dim, n, m: inputs(name, n, m, causal=causal), backend)
    contract.heads_in_front_are_heads_split(name, inputs(name, 5, 31, causal=causal), backend)
    contract.bad_numbers_are_refused(name, lambda dim, n, m: inputs(name, n, m, causal=causal), backend)
    contract.float64_is_kept(name, lambda dim, n, m: inputs(name, n, m, causal=causal))
    if name != "cosformer-attention" and not causal:
        contract.masked_keys_are_absent(name, lambda dim, n, m: inputs(name, n, m), backend)


def test_gated_weights_are_effective(backend: str) -> None:
    given = inputs("rfa-attention", 40, 12, causal=True, heads=3) | {"weights": {"gate": rows(8, 12, 3)}}
    contract.weights_are_effective("rfa-attention", given, backend)


def test_performer_and_rfa_approach_what_they_estimate(backend: str) -> None:
    query, key, value = rows(9, 20, 8) / 2, rows(10, 50, 8) / 2, rows(11, 50, 4)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query, key)]
    performer = softmax(query, key, value)
    gaussian = softmax(unit[0], unit[1], value, 1.0)  # exp(−|q − k|²/2) of unit rows is exp(q·k) up to a factor
    for name, target in (("performer-attention", performer), ("rfa-attention", gaussian)):
        errors = [
            np.abs(attend(query, key, value, mechanism=name, params={"features": m}, backend=backend).output - target)
            for m in (64, 16384)
        ]
        assert errors[1].mean() < errors[0].mean() / 4
        assert errors[1].max() < 0.1


def test_directions() -> None:
    omega = directions(16, 40, 3, True)
    assert omega.shape == (40, 16)
    for block in (omega[:16], omega[16:32], omega[32:]):
        off = block @ block.T
        assert np.abs(off - np.diag(np.diag(off))).max() < 1e-12
    np.testing.assert_array_equal(omega, directions(16, 40, 3, True))
    assert not np.array_equal(omega, directions(16, 40, 4, True))
    lengths = np.linalg.norm(directions(16, 4000, 0, True), axis=1)
    assert lengths.mean() == pytest.approx(math.sqrt(15.5), rel=0.02)  # of χ_16
    assert lengths.std() == pytest.approx(math.sqrt(0.5), rel=0.1)
    assert not omega.flags.writeable


def test_random_features_are_seeded(backend: str) -> None:
    query, key = rows(12, 3, 8), rows(13, 9, 8)
    for name in ("performer-attention", "rfa-attention"):

        def run(name: str = name, **params: object) -> np.ndarray:
            return attend(query, key, mechanism=name, params={"features": 8, **params}, backend=backend).output

        np.testing.assert_array_equal(run(seed=1), run(seed=1))
        assert not np.array_equal(run(seed=1), run(seed=2))


@pytest.mark.parametrize("size", [30.0, 300.0])
def test_performer_survives_large_rows(backend: str, size: float) -> None:
    query, key = rows(14, 5, 8) * np.float32(size), rows(15, 40, 8) * np.float32(size)
    came = attend(query, key, mechanism="performer-attention", backend=backend).output
    assert np.isfinite(came).all()
    assert np.abs(came).max() <= np.abs(key).max() * 1.001  # a mean of the values


def test_cosformer_prefers_near_keys_and_checks_its_length(backend: str) -> None:
    keys = np.ones((4, 3), np.float32)
    came = score(keys[0], keys, mechanism="cosformer-attention", positions=[3.0, 1.0, 2.0, 0.0], backend=backend)
    assert np.argsort(-came).tolist() == [0, 2, 1, 3]
    with pytest.raises(InvalidInput, match="cosformer-attention needs positions"):
        attend(keys, keys, mechanism="cosformer-attention")
    with pytest.raises(InvalidInput, match="length is 2, but positions span 3"):
        attend(keys, keys, mechanism="cosformer-attention", positions=[0, 1, 2, 3], params={"length": 2.0})


def test_times_as_positions_keep_their_digits(backend: str) -> None:
    query, key = rows(16, 4, 8), rows(17, 20, 8)
    small = np.arange(20.0)
    runs = [
        attend(query, key, mechanism="cosformer-attention", positions=at, backend=backend).output
        for at in (small, small + 1.8e9)
    ]
    np.testing.assert_allclose(runs[0], runs[1], rtol=1e-5)


def test_gate_needs_causal_order(backend: str) -> None:
    key, gate = rows(18, 4, 6), {"gate": rows(19, 6, 1)}
    with pytest.raises(InvalidInput, match=r"weights\['gate_bias'\] needs weights\['gate'\]"):
        attend(key, key, mechanism="rfa-attention", weights={"gate_bias": np.ones(1, np.float32)}, backend=backend)
    with pytest.raises(InvalidInput, match="a gate needs params causal=True"):
        attend(key, key, mechanism="rfa-attention", weights=gate, backend=backend)


def test_masks_are_over_keys() -> None:
    with pytest.raises(InvalidInput, match=r"linear-attention takes a mask over the keys, shape \(4,\)"):
        attend(rows(1, 3, 4), rows(2, 4, 4), mechanism="linear-attention", mask=np.ones((3, 4), bool))


def test_score_is_the_share_and_can_reorder_as_declared(backend: str) -> None:
    query, keys = rows(20, 16), rows(21, 60, 16)
    for name in NAMES:
        given = {"positions": np.arange(60)} if name == "cosformer-attention" else {}
        came = score(query, keys, mechanism=name, backend=backend, **given)
        assert came.dtype == np.float32
        assert registry.get(name).can_reorder
        assert np.argsort(-came).tolist() != np.argsort(-(keys @ query)).tolist()
        if not given:
            assert came.sum() == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("causal", [False, True])
def test_long_sequences_take_little_memory(name: str, causal: bool) -> None:
    n = 8192  # a square of it would be 256 MiB
    key = rows(22, n, 16)
    given = inputs(name, n, n, causal=causal)
    attend(key[:2], key[:2], mechanism=name, **inputs(name, 2, 2, causal=causal))
    tracemalloc.start()
    attend(key, key, mechanism=name, **given)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_overflow_is_named(backend: str) -> None:
    huge = np.full((2, 4), 3e38, np.float32)
    if backend == "native":
        with pytest.raises(InvalidInput, match=r"exceed float32; .* pass float64"):
            attend(huge, huge, mechanism="linear-attention", backend=backend)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**31), st.floats(0.01, 30))
def test_stages_agree_with_the_reference(backend: str, n: int, dim: int, seed: int, size: float) -> None:
    x, ran, plain = rows(seed, n, dim) * np.float32(size), engine(backend), Reference()
    omega, angles = directions(dim, 13, 0, True), np.linspace(0, math.pi / 2, n)
    np.testing.assert_allclose(ran.elu_features(x), plain.elu_features(x), rtol=3e-6, atol=2e-28)
    np.testing.assert_allclose(
        ran.ramp_features(x, angles), plain.ramp_features(x, angles), rtol=1e-5, atol=1e-6 * size
    )
    np.testing.assert_allclose(ran.wave_features(x, omega * 9), plain.wave_features(x, omega * 9), atol=1e-4)
    for by_row in (False, True):
        came, top = ran.positive_features(x / np.float32(size), omega, 0.5, by_row)
        expected, expected_top = plain.positive_features(x / np.float32(size), omega, 0.5, by_row)
        np.testing.assert_allclose(came, expected, rtol=1e-3, atol=1e-6)
        assert top == pytest.approx(expected_top, rel=1e-4, abs=1e-4)
