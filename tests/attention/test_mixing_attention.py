"""differential-, mixture-, talking-heads- and synthesizer-attention: what blends heads, softmaxes and mechanisms."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import assert_within_budget, heads, hyperbolic, softmax
from oracle_softmax import differential, synthesizer, talking

from agentmem.attention import AttentionWeights, attend, score
from agentmem.errors import InvalidInput, UnknownMechanism

LN2, LN3 = math.log(2), math.log(3)
drawn = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
LENGTHS = st.sampled_from([1, 31, 32, 33, 97])


def rows(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def lambdas(half: int, factor: float, layer: int = 1) -> dict[str, np.ndarray]:
    """Return vectors that make λ = ``factor``: exp(0) − exp(log(1 + λ_init − factor)) + λ_init."""
    start = 0.8 - 0.6 * math.exp(-0.3 * (layer - 1))
    vectors = {f"lambda_{name}": np.zeros(half, np.float32) for name in ("q1", "k1", "q2", "k2")}
    vectors["lambda_q2"][0], vectors["lambda_k2"][0] = 1, math.log(1 + start - factor)
    return vectors


def test_differential_known_answer(backend: str) -> None:
    # first softmax 3/4, 1/4; second 1/2, 1/2; λ = λ_init = 0.2: weights 0.65, 0.15; values (1, 0), (0, 1) of one head:
    # mean square (0.65² + 0.15²) / 2 = 0.2225; times 1 − 0.2
    query, key = np.array([[LN3, 1]], np.float32), np.array([[1, 0], [0, 0]], np.float32)
    came = attend(
        query,
        key,
        np.eye(2, dtype=np.float32),
        mechanism="differential-attention",
        params={"heads": 1, "scale": 1.0},
        return_weights=True,
        backend=backend,
    )
    np.testing.assert_allclose(came.weights, [[[0.65, 0.15]]], rtol=1e-6)
    np.testing.assert_allclose(came.output, 0.8 * np.array([[0.65, 0.15]]) / math.sqrt(0.2225), rtol=1e-4)


def test_differential_layers_and_gain(backend: str) -> None:
    query, key = np.array([[LN3, 1]], np.float32), np.array([[1, 0], [0, 0]], np.float32)
    given = {"mechanism": "differential-attention", "return_weights": True, "backend": backend}
    params = {"heads": 1, "scale": 1.0, "layer": 3}
    came = attend(query, key, np.eye(2, dtype=np.float32), params=params, weights={"norm": rows(1, 2)}, **given)
    start = 0.8 - 0.6 * math.exp(-0.6)
    expected = np.array([0.75, 0.25]) - start * 0.5
    np.testing.assert_allclose(came.weights, [[expected]], rtol=1e-5)
    normed = (1 - start) * expected / np.sqrt((expected**2).mean() + 1e-5) * rows(1, 2)
    np.testing.assert_allclose(came.output, [normed], rtol=1e-5)


@drawn
@given(st.integers(1, 40), LENGTHS, st.sampled_from([1, 2, 5]), st.sampled_from([1, 7, 17]), st.integers(0, 2**31))
def test_differential_parity(backend: str, n_queries: int, n_keys: int, n: int, half: int, seed: int) -> None:
    query, key = rows(seed, n_queries, 2 * n * half), rows(seed + 1, n_keys, 2 * n * half)
    value = np.stack([np.eye(n_keys, dtype=np.float32)] * n)
    cut = (np.stack(np.split(x, n, axis=1)) for x in (query, key))
    came = attend(
        *cut,
        value,
        mechanism="differential-attention",
        weights=lambdas(half, 0.5),
        return_weights=True,
        backend=backend,
    )
    flat = came.weights.transpose(1, 0, 2).reshape(n_queries, -1)
    assert_within_budget(flat, differential, query, key, np.concatenate(list(value), 1), n=n, factor=0.5)
    root = np.sqrt((came.weights**2).mean(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(came.output, 0.8 * came.weights / root, rtol=1e-4, atol=1e-5)


def test_differential_without_lambda_is_the_first_softmax(backend: str) -> None:
    query, key, value = rows(1, 5, 24), rows(2, 33, 24), rows(3, 33, 9)
    came = attend(
        query,
        key,
        value,
        mechanism="differential-attention",
        params={"heads": 1},
        weights=lambdas(12, 0.0),
        return_weights=True,
        backend=backend,
    )
    plain = softmax(query[:, :12], key[:, :12], value)
    np.testing.assert_allclose(came.weights[0] @ value, plain, rtol=1e-4, atol=1e-5)
    expected = 0.8 * plain / np.sqrt((plain**2).mean(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(came.output, expected, rtol=1e-4, atol=1e-5)


def test_talking_known_answer(backend: str) -> None:
    # logits of the heads: (ln 3, 0) and (0, ln 2); P_l sums them for head 0 and gives head 1 none: 3 : 2 and 1 : 1;
    # P_w gives head 0 head 1's weights less head 0's, head 1 head 0's
    learned = {
        "logits": np.array([[1, 1], [0, 0]], np.float32),
        "shares": np.array([[-1, 1], [1, 0]], np.float32),
    }
    key, value = np.array([[LN3, 0], [0, LN2]], np.float32), np.array([[10, 10], [20, 20]], np.float32)
    came = attend(
        np.ones((1, 2), np.float32),
        key,
        value,
        mechanism="talking-heads-attention",
        params={"heads": 2, "scale": 1.0},
        weights=learned,
        return_weights=True,
        backend=backend,
    )
    np.testing.assert_allclose(came.weights[:, 0], [[-0.1, 0.1], [0.6, 0.4]], rtol=1e-5)
    np.testing.assert_allclose(came.output, [[1, 14]], rtol=1e-5)


@drawn
@given(st.integers(1, 40), LENGTHS, st.sampled_from([1, 2, 5]), st.sampled_from([1, 7, 17]), st.integers(0, 2**31))
def test_talking_parity(backend: str, n_queries: int, n_keys: int, n: int, head_dim: int, seed: int) -> None:
    query, key, value = (
        rows(seed, n_queries, n * head_dim),
        rows(seed + 1, n_keys, n * head_dim),
        rows(2, n_keys, n * 3),
    )
    learned = {"logits": rows(seed + 3, n, n), "shares": rows(seed + 4, n, n)}
    came = attend(
        query,
        key,
        value,
        mechanism="talking-heads-attention",
        params={"heads": n},
        weights=learned,
        backend=backend,
    )
    positive = (query, key, learned["logits"], np.abs(learned["shares"]), np.abs(value))
    room = np.finfo(np.float32).eps * np.abs(talking(*(x.astype(np.float64) for x in positive), n=n)).max()
    exact = talking(*(x.astype(np.float64) for x in (query, key, *learned.values(), value)), n=n)
    plain = talking(query, key, *learned.values(), value, n=n)
    assert np.abs(came.output - exact).max() <= 4 * (np.abs(plain - exact).max() + room)


def test_silent_heads_are_multi_head_attention(backend: str) -> None:
    query, key = rows(1, 5, 24), rows(2, 33, 24)
    eye = AttentionWeights.init("talking-heads-attention", dim=24, params={"heads": 3})
    for params in ({"heads": 3}, {"heads": 3, "causal": True}):
        came = attend(query, key, mechanism="talking-heads-attention", params=params, weights=eye, backend=backend)
        seen = np.tri(5, 33, 28, dtype=bool) if "causal" in params else np.ones((5, 33), bool)
        assert_within_budget(came.output, heads, query, key, key, n=3, mask=seen)


def test_synthesizer_known_answers(backend: str) -> None:
    # dense: W_1 x = (2, −1) -> ReLU (2, 0) -> scores (2 · ln 3 / 2, 0); random: row of the last place (0, ln 3)
    dense = {
        "hidden": np.array([[[2, -1]]], np.float32),
        "scores": np.array([[[LN3 / 2, 0], [9, 9]]], np.float32),
    }
    random = {"random": np.array([[[5, 5], [0, LN3]]], np.float32)}
    query, value = np.ones((1, 1), np.float32), np.array([[4], [8]], np.float32)
    for weights, expected in ((dense, 5), (random, 7), (dense | random, 6)):
        came = attend(
            query,
            np.full((2, 1), 99, np.float32),
            value,
            mechanism="synthesizer-attention",
            params={"heads": 1},
            weights=weights,
            backend=backend,
        )
        np.testing.assert_allclose(came.output, [[expected]], rtol=1e-6)
    # the key at the earlier place takes the first column, wherever its row is
    turned = attend(
        query,
        value,
        value,
        mechanism="synthesizer-attention",
        params={"heads": 1},
        positions=(np.array([7]), np.array([7, 3])),
        weights=dense,
        backend=backend,
    )
    np.testing.assert_allclose(turned.output, [[7]], rtol=1e-6)


@drawn
@given(st.integers(1, 300), LENGTHS, st.sampled_from([1, 2, 5]), st.sampled_from([1, 7]), st.integers(0, 2**31))
def test_synthesizer_parity(backend: str, n_queries: int, n_keys: int, n: int, width: int, seed: int) -> None:
    n_queries = min(n_queries, n_keys)
    query, value = rows(seed, n_queries, 6), rows(seed + 1, n_keys, n * width)
    hidden, scores, random = rows(seed + 2, n, 6, 4), rows(seed + 3, n, 4, n_keys), rows(seed + 4, n, n_keys, n_keys)
    came = attend(
        query,
        rows(seed + 5, n_keys, 6),
        value,
        mechanism="synthesizer-attention",
        params={"heads": n},
        weights={"hidden": hidden, "scores": scores, "random": random},
        backend=backend,
    )
    assert_within_budget(came.output, synthesizer, query, hidden, scores, random, value, n=n)


def test_synthesizer_of_many_queries_and_order(backend: str) -> None:
    x, n = rows(1, 600, 8), 600
    weights = AttentionWeights.init("synthesizer-attention", dim=8, n_keys=n, params={"heads": 2}, seed=1)
    given = {"mechanism": "synthesizer-attention", "params": {"heads": 2, "causal": True}, "weights": weights}
    came = attend(x, x, return_weights=True, backend=backend, **given)
    assert (came.weights[:, ~np.tri(n, dtype=bool)] == 0).all()
    np.testing.assert_allclose(came.weights.sum(-1), 1, rtol=1e-5)
    shuffle = np.random.default_rng(0).permutation(n)
    moved = attend(x[shuffle], x[shuffle], positions=shuffle, backend=backend, **given)
    np.testing.assert_allclose(moved.output, came.output[shuffle], rtol=1e-4, atol=1e-5)
    mask = np.ones((2, n, n), bool)
    mask[1, 300] = False
    masked = attend(x, x, mask=mask, backend=backend, **given)
    assert (masked.output[300, 4:] == 0).all()
    np.testing.assert_array_equal(masked.output[:, :4], came.output[:, :4])


def test_synthesizer_makes_no_square_array() -> None:
    n, x = 4096, rows(1, 4096, 8)
    weights = {"hidden": rows(2, 1, 8, 4), "scores": rows(3, 1, 4, n)}
    tracemalloc.start()
    came = attend(x, x, mechanism="synthesizer-attention", params={"heads": 1}, weights=weights)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    if came.backend == "native":
        assert peak < 32 << 20  # 4096 × 4096 float32 would be 64 MiB


def test_mixture_known_answer(backend: str) -> None:
    # router logits ln 3 and 0: 3/4 of scaled-dot with scale ln 3 (3/4, 1/4), 1/4 of the other scale (1/2, 1/2)
    params = {"members": f"scaled-dot scale={LN3}, scaled-dot scale=1e-30"}
    came = attend(
        np.array([[1, 0]], np.float32),
        np.array([[1, 0], [0, 1]], np.float32),
        np.array([[16, 0], [0, 16]], np.float32),
        mechanism="mixture-attention",
        params=params,
        weights={"router": np.array([[LN3, 0], [0, 0]], np.float32)},
        return_weights=True,
        backend=backend,
    )
    np.testing.assert_allclose(came.weights, [[11 / 16, 5 / 16]], rtol=1e-5)
    np.testing.assert_allclose(came.output, [[11, 5]], rtol=1e-5)


@drawn
@given(st.integers(1, 40), LENGTHS, st.integers(1, 33), st.integers(0, 2**31))
def test_mixture_parity(backend: str, n_queries: int, n_keys: int, dim: int, seed: int) -> None:
    query, key = (rows(seed + at, count, dim) * np.float32(0.3) for at, count in enumerate((n_queries, n_keys)))
    router = rows(seed + 2, dim, 2) * np.float32(0.3)

    def mixed(query: np.ndarray, key: np.ndarray, router: np.ndarray, value: np.ndarray) -> np.ndarray:
        exps = np.exp(query @ router)
        shares = exps / exps.sum(1, keepdims=True)
        return shares[:, :1] * softmax(query, key, value) + shares[:, 1:] * hyperbolic(query, key, value)

    came = attend(query, key, mechanism="mixture-attention", weights={"router": router}, backend=backend)
    exact = mixed(*(x.astype(np.float64) for x in (query, key, router, key)))
    plain = mixed(query, key, router, key)
    room = np.finfo(np.float32).eps * np.abs(key).max()
    assert np.abs(came.output - exact).max() <= 4 * (np.abs(plain - exact).max() + room)


def test_one_member_is_that_member(backend: str) -> None:
    query, key = rows(1, 5, 24), rows(2, 33, 24)
    came = attend(
        query,
        key,
        mechanism="mixture-attention",
        params={"members": "alibi-mha heads=4 causal=false"},
        weights={"router": rows(3, 24, 1)},
        positions=np.arange(33),
        return_weights=True,
        backend=backend,
    )
    params = {"heads": 4, "causal": False}
    member = attend(
        query,
        key,
        mechanism="alibi-mha",
        params=params,
        positions=np.arange(33),
        return_weights=True,
        backend=backend,
    )
    np.testing.assert_allclose(came.output, member.output, rtol=1e-6)
    np.testing.assert_allclose(came.weights, member.weights.mean(0), rtol=1e-6)


@pytest.mark.parametrize(
    ("members", "error", "words"),
    [
        ("scaled-dot, nothing-mha", UnknownMechanism, "no mechanism 'nothing-mha'"),
        ("scaled-dot,", InvalidInput, "members: expected names separated by commas, came 'scaled-dot,'"),
        ("scaled-dot, standard-mha heads", InvalidInput, "members: expected standard-mha name=value ..., came 'heads'"),
        ("scaled-dot, standard-mha size=3", InvalidInput, "standard-mha has no parameter 'size'"),
        ("scaled-dot, standard-mha heads=x", InvalidInput, "standard-mha: heads must be a whole number"),
        ("scaled-dot, moe-attention", InvalidInput, "members: moe-attention cannot be one"),
        ("scaled-dot, late-interaction", InvalidInput, "members: late-interaction cannot be one"),
        ("scaled-dot, alibi-mha heads=2", InvalidInput, "alibi-mha needs positions"),
        ("scaled-dot", InvalidInput, r"weights\['router'\]: expected shape \(dim=4, members=1\), came \(4, 2\)"),
    ],
)
def test_impossible_members(members: str, error: type[Exception], words: str) -> None:
    x, weights = rows(1, 3, 4), {"router": rows(2, 4, 2)}
    with pytest.raises(error, match=words):
        attend(x, x, mechanism="mixture-attention", params={"members": members}, weights=weights)


def test_what_is_missing_is_named(backend: str) -> None:
    x = rows(1, 4, 8)
    with pytest.raises(InvalidInput, match=r"needs weights\['logits'\], weights\['shares'\]; AttentionWeights.init"):
        attend(x, x, mechanism="talking-heads-attention", backend=backend)
    with pytest.raises(InvalidInput, match=r"mixture-attention needs weights\['router'\]"):
        attend(x, x, mechanism="mixture-attention", backend=backend)
    synthesizer = {"mechanism": "synthesizer-attention", "backend": backend}
    words = r"needs weights\['hidden'\], weights\['scores'\], or weights\['random'\] in their place; Att"
    with pytest.raises(InvalidInput, match=words):
        attend(x, x, **synthesizer)
    with pytest.raises(InvalidInput, match=r"needs weights\['scores'\]; AttentionWeights.init"):
        attend(x, x, weights={"hidden": rows(1, 8, 8, 2), "random": rows(2, 8, 4, 4)}, **synthesizer)
    with pytest.raises(InvalidInput, match=r"weights\['random'\]: expected shape \(heads=8, n_keys=4, n_keys=4\)"):
        attend(x, x, weights={"random": rows(2, 8, 3, 3)}, **synthesizer)
    with pytest.raises(InvalidInput, match="a query stands before every key"):
        attend(x, x, positions=(np.arange(4), np.arange(1, 5)), weights={"random": rows(2, 8, 4, 4)}, **synthesizer)
    with pytest.raises(InvalidInput, match="query: 8 heads do not divide 12 dimensions"):
        attend(rows(1, 4, 12), rows(1, 4, 12), mechanism="differential-attention", backend=backend)
    with pytest.raises(InvalidInput, match="query: 16 heads do not divide 8 dimensions"):
        attend(x, x, mechanism="differential-attention", backend=backend)
    for name in ("lambda_k1", "norm"):
        with pytest.raises(InvalidInput, match=rf"weights\['{name}'\]: expected .* came 3"):
            attend(x, x, mechanism="differential-attention", params={"heads": 2}, weights={name: rows(1, 3)})


GIVEN = {
    "differential-attention": {"heads": 2},
    "mixture-attention": {},
    "talking-heads-attention": {"heads": 2},
    "synthesizer-attention": {"heads": 2},
}


@pytest.mark.parametrize("mechanism", GIVEN)
def test_masked_rows_and_no_candidates(backend: str, mechanism: str) -> None:
    query, key, mask = rows(1, 3, 16), rows(2, 9, 16), np.ones((3, 9), bool)
    mask[1] = False
    params = GIVEN[mechanism]
    weights = AttentionWeights.init(mechanism, dim=16, n_keys=9, params=params)
    given = {"mechanism": mechanism, "params": params, "backend": backend}
    came = attend(query, key, mask=mask, weights=weights, return_weights=True, **given)
    assert (came.output[1] == 0).all()
    assert (came.weights[..., 1, :] == 0).all()
    assert np.isfinite(came.output).all()
    if mechanism != "synthesizer-attention":  # its scores have a column for each key: there is one at least
        empty = attend(query, key[:0], weights=weights, return_weights=True, **given)
        assert empty.output.tolist() == np.zeros((3, 16)).tolist()
        assert empty.weights.shape[-2:] == (3, 0)
    assert attend(query[:0], key, weights=weights, return_weights=True, **given).output.shape == (0, 16)


@pytest.mark.parametrize("mechanism", ["talking-heads-attention", "synthesizer-attention", "mixture-attention"])
def test_weights_are_what_values_are_mixed_by(backend: str, mechanism: str) -> None:
    # one head, its values the identity; differential-attention has its norm behind, see its parity
    query, key, value = rows(1, 3, 9), rows(2, 9, 9), np.eye(9, dtype=np.float32)
    params = {"heads": 1} if mechanism != "mixture-attention" else {"members": "scaled-dot, standard-mha heads=1"}
    made = AttentionWeights.init(mechanism, dim=9, n_keys=9, params=params, seed=4)
    weights = {name: made[name] for name in made if name not in ("value", "output")}
    came = attend(
        query,
        key,
        value,
        mechanism=mechanism,
        params=params,
        weights=weights,
        return_weights=True,
        backend=backend,
    )
    np.testing.assert_allclose(came.output, came.weights.reshape(3, 9), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("mechanism", GIVEN)
def test_it_can_reorder(backend: str, mechanism: str) -> None:
    query, keys = rows(5, 16), rows(6, 40, 16)
    params = GIVEN[mechanism]
    if mechanism == "mixture-attention":
        params = {"members": "scaled-dot, alibi-mha heads=2"}
    weights = AttentionWeights.init(mechanism, dim=16, n_keys=41, params=params, seed=2)
    place = {} if mechanism in ("differential-attention", "talking-heads-attention") else {"positions": np.arange(40)}
    given = {"mechanism": mechanism, "params": params, "weights": weights, "backend": backend}
    came = score(query, keys, **given, **place)
    assert came.shape == (40,)
    assert not np.array_equal(np.argsort(-came), np.argsort(-(keys @ query)))
    np.testing.assert_array_equal(score(query, keys, **given, **place), came)
