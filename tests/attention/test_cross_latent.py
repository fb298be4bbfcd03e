"""perceiver-attention and gated-cross-attention."""

from __future__ import annotations

import math
from typing import Any

import contract
import numpy as np
import pytest
from contract import rows
from oracle import ODD, assert_within_budget, softmax

from agentmem.attention import AttentionWeights, attend, registry, score
from agentmem.errors import InvalidInput

LN2, LN3 = math.log(2), math.log(3)
PERCEIVER, GATED = "perceiver-attention", "gated-cross-attention"


def latents(dim: int, count: int = 5, **params: object) -> dict[str, Any]:
    return {"params": {"latents": count, **params}, "weights": {"latents": rows(1, count, dim)}}


def closed(**weights: np.ndarray) -> dict[str, Any]:
    return {"gate": np.zeros(1, np.float32), **weights}


def half_open(dim: int) -> dict[str, Any]:
    return {"weights": {"gate": np.full(1, math.atanh(0.5), np.float32)}}


def test_known_answer_perceiver(backend: str) -> None:
    # latents (ln 3, 0) and (0, ln 3) read (3/4, 1/4) and (1/4, 3/4) of the unit keys: Z = those rows.  The query
    # (2 ln 3, −2 ln 3) meets them with ±ln 3, weights 9/10 and 1/10: 0.9 · 3/4 + 0.1 · 1/4 = 0.7 and 0.3
    eye = np.eye(2, dtype=np.float32)
    given = {"params": {"latents": 2, "scale": 1.0}, "weights": {"latents": eye * np.float32(LN3)}}
    query, value = np.array([[2 * LN3, -2 * LN3]], np.float32), np.array([[10], [20]], np.float32)
    came = attend(query, eye, value, mechanism=PERCEIVER, return_weights=True, backend=backend, **given)
    np.testing.assert_allclose(came.weights, [[[0.7, 0.3]]], rtol=1e-5)
    np.testing.assert_allclose(came.output, [[13]], rtol=1e-5)


@pytest.mark.parametrize("n_keys", ODD)
def test_perceiver_parity(backend: str, n_keys: int) -> None:
    query, key, given = rows(2, 7, 9), rows(3, n_keys, 9), latents(9)

    def compute(q: np.ndarray, x: np.ndarray) -> np.ndarray:
        z = softmax(given["weights"]["latents"].astype(q.dtype), x, x)
        return softmax(q, z, z)

    assert_within_budget(attend(query, key, mechanism=PERCEIVER, backend=backend, **given).output, compute, query, key)


def test_latents_that_pick_each_key_are_plain_attention(backend: str) -> None:
    key, value, query = np.linalg.qr(rows(4, 16, 16))[0], rows(5, 16, 3), rows(6, 4, 16)
    given = {"params": {"latents": 16}, "weights": {"latents": key * 400}}
    came = attend(query, key, value, mechanism=PERCEIVER, backend=backend, **given).output
    np.testing.assert_allclose(came, softmax(query, key, value), rtol=1e-4, atol=1e-5)


def test_contract_of_perceiver(backend: str) -> None:
    for heads in (1, 3):
        contract.weights_are_effective(PERCEIVER, latents(12, heads=heads), backend)
    contract.nothing_to_see_gives_zeros(PERCEIVER, lambda dim, n, m: latents(dim), backend)
    contract.masked_keys_are_absent(PERCEIVER, lambda dim, n, m: latents(dim), backend)
    for name, given in ((PERCEIVER, latents), (GATED, half_open)):
        contract.bad_numbers_are_refused(name, lambda dim, n, m, given=given: given(dim), backend)
        contract.float64_is_kept(name, lambda dim, n, m, given=given: given(dim))
    shared = {"params": {"latents": 5}, "weights": {"latents": rows(1, 5, 4)}}
    wide = {"latents": np.tile(shared["weights"]["latents"], (1, 3))}
    query, key = rows(7, 2, 12), rows(8, 9, 12)
    merged = attend(
        query, key, mechanism=PERCEIVER, params={"latents": 5, "heads": 3}, weights=wide, backend=backend
    ).output
    split = [np.ascontiguousarray(x.reshape(len(x), 3, 4).transpose(1, 0, 2)) for x in (query, key)]
    front = attend(*split, mechanism=PERCEIVER, backend=backend, **shared).output
    np.testing.assert_allclose(front.transpose(1, 0, 2).reshape(2, 12), merged, rtol=1e-5, atol=1e-6)


def test_perceiver_needs_its_latents_and_can_reorder(backend: str) -> None:
    query, keys = rows(9, 8), rows(10, 40, 8)
    with pytest.raises(InvalidInput, match=r"perceiver-attention needs weights\['latents'\]"):
        attend(keys, keys, mechanism=PERCEIVER)
    came = score(query, keys, mechanism=PERCEIVER, backend=backend, **latents(8))
    assert came.sum() == pytest.approx(1, rel=1e-5)
    assert registry.get(PERCEIVER).can_reorder
    assert np.argsort(-came).tolist() != np.argsort(-(keys @ query)).tolist()
    made = AttentionWeights.init(PERCEIVER, dim=8, seed=3)
    assert made["latents"].shape == (512, 8)
    assert attend(keys, keys, mechanism=PERCEIVER, weights=made, backend=backend).output.shape == (40, 8)


