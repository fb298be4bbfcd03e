"""moe-, soft-moe-, switch- and expert-choice-attention: routing, capacity, jitter, experts."""

from __future__ import annotations

import math
from typing import Any

import contract
import numpy as np
import pytest
from contract import rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import ODD, softmax

from agentmem.attention import AttentionWeights, attend, load_balance_loss, registry, score
from agentmem.attention.engine import engine
from agentmem.attention.reference import Reference
from agentmem.errors import InvalidInput

NAME = "moe-attention"
LN3 = math.log(3)
EYE = np.eye(2, dtype=np.float32)


MIXTURES = ("moe-attention", "soft-moe-attention", "switch-attention", "expert-choice-attention")


def routed(dim: int, experts: int = 4) -> dict[str, np.ndarray]:
    return {"router": rows(90, dim, experts)}


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


def test_the_default_room_is_one_and_a_half_even_shares(backend: str) -> None:
    # eight queries want expert 0 of four: room for ⌈1.5 · 8 / 4⌉ = 3 of them
    query, router = np.ones((8, 4), np.float32), np.eye(4, dtype=np.float32) * np.array([9, 1, 1, 1], np.float32)
    came = attend(
        query, query, mechanism=NAME, params={"experts_per_token": 1}, weights={"router": router}, backend=backend
    ).output
    assert (came != 0).any(1).tolist() == [True] * 3 + [False] * 5


@pytest.mark.parametrize("name", sorted(MIXTURES))
def test_one_identity_expert_is_plain_attention(backend: str, name: str) -> None:
    query, key, value = rows(1, 5, 12), rows(2, 31, 12), rows(3, 31, 7)
    params = {"experts": 1} | ({"experts_per_token": 1} if name == NAME else {})
    if name == "soft-moe-attention":  # one slot would be one answer for all: it is plain attention of a single query
        query = query[:1]
    given: dict[str, Any] = {"mechanism": name, "params": params, "weights": {"router": rows(4, 12, 1)}}
    came = attend(query, key, value, backend=backend, **given).output
    np.testing.assert_allclose(came, attend(query, key, value, backend=backend).output, rtol=1e-5, atol=1e-6)
    turned = given["weights"] | {"query": rows(5, 1, 12, 12)}
    other = attend(query, key, value, mechanism=name, params=params, weights=turned, backend=backend).output
    assert not np.allclose(other, came, rtol=1e-2)


def test_identity_experts_reproduce_plain_attention_when_there_is_room(backend: str) -> None:
    query, key = rows(4, 9, 12), rows(5, 33, 12)
    came = attend(query, key, mechanism=NAME, params={"capacity": 4.0}, weights=routed(12), backend=backend).output
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
        weights = routed(8) | {"query": rows(91, 4, 8, 8)}
        return attend(query, key, mechanism=NAME, params=params, weights=weights, backend=backend).output

    np.testing.assert_array_equal(run(jitter=0.9), run(jitter=0.9))
    assert not np.array_equal(run(jitter=0.9), run())
    assert not np.array_equal(run(jitter=0.9, seed=1), run(jitter=0.9))


def test_masks_no_candidates_and_no_queries(backend: str) -> None:
    query, key = rows(14, 3, 8), rows(15, 9, 8)
    mask = np.ones((3, 9), bool)
    mask[1] = False
    mask[0, 4:] = False
    given: dict[str, Any] = {"mechanism": NAME, "params": {"capacity": 9.0}, "weights": routed(8), "backend": backend}
    came = attend(query, key, mask=mask, **given).output
    np.testing.assert_allclose(came, attend(query, key, mask=mask, backend=backend).output, rtol=1e-5, atol=1e-6)
    with pytest.raises(InvalidInput, match=r"needs weights\['router'\]"):
        attend(query, key, mechanism=NAME)


