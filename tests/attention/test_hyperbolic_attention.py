"""hyperbolic-attention in both charts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import ODD, assert_within_budget, exponential, hyperbolic, lorentz, poincare

from agentmem.attention import attend, curvature_for_depth, score
from agentmem.errors import InvalidInput

NAME = "hyperbolic-attention"
LN3 = math.log(3)


def rows(seed: int, *shape: int) -> np.ndarray:
    data = np.random.default_rng(seed).standard_normal(shape)
    return (data / math.sqrt(shape[-1])).astype(np.float32)


def distances(query: np.ndarray, keys: np.ndarray, backend: str = "auto", **params: object) -> np.ndarray:
    """Distances as the shares tell them: the query is put behind the keys, at distance 0 from itself."""
    shares = score(query, np.concatenate([keys, query[None]]), mechanism=NAME, params=params, backend=backend)
    return np.log(shares[-1] / shares[:-1]) / float(params.get("beta", 1.0))  # type: ignore[arg-type]


# From the origin, (1/2, 0) is at distance 2 artanh(1/2) = ln 3: weights 3/4 and 1/4.  Lorentz factors 1 and 5/3, Klein
# midpoint (1/4 · 4/3) / (3/4 + 1/4 · 5/3) = 2/7.
@pytest.mark.parametrize(
    ("params", "far", "expected"),
    [
        ({"tangent": False}, 0.5, 0.14589803375),  # 2 / (7 + √45)
        ({"tangent": False, "model": "lorentz"}, 4 / 3, 0.29814239700),  # 2 / √45
        ({}, LN3, 0.29389333245),  # artanh(2/7)
        ({"model": "lorentz"}, LN3, 0.29389333245),
    ],
)
def test_known_answer(backend: str, params: dict[str, object], far: float, expected: float) -> None:
    key = np.array([[0, 0], [far, 0]], np.float32)
    query = np.zeros((1, 2), np.float32)
    came = attend(query, key, mechanism=NAME, params=params, return_weights=True, backend=backend)
    np.testing.assert_allclose(came.weights, [[0.75, 0.25]], rtol=1e-6)
    np.testing.assert_allclose(came.output, [[expected, 0]], rtol=1e-6)
    scores = score(query[0], key, mechanism=NAME, params=params, backend=backend)
    np.testing.assert_allclose(scores, [0.75, 0.25], rtol=1e-6)


def test_known_answer_curvature_and_beta(backend: str) -> None:
    # curvature -4: (1/4, 0) is at distance 2 artanh(2 · 1/4) / 2 = ln(3) / 2, times beta 2
    params = {"curvature": 4.0, "beta": 2.0, "tangent": False}
    key = np.array([[0.25, 0], [0, 0]], np.float32)
    scores = score(np.zeros(2, np.float32), key, mechanism=NAME, params=params, backend=backend)
    np.testing.assert_allclose(scores, [0.25, 0.75], rtol=1e-6)


@pytest.mark.parametrize("n_keys", ODD)
@pytest.mark.parametrize("dim", [1, 7, 97])
@pytest.mark.parametrize("model", ["poincare", "lorentz"])
@pytest.mark.parametrize("curvature", [0.5, 1.0, 2.0])
def test_parity(backend: str, n_keys: int, dim: int, model: str, curvature: float) -> None:
    query, key, value = rows(1, 3, dim), rows(2, n_keys, dim), rows(3, n_keys, 5)
    params = {"model": model, "curvature": curvature, "beta": 2.0}
    came = attend(query, key, value, mechanism=NAME, params=params, backend=backend)
    oracle = hyperbolic if model == "poincare" else lorentz
    assert_within_budget(came.output, oracle, query, key, value, c=curvature, beta=2.0)


def test_charts_agree_on_distances(backend: str) -> None:
    query, keys = rows(4, 33), rows(5, 97, 33) * 2
    ball = distances(query, keys, backend)
    sheet = distances(query, keys, backend, model="lorentz")
    np.testing.assert_allclose(ball, sheet, rtol=2e-5)
    exact = poincare(exponential(query[None].astype(float), 1), exponential(keys.astype(float), 1), 1)[0]
    np.testing.assert_allclose(ball, exact, rtol=2e-5)


def test_equal_rows_are_at_distance_zero(backend: str) -> None:
    keys = np.repeat(rows(6, 1, 41) * 2, 9, axis=0)
    for model in ("poincare", "lorentz"):
        np.testing.assert_allclose(distances(keys[0], keys, backend, model=model), 0, atol=1e-6)
        came = attend(keys[:1], keys, mechanism=NAME, params={"model": model}, backend=backend)
        np.testing.assert_allclose(came.output, keys[:1], rtol=1e-5, atol=1e-6)


def test_length_is_distance_from_the_origin_up_to_the_clip(backend: str) -> None:
    keys = np.array([[0.5], [1.5], [3.0], [100.0]], np.float32)
    for model in ("poincare", "lorentz"):
        came = distances(np.zeros(1, np.float32), keys, backend, model=model, clip=2.0)
        np.testing.assert_allclose(came, [0.5, 1.5, 2, 2], rtol=1e-5)


def test_rows_of_equal_norm_keep_the_cosine_order_and_others_do_not(backend: str) -> None:
    query, keys = rows(7, 16), rows(8, 50, 16)
    unit = keys / np.linalg.norm(keys, axis=1, keepdims=True)
    order = np.argsort(score(query, unit, mechanism=NAME, backend=backend))
    np.testing.assert_array_equal(order, np.argsort(unit @ query))
    deep = unit.copy()
    deep[order[-1]] *= 3
    assert np.argmax(deep @ query) == order[-1]
    assert np.argmax(score(query, deep, mechanism=NAME, backend=backend)) != order[-1]


def test_points_on_the_rim_stay_finite(backend: str) -> None:
    keys = np.array([[1.0, 0], [0, 2.0], [-0.9999999, 0]], np.float32)
    params = {"tangent": False, "epsilon": 1e-5}
    came = attend(keys, keys, mechanism=NAME, params=params, return_weights=True, backend=backend)
    assert np.isfinite(came.output).all()
    assert (np.linalg.norm(came.output, axis=1) < 1).all()
    assert np.isfinite(score(keys[0], keys, mechanism=NAME, params=params, backend=backend)).all()


def test_masks_and_no_candidates(backend: str) -> None:
    query, key = rows(9, 3, 8), rows(10, 33, 8)
    mask = np.random.default_rng(1).random((3, 33)) < 0.5
    mask[1] = False
    came = attend(query, key, mechanism=NAME, mask=mask, return_weights=True, backend=backend)
    assert came.weights is not None
    assert (came.output[1] == 0).all()
    assert (came.weights[~mask] == 0).all()
    assert_within_budget(came.output[:1], hyperbolic, query[:1], key[mask[0]], key[mask[0]])
    assert (attend(query, key[:0], mechanism=NAME, backend=backend).output == 0).all()


@pytest.mark.parametrize("model", ["poincare", "lorentz"])
def test_scores_are_the_weights_of_attend(backend: str, model: str) -> None:
    query, keys = rows(14, 8), rows(15, 33, 8)
    params = {"model": model, "beta": 3.0}
    came = attend(query[None], keys, mechanism=NAME, params=params, return_weights=True, backend=backend).weights
    assert came is not None
    np.testing.assert_array_equal(score(query, keys, mechanism=NAME, params=params, backend=backend), came[0])
    np.testing.assert_allclose(came.sum(), 1, rtol=1e-5)


def test_projections_take_rows_into_a_manifold_of_their_own_dimension(backend: str) -> None:
    query, key, value = rows(16, 3, 12), rows(17, 31, 12), rows(18, 31, 5)
    weights = {"query": rows(19, 12, 2), "key": rows(20, 12, 2), "value": rows(21, 5, 4)}
    came = attend(query, key, value, mechanism=NAME, weights=weights, backend=backend)
    plain = attend(query @ weights["query"], key @ weights["key"], value @ weights["value"], mechanism=NAME)
    np.testing.assert_allclose(came.output, plain.output, rtol=1e-5, atol=1e-6)
    unit = key / np.linalg.norm(key, axis=1, keepdims=True)
    learned = score(query[0], unit, mechanism=NAME, weights={"query": weights["query"], "key": weights["key"]})
    assert np.argsort(learned).tolist() != np.argsort(unit @ query[0]).tolist()
    with pytest.raises(InvalidInput, match="weights project tangent vectors"):
        attend(query, key, mechanism=NAME, weights=weights | {"value": np.eye(12)}, params={"tangent": False})


def test_curvature_for_depth() -> None:
    # a binary tree of depth 4 within radius 4: √c = ln 2; of depth 8, twice that; of 3 children, ln 3
    np.testing.assert_allclose(curvature_for_depth(4), math.log(2) ** 2)
    np.testing.assert_allclose(curvature_for_depth(8), 4 * math.log(2) ** 2)
    np.testing.assert_allclose(curvature_for_depth(5, branching=3, radius=5), LN3**2)
    for wrong in ({"depth": 0}, {"depth": 3, "branching": 1}, {"depth": 3, "radius": 0}, {"depth": math.nan}):
        with pytest.raises(InvalidInput, match="expected depth of at least 1"):
            curvature_for_depth(**wrong)  # type: ignore[arg-type]


def test_read_only_and_non_contiguous(backend: str) -> None:
    wide, query = rows(11, 40, 30), rows(12, 2, 15)
    expected = attend(query, wide[:, ::2].copy(), mechanism=NAME, backend=backend).output
    wide.flags.writeable = False
    np.testing.assert_array_equal(attend(query, wide[:, ::2], mechanism=NAME, backend=backend).output, expected)


@pytest.mark.parametrize(
    "params",
    [{"curvature": 0.0}, {"curvature": -1.0}, {"clip": 0}, {"epsilon": 0.5}, {"model": "klein"}, {"tangent": 1}],
)
def test_impossible_parameters(params: dict[str, object]) -> None:
    name = next(iter(params))
    with pytest.raises(InvalidInput, match=f"{NAME}: {name} must be"):
        score(np.zeros(2, np.float32), np.zeros((1, 2), np.float32), mechanism=NAME, params=params)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 4), st.integers(1, 100), st.integers(1, 70), st.integers(0, 2**31), st.booleans())
def test_any_shape(backend: str, n_queries: int, n_keys: int, dim: int, seed: int, is_lorentz: bool) -> None:
    query, key, value = rows(seed, n_queries, dim), rows(seed + 1, n_keys, dim), rows(seed + 2, n_keys, 3)
    params = {"model": "lorentz" if is_lorentz else "poincare", "clip": 10.0}
    came = attend(query, key, value, mechanism=NAME, params=params, backend=backend)
    assert_within_budget(came.output, lorentz if is_lorentz else hyperbolic, query, key, value)
