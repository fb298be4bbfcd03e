"""hierarchical-cross-attention: groups by their means, keys within their group."""

from __future__ import annotations

import math
from typing import Any

import contract
import numpy as np
import pytest
from contract import rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import assert_within_budget, softmax

from agentmem.attention import attend, registry, score
from agentmem.attention.engine import engine
from agentmem.attention.reference import Reference
from agentmem.errors import InvalidInput

NAME = "hierarchical-cross-attention"
LN2, LN3 = math.log(2), math.log(3)


def grouped(groups: np.ndarray, n_queries: int) -> dict[str, Any]:
    return {"segment_ids": (np.zeros(n_queries, np.int64), groups)}


def textbook(query: np.ndarray, key: np.ndarray, value: np.ndarray, groups: np.ndarray) -> np.ndarray:
    names = np.unique(groups)
    centres = np.stack([key[groups == name].mean(0) for name in names])
    parts = np.stack([softmax(query, key[groups == name], value[groups == name]) for name in names])
    by_group = softmax(query, centres, np.eye(len(names), dtype=query.dtype))
    return (by_group.T[:, :, None] * parts).sum(0)


def test_known_answer(backend: str) -> None:
    # logits 0, 2 ln 3 in one group, ln 2 alone: the means meet the query with ln 3 and ln 2: 3/5 and 2/5.  Within the
    # first group 1/10 and 9/10
    key = np.array([[0], [LN2], [2 * LN3]], np.float32)
    value = np.array([[100], [10], [0]], np.float32)
    came = attend(
        np.ones((1, 1), np.float32),
        key,
        value,
        mechanism=NAME,
        params={"scale": 1.0},
        return_weights=True,
        backend=backend,
        **grouped(np.array([7, 2, 7]), 1),
    )
    np.testing.assert_allclose(came.weights, [[[0.06, 0.4, 0.54]]], rtol=1e-5)
    np.testing.assert_allclose(came.output, [[10]], rtol=1e-5)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 40),
    st.integers(1, 100),
    st.integers(1, 40),
    st.integers(1, 20),
    st.integers(1, 9),
    st.integers(0, 99),
)
def test_parity(backend: str, n_queries: int, n_keys: int, dim: int, value_dim: int, names: int, seed: int) -> None:
    query, key, value = rows(seed, n_queries, dim), rows(seed + 1, n_keys, dim), rows(seed + 2, n_keys, value_dim)
    groups = np.random.default_rng(seed).integers(0, names, n_keys)
    came = attend(query, key, value, mechanism=NAME, backend=backend, **grouped(groups, n_queries)).output
    assert_within_budget(came, lambda q, k, v: textbook(q, k, v, groups), query, key, value)


def test_one_group_and_none_are_plain_attention(backend: str) -> None:
    query, key, value = rows(1, 4, 8), rows(2, 33, 8), rows(3, 33, 5)
    for groups in (np.zeros(33, int), np.arange(33), np.full(33, -1)):
        came = attend(query, key, value, mechanism=NAME, backend=backend, **grouped(groups, 4)).output
        np.testing.assert_allclose(came, softmax(query, key, value), rtol=1e-5, atol=1e-6)


def test_keys_of_no_group_stand_alone(backend: str) -> None:
    query, key = rows(1, 4, 8), rows(2, 5, 8)
    apart, none = (
        attend(query, key, mechanism=NAME, backend=backend, **grouped(np.array(groups), 4)).output
        for groups in ([5, 6, 7, 0, 0], [-1, -1, -9, 0, 0])
    )
    np.testing.assert_array_equal(apart, none)


def test_contract(backend: str) -> None:
    def inputs(dim: int, n_queries: int, n_keys: int) -> dict[str, Any]:
        return grouped(np.arange(n_keys) % 3 - 1, n_queries)

    for heads in (1, 3):
        contract.weights_are_effective(NAME, inputs(12, 40, 12) | {"params": {"heads": heads}}, backend)
    contract.nothing_to_see_gives_zeros(NAME, inputs, backend)
    contract.heads_in_front_are_heads_split(NAME, inputs(12, 5, 31), backend)
    contract.bad_numbers_are_refused(NAME, inputs, backend)
    contract.float64_is_kept(NAME, inputs)


def test_masked_keys_are_absent_from_the_means_too(backend: str) -> None:
    query, key, value, groups = rows(4, 3, 8), rows(5, 20, 8), rows(6, 20, 4), np.arange(20) % 4
    mask = np.random.default_rng(7).random(20) < 0.5
    came = attend(query, key, value, mechanism=NAME, mask=mask, backend=backend, **grouped(groups, 3)).output
    few = attend(query, key[mask], value[mask], mechanism=NAME, backend=backend, **grouped(groups[mask], 3)).output
    np.testing.assert_allclose(came, few, rtol=1e-6, atol=1e-7)


def test_score_prefers_the_better_group(backend: str) -> None:
    # the first two candidates are alike; the first stands among matches, the second among strangers
    query = np.array([4, 0, 0], np.float32)
    keys = np.array([[1, 1, 0], [1, 1, 0], [2, 0, 0], [2, 0, 0], [-2, 0, 0], [-2, 0, 0]], np.float32)
    came = score(query, keys, mechanism=NAME, segment_ids=[0, 1, 0, 0, 1, 1], backend=backend)
    assert came[0] < came[2]
    assert registry.get(NAME).can_reorder
    dense = keys @ query
    assert dense[0] == dense[1]
    assert came[0] != came[1]
    assert came.sum() == pytest.approx(1, rel=1e-5)
    with pytest.raises(InvalidInput, match="hierarchical-cross-attention needs segment_ids"):
        score(query, keys, mechanism=NAME)


def test_many_keys_take_little_scratch(backend: str) -> None:
    query, key, groups = rows(8, 300, 4), rows(9, 5000, 4), np.arange(5000) // 7
    came = attend(query, key, mechanism=NAME, backend=backend, **grouped(groups, 300)).output
    first = attend(query[:2], key, mechanism=NAME, backend=backend, **grouped(groups, 2)).output
    np.testing.assert_allclose(came[:2], first, rtol=1e-4, atol=1e-6)


def test_overflow_is_named(backend: str) -> None:
    huge = np.full((2, 4), 1e30, np.float32)
    if backend == "native":
        with pytest.raises(InvalidInput, match=r"exceed float32; .* pass float64"):
            attend(huge, huge, mechanism=NAME, segment_ids=[0, 0], backend=backend)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 9), st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(0, 99))
def test_group_softmax_is_the_reference_s(backend: str, n: int, counts: list[int], seed: int) -> None:
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    scores, top = rows(seed, n, int(offsets[-1])) * 5, np.abs(rows(seed + 1, n, len(counts)))
    scores[:, : counts[0]] = -np.inf
    expected = Reference().group_softmax(scores, top, offsets)
    came = engine(backend).group_softmax(scores.copy(), top, offsets)
    np.testing.assert_allclose(came, expected, rtol=1e-5, atol=1e-9)
    assert (came[:, : counts[0]] == 0).all()