def test_score_is_the_gated_weight(backend: str) -> None:
    query, keys = rows(16, 8), rows(17, 33, 8)
    given: dict[str, Any] = {"mechanism": NAME, "params": {"heads": 2}, "backend": backend}
    given["weights"] = routed(8) | {"query": rows(18, 4, 8, 8)}
    came = score(query, keys, **given)
    weights = attend(query[None], keys, return_weights=True, **given).weights
    assert weights is not None
    np.testing.assert_allclose(came, weights[0], rtol=1e-6)
    np.testing.assert_allclose(came.sum(), 1.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"capacity": 0.5}, "capacity must be a finite number, at least 1, not 0.5"),
        ({"experts": 0}, "experts must be a whole number, at least 1"),
        ({"experts": 2, "experts_per_token": 3}, "experts_per_token is 3, but there are 2 experts"),
        ({"jitter": 1.5, "experts": 2}, "jitter must be"),
        ({"experts": True}, "experts must be a whole number"),
    ],
)
def test_impossible_parameters(params: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        attend(EYE, EYE, mechanism=NAME, params=params, weights={"router": np.ones((2, 2), np.float32)})


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


def test_known_answer_switch(backend: str) -> None:
    # p = 3/4 for expert 0, whose output is 4 times the plain (2.5, 3.5) of equal weights; there is room for one query
    query, key = np.array([[LN3, 0], [LN3, 0]], np.float32), np.zeros((2, 2), np.float32)
    value = np.array([[2, 3], [3, 4]], np.float32)
    weights = {"router": EYE, "output": np.stack([4 * EYE, 8 * EYE])}
    params = {"experts": 2, "capacity": 1}
    came = attend(
        query,
        key,
        value,
        mechanism="switch-attention",
        params=params,
        weights=weights,
        return_weights=True,
        backend=backend,
    )
    np.testing.assert_allclose(came.output, [[7.5, 10.5], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(came.weights, [[0.375, 0.375], [0, 0]], rtol=1e-6)


def test_known_answer_expert_choice(backend: str) -> None:
    # each of two experts takes ⌈1 · 3 / 2⌉ = 2 of three queries: expert 0 those with 3/4 and 1/2, and so does
    # expert 1, which doubles.  Of two equal queries both take the first
    query = np.array([[LN3, 0], [0, 0], [0, LN3]], np.float32)
    key, value = np.zeros((1, 2), np.float32), np.array([[4, 8]], np.float32)
    weights = {"router": EYE, "output": np.stack([EYE, 2 * EYE])}
    given: dict[str, Any] = {"mechanism": "expert-choice-attention", "weights": weights, "backend": backend}
    came = attend(query, key, value, params={"experts": 2, "capacity": 1}, **given)
    np.testing.assert_allclose(came.output, [[3, 6], [6, 12], [6, 12]], rtol=1e-6)
    came = attend(query[[1, 1]], key, value, params={"experts": 2, "capacity": 1}, return_weights=True, **given)
    np.testing.assert_allclose(came.output, [[6, 12], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(came.weights, [[1], [0]], rtol=1e-6)
    every = attend(query, key, value, params={"experts": 2}, **given)
    np.testing.assert_allclose(every.output, [[5, 10], [6, 12], [7, 14]], rtol=1e-6)


def test_known_answer_soft(backend: str) -> None:
    # XΦ = (ln 3, 0; 0, 0): slot 0 is 3/4 · x₀ + 1/4 · x₁, slot 1 their mean; one key: experts give 4 and 8.
    # Query 0 takes 3/4 · 4 + 1/4 · 8, query 1 the mean
    query = np.array([[LN3, 0], [0, 0]], np.float32)
    key, value = np.ones((1, 2), np.float32), np.array([[4]], np.float32)
    weights = {"router": EYE, "output": np.array([[[1]], [[2]]], np.float32)}
    came = attend(
        query, key, value, mechanism="soft-moe-attention", params={"experts": 2}, weights=weights, backend=backend
    )
    np.testing.assert_allclose(came.output, [[5], [6]], rtol=1e-6)


def soft_textbook(query: np.ndarray, key: np.ndarray, value: np.ndarray, learned: dict[str, np.ndarray]) -> np.ndarray:
    phi, experts = learned["router"], len(learned["query"])
    logits = np.exp(query @ phi)
    slots = (logits / logits.sum(0)).T @ query
    each = len(slots) // experts
    answers = [
        softmax(slots[e * each : (e + 1) * each] @ learned["query"][e], key, value) @ learned["output"][e]
        for e in range(experts)
    ]
    return logits / logits.sum(1, keepdims=True) @ np.concatenate(answers)


@pytest.mark.parametrize("n_keys", ODD)
@pytest.mark.parametrize("slots", [1, 3])
def test_soft_parity(backend: str, n_keys: int, slots: int) -> None:
    query, key, value = rows(20, 33, 6), rows(21, n_keys, 6), rows(22, n_keys, 5)
    learned = {"router": rows(23, 6, 2 * slots), "query": rows(24, 2, 6, 6), "output": rows(25, 2, 5, 5)}
    params = {"experts": 2, "slots": slots}
    came = attend(query, key, value, mechanism="soft-moe-attention", params=params, weights=learned, backend=backend)
    exact = soft_textbook(*(x.astype(np.float64) for x in (query, key, value)), learned)
    plain = soft_textbook(query, key, value, learned)
    assert np.abs(came.output - exact).max() <= 4 * (np.abs(plain - exact).max() + 1e-7 * np.abs(exact).max())


@pytest.mark.parametrize("n_queries", ODD)
def test_expert_choice_is_its_definition(backend: str, n_queries: int) -> None:
    query, key, value, learned = rows(26, n_queries, 6), rows(27, 20, 6), rows(28, 20, 5), routed(6, 3)
    learned |= {"query": rows(29, 3, 6, 6), "output": rows(30, 3, 5, 5)}
    params = {"experts": 3, "capacity": 1.2}
    came = attend(
        query, key, value, mechanism="expert-choice-attention", params=params, weights=learned, backend=backend
    ).output
    chances = np.exp(query @ learned["router"])
    chances /= chances.sum(1, keepdims=True)
    expected = np.zeros((n_queries, 5))
    for e in range(3):
        answers = softmax(query @ learned["query"][e], key, value) @ learned["output"][e]
        for i in np.argsort(-chances[:, e], kind="stable")[: min(n_queries, math.ceil(1.2 * n_queries / 3))]:
            expected[i] += chances[i, e] * answers[i]
    np.testing.assert_allclose(came, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MIXTURES)
def test_contract(backend: str, name: str) -> None:
    def inputs(dim: int, n_queries: int, n_keys: int) -> dict[str, Any]:
        return {"weights": routed(dim)}

    contract.weights_are_effective(name, inputs(12, 40, 12) | {"params": {"heads": 1}}, backend)
    contract.nothing_to_see_gives_zeros(name, inputs, backend)
    contract.masked_keys_are_absent(name, inputs, backend)
    contract.bad_numbers_are_refused(name, inputs, backend)
    contract.float64_is_kept(name, inputs)
    with pytest.raises(InvalidInput, match="has no head axis"):
        attend(rows(1, 2, 3, 4), rows(2, 2, 5, 4), mechanism=name, weights=routed(4), backend=backend)


@pytest.mark.parametrize("name", MIXTURES)
def test_weights_are_the_mean_over_the_experts_heads(backend: str, name: str) -> None:
    query, key = rows(31, 9, 12), rows(32, 12, 12)
    learned = routed(12) | {"query": rows(33, 4, 12, 12), "key": rows(34, 12, 12)}
    given: dict[str, Any] = {"mechanism": name, "params": {"heads": 3}, "weights": learned, "backend": backend}
    weights = attend(query, key, return_weights=True, **given).weights
    out = attend(query, key, np.tile(np.eye(12, dtype=np.float32), (1, 3)), **given).output
    assert weights is not None
    np.testing.assert_allclose(out.reshape(9, 3, 12).mean(1), weights, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", MIXTURES)
def test_scores_can_reorder_as_declared(backend: str, name: str) -> None:
    query, keys = rows(35, 8), rows(36, 40, 8)
    dense = np.argsort(-(keys @ query)).tolist()
    plain = score(query, keys, mechanism=name, weights=routed(8), backend=backend)
    assert np.argsort(-plain).tolist() == dense
    turned = routed(8) | {"query": rows(37, 4, 8, 8)}
    came = score(query, keys, mechanism=name, weights=turned, backend=backend)
    assert registry.get(name).can_reorder
    assert np.argsort(-came).tolist() != dense


@pytest.mark.parametrize("name", MIXTURES)
def test_initialised_weights_run(backend: str, name: str) -> None:
    learned = AttentionWeights.init(name, dim=8, value_dim=6, seed=1)
    came = attend(rows(38, 5, 8), rows(39, 9, 8), rows(40, 9, 6), mechanism=name, weights=learned, backend=backend)
    assert came.output.shape == (5, 6)
    assert np.isfinite(came.output).all()


def test_load_balance_loss() -> None:
    # both queries choose expert 0 of two, with p = 3/4: f = (1, 0), P = (3/4, 1/4): α · 2 · 3/4
    query = np.array([[LN3, 0], [LN3, 0]], np.float32)
    uneven = load_balance_loss(
        query, weights={"router": EYE}, mechanism="switch-attention", params={"experts": 2}, alpha=0.1
    )
    assert uneven == pytest.approx(0.15)
    apart = np.array([[LN3, 0], [0, LN3]], np.float32)
    even = load_balance_loss(apart, weights={"router": EYE}, mechanism="switch-attention", params={"experts": 2})
    assert even == pytest.approx(0.01)
    both = load_balance_loss(query, weights={"router": EYE}, params={"experts": 2, "experts_per_token": 2})
    assert both == pytest.approx(0.01)
    with pytest.raises(InvalidInput, match="soft-moe-attention has no load to balance"):
        load_balance_loss(query, weights={"router": EYE}, mechanism="soft-moe-attention")
    with pytest.raises(InvalidInput, match=r"expected shape \(dim=2, experts=4\), came \(2, 2\)"):
        load_balance_loss(query, weights={"router": EYE})
    with pytest.raises(InvalidInput, match="expected at least one row"):
        load_balance_loss(query[:0], weights={"router": EYE}, params={"experts": 2})
    with pytest.raises(InvalidInput, match=r"needs weights\['router'\]"):
        load_balance_loss(query, weights={}, params={"experts": 2})
