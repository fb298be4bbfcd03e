"""graph-attention: GAT and GATv2 over edges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import ODD, assert_within_budget

from agentmem.attention import AttentionWeights, attend, rank, score
from agentmem.errors import InvalidInput, InvalidVector

NAME = "graph-attention"
LN3 = math.log(3)


def rows(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def some_edges(seed: int, n_queries: int, n_keys: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, n_queries, count), rng.integers(0, n_keys, count)], axis=1)


def gat(
    query: np.ndarray,
    key: np.ndarray,
    attention: np.ndarray,
    of_query: np.ndarray | None,
    value: np.ndarray,
    *,
    edges: np.ndarray,
    n: int,
    loops: bool,
    slope: float = 0.2,
    keep: np.ndarray | None = None,
) -> np.ndarray:
    """GAT, or GATv2 where ``of_query`` is None, edge by edge."""
    joined: list[set[int]] = [set() for _ in query]
    for i, j in edges.tolist():
        joined[i].add(j)
    out = np.zeros((len(query), value.shape[1]), query.dtype)
    kind = query.dtype.type
    for i, own in enumerate(range(len(key) - len(query), len(key))):
        if loops and own >= 0:
            joined[i].add(own)
        seen = [j for j in sorted(joined[i]) if keep is None or keep[j]]
        if not seen:
            continue
        for q, k, a, b, v, o in zip(
            np.split(query[i], n),
            np.split(key[seen], n, axis=1),
            np.split(attention, n),
            np.split(attention if of_query is None else of_query, n),
            np.split(value[seen], n, axis=1),
            np.split(out[i], n),
            strict=True,
        ):
            x = q + k if of_query is None else (q * b).sum() + (k * a).sum(1)
            leaky = np.where(x > 0, x, kind(slope) * x)
            scores = leaky if of_query is not None else leaky @ a
            exps = np.exp(scores - scores.max())
            o[:] = exps / exps.sum() @ v
    return out


def test_known_answer_gat(backend: str) -> None:
    # logits LeakyReLU(q + k): 0.2 · −5 ln 3 = −ln 3 and 0 with the loop 0: weights 1/7, 3/7 and 3/7 of 7, 14 and 21
    query = np.zeros((3, 1), np.float32)
    key, value = np.array([[-5 * LN3], [0], [0]], np.float32), np.array([[7], [14], [21]], np.float32)
    weights = {"attention": np.ones(1, np.float32)}
    edges = [[2, 0], [2, 1], [2, 0], [0, 1]]
    came = attend(query, key, value, mechanism=NAME, edges=edges, weights=weights, return_weights=True, backend=backend)
    assert came.weights is not None
    np.testing.assert_allclose(came.weights[0, 2], [1 / 7, 3 / 7, 3 / 7], rtol=1e-6)
    np.testing.assert_allclose(came.output, [[7 / 4 + 14 * 3 / 4], [14], [16]], rtol=1e-6)
    bare = attend(
        query,
        key,
        value,
        mechanism=NAME,
        edges=edges,
        weights=weights,
        params={"self_loops": False},
        backend=backend,
    )
    np.testing.assert_allclose(bare.output, [[14], [0], [7 / 4 + 14 * 3 / 4]], rtol=1e-6)


def test_known_answer_of_the_querys_part(backend: str) -> None:
    # the query's part decides which side of the bend both keys are on: −1 + (0, ln 3) or 10 + (0, ln 3)
    key = np.array([[0], [LN3]], np.float32)
    weights = {"attention": np.ones(1, np.float32), "attention_query": np.ones(1, np.float32)}
    edges, params = [[0, 0], [0, 1], [1, 0], [1, 1]], {"self_loops": False}
    query = np.array([[-10], [10]], np.float32)
    came = attend(
        query,
        key,
        mechanism=NAME,
        edges=edges,
        weights=weights,
        params=params,
        return_weights=True,
        backend=backend,
    ).weights
    assert came is not None
    np.testing.assert_allclose(came[0, 1], [0.25, 0.75], rtol=1e-5)
    np.testing.assert_allclose(came[0, 0], [1 / (1 + 3**0.2), 3**0.2 / (1 + 3**0.2)], rtol=1e-5)


def test_known_answer_gatv2(backend: str) -> None:
    # keys (1, −5) and (1, 0): aᵀ LeakyReLU = 1 + 3 · −1 and 1; times ln 3 / 3 they differ by ln 3
    key = np.array([[1, -5], [1, 0]], np.float32)
    weights = {"attention": np.array([LN3 / 3, LN3], np.float32)}
    params = {"version": 2, "self_loops": False}
    came = attend(
        np.zeros((1, 2), np.float32),
        key,
        mechanism=NAME,
        params=params,
        edges=[[0, 0], [0, 1]],
        weights=weights,
        return_weights=True,
        backend=backend,
    ).weights
    assert came is not None
    np.testing.assert_allclose(came[0, 0], [0.25, 0.75], rtol=1e-6)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(ODD),
    st.sampled_from(ODD),
    st.integers(0, 300),
    st.integers(1, 3),
    st.sampled_from([1, 5, 16, 33]),
    st.integers(1, 2),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_parity_over_any_graph(
    backend: str,
    n_queries: int,
    n_keys: int,
    count: int,
    n: int,
    dim: int,
    version: int,
    loops: bool,
    masked: bool,
    seed: int,
) -> None:
    query, key, value = rows(seed, n_queries, n * dim), rows(seed + 1, n_keys, n * dim), rows(seed + 2, n_keys, n * 3)
    edges = some_edges(seed, n_queries, n_keys, count)
    weights = {"attention": rows(seed + 3, n * dim)}
    if version == 1:
        weights["attention_query"] = rows(seed + 4, n * dim)
    keep = np.random.default_rng(seed).random(n_keys) < 0.7 if masked else None
    params = {"heads": n, "version": version, "self_loops": loops}
    came = attend(
        query, key, value, mechanism=NAME, params=params, edges=edges, weights=weights, mask=keep, backend=backend
    )
    of_query = weights.get("attention_query", np.zeros(0, np.float32))

    def oracle(q: Any, k: Any, a: Any, b: Any, v: Any) -> np.ndarray:
        return gat(q, k, a, b if version == 1 else None, v, edges=edges, n=n, loops=loops, keep=keep)

    assert_within_budget(came.output, oracle, query, key, weights["attention"], of_query, value)


@pytest.mark.parametrize("version", [1, 2])
def test_no_preference_over_all_edges_is_the_mean(backend: str, version: int) -> None:
    x = rows(1, 33, 8)
    everything = np.argwhere(np.ones((33, 33), bool))
    weights = {"attention": np.zeros(8, np.float32)}
    came = attend(x, x, mechanism=NAME, params={"version": version}, edges=everything, weights=weights, backend=backend)
    np.testing.assert_allclose(came.output, np.repeat(x.mean(0, keepdims=True), 33, 0), rtol=1e-4, atol=1e-6)


def test_slope_one_makes_both_versions_one_and_the_query_silent(backend: str) -> None:
    x, edges, a = rows(2, 31, 8), some_edges(0, 31, 31, 99), rows(3, 8)
    kwargs: dict[str, Any] = {"mechanism": NAME, "edges": edges, "backend": backend}
    second = attend(x, x, weights={"attention": a}, params={"version": 2, "slope": 1.0}, **kwargs)
    first = attend(x, x, weights={"attention": a, "attention_query": a}, params={"slope": 1.0}, **kwargs)
    silent = attend(x, x, weights={"attention": a}, params={"slope": 1.0}, **kwargs)
    np.testing.assert_allclose(first.output, second.output, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(silent.output, second.output, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("version", [1, 2])
def test_identity_values_give_the_weights(backend: str, version: int) -> None:
    x, eye = rows(4, 2, 33, 6), np.repeat(np.eye(33, dtype=np.float32)[None], 2, axis=0)
    weights, edges = {"attention": rows(5, 12)}, some_edges(1, 33, 33, 150)
    params = {"version": version}
    came = attend(
        x,
        x,
        eye,
        mechanism=NAME,
        params=params,
        edges=edges,
        weights=weights,
        return_weights=True,
        backend=backend,
    )
    assert came.weights is not None
    np.testing.assert_allclose(came.output, came.weights, atol=1e-6)
    np.testing.assert_allclose(came.weights.sum(-1), 1, rtol=1e-5)
    merged = np.ascontiguousarray(x.transpose(1, 0, 2).reshape(33, 12))
    flat = attend(
        merged,
        merged,
        mechanism=NAME,
        params=params | {"heads": 2},
        edges=edges,
        weights=weights,
        return_weights=True,
        backend=backend,
    )
    np.testing.assert_allclose(flat.weights, came.weights, rtol=1e-5, atol=1e-7)


def test_projections_apply(backend: str) -> None:
    x, edges = rows(6, 31, 8), some_edges(2, 31, 31, 80)
    learned = {"query": rows(7, 8, 6), "key": rows(8, 8, 6), "value": rows(9, 8, 4), "attention": rows(10, 6)}
    params = {"heads": 2, "version": 2}
    came = attend(x, x, mechanism=NAME, params=params, edges=edges, weights=learned, backend=backend)
    q, k, v = (x @ learned[name] for name in ("query", "key", "value"))
    expected = gat(q, k, learned["attention"], None, v, edges=edges, n=2, loops=True)
    np.testing.assert_allclose(came.output, expected, rtol=1e-4, atol=1e-5)


def test_initial_weights_fit(backend: str) -> None:
    weights = AttentionWeights.init(NAME, dim=8, params={"heads": 2}, seed=3)
    assert weights["attention"].shape == (8,)
    x = rows(11, 9, 8)
    came = attend(x, x, mechanism=NAME, params={"heads": 2}, edges=[[0, 1]], weights=weights, backend=backend)
    np.testing.assert_allclose(came.output[1:], x[1:], rtol=1e-6)  # loops alone


def test_no_edges_and_masked_neighbours_give_zeros(backend: str) -> None:
    x, weights = rows(12, 5, 4), {"attention": np.ones(4, np.float32)}
    kwargs: dict[str, Any] = {"mechanism": NAME, "weights": weights, "backend": backend}
    none = attend(x, x, edges=[], params={"self_loops": False}, return_weights=True, **kwargs)
    assert (none.output == 0).all()
    assert none.weights is not None
    assert (none.weights == 0).all()
    masked = attend(x, x, edges=[[0, 1]], mask=np.arange(5) > 1, **kwargs)
    assert (masked.output[:2] == 0).all()
    assert attend(x, x[:0], edges=[], **kwargs).output.tolist() == np.zeros((5, 4)).tolist()


def test_only_candidates_joined_to_the_query_score(backend: str) -> None:
    query, keys = rows(13, 8), rows(14, 20, 8)
    weights = {"attention": rows(15, 8)}
    edges = [[20, 4], [20, 11], [3, 5], [4, 20]]
    came = rank(query, keys, mechanism=NAME, edges=edges, weights=weights, backend=backend)
    assert set(came.order[:2].tolist()) == {4, 11}
    assert (came.scores[:2] > 0).all()
    assert (came.scores[2:] == 0).all()
    rest = came.order[2:].tolist()
    assert rest == sorted(rest, key=lambda c: -(keys[c] @ query))
    places = np.random.default_rng(0).permutation(20)
    with pytest.raises(InvalidInput, match="graph-attention takes no positions"):
        score(query, keys, mechanism=NAME, edges=edges, weights=weights, positions=places)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"edges": None}, r"graph-attention needs edges$"),
        ({"edges": None, "weights": None}, r"graph-attention needs edges, weights\['attention'\]; AttentionWeights"),
        ({"edges": [[0, 5]]}, r"edges: expected rows \(query, key\) below \(5, 5\)"),
        ({"edges": [[-1, 0]]}, "and not negative"),
        ({"edges": [[0, 1, 2]]}, r"edges: expected integers of shape \(n_edges, 2\)"),
        ({"edges": [[0.5, 1]]}, "edges: expected integers"),
        ({"params": {"version": 3}}, "version must be a whole number, at least 1, at most 2"),
        ({"params": {"slope": 2.0}}, "slope must be"),
        ({"weights": {"attention": np.ones(3)}}, r"weights\['attention'\]: expected 1 heads of 4 numbers"),
        (
            {"params": {"version": 2}, "weights": {"attention": np.ones(4), "attention_query": np.ones(4)}},
            "version 2 has one vector",
        ),
    ],
)
def test_impossible_inputs(change: dict[str, Any], words: str) -> None:
    x = np.ones((5, 4), np.float32)
    given = {"edges": [[0, 1]], "weights": {"attention": np.ones(4)}} | change
    with pytest.raises(InvalidInput, match=words):
        attend(x, x, mechanism=NAME, **given)


def test_impossible_edges_of_a_score() -> None:
    keys, weights = np.ones((5, 4), np.float32), {"attention": np.ones(4)}
    for wrong in ([[6, 0]], [[5, -1]]):
        with pytest.raises(InvalidInput, match=r"edges: expected rows \(query, key\) below \(6, 6\)"):
            score(keys[0], keys, mechanism=NAME, edges=wrong, weights=weights)
    assert (score(keys[0], keys, mechanism=NAME, edges=[], weights=weights) == 0).all()


def test_nan_is_refused(backend: str) -> None:
    x = rows(16, 5, 4)
    x[3, 2] = np.nan
    with pytest.raises(InvalidVector, match="expected finite"):
        attend(x, x, mechanism=NAME, edges=[], weights={"attention": np.ones(4, np.float32)}, backend=backend)
