"""The flash family against torch's scaled_dot_product_attention."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agentmem.attention import attend, direct

torch: Any = pytest.importorskip("torch", reason='torch is not installed: pip install "agentmem[independent]"')


def rows(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def sdpa(query: np.ndarray, key: np.ndarray, value: np.ndarray, **options: Any) -> np.ndarray:
    """In float64, (heads, n, d)."""
    q, k, v = (torch.from_numpy(x.astype(np.float64)) for x in (query, key, value))
    out: np.ndarray = torch.nn.functional.scaled_dot_product_attention(q, k, v, **options).numpy()
    return out


@pytest.mark.parametrize(("n_queries", "n_keys"), [(1, 33), (3, 97), (40, 40), (113, 203)])
@pytest.mark.parametrize("mechanism", ["flash-attention-v2", "flash-decoding"])
def test_exact(mechanism: str, n_queries: int, n_keys: int) -> None:
    query, key, value = rows(1, 4, n_queries, 24), rows(2, 4, n_keys, 24), rows(3, 4, n_keys, 17)
    expected = sdpa(query, key, value)
    came = attend(query, key, value, mechanism=mechanism)
    np.testing.assert_allclose(came.output, expected, rtol=1e-4, atol=2e-6)
    np.testing.assert_allclose(direct.attention(query, key, value), expected, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("mechanism", ["flash-attention-v2", "flash-decoding"])
def test_causal(mechanism: str) -> None:
    query, key = rows(4, 2, 70, 32), rows(5, 2, 70, 32)
    came = attend(query, key, mechanism=mechanism, params={"causal": True})
    np.testing.assert_allclose(came.output, sdpa(query, key, key, is_causal=True), rtol=1e-4, atol=2e-6)


def test_masks() -> None:
    query, key, mask = rows(6, 2, 30, 16), rows(7, 2, 50, 16), np.random.default_rng(0).random((30, 50)) < 0.6
    mask[:, 0] = True
    came = attend(query, key, mechanism="flash-attention-v2", mask=mask)
    np.testing.assert_allclose(
        came.output, sdpa(query, key, key, attn_mask=torch.from_numpy(mask)), rtol=1e-4, atol=2e-6
    )


@pytest.mark.parametrize(("precision", "error"), [("int8", 5e-3), ("bf16", 2e-3)])
def test_low_precision(precision: str, error: float) -> None:
    query, key, value = rows(8, 1, 20, 128), rows(9, 1, 3000, 128), rows(10, 1, 3000, 128)
    expected = sdpa(query, key, value)
    came = attend(query, key, value, mechanism="flash-attention-v3", params={"precision": precision})
    assert np.linalg.norm(came.output - expected) <= error * np.linalg.norm(expected)
