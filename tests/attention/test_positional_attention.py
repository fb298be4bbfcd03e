"""rotary-mha, alibi-mha, causal- and bidirectional-self-attention, relative-position- and disentangled-attention."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import ODD, assert_within_budget, heads, softmax
from oracle_softmax import alibi, disentangled, relative, rotary

from agentmem.attention import AttentionWeights, attend, score
from agentmem.errors import InvalidInput

LN2, LN3 = math.log(2), math.log(3)
TABLES = ("relative-position-attention", "disentangled-attention")
BY_PLACE = ("rotary-mha", "alibi-mha", *TABLES)
SELF = ("causal-self-attention", "bidirectional-self-attention")
ALL = (*BY_PLACE, *SELF)
drawn = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rows(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def learned(mechanism: str, dim: int, params: dict[str, object], seed: int = 0) -> dict[str, np.ndarray]:
    """Return what the mechanism cannot do without, and no projections."""
    made = AttentionWeights.init(mechanism, dim=dim, params=params, seed=seed)
    return {name: made[name] for name in made if name in ("relative_key", "positions")}


def test_rotary_known_answer(backend: str) -> None:
    # one pair at theta^0 = 1: a quarter turn makes (1, 0) into (0, 1); logits ln 3 · (cos 90°, 1) -> 1/4, 3/4
    key, value = np.array([[1, 0], [1, 0]], np.float32), np.array([[4, 0], [0, 4]], np.float32)
    query = np.array([[LN3, 0]], np.float32)
    for pairs in ("neighbours", "halves"):
        came = attend(
            query,
            key,
            value,
            mechanism="rotary-mha",
            params={"heads": 1, "scale": 1.0, "pairs": pairs},
            positions=(np.array([math.pi / 2]), np.array([0, math.pi / 2])),
            backend=backend,
        )
        np.testing.assert_allclose(came.output, [[1, 3]], rtol=1e-5)


def test_rotary_second_pair_turns_more_slowly(backend: str) -> None:
    # d = 4: pair 1 turns by p / 100: after p = 50π, which is a whole number of turns of pair 0, by a quarter
    key = np.array([[0, 0, 1, 0], [0, 0, 0, 1]], np.float32)
    came = attend(
        np.array([[0, 0, LN3, 0]], np.float32),
        key,
        np.array([[4, 0, 0, 0], [0, 4, 0, 0]], np.float32),
        mechanism="rotary-mha",
        params={"heads": 1, "scale": 1.0},
        positions=(np.array([50 * math.pi]), np.zeros(2)),
        backend=backend,
    )
    np.testing.assert_allclose(came.output, [[1, 3, 0, 0]], rtol=1e-5)


def test_alibi_known_answer(backend: str) -> None:
    # two heads: slopes 2^-4 and 2^-8; equal logits, distances 0 and 16 ln 2 -> head 0: 1 : 2^-1, head 1: 1 : 2^-1/16
    value = np.array([[3, 0], [0, 3]], np.float32)
    came = attend(
        np.zeros((1, 2), np.float32),
        np.zeros((2, 2), np.float32),
        value,
        mechanism="alibi-mha",
        params={"heads": 2},
        positions=(np.array([16 * LN2]), np.array([16 * LN2, 0])),
        return_weights=True,
        backend=backend,
    )
    second = 1 / (1 + 2 ** (-1 / 16))
    np.testing.assert_allclose(came.weights[:, 0], [[2 / 3, 1 / 3], [second, 1 - second]], rtol=1e-6)
    np.testing.assert_allclose(came.output, [[2, 3 * (1 - second)]], rtol=1e-6)


def test_relative_known_answer(backend: str) -> None:
    # keys say nothing; a^K(−1) gives ln 3, a^K(0) nothing: weights 3/4, 1/4; a^V(−1) adds 8, a^V(0) 4 to the values
    tables = {
        "relative_key": np.array([[LN3], [0], [0]], np.float32),
        "relative_value": np.array([[8], [4], [0]], np.float32),
    }
    came = attend(
        np.ones((1, 1), np.float32),
        np.zeros((2, 1), np.float32),
        np.array([[0], [100]], np.float32),
        mechanism="relative-position-attention",
        params={"heads": 1, "distance": 1},
        positions=np.array([4, 5]),
        weights=tables,
        return_weights=True,
        backend=backend,
    )
    np.testing.assert_allclose(came.weights, [[[3 / 4, 1 / 4]]], rtol=1e-6)
    np.testing.assert_allclose(came.output, [[3 / 4 * 8 + 1 / 4 * 104]], rtol=1e-6)


def test_distances_are_rounded_half_up(backend: str) -> None:
    # 0.5 behind the query is a step back, a^K(−1) = ln 3; 0.5 before it none, a^K(0) = 0
    came = attend(
        np.ones((1, 1), np.float32),
        np.zeros((2, 1), np.float32),
        mechanism="relative-position-attention",
        params={"heads": 1, "distance": 1},
        positions=(np.array([0.5]), np.array([0, 1])),
        weights={"relative_key": np.array([[LN3], [0], [0]], np.float32)},
        return_weights=True,
        backend=backend,
    )
    np.testing.assert_allclose(came.weights, [[[3 / 4, 1 / 4]]], rtol=1e-6)


@pytest.mark.parametrize("reading", ["paper", "code"])
def test_disentangled_known_answer(backend: str, reading: str) -> None:
    # P(−1) = ln 2, P(0) = 0; query 0 sees key 0 at δ 0, key 1 at δ(0,1) = −1 and δ(1,0) = 1, which clips to 0.
    # q = 1, keys 1 and 1: the first term is 1 for both, the second P(0) = 0 and P(−1) = ln 2; the last is P(0) = 0 for
    # key 0, and for key 1 P(0) by the paper, P(−1) by the code
    table = {"positions": np.array([[LN2], [0]], np.float32)}
    params = {"heads": 1, "distance": 1, "scale": 1.0, "reading": reading}
    key, places = np.array([[1], [-1]], np.float32), (np.array([0]), np.array([0, 1]))
    came = attend(
        np.ones((1, 1), np.float32),
        np.array([[1], [1]], np.float32),
        key,
        mechanism="disentangled-attention",
        params=params,
        positions=places,
        weights=table,
        return_weights=True,
        backend=backend,
    )
    gain = 2 if reading == "paper" else 4
    np.testing.assert_allclose(came.weights, [[[1 / (1 + gain), gain / (1 + gain)]]], rtol=1e-6)
    silent = attend(
        np.zeros((1, 1), np.float32),
        key,
        mechanism="disentangled-attention",
        params=params,
        positions=places,
        weights=table,
        return_weights=True,
        backend=backend,
    )
    expected = [1 / 2, 1 / 2] if reading == "paper" else [2 / 3, 1 / 3]  # key 1 is −1: −ln 2
    np.testing.assert_allclose(silent.weights, [[expected]], rtol=1e-6)


def test_causal_and_bidirectional_known_answers(backend: str) -> None:
    # equal logits: a row averages what it sees, by row, or by place where places are given
    zeros, value = np.zeros((3, 4), np.float32), np.array([[1], [2], [6]], np.float32)
    params = {"heads": 1}
    by_row = attend(zeros, zeros, value, mechanism="causal-self-attention", params=params, backend=backend)
    np.testing.assert_allclose(by_row.output, [[1], [1.5], [3]], rtol=1e-6)
    by_place = attend(
        zeros,
        zeros,
        value,
        mechanism="causal-self-attention",
        params=params,
        positions=np.array([30, 10, 20]),
        backend=backend,
    )
    np.testing.assert_allclose(by_place.output, [[3], [2], [4]], rtol=1e-6)
    whole = attend(zeros, zeros, value, mechanism="bidirectional-self-attention", params=params, backend=backend)
    np.testing.assert_allclose(whole.output, [[3], [3], [3]], rtol=1e-6)


def places(seed: int, n: int) -> np.ndarray:
    """Return whole numbers with gaps and ties, shuffled, some far away."""
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.integers(0, 4, n))[rng.permutation(n)] + rng.integers(0, 10_000)


@drawn
@given(
    st.sampled_from([1, 3, 33]),
    st.sampled_from([1, 31, 32, 33, 97]),
    st.sampled_from([1, 3, 8]),
    st.sampled_from([2, 6, 14]),
    st.integers(0, 2**31),
    st.booleans(),
    st.booleans(),
)
def test_parity_by_place(
    backend: str, n_queries: int, n_keys: int, n: int, head_dim: int, seed: int, causal: bool, halves: bool
) -> None:
    n_queries = min(n_queries, n_keys)
    query, key, value = (rows(seed + at, count, n * head_dim) for at, count in enumerate((n_queries, n_keys, n_keys)))
    place, common = places(seed, n_keys), {"positions": places(seed, n_keys), "backend": backend}
    params = {"heads": n, "causal": causal}
    pairs = "halves" if halves else "neighbours"
    came = attend(query, key, value, mechanism="rotary-mha", params=params | {"pairs": pairs}, **common)
    kwargs = {"n": n, "place": place, "causal": causal}
    assert_within_budget(came.output, rotary, query, key, value, **kwargs, halves=halves)
    came = attend(query, key, value, mechanism="alibi-mha", params=params, **common)
    assert_within_budget(came.output, alibi, query, key, value, **kwargs)
    tables = rows(seed + 3, 2, 9, head_dim)
    came = attend(
        query,
        key,
        value,
        mechanism="relative-position-attention",
        params=params | {"distance": 4},
        weights={"relative_key": tables[0], "relative_value": tables[1]},
        **common,
    )
    assert_within_budget(came.output, relative, query, key, tables[0], tables[1], value, **kwargs)
    table = rows(seed + 4, 10, n * head_dim)
    came = attend(
        query,
        key,
        value,
        mechanism="disentangled-attention",
        params={"heads": n, "distance": 5, "reading": "code" if halves else "paper"},
        weights={"positions": table},
        **common,
    )
    assert_within_budget(came.output, disentangled, query, key, table, value, n=n, place=place, turned=halves)


@pytest.mark.parametrize("n_queries", [1, 40])
@pytest.mark.parametrize("causal", [False, True])
def test_parity_over_several_blocks(backend: str, n_queries: int, causal: bool) -> None:
    # more keys than one block holds, the later ones the better: the running maximum moves from block to block
    n_keys, n, head_dim = 2_500, 2, 6
    query, value = rows(1, n_queries, n * head_dim), rows(3, n_keys, n * head_dim)
    key = rows(2, n_keys, n * head_dim) * np.linspace(0.1, 3, n_keys, dtype=np.float32)[:, None]
    place, tables = places(4, n_keys), rows(5, 2, 9, head_dim)
    kwargs = {"n": n, "place": place, "causal": causal}
    came = attend(
        query,
        key,
        value,
        mechanism="relative-position-attention",
        params={"heads": n, "distance": 4, "causal": causal},
        weights={"relative_key": tables[0], "relative_value": tables[1]},
        positions=place,
        return_weights=True,
        backend=backend,
    )
    assert_within_budget(came.output, relative, query, key, tables[0], tables[1], value, **kwargs)
    np.testing.assert_allclose(came.weights.sum(-1), 1, rtol=1e-4)
    params = {"heads": n, "causal": causal}
    came = attend(query, key, value, mechanism="alibi-mha", params=params, positions=place, backend=backend)
    assert_within_budget(came.output, alibi, query, key, value, **kwargs)


def test_rotary_sees_distances_only(backend: str) -> None:
    query, key = rows(1, 3, 32), rows(2, 9, 32)
    near = attend(query, key, mechanism="rotary-mha", positions=np.arange(9), backend=backend).output
    far = attend(query, key, mechanism="rotary-mha", positions=np.arange(9) + 1_700_000_000, backend=backend).output
    np.testing.assert_allclose(far, near, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mechanism", BY_PLACE)
def test_without_places_or_tables_it_is_plain(backend: str, mechanism: str) -> None:
    query, key = rows(1, 5, 16), rows(2, 33, 16)
    params: dict[str, object] = {"heads": 2}
    weights = {name: np.zeros_like(w) for name, w in learned(mechanism, 16, params).items()} or None
    if mechanism == "disentangled-attention":
        params["scale"] = 8**-0.5
    came = attend(
        query, key, mechanism=mechanism, params=params, positions=np.full(33, 7.0), weights=weights, backend=backend
    )
    assert_within_budget(came.output, heads, query, key, key, n=2)


@pytest.mark.parametrize("mechanism", SELF)
@pytest.mark.parametrize("n", ODD)
def test_parity_of_self_attention(backend: str, mechanism: str, n: int) -> None:
    x = rows(3, n, 24)
    came = attend(x, x, mechanism=mechanism, params={"heads": 3}, backend=backend)
    seen = np.tri(n, dtype=bool) if mechanism.startswith("causal") else np.ones((n, n), bool)
    assert_within_budget(came.output, heads, x, x, x, n=3, mask=seen)


@pytest.mark.parametrize("mechanism", ALL)
def test_weights_are_what_values_are_mixed_by(backend: str, mechanism: str) -> None:
    # three dimensions: each head has the identity as its values
    query, key, value = rows(1, 2, 9, 6), rows(2, 2, 9, 6), np.stack([np.eye(9, dtype=np.float32)] * 2)
    given = {} if mechanism == "bidirectional-self-attention" else {"positions": places(1, 9)}
    if mechanism in TABLES:
        given["weights"] = learned(mechanism, 6, {"heads": 1})
    came = attend(query, key, value, mechanism=mechanism, return_weights=True, backend=backend, **given)
    np.testing.assert_allclose(came.output, came.weights, rtol=1e-5, atol=1e-7)
    assert came.weights.shape == (2, 9, 9)


@pytest.mark.parametrize("mechanism", ALL)
def test_masked_rows_and_no_candidates(backend: str, mechanism: str) -> None:
    query, key = rows(1, 3, 16), rows(2, 9, 16)
    params: dict[str, object] = {"heads": 2}
    given = {"params": params, "weights": learned(mechanism, 16, params) or None, "backend": backend}
    place = {} if mechanism == "bidirectional-self-attention" else {"positions": np.arange(9)}
    mask = np.ones((3, 9), bool)
    mask[1] = False
    came = attend(query, key, mechanism=mechanism, mask=mask, return_weights=True, **given, **place)
    assert (came.output[1] == 0).all()
    assert (came.weights[:, 1] == 0).all()
    assert np.isfinite(came.output).all()
    none = (np.arange(3), np.arange(0)) if place else None
    empty = attend(query, key[:0], mechanism=mechanism, positions=none, **given)
    assert (empty.output == 0).all()
    no_queries = (np.arange(0), np.arange(9)) if place else None
    assert attend(query[:0], key, mechanism=mechanism, positions=no_queries, **given).output.shape == (0, 16)


def test_before_everything_a_query_sees_nothing(backend: str) -> None:
    x = rows(1, 3, 8)
    early = (np.array([-1, 0, 9]), np.array([0, 1, 2]))
    for mechanism in ("alibi-mha", "causal-self-attention"):
        came = attend(x, x, mechanism=mechanism, params={"heads": 2}, positions=early, backend=backend)
        assert (came.output[0] == 0).all()
        np.testing.assert_allclose(came.output[1], x[0], rtol=1e-6)


def test_scores_go_by_age(backend: str) -> None:
    # equal candidates: the nearer to "now" the higher; a slope of one position a step at head 1 of 1 is 2^-8
    keys, query = np.ones((5, 4), np.float32), np.ones(4, np.float32)
    order = np.array([30, 10, 50, 20, 40])
    came = score(query, keys, mechanism="alibi-mha", params={"heads": 1}, positions=order, backend=backend)
    assert np.argsort(-came).tolist() == np.argsort(-order).tolist()
    np.testing.assert_allclose(came[2] / came[4], np.exp(10 * 2**-8), rtol=1e-5)
    later = score(
        query,
        keys,
        mechanism="causal-self-attention",
        params={"heads": 1},
        positions=(np.array([35.0]), order),
        backend=backend,
    )
    np.testing.assert_allclose(later, [0.25, 0.25, 0, 0.25, 0], rtol=1e-6)


@pytest.mark.parametrize("mechanism", ALL)
def test_it_can_reorder(backend: str, mechanism: str) -> None:
    query, keys = rows(5, 16), rows(6, 40, 16)
    params: dict[str, object] = {"heads": 4} | ({"distance": 3} if mechanism in TABLES else {})
    place = {} if mechanism == "bidirectional-self-attention" else {"positions": places(1, 40)}
    weights = learned(mechanism, 16, params) or None
    came = score(query, keys, mechanism=mechanism, params=params, weights=weights, backend=backend, **place)
    assert came.shape == (40,)
    assert not np.array_equal(np.argsort(-came), np.argsort(-(keys @ query)))


def test_what_is_missing_is_named(backend: str) -> None:
    x = rows(1, 4, 8)
    with pytest.raises(InvalidInput, match=r"needs positions, weights\['relative_key'\]; AttentionWeights.init"):
        attend(x, x, mechanism="relative-position-attention", backend=backend)
    with pytest.raises(InvalidInput, match=r"needs positions, weights\['positions'\]"):
        attend(x, x, mechanism="disentangled-attention", backend=backend)
    for mechanism in ("rotary-mha", "alibi-mha"):
        with pytest.raises(InvalidInput, match=f"{mechanism} needs positions"):
            attend(x, x, mechanism=mechanism, backend=backend)
    with pytest.raises(InvalidInput, match="causal-self-attention needs positions"):
        score(x[0], x, mechanism="causal-self-attention", backend=backend)
    with pytest.raises(InvalidInput, match=r"positions: expected numbers of shape \(4,\), came int64 of shape \(3,\)"):
        attend(x, x, mechanism="alibi-mha", positions=np.arange(3), backend=backend)
    with pytest.raises(InvalidInput, match="heads of 1 numbers have no pairs to rotate"):
        attend(x, x, mechanism="rotary-mha", positions=np.arange(4), backend=backend)
    with pytest.raises(InvalidInput, match=r"weights\['relative_key'\]: expected rows of 4 numbers, came 3"):
        attend(
            x,
            x,
            mechanism="relative-position-attention",
            params={"heads": 2},
            positions=np.arange(4),
            weights={"relative_key": rows(2, 33, 3)},
            backend=backend,
        )
    with pytest.raises(InvalidInput, match=r"weights\['position_key'\]: expected 8 columns .* came 4"):
        attend(
            x,
            x,
            mechanism="disentangled-attention",
            params={"distance": 2},
            positions=np.arange(4),
            weights={"positions": rows(2, 4, 8), "position_key": rows(3, 8, 4)},
            backend=backend,
        )


def test_no_square_array_is_made() -> None:
    # 4096 × 4096 float32 would be 64 MiB
    if attend(rows(1, 1, 8), rows(2, 1, 8)).backend != "native":
        pytest.skip("the kernels are not built: NumPy makes the square array")
    n, dim = 4096, 8
    x = rows(1, n, dim)
    for mechanism in BY_PLACE:
        params: dict[str, object] = {"heads": 1} | ({"distance": 8} if mechanism in TABLES else {})
        weights = learned(mechanism, dim, params) or None
        tracemalloc.start()
        attend(x, x, mechanism=mechanism, params=params, weights=weights, positions=np.arange(n))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 16 << 20, mechanism


def test_one_head_rotary_at_one_place_is_scaled_dot(backend: str) -> None:
    query, key = rows(1, 5, 16), rows(2, 33, 16)
    came = attend(query, key, mechanism="rotary-mha", params={"heads": 1}, positions=np.zeros(33), backend=backend)
    assert_within_budget(came.output, softmax, query, key, key)
