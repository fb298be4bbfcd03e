"""How heads are made and shared: standard-mha's options, grouped-query- and multi-query-attention, cross-attention."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import assert_within_budget, heads
from oracle_softmax import grouped

from agentmem.attention import AttentionWeights, attend, score
from agentmem.errors import InvalidInput

GROUPED, SHARED = "grouped-query-attention", "multi-query-attention"
LN3 = math.log(3)


def rows(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_known_answer_of_groups(backend: str) -> None:
    # four heads of one number, two groups: heads 0 and 1 share key (ln 3, 0), heads 2 and 3 (0, ln 3)
    key = np.array([[[LN3], [0]], [[0], [LN3]]], np.float32)
    value = np.array([[[4], [8]], [[12], [16]]], np.float32)
    query = np.array([[[1]], [[0]], [[1]], [[-1]]], np.float32)
    came = attend(query, key, value, mechanism=GROUPED, params={"scale": 1.0}, return_weights=True, backend=backend)
    np.testing.assert_allclose(came.output[:, 0, 0], [5, 6, 15, 13], rtol=1e-6)
    np.testing.assert_allclose(came.weights[:, 0], [[3 / 4, 1 / 4], [1 / 2, 1 / 2], [1 / 4, 3 / 4], [3 / 4, 1 / 4]])


def test_known_answer_of_means(backend: str) -> None:
    # without projections a group's key and value are the means of its heads: keys 2 ln 3 and 0, values 4 and 8
    key = np.array([[3 * LN3, LN3], [0, 0]], np.float32)
    value = np.array([[3, 5], [6, 10]], np.float32)
    params = {"heads": 2, "scale": 0.5}
    came = attend(np.ones((1, 2), np.float32), key, value, mechanism=SHARED, params=params, backend=backend)
    np.testing.assert_allclose(came.output, [[5, 5]], rtol=1e-6)
    same = attend(
        np.ones((1, 2), np.float32), key, value, mechanism=GROUPED, params=params | {"groups": 1}, backend=backend
    )
    np.testing.assert_array_equal(same.output, came.output)


def test_known_answer_across(backend: str) -> None:
    # a source of two rows is asked by one of another: W_Q turns 2 into ln 3, W_V doubles the first number
    asked, source = np.array([[2]], np.float32), np.array([[1], [0]], np.float32)
    value = np.array([[1, 5], [3, 1]], np.float32)
    learned = {
        "query": np.array([[LN3 / 2]], np.float32),
        "value": np.array([[2], [0]], np.float32),
        "output": np.array([[1, -1]], np.float32),
        "output_bias": np.array([0, 10], np.float32),
    }
    params = {"scale": 1.0}
    came = attend(asked, source, value, mechanism="cross-attention", params=params, weights=learned, backend=backend)
    np.testing.assert_allclose(came.output, [[3, 7]], rtol=1e-6)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([1, 3, 33, 40]),
    st.sampled_from([1, 31, 32, 33, 97]),
    st.sampled_from([(1, 1), (4, 2), (6, 3), (8, 2), (8, 1), (5, 5)]),
    st.sampled_from([1, 7, 16, 33]),
    st.integers(0, 2**31),
)
def test_parity_of_groups(
    backend: str, n_queries: int, n_keys: int, sizes: tuple[int, int], head_dim: int, seed: int
) -> None:
    n, groups = sizes
    query, value_dim = rows(seed, n_queries, n * head_dim), 5
    key, value = rows(seed + 1, n_keys, groups * head_dim), rows(seed + 2, n_keys, groups * value_dim)
    cut = (np.stack(np.split(x, h, axis=1)) for x, h in ((query, n), (key, groups), (value, groups)))
    mechanism, params = (SHARED, {}) if groups == 1 else (GROUPED, {"groups": groups})
    came = attend(*cut, mechanism=mechanism, params=params, backend=backend).output
    flat = came.transpose(1, 0, 2).reshape(n_queries, n * value_dim)
    assert_within_budget(flat, grouped, query, key, value, n=n, groups=groups)


@pytest.mark.parametrize("mechanism", [GROUPED, SHARED])
def test_projections_make_the_groups(backend: str, mechanism: str) -> None:
    groups = 2 if mechanism == GROUPED else 1
    query, key, value = rows(1, 3, 10), rows(2, 31, 10), rows(3, 31, 6)
    learned = {
        "query": rows(4, 10, 16),
        "key": rows(5, 10, 4 * groups),
        "value": rows(6, 6, 3 * groups),
        "output": rows(7, 12, 5),
    }
    params = {"heads": 4, "head_dim": 4}
    came = attend(query, key, value, mechanism=mechanism, params=params, weights=learned, backend=backend)
    q, k, v = query @ learned["query"], key @ learned["key"], value @ learned["value"]
    expected = grouped(q, k, v, n=4, groups=groups) @ learned["output"]
    np.testing.assert_allclose(came.output, expected, rtol=1e-4, atol=1e-4)


def test_as_many_groups_as_heads_is_multi_head_attention(backend: str) -> None:
    query, key = rows(1, 5, 24), rows(2, 33, 24)
    params = {"heads": 4, "groups": 4}
    came = attend(query, key, mechanism=GROUPED, params=params, return_weights=True, backend=backend)
    plain = attend(query, key, mechanism="standard-mha", params={"heads": 4}, return_weights=True, backend=backend)
    np.testing.assert_array_equal(came.output, plain.output)
    np.testing.assert_array_equal(came.weights, plain.weights)


@pytest.mark.parametrize("mechanism", [GROUPED, SHARED])
def test_masks_weights_and_no_candidates(backend: str, mechanism: str) -> None:
    groups = 2 if mechanism == GROUPED else 1
    query, key, value = rows(1, 4, 3, 6), rows(2, groups, 9, 6), np.stack([np.eye(9, dtype=np.float32)] * groups)
    mask = np.random.default_rng(0).random((4, 3, 9)) < 0.6
    mask[2, 1] = False
    came = attend(query, key, value, mechanism=mechanism, mask=mask, return_weights=True, backend=backend)
    np.testing.assert_allclose(came.output, came.weights, rtol=1e-6, atol=1e-7)
    assert (came.output[2, 1] == 0).all()
    assert (came.weights[~mask] == 0).all()
    empty = attend(query, key[:, :0], value[:, :0], mechanism=mechanism, backend=backend)
    assert empty.output.tolist() == np.zeros((4, 3, 9)).tolist()
    flat = attend(rows(1, 2, 16), rows(2, 0, 16), mechanism=mechanism, backend=backend)
    assert (flat.output == 0).all()
    assert flat.output.shape == (2, 16)


@pytest.mark.parametrize("mechanism", [GROUPED, SHARED, "standard-mha", "cross-attention"])
def test_it_can_reorder(backend: str, mechanism: str) -> None:
    query, keys = rows(5, 16), rows(6, 40, 16)
    came = score(query, keys, mechanism=mechanism, params={"heads": 8}, backend=backend)
    np.testing.assert_allclose(came.sum(), 1, rtol=1e-5)
    assert not np.array_equal(np.argsort(-came), np.argsort(-(keys @ query)))


@pytest.mark.parametrize("mechanism", ["scaled-dot", "flash-attention-v2"])
def test_it_cannot_reorder(backend: str, mechanism: str) -> None:
    query, keys = rows(5, 16), rows(6, 40, 16)
    came = score(query, keys, mechanism=mechanism, backend=backend)
    assert np.array_equal(np.argsort(-came), np.argsort(-(keys @ query)))


def test_impossible_groups(backend: str) -> None:
    x = rows(1, 4, 12)
    with pytest.raises(InvalidInput, match="groups: 3 do not divide 4 heads"):
        attend(x, x, mechanism=GROUPED, params={"heads": 4, "groups": 3}, backend=backend)
    with pytest.raises(InvalidInput, match="query: 8 heads do not divide 12 dimensions"):
        attend(x, x, mechanism=SHARED, backend=backend)
    with pytest.raises(InvalidInput, match=r"weights\['key'\]: 2 groups of 3 expected, 6 columns, came 8"):
        attend(x, x, mechanism=GROUPED, params={"heads": 4}, weights={"key": rows(2, 12, 8)}, backend=backend)
    with pytest.raises(InvalidInput, match="key: expected 2 groups or 8 heads in front, came 4"):
        attend(rows(1, 8, 3, 2), *[rows(1, 4, 3, 2)] * 2, mechanism=GROUPED, backend=backend)
    with pytest.raises(InvalidInput, match="all three with n_heads in front"):
        attend(rows(1, 8, 3, 2), *[rows(1, 3, 3, 2)] * 2, mechanism=GROUPED, backend=backend)
    with pytest.raises(InvalidInput, match="all three with n_heads in front"):
        attend(rows(1, 8, 3, 2), *[rows(1, 2, 3, 2)] * 2, mechanism="standard-mha", backend=backend)


def test_biases_are_added(backend: str) -> None:
    query, key, value = rows(1, 3, 6), rows(2, 9, 6), rows(3, 9, 4)
    learned = {"query": rows(4, 6, 8), "key": rows(5, 6, 8), "value": rows(6, 4, 10), "output": rows(7, 10, 3)}
    biases = {"query_bias": rows(8, 8), "key_bias": rows(9, 8), "value_bias": rows(10, 10), "output_bias": rows(11, 3)}
    came = attend(
        query,
        key,
        value,
        mechanism="standard-mha",
        params={"heads": 2},
        weights=learned | biases,
        backend=backend,
    )
    q, k, v = (x @ learned[n] + biases[f"{n}_bias"] for n, x in (("query", query), ("key", key), ("value", value)))
    expected = heads(q, k, v, 2) @ learned["output"] + biases["output_bias"]
    np.testing.assert_allclose(came.output, expected, rtol=1e-4, atol=1e-4)
    alone = attend(query, key, value, mechanism="standard-mha", params={"heads": 2}, weights={"value_bias": rows(1, 4)})
    plain = attend(query, key, value, mechanism="standard-mha", params={"heads": 2})
    np.testing.assert_allclose(alone.output, plain.output + rows(1, 4), rtol=1e-5, atol=1e-6)
    with pytest.raises(InvalidInput, match=r"weights\['query_bias'\]: expected 6 numbers, came 5"):
        attend(query, key, value, mechanism="standard-mha", params={"heads": 2}, weights={"query_bias": rows(1, 5)})


def test_head_dim_is_what_the_projections_make() -> None:
    x = rows(1, 4, 12)
    params = {"heads": 3, "head_dim": 5}
    made = AttentionWeights.init("standard-mha", dim=12, params=params)
    assert made["query"].shape == (12, 15)
    assert made["output"].shape == (15, 12)
    assert attend(x, x, mechanism="standard-mha", params=params, weights=made).output.shape == (4, 12)
    with pytest.raises(InvalidInput, match="head_dim: expected 3 heads of 5, came rows for 4 each"):
        attend(x, x, mechanism="standard-mha", params=params)


def test_dropout_leaves_out_a_share_by_seed(backend: str) -> None:
    query, key, value = rows(1, 2, 20, 6), rows(2, 2, 1500, 6), rows(3, 2, 1500, 4)  # more keys than one block
    given = {"mechanism": "standard-mha", "return_weights": True}
    plain = attend(query, key, value, backend=backend, **given)
    params = {"dropout": 0.25, "seed": 3}
    came = attend(query, key, value, params=params, backend=backend, **given)
    left = came.weights != 0
    assert abs(left.mean() - 0.75) < 0.01
    np.testing.assert_allclose(came.weights[left], plain.weights[left] / 0.75, rtol=1e-5)
    np.testing.assert_allclose(came.output, came.weights @ value, rtol=1e-4, atol=1e-5)
    again = attend(query, key, value, params=params, backend=backend, **given)
    np.testing.assert_array_equal(again.output, came.output)
    other = attend(query, key, value, params=params | {"seed": 4}, backend=backend, **given)
    assert abs(((other.weights != 0) == left).mean() - 0.625) < 0.02
    portable = attend(query, key, value, params=params, backend="numpy", **given)
    assert np.array_equal(portable.weights != 0, left)