def test_known_answer_gated(backend: str) -> None:
    # it reads 3/4 · (4, 0) + 1/4 · (0, 4) = (3, 1), half of which is let in: y = (1 + 3/2, 0 + 1/2).  The feed-forward
    # part squares relu of (y₁ − 2 y₂ = 3/2): 9/4, a third of which is added to the second coordinate: 1/2 + 3/4
    eye = np.eye(2, dtype=np.float32)
    query = eye[:1]
    first = np.zeros((2, 8), np.float32)
    first[:, 0], first[:, 1] = [1, -2], [-1, 2]
    second = np.zeros((8, 2), np.float32)
    second[0, 1] = second[1, 0] = 1
    learned = half_open(2)["weights"]
    params = {"scale": LN3}
    came = attend(query, eye, eye * 4, mechanism=GATED, params=params, weights=learned, backend=backend).output
    np.testing.assert_allclose(came, [[2.5, 0.5]], rtol=1e-6)
    learned |= {"ffn_gate": np.full(1, math.atanh(1 / 3), np.float32), "ffn_in": first, "ffn_out": second}
    came = attend(query, eye, eye * 4, mechanism=GATED, params=params, weights=learned, backend=backend).output
    np.testing.assert_allclose(came, [[2.5, 1.25]], rtol=1e-6)


def test_closed_gates_change_nothing(backend: str) -> None:
    query, key = rows(11, 5, 6), rows(12, 9, 6)
    feed = {"ffn_gate": np.zeros(1, np.float32), "ffn_in": rows(13, 6, 24), "ffn_out": rows(14, 24, 6)}
    came = attend(query, key, mechanism=GATED, weights=closed(**feed), return_weights=True, backend=backend)
    np.testing.assert_array_equal(came.output, query)
    made = AttentionWeights.init(GATED, dim=6, seed=1)
    np.testing.assert_array_equal(attend(query, key, mechanism=GATED, weights=made, backend=backend).output, query)


@pytest.mark.parametrize("heads", [1, 2])
def test_gated_is_the_query_and_what_it_reads(backend: str, heads: int) -> None:
    query, key, value = rows(15, 5, 6), rows(16, 33, 6), rows(17, 33, 6)
    learned = {name: rows(18 + i, 6, 6) for i, name in enumerate(("query", "key", "value", "output"))}
    params = {"heads": heads}
    given = half_open(6)["weights"] | learned
    came = attend(query, key, value, mechanism=GATED, params=params, weights=given, backend=backend)
    read = attend(query, key, value, mechanism="cross-attention", params=params, weights=learned, backend=backend)
    np.testing.assert_allclose(came.output, query + read.output / 2, rtol=1e-5, atol=1e-6)


def test_gated_weights_are_before_gate_and_residual(backend: str) -> None:
    query, key, identity = rows(22, 4, 9), rows(23, 9, 9), np.eye(9, dtype=np.float32)
    came = attend(query, key, identity, mechanism=GATED, return_weights=True, backend=backend, **half_open(9))
    assert came.weights is not None
    np.testing.assert_allclose((came.output - query) * 2, came.weights[0], rtol=1e-4, atol=1e-6)
    scores = score(query[0], key, mechanism=GATED, weights=closed(), backend=backend)
    np.testing.assert_allclose(scores, came.weights[0, 0], rtol=1e-5)  # a closed gate hides the values, not the order
    assert np.argsort(-scores).tolist() == np.argsort(-(key @ query[0])).tolist()


def test_gated_masks(backend: str) -> None:
    query, key, mask = rows(24, 3, 6), rows(25, 7, 6), np.ones((3, 7), bool)
    mask[1] = False
    came = attend(query, key, mechanism=GATED, mask=mask, backend=backend, **half_open(6)).output
    np.testing.assert_array_equal(came[1], query[1])
    empty = attend(query, key[:0], mechanism=GATED, backend=backend, **half_open(6)).output
    np.testing.assert_array_equal(empty, query)


def test_gated_needs_a_gate_and_values_that_fit() -> None:
    key = rows(26, 4, 6)
    with pytest.raises(InvalidInput, match=r"gated-cross-attention needs weights\['gate'\]"):
        attend(key, key, mechanism=GATED)
    with pytest.raises(InvalidInput, match="adds to the queries, of 6 dimensions; came 5"):
        attend(key, key, rows(27, 4, 5), mechanism=GATED, weights=closed())
    with pytest.raises(InvalidInput, match=r"also needs weights\['ffn_gate'\], weights\['ffn_out'\]"):
        attend(key, key, mechanism=GATED, weights=closed(ffn_in=rows(28, 6, 24)))
    with pytest.raises(InvalidInput, match=r"expected shape \(dim=6, 4\*dim=24\), came \(6, 5\)"):
        attend(key, key, mechanism=GATED, weights=closed(ffn_in=rows(29, 6, 5)))
