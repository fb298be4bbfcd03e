"""nystrom-attention and linformer-attention."""

from __future__ import annotations

import math
from typing import Any

import contract
import linear_oracle as exact
import numpy as np
import pytest
from contract import rows
from oracle import ODD, assert_within_budget, softmax

from agentmem.attention import AttentionWeights, attend, registry, score
from agentmem.errors import InvalidInput

LN3 = math.log(3)
NYSTROM, LINFORMER = "nystrom-attention", "linformer-attention"


def mixes(rank: int, n_keys: int) -> dict[str, Any]:
    learned = {"key_mix": rows(1, rank, n_keys), "value_mix": rows(2, rank, n_keys)}
    return {"params": {"rank": rank}, "weights": learned}


def test_known_answer_one_landmark(backend: str) -> None:
    # one landmark: the mean query (1, 0); the outer factors are 1, so every query gets 3/4 and 1/4
    query = np.array([[2, 5], [0, -5]], np.float32)
    key, value = np.eye(2, dtype=np.float32), np.array([[4], [8]], np.float32)
    params = {"landmarks": 1, "scale": LN3}
    came = attend(query, key, value, mechanism=NYSTROM, params=params, return_weights=True, backend=backend)
    np.testing.assert_allclose(came.output, [[5], [5]], rtol=1e-6)
    np.testing.assert_allclose(came.weights, [[[0.75, 0.25]] * 2], rtol=1e-6)


def test_known_answer_rank_one(backend: str) -> None:
    # one mixed row has all the weight: the output is F V = 2 · 3 − 1 · 4
    learned = {"key_mix": np.ones((1, 2), np.float32), "value_mix": np.array([[2, -1]], np.float32)}
    value = np.array([[3], [4]], np.float32)
    came = attend(
        np.eye(2, dtype=np.float32),
        np.eye(2, dtype=np.float32),
        value,
        mechanism=LINFORMER,
        params={"rank": 1},
        weights=learned,
        return_weights=True,
        backend=backend,
    )
    np.testing.assert_allclose(came.output, [[2], [2]], rtol=1e-6)
    np.testing.assert_allclose(came.weights, [[[2, -1]] * 2], rtol=1e-6)


def test_as_many_landmarks_as_rows_are_plain_attention(backend: str) -> None:
    rng = np.random.default_rng(0)
    query = np.linalg.qr(rng.standard_normal((32, 32)))[0].astype(np.float32) * 20  # a matrix that can be inverted
    key, value = query + rows(3, 32, 32) / 10, rows(4, 32, 5)
    for params in ({"inverse": "exact"}, {"iterations": 12}):
        came = attend(query, key, value, mechanism=NYSTROM, params=params, backend=backend).output
        np.testing.assert_allclose(came, softmax(query, key, value), rtol=1e-3, atol=1e-4)


def test_identity_mixes_are_plain_attention(backend: str) -> None:
    query, key, value = rows(5, 4, 8), rows(6, 33, 8), rows(7, 33, 5)
    eye = np.eye(33, dtype=np.float32)
    came = attend(
        query,
        key,
        value,
        mechanism=LINFORMER,
        params={"rank": 33},
        weights={"key_mix": eye, "value_mix": eye},
        backend=backend,
    )
    assert_within_budget(came.output, softmax, query, key, value)


@pytest.mark.parametrize("landmarks", [1, 4, 16])
def test_nystrom_parity(backend: str, landmarks: int) -> None:
    query, key, value = rows(8, 48, 9), rows(9, 96, 9), rows(10, 96, 7)
    came = attend(query, key, value, mechanism=NYSTROM, params={"landmarks": landmarks}, backend=backend).output

    def compute(*arrays: np.ndarray) -> np.ndarray:
        return exact.nystrom(*arrays, landmarks=landmarks, iterations=6)

    assert_within_budget(came, compute, query, key, value)


