"""moe-attention: routing, capacity, jitter, experts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentmem.attention import attend, score
from agentmem.attention.engine import engine
from agentmem.attention.reference import Reference
from agentmem.errors import InvalidInput

NAME = "moe-attention"
LN3 = math.log(3)
EYE = np.eye(2, dtype=np.float32)


def rows(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_known_answer_gates(backend: str) -> None:
    # router logits ln 3 and 0: gates 3/4 and 1/4; experts give 4 and 8 times the plain output: 3 + 2 = 5 times
    query = np.array([[LN3, 0]], np.float32)
    key, value = np.array([[1, 0], [0, 1]], np.float32), np.array([[1, 2], [3, 4]], np.float32)
    weights = {"router": EYE, "output": np.stack([4 * EYE, 8 * EYE])}
    params = {"experts": 2, "experts_per_token": 2, "scale": 1.0}
    came = attend(
        query, key, value, mechanism=NAME, params=params, weights=weights, return_weights=True, backend=backend
    )
    np.testing.assert_allclose(came.output, [[7.5, 12.5]], rtol=1e-6)
    np.testing.assert_allclose(came.weights, [[0.75, 0.25]], rtol=1e-6)


def test_known_answer_capacity(backend: str) -> None:
    # four queries want expert 0, which has room for 1 · 4 / 2 = 2 of them: the first two
    query, key = np.repeat(EYE[:1], 4, axis=0), EYE
    params = {"experts": 2, "experts_per_token": 1, "capacity": 1}
    came = attend(query, key, mechanism=NAME, params=params, weights={"router": EYE}, backend=backend)
    assert (came.output[2:] == 0).all()
    assert (came.output[:2] > 0).all()
    roomy = attend(
        query, key, mechanism=NAME, params=params | {"capacity": 2.0}, weights={"router": EYE}, backend=backend
    )
    assert (roomy.output == roomy.output[0]).all()


def test_first_choices_are_served_before_second_ones(backend: str) -> None:
    # both queries rank expert 1 before 0 or 0 before 1; each expert has room for one
    logits = np.array([[0, 1, -9], [2, 1, -9]], np.float32)
    chosen, gates = engine(backend).route(logits, 2, 1)
    assert chosen.tolist() == [[1, -1], [0, -1]]
    np.testing.assert_allclose(gates, [[0.7310586, 0], [0.7310586, 0]], rtol=1e-6)


@pytest.mark.parametrize("init", ["identity", "random"])
def test_one_identity_expert_is_plain_attention(backend: str, init: str) -> None:
    query, key, value = rows(1, 5, 12), rows(2, 31, 12), rows(3, 31, 7)
    params = {"experts": 1, "experts_per_token": 1, "init": init}
    came = attend(query, key, value, mechanism=NAME, params=params, backend=backend).output
    plain = attend(query, key, value, backend=backend).output
    assert np.allclose(came, plain, rtol=1e-5, atol=1e-6) is (init == "identity")


def test_identity_experts_reproduce_plain_attention_when_there_is_room(backend: str) -> None:
    query, key = rows(4, 9, 12), rows(5, 33, 12)
    came = attend(query, key, mechanism=NAME, params={"capacity": 4.0}, backend=backend).output
    np.testing.assert_allclose(came, attend(query, key, backend=backend).output, rtol=1e-5, atol=1e-6)


def test_experts_project(backend: str) -> None:
    query, key = rows(6, 1, 8), rows(7, 33, 8)
    learned = {name: rows(8 + i, *shape) for i, (name, shape) in enumerate(SHAPES.items())}
    params = {"experts": 3, "experts_per_token": 1}
    came = attend(query, key, mechanism=NAME, params=params, weights=learned, backend=backend).output
    expert = int(np.argmax(query @ learned["router"]))
    plain = attend(query @ learned["query"][expert], key @ learned["key"], key @ learned["value"], backend="numpy")
    np.testing.assert_allclose(came, plain.output @ learned["output"][expert], rtol=1e-4, atol=1e-5)


SHAPES = {"router": (8, 3), "query": (3, 8, 8), "key": (8, 8), "value": (8, 8), "output": (3, 8, 8)}


def test_jitter_is_seeded(backend: str) -> None:
    query, key = rows(12, 40, 8), rows(13, 33, 8)

    def run(**params: object) -> np.ndarray:
        return attend(query, key, mechanism=NAME, params={"init": "random", **params}, backend=backend).output

    np.testing.assert_array_equal(run(jitter=0.9), run(jitter=0.9))
    assert not np.array_equal(run(jitter=0.9), run())
    assert not np.array_equal(run(seed=1), run())


def test_masks_no_candidates_and_no_queries(backend: str) -> None:
    query, key = rows(14, 3, 8), rows(15, 9, 8)
    mask = np.ones((3, 9), bool)
    mask[1] = False
    mask[0, 4:] = False
    came = attend(query, key, mechanism=NAME, params={"capacity": 9.0}, mask=mask, backend=backend).output
    np.testing.assert_allclose(came, attend(query, key, mask=mask, backend=backend).output, rtol=1e-5, atol=1e-6)
    assert (attend(query, key[:0], mechanism=NAME, backend=backend).output == 0).all()
    assert attend(query[:0], key, mechanism=NAME, backend=backend).output.shape == (0, 8)


def test_score_is_the_gated_weight(backend: str) -> None:
    query, keys = rows(16, 8), rows(17, 33, 8)
    params = {"init": "random", "heads": 2}
    came = score(query, keys, mechanism=NAME, params=params, backend=backend)
    weights = attend(query[None], keys, mechanism=NAME, params=params, return_weights=True, backend=backend).weights
    assert weights is not None
    np.testing.assert_allclose(came, weights[0], rtol=1e-6)
    np.testing.assert_allclose(came.sum(), 1.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"capacity": 0.5}, "capacity must be a finite number, at least 1, not 0.5"),
        ({"experts": 0}, "experts must be a whole number, at least 1"),
        ({"experts": 2, "experts_per_token": 3}, "experts_per_token is 3, but there are 2 experts"),
        ({"jitter": 1.5}, "jitter must be"),
        ({"experts": True}, "experts must be a whole number"),
    ],
)
def test_impossible_parameters(params: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        attend(EYE, EYE, mechanism=NAME, params=params)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 9), st.integers(1, 12), st.integers(0, 2**31))
def test_routing_is_the_reference_s(backend: str, n: int, experts: int, k: int, capacity: int, seed: int) -> None:
    logits = np.random.default_rng(seed).integers(-2, 3, (n, experts)).astype(np.float32)
    k = min(k, experts)
    chosen, gates = engine(backend).route(logits, k, capacity)
    expected, expected_gates = Reference().route(logits.astype(np.float64), k, capacity)
    np.testing.assert_array_equal(chosen, expected)
    np.testing.assert_allclose(gates, expected_gates, rtol=1e-6)
    for expert in range(experts):
        assert (chosen == expert).sum() <= capacity
