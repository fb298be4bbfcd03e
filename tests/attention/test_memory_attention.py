"""memory-attention: nearest memories gated with the local context."""

from __future__ import annotations

import math

import contract
import numpy as np
import pytest
from oracle import ODD, assert_within_budget, softmax

from agentmem.attention import attend, score
from agentmem.errors import InvalidInput, InvalidVector

NAME = "memory-attention"
LN3 = math.log(3)


def rows(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_known_answer(backend: str) -> None:
    # the nearest memory has value (4, 0), the context (0, 8); g = σ(ln 3) = 3/4
    key, value = np.array([[1, 0], [0, 1]], np.float32), np.array([[4, 0], [0, 4]], np.float32)
    context = np.array([[5, 0]], np.float32), np.array([[0, 8]], np.float32)
    params = {"top_k": 1, "gate": LN3}
    query = np.array([[2, 0]], np.float32)
    came = attend(
        query, key, value, mechanism=NAME, params=params, context=context, return_weights=True, backend=backend
    )
    np.testing.assert_allclose(came.output, [[3, 2]], rtol=1e-6)
    np.testing.assert_allclose(came.weights, [[[0.75, 0]]], rtol=1e-6)


def test_known_answer_score(backend: str) -> None:
    # logits ln 3, 0, 0: kNN weights 3/5, 1/5, 1/5.  Candidates 0 and 1 share a thread: within it the weights are 3/4
    # and 1/4, so their context is worth 3/4 · 3/5 + 1/4 · 1/5 = 1/2; the third has only itself.  g = 1/2.
    keys = np.array([[1, 0], [0, 1], [0, 1]], np.float32)
    query = np.array([7, 0], np.float32)
    came = score(query, keys, mechanism=NAME, params={"scale": LN3}, segment_ids=[4, 4, 9], backend=backend)
    np.testing.assert_allclose(came, [0.55, 0.35, 0.2], rtol=1e-6)
    # top_k = 1: the first alone has kNN weight; the second still gains by its thread: 3/4 · 1 / 2
    few = score(query, keys, mechanism=NAME, params={"scale": LN3, "top_k": 1}, segment_ids=[4, 4, -1], backend=backend)
    np.testing.assert_allclose(few, [0.875, 0.375, 0], rtol=1e-6)


def test_score_by_positions(backend: str) -> None:
    keys = np.repeat(np.eye(2, dtype=np.float32), 2, axis=0)  # two like the query, two unlike it
    params = {"window": 1.0}

    def run(positions: object, groups: object) -> np.ndarray:
        inputs = {"positions": positions, "segment_ids": groups}
        return score(keys[0], keys, mechanism=NAME, params=params, backend=backend, **inputs)

    near = run([0, 10, 1, 5], [0, 0, 0, 0])
    assert near[2] > near[3]  # next to a match
    assert near[1] == pytest.approx(near[0], rel=1e-3)
    apart = run([0, 10, 1, 5], [0, 0, 1, 0])
    assert apart[2] == apart[3]  # next to it in another thread
    unknown = run([0, 10, math.nan, 5], None)
    assert unknown[2] == unknown[3]


def test_known_answer_without_context(backend: str) -> None:
    # one memory, the first row: value 4.  The last row's neighbours are the second and itself, logits 0 and ln 3:
    # weights 1/4 and 3/4 of values 0 and 8.  g = 3/4: 3/4 · 4 + 1/4 · 6
    key = np.array([[3, 0], [0, 1], [1, 0]], np.float32)
    value = np.array([[4], [0], [8]], np.float32)
    params = {"top_k": 1, "gate": LN3, "scale": LN3, "window": 1.0}
    query = np.array([[2, 0]], np.float32)
    came = attend(query, key, value, mechanism=NAME, params=params, return_weights=True, backend=backend)
    np.testing.assert_allclose(came.output, [[4.5]], rtol=1e-6)
    np.testing.assert_allclose(came.weights, [[[0.75, 0.0625, 0.1875]]], rtol=1e-6)
    apart = attend(
        query, key, value, mechanism=NAME, params=params, segment_ids=[0, 0, 1], return_weights=True, backend=backend
    )
    np.testing.assert_allclose(apart.weights, [[[0.75, 0, 0.25]]], rtol=1e-6)
    alone = attend(query, key, value, mechanism=NAME, params=params, segment_ids=[0, 0, -1], backend=backend)
    np.testing.assert_allclose(alone.output, [[3]], rtol=1e-6)  # of no segment: no local context
    early = attend(query, key, value, mechanism=NAME, params=params, positions=([-1], [-1, 5, 6]), backend=backend)
    np.testing.assert_allclose(early.output, [[4]], rtol=1e-6)  # near the first row only


@pytest.mark.parametrize("n_keys", ODD)
@pytest.mark.parametrize("n_heads", [1, 3])
@pytest.mark.parametrize("segments", [False, True])
def test_local_context_is_softmax_over_the_neighbours(backend: str, n_keys: int, n_heads: int, segments: bool) -> None:
    dim, rng = 7 * n_heads, np.random.default_rng(n_keys)
    query, key, value = rows(1, n_keys, dim), rows(2, n_keys, dim), rows(3, n_keys, 5 * n_heads)
    place = rng.permutation(n_keys) * 1.5
    segment = rng.integers(-1, 4, n_keys) if segments else None
    mask = rng.random((n_keys, n_keys)) < 0.8
    params = {"heads": n_heads, "gate": -100.0, "window": 6.0, "scale": 4.0}
    given = {"positions": place, "segment_ids": segment, "mask": mask}
    came = attend(query, key, value, mechanism=NAME, params=params, backend=backend, **given).output
    near = (np.abs(place[:, None] - place) <= 6) & mask
    if segment is not None:
        near &= (segment[:, None] == segment) & (segment[:, None] >= 0)
    for h in range(n_heads):
        q, k = (unit(x[:, 7 * h : 7 * h + 7].astype(np.float64)) for x in (query, key))
        expected = softmax(q, k, value[:, 5 * h : 5 * h + 5].astype(np.float64), 4.0, near)
        np.testing.assert_allclose(came[:, 5 * h : 5 * h + 5], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("heads", [1, 3])
def test_contract(backend: str, heads: int) -> None:
    given = {"params": {"heads": heads, "top_k": 4}}
    contract.weights_are_effective(NAME, given, backend)
    contract.weights_are_effective(NAME, given | {"segment_ids": np.arange(12) // 5}, backend, n_queries=9)
    if heads == 1:
        contract.bad_numbers_are_refused(NAME, lambda dim, n, m: {}, backend)
        contract.float64_is_kept(NAME, lambda dim, n, m: {})
        contract.nothing_to_see_gives_zeros(
            NAME, lambda dim, n, m: {"positions": (np.arange(n), np.arange(m))}, backend
        )


@pytest.mark.parametrize("n", [1, 2, 60])
def test_score_is_its_definition(n: int) -> None:
    rng = np.random.default_rng(n)
    query, keys = rows(4, 6), rows(5, n, 6)
    place, segment = rng.integers(0, 20, n).astype(float), rng.integers(-1, 3, n)
    place[rng.random(n) < 0.1] = math.nan
    near = (np.abs(place[:, None] - place) <= 3) & (segment[:, None] == segment) & (segment[:, None] >= 0)
    np.fill_diagonal(near, True)
    logits = 10 * unit(keys.astype(np.float64)) @ unit(query.astype(np.float64))
    p = np.exp(logits - np.sort(logits)[-8:].max()) * (logits >= np.sort(logits)[-min(8, n)])
    p /= p.sum()
    local = np.array([np.exp(logits[at]) @ p[at] / np.exp(logits[at]).sum() for at in near])
    came = score(query, keys, mechanism=NAME, params={"top_k": 8}, positions=place, segment_ids=segment)
    np.testing.assert_allclose(came, (p + local) / 2, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("n_keys", ODD)
@pytest.mark.parametrize("n_heads", [1, 3])
def test_parity(backend: str, n_keys: int, n_heads: int) -> None:
    dim = 7 * n_heads
    query, key, value = rows(1, 4, dim), rows(2, n_keys, dim), rows(3, n_keys, 5 * n_heads)
    near, near_value = rows(4, 9, dim), rows(5, 9, 5 * n_heads)
    bias = np.linspace(-1, 1, n_heads).astype(np.float32)
    params = {"heads": n_heads, "top_k": 8, "scale": 6.0}
    came = attend(
        query,
        key,
        value,
        mechanism=NAME,
        params=params,
        context=(near, near_value),
        weights={"gate": bias},
        backend=backend,
    ).output
    for h in range(n_heads):
        q, k, c = (unit(x[:, 7 * h : 7 * h + 7].astype(np.float64)) for x in (query, key, near))
        v, w = (x[:, 5 * h : 5 * h + 5].astype(np.float64) for x in (value, near_value))
        gate = 1 / (1 + math.exp(-bias[h]))
        cosine = q @ k.T
        kept = cosine >= np.sort(cosine, axis=1)[:, [-min(8, n_keys)]]
        expected = gate * softmax(q, k, v, 6.0, kept) + (1 - gate) * softmax(q, c, w, 6.0)
        np.testing.assert_allclose(came[:, 5 * h : 5 * h + 5], expected, rtol=1e-4, atol=2e-5)


def test_ties_take_the_earlier_memory(backend: str) -> None:
    key = np.ones((33, 5), np.float32)
    value = np.arange(33, dtype=np.float32)[:, None]
    context = key[:1], np.zeros((1, 1), np.float32)
    came = attend(
        key[:1], key, value, mechanism=NAME, params={"top_k": 3, "gate": 100.0}, context=context, backend=backend
    )
    np.testing.assert_allclose(came.output, [[1.0]], rtol=1e-6)


def test_closed_gate_is_local_attention_and_length_does_not_count(backend: str) -> None:
    query, key, near = rows(6, 3, 8), rows(7, 20, 8), rows(8, 5, 8)
    came = attend(query * 50, key, mechanism=NAME, params={"gate": -100.0}, context=(near * 9, near), backend=backend)
    exact = softmax(unit(query.astype(float)), unit(near.astype(float)), near.astype(float), 10.0)
    np.testing.assert_allclose(came.output, exact, rtol=1e-4, atol=1e-5)


def test_masks_empty_memory_and_zero_rows(backend: str) -> None:
    query, key, near = rows(9, 3, 8), rows(10, 20, 8), rows(11, 5, 8)
    params = {"gate": 100.0, "top_k": 4}
    mask = np.random.default_rng(2).random((3, 20)) < 0.5
    mask[1] = False
    came = attend(query, key, mechanism=NAME, params=params, mask=mask, context=(near, near), backend=backend).output
    assert np.abs(came[1]).max() < 1e-6
    alone = attend(query[:1], key[mask[0]], mechanism=NAME, params=params, context=(near, near), backend=backend).output
    np.testing.assert_allclose(came[:1], alone, rtol=1e-5, atol=1e-6)
    empty = attend(query, key[:0], mechanism=NAME, params=params, context=(near, near), backend=backend).output
    assert np.abs(empty).max() < 1e-6
    zeros = attend(query * 0, key, mechanism=NAME, params={"top_k": 20}, context=(near, near), backend=backend).output
    assert_within_budget(zeros[:1], lambda k, n: (k.mean(0) + n.mean(0))[None] / 2, key, near)


def test_missing_and_impossible_inputs() -> None:
    key = rows(12, 4, 6)
    with pytest.raises(InvalidVector, match=r"context\[0\]: expected rows of 6"):
        attend(key, key, mechanism=NAME, context=(key[:, :5], key))
    with pytest.raises(InvalidInput, match=r"context\[1\]: expected shape \(4, 6\)"):
        attend(key, key, mechanism=NAME, context=(key, key[:3]))
    with pytest.raises(InvalidInput, match=r"segment_ids= .* positions="):
        score(key[0], key, mechanism=NAME)
    with pytest.raises(InvalidInput, match=r"segment_ids: expected integers of shape \(4,\)"):
        score(key[0], key, mechanism=NAME, segment_ids=[0.5] * 4)
    with pytest.raises(InvalidInput, match=r"positions: expected shape \(4,\)"):
        score(key[0], key, mechanism=NAME, positions=[1, 2])
    with pytest.raises(InvalidInput, match="4 heads do not divide 6"):
        score(key[0], key, mechanism=NAME, params={"heads": 4}, positions=[1, 2, 3, 4])
