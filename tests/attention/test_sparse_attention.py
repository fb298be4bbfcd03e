"""The sparse family: each mechanism over its support, against dense attention under the rule as a mask."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import ODD, assert_within_budget, heads, softmax

from agentmem.attention import Parameter, attend, rank, registry, score
from agentmem.errors import InvalidInput, InvalidVector

FAMILY = [mechanism.name for mechanism in registry.by_category("sparse")]
OVER_ROWS = [name for name in FAMILY if name != "blockwise-attention"]
SMALL: dict[str, dict[str, Any]] = {
    "bigbird-attention": {"block": 4, "random": 1, "global_last": 0},
    "blockwise-attention": {"chunk_size": 5, "causal": True},
    "local-attention": {"window": 3},
    "longformer-attention": {"window": 4, "dilation": 2, "global_tokens": 2},
    "random-attention": {"random": 5},
    "sliding-window": {"window": 4},
    "sparse-transformer-attention": {"stride": 5, "summary": 2},
    "star-attention": {},
    "strided-attention": {"stride": 4},
}


def rows(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def seen(name: str, n_queries: int, n_keys: int) -> np.ndarray:
    """The support of ``SMALL`` as a mask, by its definition; the drawn keys as the package draws them."""
    i, j = np.arange(n_keys - n_queries, n_keys)[:, None], np.arange(n_keys)[None]
    rule = {
        "blockwise-attention": lambda: j <= i,
        "local-attention": lambda: abs(i - j) <= 3,
        "longformer-attention": lambda: ((abs(i - j) <= 4) & ((i - j) % 2 == 0)) | (j < 2) | ((i < 2) & (i >= 0)),
        "sliding-window": lambda: (j <= i) & (i - j < 4),
        "sparse-transformer-attention": lambda: (j <= i) & ((i // 5 == j // 5) | (j % 5 >= 3)),
        "strided-attention": lambda: (j <= i) & ((i - j <= 4) | ((i - j) % 4 == 0)),
    }
    if name in rule:
        return np.broadcast_to(rule[name](), (n_queries, n_keys))
    zeros = np.zeros((n_queries, 1), np.float32), np.zeros((n_keys, 1), np.float32)
    weights = attend(*zeros, mechanism=name, params=SMALL[name], return_weights=True).weights
    assert weights is not None
    return weights[0] > 0


def star(query: np.ndarray, key: np.ndarray, value: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """One head: the relay, at first the mean, attends itself and all; a row its neighbours, itself twice, the relay."""
    kept = np.ones(len(key), bool) if mask is None else mask
    mean_key, mean_value = key[kept].mean(0, keepdims=True), value[kept].mean(0, keepdims=True)
    all_keys, all_values = np.concatenate([key[kept], mean_key]), np.concatenate([value[kept], mean_value])
    relay_key, relay_value = softmax(mean_key, all_keys, all_keys), softmax(mean_key, all_keys, all_values)
    out, n = [], len(key)
    for at, q in enumerate(query, n - len(query)):
        near = [j for j in [*sorted({(at - 1) % n, at, (at + 1) % n}), at] if kept[j]]
        k, v = np.concatenate([key[near], relay_key]), np.concatenate([value[near], relay_value])
        out.append(softmax(q[None], k, v)[0])
    return np.array(out).reshape(len(query), value.shape[1])


EQUAL = {
    "local-attention": ({"window": 1}, [3 / 2, 7 / 3, 14 / 3, 28 / 3, 56 / 3, 24]),
    "sliding-window": ({"window": 2}, [1, 1.5, 3, 6, 12, 24]),
    # row 0 is global; rows 2 apart, and row 0: {0 1 3}, {0 2 4}, {0 1 3 5}, {0 2 4}, {0 3 5}
    "longformer-attention": (
        {"window": 2, "dilation": 2, "global_tokens": 1},
        [10.5, 11 / 3, 7, 43 / 4, 7, 41 / 3],
    ),
    # {0}, {0 1}, {0 1 2}, {1 2 3}, {2 3 4} and 0, {3 4 5} and 1
    "strided-attention": ({"stride": 2}, [1, 1.5, 7 / 3, 14 / 3, 29 / 4, 58 / 4]),
    # chunks {0 1 2} and {3 4 5}, the last row of the first for all of the second
    "sparse-transformer-attention": ({"stride": 3, "summary": 1}, [1, 1.5, 7 / 3, 6, 28 / 3, 15]),
    # row 0 sees all, and the others see it and themselves
    "bigbird-attention": (
        {"block": 1, "window": 1, "global_last": 0, "random": 0},
        [10.5, 1.5, 2.5, 4.5, 8.5, 16.5],
    ),
    "random-attention": ({"random": 6}, [10.5] * 6),
    # (neighbours + twice itself + the relay, which is the mean 10.5) / 5
    "star-attention": ({}, [9.3, 3.9, 5.7, 9.3, 16.5, 18.3]),
    "blockwise-attention": ({"chunk_size": 4, "causal": True}, [1, 1.5, 7 / 3, 15 / 4, 31 / 5, 10.5]),
}


@pytest.mark.parametrize("name", FAMILY)
def test_known_answer_of_equal_scores(backend: str, name: str) -> None:
    params, expected = EQUAL[name]
    value = np.array([[1], [2], [4], [8], [16], [32]], np.float32)
    zeros = np.zeros((6, 3), np.float32)
    came = attend(zeros, zeros, value, mechanism=name, params=params, backend=backend)
    np.testing.assert_allclose(came.output[:, 0], expected, rtol=1e-6)
    assert came.backend == backend


@pytest.mark.parametrize("name", [name for name in FAMILY if name != "star-attention"])
def test_known_answer_of_scores(backend: str, name: str) -> None:
    # the last of two rows sees both, logits ln 3 and 0: weights 3/4 and 1/4
    key, value = np.array([[1], [0]], np.float32), np.array([[4], [8]], np.float32)
    query = np.array([[0], [math.log(3)]], np.float32)
    came = attend(query, key, value, mechanism=name, return_weights=True, params={"scale": 1.0}, backend=backend)
    assert came.weights is not None
    np.testing.assert_allclose(came.weights[0, 1], [0.75, 0.25], rtol=1e-6)
    np.testing.assert_allclose(came.output[1], [5.0], rtol=1e-6)


def test_known_answer_of_a_star(backend: str) -> None:
    # keys ln 2 and −ln 2, whose mean is 0: the relay's scores are equal, its key 0, its value 3.  Row 0, query 1:
    # itself in the ring and once more, 2 · 2, its one neighbour 1/2, the relay 1: (4 · 2 + 1/2 · 4 + 1 · 3) / 5.5
    key, value = np.array([[math.log(2)], [-math.log(2)]], np.float32), np.array([[2], [4]], np.float32)
    query = np.array([[1], [0]], np.float32)
    came = attend(query, key, value, mechanism="star-attention", return_weights=True, backend=backend)
    np.testing.assert_allclose(came.output, [[13 / 5.5], [(2 + 2 * 4 + 3) / 4]], rtol=1e-6)
    assert came.weights is not None
    np.testing.assert_allclose(came.weights[0, 0], [4.5 / 5.5, 1 / 5.5], rtol=1e-6)


@pytest.mark.parametrize("name", FAMILY)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(ODD),
    st.integers(-5, 2),
    st.integers(1, 3),
    st.sampled_from([1, 7, 16, 33]),
    st.integers(1, 20),
    st.integers(0, 2**31),
    st.booleans(),
)
def test_parity_over_any_shape(
    backend: str, name: str, n_keys: int, extra: int, n_heads: int, dim: int, value_dim: int, seed: int, masked: bool
) -> None:
    n_queries = max(n_keys + extra, 1)
    query, key = rows(seed, n_queries, n_heads * dim), rows(seed + 1, n_keys, n_heads * dim)
    value = rows(seed + 2, n_keys, n_heads * value_dim)
    params = SMALL[name] | {"heads": n_heads}
    keep = np.random.default_rng(seed).random(n_keys) < 0.7 if masked else np.ones(n_keys, bool)
    came = attend(query, key, value, mechanism=name, params=params, mask=keep if masked else None, backend=backend)
    if name != "star-attention":
        visible = seen(name, n_queries, n_keys) & keep
        assert_within_budget(came.output, heads, query, key, value, n=n_heads, mask=visible)
    elif keep.any():
        for h in range(n_heads):
            q, k, v = (np.split(x, n_heads, axis=1)[h] for x in (query, key, value))
            part = came.output[:, h * value_dim : (h + 1) * value_dim]
            assert_within_budget(part, star, q, k, v, mask=keep)
    else:
        assert (came.output == 0).all()


@pytest.mark.parametrize("name", [name for name in FAMILY if name != "star-attention"])
def test_a_support_of_all_keys_is_dense_attention(backend: str, name: str) -> None:
    everything = {
        "bigbird-attention": {"block": 97},
        "blockwise-attention": {"chunk_size": 10},
        "local-attention": {"window": 97},
        "longformer-attention": {"window": 2 * 97},
        "random-attention": {"random": 97},
        "sliding-window": {"window": 97},
        "sparse-transformer-attention": {"stride": 97},
        "strided-attention": {"stride": 1},
    }
    causal = name in ("sliding-window", "sparse-transformer-attention", "strided-attention")
    query = rows(1, 97, 24)
    params = everything[name] | {"heads": 2}
    came = attend(query, query, mechanism=name, params=params, return_weights=True, backend=backend)
    plain = attend(query, query, mechanism="standard-mha", params={"heads": 2, "causal": causal}, return_weights=True)
    np.testing.assert_allclose(came.output, plain.output, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(came.weights, plain.weights, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", FAMILY)
def test_identity_values_give_the_weights(backend: str, name: str) -> None:
    n = 37
    x, eye = rows(2, 2, n, 8), np.repeat(np.eye(n, dtype=np.float32)[None], 2, axis=0)
    came = attend(x, x, eye, mechanism=name, params=SMALL[name], return_weights=True, backend=backend)
    assert came.weights is not None
    assert came.weights.shape == (2, n, n)
    np.testing.assert_allclose(came.output, came.weights, atol=1e-6)
    np.testing.assert_allclose(came.weights.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", FAMILY)
def test_heads_in_front_are_heads_of_a_split_row(backend: str, name: str) -> None:
    x = rows(3, 33, 12)
    split = np.ascontiguousarray(x.reshape(33, 2, 6).transpose(1, 0, 2))
    merged = attend(x, x, mechanism=name, params=SMALL[name] | {"heads": 2}, backend=backend).output
    apart = attend(split, split, mechanism=name, params=SMALL[name], backend=backend).output
    np.testing.assert_array_equal(apart.transpose(1, 0, 2).reshape(33, 12), merged)


@pytest.mark.parametrize("name", FAMILY)
def test_fewer_queries_are_the_last_rows(backend: str, name: str) -> None:
    x = rows(4, 33, 12)
    whole = attend(x, x, mechanism=name, params=SMALL[name], return_weights=True, backend=backend)
    last = attend(x[-5:], x, mechanism=name, params=SMALL[name], return_weights=True, backend=backend)
    assert whole.weights is not None
    np.testing.assert_allclose(last.output, whole.output[-5:], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(last.weights, whole.weights[:, -5:], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", OVER_ROWS)
def test_positions_give_the_order(backend: str, name: str) -> None:
    x, order = rows(5, 33, 12), np.random.default_rng(0).permutation(33)
    mask = np.random.default_rng(1).random(33) < 0.8
    params = SMALL[name]
    whole = attend(x, x, mechanism=name, params=params, mask=mask, return_weights=True, backend=backend)
    shuffled = attend(
        x[order],
        x[order],
        mechanism=name,
        params=params,
        mask=mask[order],
        positions=order * 2.5,
        return_weights=True,
        backend=backend,
    )
    assert whole.weights is not None
    np.testing.assert_allclose(shuffled.output, whole.output[order], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(shuffled.weights, whole.weights[:, order][:, :, order], rtol=1e-5, atol=1e-7)


def test_a_query_between_two_keys_stands_at_the_one_before(backend: str) -> None:
    params, key = {"window": 2}, np.zeros((3, 2), np.float32)
    value = np.array([[1], [2], [4]], np.float32)
    places = (np.array([15.0, 5.0, 99.0]), np.array([10.0, 20.0, 30.0]))
    came = attend(key, key, value, mechanism="sliding-window", params=params, positions=places, backend=backend)
    np.testing.assert_allclose(came.output[:, 0], [1, 0, 3], rtol=1e-6)


@pytest.mark.parametrize("name", [name for name in FAMILY if name != "star-attention"])
def test_any_mask_and_rows_that_keep_nothing(backend: str, name: str) -> None:
    x = rows(6, 33, 12)
    mask = np.random.default_rng(2).random((2, 33, 33)) < 0.6
    mask[:, 7] = False
    params = SMALL[name] | {"heads": 2}
    came = attend(x, x, mechanism=name, params=params, mask=mask, return_weights=True, backend=backend)
    assert came.weights is not None
    assert (came.output[7] == 0).all()
    assert (came.weights[~mask] == 0).all()
    for h, part in enumerate(np.split(x, 2, axis=1)):
        visible = seen(name, 33, 33) & mask[h]
        assert_within_budget(came.output[:, 6 * h : 6 * h + 6], softmax, part, part, part, mask=visible)


def test_star_takes_masks_over_keys_alone() -> None:
    x = rows(6, 4, 3)
    with pytest.raises(InvalidInput, match=r"star-attention takes a mask over the keys, shape \(4,\)"):
        attend(x, x, mechanism="star-attention", mask=np.ones((4, 4), bool))


def test_atoms_make_mechanisms_of_ones_own(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_mechanisms", dict(registry._mechanisms))
    like = registry.get("sliding-window")
    tokens = Parameter(name="global_tokens", default=2, meaning="global rows", minimum=0)
    for name, support in (("recent-and-first", "past | global"), ("odd", "past | moon")):
        registry.register(replace(like, name=name, support=support, parameters=(*like.parameters, tokens)))
    x, (i, j) = rows(22, 33, 8), np.ogrid[:33, :33]
    came = attend(x, x, mechanism="recent-and-first", params={"window": 4}, backend=backend)
    assert_within_budget(came.output, softmax, x, x, x, mask=((j <= i) & (i - j < 4)) | (j < 2) | (i < 2))
    with pytest.raises(InvalidInput, match=r"support 'past \| moon': no atom 'moon'; there are all, window"):
        attend(x, x, mechanism="odd")


@pytest.mark.parametrize("name", FAMILY)
def test_no_rows(backend: str, name: str) -> None:
    x = rows(7, 3, 8)
    came = attend(x, x[:0], mechanism=name, params=SMALL[name], return_weights=True, backend=backend)
    assert came.output.tolist() == np.zeros((3, 8)).tolist()
    assert came.weights is not None
    assert came.weights.shape == (1, 3, 0)
    assert attend(x[:0], x, mechanism=name, params=SMALL[name], backend=backend).output.shape == (0, 8)
    given = {} if name == "blockwise-attention" else {"positions": np.zeros(0)}
    assert score(x[0], x[:0], mechanism=name, backend=backend, **given).shape == (0,)
    one = attend(x[:1], x[:1], mechanism=name, params=SMALL[name], backend=backend)
    np.testing.assert_allclose(one.output, x[:1], rtol=1e-6)


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("which", [0, 1, 2])
def test_nan_is_refused_wherever_it_is(backend: str, name: str, which: int) -> None:
    arrays = [rows(8, 33, 8), rows(9, 33, 8), rows(10, 33, 8)]
    arrays[which][13, 3] = np.nan
    with pytest.raises(InvalidVector, match=r"expected finite numbers, came NaN or infinity at \[13, 3\]"):
        attend(*arrays, mechanism=name, params=SMALL[name], mask=np.zeros(33, bool), backend=backend)


def test_overflow_is_named(backend: str) -> None:
    huge = np.full((9, 4), 1e30, np.float32)
    if backend == "numpy":
        np.testing.assert_allclose(attend(huge, huge, mechanism="local-attention", backend=backend).output, huge)
    else:
        with pytest.raises(InvalidInput, match="the scores exceed float32"):
            attend(huge, huge, mechanism="local-attention", backend=backend)


@pytest.mark.parametrize("name", ["bigbird-attention", "random-attention"])
def test_the_seed_decides(backend: str, name: str) -> None:
    x = rows(11, 97, 8)
    runs = [attend(x, x, mechanism=name, params=SMALL[name] | {"seed": s}, backend=backend).output for s in (1, 1, 2)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert (runs[0] != runs[2]).any()


def test_global_rows_have_projections_of_their_own(backend: str) -> None:
    name, x, value = "longformer-attention", rows(12, 33, 8), rows(13, 33, 6)
    shapes = {"query": (8, 10), "key": (8, 10), "value": (6, 4)}
    learned = {n: rows(20 + i, *shape) for i, (n, shape) in enumerate(shapes.items())}
    own = {f"{n}_global": rows(30 + i, *shape) for i, (n, shape) in enumerate(shapes.items())}
    params = SMALL[name] | {"heads": 2}
    mask = np.random.default_rng(3).random((2, 33, 33)) < 0.8
    kwargs: dict[str, Any] = {"mechanism": name, "params": params, "mask": mask, "backend": backend}
    plain = attend(x, x, value, weights=learned, **kwargs).output
    came = attend(x, x, value, weights=learned | own, return_weights=True, **kwargs)
    np.testing.assert_array_equal(came.output[2:], plain[2:])
    q, k, v = x[:2] @ own["query_global"], x @ own["key_global"], value @ own["value_global"]
    by_head = (np.split(part, 2, axis=1) for part in (q, k, v))
    expected = [softmax(*parts, mask=mask[h, :2]) for h, parts in enumerate(zip(*by_head, strict=True))]
    np.testing.assert_allclose(came.output[:2], np.concatenate(expected, axis=1), rtol=1e-4, atol=1e-5)
    assert came.weights is not None
    np.testing.assert_allclose(came.weights.sum(-1), 1, rtol=1e-5)
    same = {f"{n}_global": array for n, array in learned.items()}
    np.testing.assert_allclose(attend(x, x, value, weights=learned | same, **kwargs).output, plain, rtol=1e-5)
    with pytest.raises(InvalidInput, match=r"weights\['value_global'\]: expected rows of 6 numbers"):
        attend(x, x, value, weights={"value_global": own["value_global"]}, **kwargs)


@pytest.mark.parametrize("name", OVER_ROWS)
def test_score_is_the_last_rows_weights(backend: str, name: str) -> None:
    query, keys, places = rows(14, 8), rows(15, 40, 8), np.random.default_rng(4).permutation(40)
    came = score(query, keys, mechanism=name, params=SMALL[name], positions=places, backend=backend)
    sequence = np.concatenate([keys[np.argsort(places)], query[None]])
    row = attend(sequence, sequence, mechanism=name, params=SMALL[name], return_weights=True).weights
    assert row is not None
    np.testing.assert_allclose(came, row[0, -1, :-1][places], rtol=1e-5, atol=1e-7)
    with pytest.raises(InvalidInput, match=f"{name} needs positions"):
        score(query, keys, mechanism=name)


@pytest.mark.parametrize("name", OVER_ROWS)
def test_it_can_reorder_and_what_it_leaves_out_follows_by_dot_product(backend: str, name: str) -> None:
    assert registry.get(name).can_reorder
    query, keys, places = rows(16, 8), rows(17, 40, 8), np.random.default_rng(5).permutation(40)
    dense = keys @ query
    came = rank(query, keys, mechanism=name, params=SMALL[name], positions=places, backend=backend)
    assert sorted(came.order.tolist()) == list(range(40))
    assert came.order.tolist() != np.argsort(-dense, kind="stable").tolist()
    outside = came.order[came.scores == 0]
    if name != "star-attention":
        assert 0 < len(outside) < 40
        np.testing.assert_array_equal(outside, sorted(outside, key=lambda c: -dense[c]))


def test_bigbirds_last_block_sees_all_unless_told_otherwise(backend: str) -> None:
    query, keys = rows(18, 8), rows(19, 40, 8)
    params = {"block": 4, "random": 1}
    came = rank(query, keys, mechanism="bigbird-attention", params=params, positions=np.arange(40), backend=backend)
    assert (came.scores > 0).all()
    np.testing.assert_array_equal(came.order, np.argsort(-(keys @ query), kind="stable"))


def test_blockwise_keeps_the_order_of_the_dot_product(backend: str) -> None:
    query, keys = rows(20, 8), rows(21, 40, 8)
    came = rank(query, keys, mechanism="blockwise-attention", backend=backend)
    np.testing.assert_array_equal(came.order, np.argsort(-(keys @ query), kind="stable"))


@pytest.mark.parametrize("name", [name for name in FAMILY if name != "star-attention"])
def test_the_largest_numbers(backend: str, name: str) -> None:
    x = rows(23, 9, 4)
    parameters = [p for p in registry.get(name).parameters if p.maximum == 2**31 - 1]
    params = {p.name: 2**31 - 1 for p in parameters} | ({"dilation": 1} if name == "longformer-attention" else {})
    came = attend(x, x, mechanism=name, params=params, backend=backend)
    causal = name in ("sliding-window", "sparse-transformer-attention", "strided-attention")
    plain = attend(x, x, params={"causal": causal}, backend=backend)
    np.testing.assert_allclose(came.output, plain.output, rtol=1e-5, atol=1e-6)
    with pytest.raises(InvalidInput, match=f"{parameters[0].name} must be a whole number"):
        attend(x, x, mechanism=name, params={parameters[0].name: 2**31})


@pytest.mark.parametrize(
    ("name", "params", "words"),
    [
        ("local-attention", {"window": -1}, "window must be a whole number, at least 0"),
        ("sliding-window", {"window": 0}, "window must be a whole number, at least 1"),
        ("longformer-attention", {"dilation": 0}, "dilation must be"),
        ("bigbird-attention", {"block": 0}, "block must be"),
        ("strided-attention", {"stride": 0}, "stride must be"),
        ("sparse-transformer-attention", {"summary": 0}, "summary must be"),
        ("random-attention", {"random": 0}, "random must be"),
        ("random-attention", {"seed": -1}, "seed must be"),
        ("star-attention", {"window": 3}, "has no parameter 'window'"),
        ("blockwise-attention", {"chunk_size": 0}, "chunk_size must be"),
        ("local-attention", {"heads": 3}, "3 heads do not divide 4 dimensions"),
    ],
)
def test_impossible_parameters(name: str, params: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        attend(np.ones((3, 4), np.float32), np.ones((3, 4), np.float32), mechanism=name, params=params)