@pytest.mark.parametrize("n_keys", ODD)
def test_nystrom_takes_any_length_and_both_backends_agree(backend: str, n_keys: int) -> None:
    query, key, value = rows(11, 31, 9), rows(12, n_keys, 9), rows(13, n_keys, 7)
    params = {"landmarks": 8}
    came = attend(query, key, value, mechanism=NYSTROM, params=params, backend=backend).output
    full = [x.astype(np.float64) for x in (query, key, value)]
    np.testing.assert_allclose(came, attend(*full, mechanism=NYSTROM, params=params).output, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("n_keys", ODD)
def test_linformer_parity(backend: str, n_keys: int) -> None:
    query, key, value = rows(14, 5, 9), rows(15, n_keys, 9), rows(16, n_keys, 7)
    given = mixes(6, n_keys)
    came = attend(query, key, value, mechanism=LINFORMER, backend=backend, **given).output

    def compute(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
        e, f = (given["weights"][name].astype(q.dtype) for name in ("key_mix", "value_mix"))
        return softmax(q, e @ k, f @ v)

    error = np.abs(came - compute(*(x.astype(np.float64) for x in (query, key, value)))).max()
    plain = np.abs(compute(query, key, value) - compute(*(x.astype(np.float64) for x in (query, key, value)))).max()
    assert error <= 4 * (plain + np.finfo(np.float32).eps * np.abs(value).sum() * 3)


def test_segments_of_unequal_length() -> None:
    # five rows, two landmarks: two rows and three
    from agentmem.attention.forms.landmarks import segment_means

    means = segment_means(np.array([[[1], [3], [4], [5], [9]]], np.float32), 2)
    assert means.tolist() == [[[2], [6]]]


@pytest.mark.parametrize("inverse", ["iterative", "exact"])
def test_contract_of_nystrom(backend: str, inverse: str) -> None:
    params = {"landmarks": 4, "inverse": inverse}
    for heads in (1, 3):
        contract.weights_are_effective(NYSTROM, {"params": params | {"heads": heads}}, backend)
    contract.nothing_to_see_gives_zeros(NYSTROM, lambda dim, n, m: {"params": params}, backend)
    contract.masked_keys_are_absent(NYSTROM, lambda dim, n, m: {"params": params}, backend)
    contract.bad_numbers_are_refused(NYSTROM, lambda dim, n, m: {"params": params}, backend)
    contract.float64_is_kept(NYSTROM, lambda dim, n, m: {"params": params})
    contract.heads_in_front_are_heads_split(NYSTROM, {"params": params}, backend)


def test_contract_of_linformer(backend: str) -> None:
    for heads in (1, 3):
        given = mixes(5, 12)
        contract.weights_are_effective(LINFORMER, given | {"params": {"rank": 5, "heads": heads}}, backend)
    contract.heads_in_front_are_heads_split(LINFORMER, mixes(5, 31), backend)
    contract.bad_numbers_are_refused(LINFORMER, lambda dim, n, m: mixes(5, m), backend)
    contract.float64_is_kept(LINFORMER, lambda dim, n, m: mixes(5, m))
    hidden = attend(rows(17, 3, 8), rows(18, 9, 8), mechanism=LINFORMER, mask=np.zeros(9, bool), **mixes(4, 9))
    assert (hidden.output == 0).all()


def test_linformer_masks_keys(backend: str) -> None:
    query, key, value, given = rows(17, 3, 8), rows(18, 9, 8), rows(19, 9, 8), mixes(4, 9)
    mask = np.arange(9) < 5
    came = attend(query, key, value, mechanism=LINFORMER, mask=mask, backend=backend, **given).output
    learned = {name: np.ascontiguousarray(mix[:, :5]) for name, mix in given["weights"].items()}
    few = attend(
        query, key[:5], value[:5], mechanism=LINFORMER, params={"rank": 4}, weights=learned, backend=backend
    ).output
    np.testing.assert_allclose(came, few, rtol=1e-5, atol=1e-6)


def test_linformer_needs_its_mixes() -> None:
    key = rows(20, 9, 8)
    with pytest.raises(InvalidInput, match=r"needs weights\['key_mix'\], weights\['value_mix'\]; AttentionWeights"):
        attend(key, key, mechanism=LINFORMER)
    with pytest.raises(InvalidInput, match=r"expected shape \(rank=256, n_keys=9\), came \(4, 9\)"):
        attend(key, key, mechanism=LINFORMER, weights=mixes(4, 9)["weights"])
    learned = AttentionWeights.init(LINFORMER, dim=8, n_keys=9, params={"rank": 4})
    assert attend(key, key, mechanism=LINFORMER, params={"rank": 4}, weights=learned).output.shape == (9, 8)


def test_scores_can_reorder_as_declared(backend: str) -> None:
    query, keys = rows(21, 16), rows(22, 60, 16)
    dense = np.argsort(-(keys @ query)).tolist()
    for params in ({}, {"landmarks": 5}, {"landmarks": 5, "inverse": "exact"}):
        came = score(query, keys, mechanism=NYSTROM, params=params, backend=backend)
        assert np.argsort(-came).tolist() == dense
    assert not registry.get(NYSTROM).can_reorder
    mixed = score(query, keys, mechanism=LINFORMER, backend=backend, **mixes(7, 60))
    assert np.argsort(-mixed).tolist() != dense
    assert registry.get(LINFORMER).can_reorder


def test_duplicated_rows_have_an_exact_inverse(backend: str) -> None:
    key = np.repeat(rows(23, 2, 6), 8, axis=0)
    params = {"landmarks": 8, "inverse": "exact"}
    came = attend(key, key, mechanism=NYSTROM, params=params, backend=backend).output
    np.testing.assert_allclose(came, softmax(key, key, key), rtol=1e-3, atol=1e-4)
