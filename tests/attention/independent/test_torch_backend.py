"""backend="torch": the same numbers as NumPy in float64, through PyTorch's own attention."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agentmem.attention import AttentionWeights, attend, score
from agentmem.errors import BackendUnavailable, InvalidInput, InvalidVector

pytest.importorskip("torch", reason='PyTorch is not there; pip install "agentmem[independent]"')


def rows(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


QUERY, KEY, VALUE = rows(1, 5, 12), rows(2, 33, 12), rows(3, 33, 6)
MASK = np.random.default_rng(4).random((5, 33)) < 0.5
MASK[2] = False
PLACES = np.arange(33) * 2.0
LEARNED = {"heads": 3, "distance": 4}


def learned(mechanism: str) -> dict[str, Any]:
    weights = AttentionWeights.init(mechanism, dim=12, value_dim=6, params=LEARNED, seed=8)
    return {"params": LEARNED, "weights": weights, "positions": PLACES}


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize(
    ("mechanism", "options"),
    [
        ("scaled-dot", {}),
        ("scaled-dot", {"params": {"scale": 0.7, "causal": True}}),
        ("scaled-dot", {"mask": MASK}),
        ("scaled-dot", {"mask": MASK[0], "params": {"causal": True}}),
        ("standard-mha", {"params": {"heads": 3}}),
        ("standard-mha", {"params": {"heads": 3}, "mask": np.stack([MASK] * 3)}),
        ("flash-attention-v2", {"params": {"block_size": 16}}),
        ("cross-attention", {"weights": {"query": rows(5, 12, 8), "key": rows(6, 12, 8)}}),
        ("alibi-mha", {"params": {"heads": 3}, "positions": PLACES}),
        ("alibi-mha", {"params": {"heads": 3}, "mask": MASK, "positions": (PLACES[:5] + 0.5, PLACES)}),
        ("causal-self-attention", {"params": {"heads": 3}, "positions": (PLACES[-5:], PLACES)}),
        ("relative-position-attention", learned("relative-position-attention")),
        ("disentangled-attention", learned("disentangled-attention")),
        ("memory-attention", {"params": {"top_k": 4, "heads": 2}, "context": (KEY[:3], VALUE[:3])}),
    ],
)
def test_parity(mechanism: str, options: dict[str, Any], weights: bool) -> None:
    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-12)):
        arrays = [array.astype(dtype) for array in (QUERY, KEY, VALUE)]
        came = attend(*arrays, mechanism=mechanism, return_weights=weights, backend="torch", **options)
        wanted = attend(*arrays, mechanism=mechanism, return_weights=weights, backend="numpy", **options)
        assert came.backend.startswith("torch (")
        assert came.output.dtype == dtype
        np.testing.assert_allclose(came.output, wanted.output, rtol=tolerance, atol=tolerance)
        if weights:
            np.testing.assert_allclose(came.weights, wanted.weights, rtol=tolerance, atol=tolerance)


def test_heads_in_front_no_keys_and_scores() -> None:
    came = attend(QUERY.reshape(2, 5, 6), rows(7, 2, 9, 6), backend="torch").output
    wanted = attend(QUERY.reshape(2, 5, 6), rows(7, 2, 9, 6), backend="numpy").output
    np.testing.assert_allclose(came, wanted, rtol=1e-5, atol=1e-6)
    assert (attend(QUERY, KEY[:0], VALUE[:0], backend="torch").output == 0).all()
    options: dict[str, Any] = {"mechanism": "standard-mha", "params": {"heads": 4}}
    wanted = score(QUERY[0], KEY, backend="numpy", **options)
    np.testing.assert_allclose(score(QUERY[0], KEY, backend="torch", **options), wanted, rtol=1e-5, atol=1e-6)


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(BackendUnavailable, match="dropout there draws from PyTorch's own generator"):
        attend(QUERY, KEY, mechanism="standard-mha", params={"heads": 3, "dropout": 0.5}, backend="torch")
    with pytest.raises(
        BackendUnavailable, match="backend='torch' runs softmax attention only, and this asks for hyperbolic"
    ):
        attend(QUERY, KEY, mechanism="hyperbolic-attention", backend="torch")
    with pytest.raises(InvalidVector, match="key: expected finite numbers"):
        attend(QUERY, np.full((3, 12), np.nan, np.float32), backend="torch")
    with pytest.raises(InvalidInput, match="expected one of auto, native, numpy, torch, came 'cuda'"):
        attend(QUERY, KEY, backend="cuda")
