"""The linear family against implementations of other hands: performer-pytorch, linformer, transformers, torch."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from contract import rows

from agentmem.attention import attend
from agentmem.attention.forms.features import directions

EXTRA = 'not installed; pip install "agentmem[independent]"'


def library(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is {EXTRA}")


torch = library("torch")


def tensor(x: np.ndarray) -> Any:
    return torch.from_numpy(np.array(x, np.float64, order="C"))


def split(x: np.ndarray, heads: int) -> Any:
    """(n, heads · d) -> (1, heads, n, d)"""
    return tensor(x.reshape(len(x), heads, -1).transpose(1, 0, 2))[None]


def joined(x: Any) -> np.ndarray:
    return x[0].permute(1, 0, 2).reshape(x.shape[2], -1).numpy()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("heads", [1, 4])
def test_linear_attention_is_performer_pytorch_s_with_elu(backend: str, heads: int, causal: bool) -> None:
    theirs = library("performer_pytorch.performer_pytorch")
    query, key, value = rows(1, 300, 16), rows(2, 300, 16), rows(3, 300, 8)
    q, k, v = (split(x, heads) for x in (query, key, value))
    q, k = (torch.nn.functional.elu(x) + 1 for x in (q, k))
    expected = theirs.causal_linear_attention_noncuda(q, k, v, eps=0) if causal else theirs.linear_attention(q, k, v)
    params = {"heads": heads, "causal": causal}
    came = attend(query, key, value, mechanism="linear-attention", params=params, backend=backend).output
    np.testing.assert_allclose(came, joined(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("heads", [1, 4])
def test_performer_is_performer_pytorch_s(backend: str, heads: int, causal: bool) -> None:
    theirs = library("performer_pytorch.performer_pytorch")
    query, key, value = rows(4, 300, 16), rows(5, 300, 16), rows(6, 300, 8)
    q, k, v = (split(x, heads) for x in (query, key, value))
    omega = torch.from_numpy(directions(16 // heads, 50, 9, True).copy())
    q, k = (
        theirs.softmax_kernel(x, projection_matrix=omega, is_query=is_query, eps=0)
        for x, is_query in ((q, True), (k, False))
    )
    expected = theirs.causal_linear_attention_noncuda(q, k, v, eps=0) if causal else theirs.linear_attention(q, k, v)
    params = {"heads": heads, "causal": causal, "features": 50, "seed": 9}
    came = attend(query, key, value, mechanism="performer-attention", params=params, backend=backend).output
    np.testing.assert_allclose(came, joined(expected), rtol=2e-4, atol=2e-5)


def test_directions_are_distributed_as_performer_pytorch_s() -> None:
    theirs = library("performer_pytorch.performer_pytorch")
    torch.manual_seed(0)
    other = torch.cat([theirs.gaussian_orthogonal_random_matrix(64, 16) for _ in range(50)]).numpy()
    ours = np.concatenate([directions(16, 64, seed, True) for seed in range(50)])
    for moment in (lambda x: np.linalg.norm(x, axis=1).mean(), lambda x: (x**2).mean(), lambda x: (x**4).mean()):
        assert moment(ours) == pytest.approx(moment(other), rel=0.1)


@pytest.mark.parametrize("causal", [False, True])
def test_cosformer_is_its_formula_in_torch(backend: str, causal: bool) -> None:
    query, key, value = rows(7, 50, 12), rows(8, 50, 12), rows(9, 50, 6)
    place = torch.arange(50, dtype=torch.float64)
    scores = torch.relu(tensor(query)) @ torch.relu(tensor(key)).T
    scores = scores * torch.cos(math.pi / 2 * (place[:, None] - place) / 50)
    scores = torch.tril(scores) if causal else scores
    expected = scores @ tensor(value) / scores.sum(1, keepdim=True)
    params = {"causal": causal}
    came = attend(
        query, key, value, mechanism="cosformer-attention", params=params, positions=place.numpy(), backend=backend
    ).output
    np.testing.assert_allclose(came, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_gated_rfa_is_its_recurrence_in_torch(backend: str) -> None:
    query, key, value = rows(10, 80, 8), rows(11, 80, 8), rows(12, 80, 5)
    learned = {"gate": rows(13, 8, 1), "gate_bias": np.ones(1, np.float32)}
    omega = tensor(directions(8, 400, 0, False))

    def features(x: np.ndarray) -> Any:
        angles = torch.nn.functional.normalize(tensor(x), dim=1) @ omega.T
        return torch.cat([angles.sin(), angles.cos()], 1) / 20

    gates = torch.sigmoid(tensor(key) @ tensor(learned["gate"])[:, 0] + 1)
    total, norm, expected = torch.zeros(800, 5, dtype=torch.float64), torch.zeros(800, dtype=torch.float64), []
    for q, k, v, g in zip(features(query), features(key), tensor(value), gates, strict=True):
        total, norm = g * total + (1 - g) * torch.outer(k, v), g * norm + (1 - g) * k
        expected.append(q @ total / (q @ norm))
    params = {"causal": True, "features": 400}
    came = attend(query, key, value, mechanism="rfa-attention", params=params, weights=learned, backend=backend).output
    np.testing.assert_allclose(came, torch.stack(expected).numpy(), rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("landmarks", [2, 8])
def test_nystrom_is_transformers_s(backend: str, landmarks: int) -> None:
    library("transformers")
    from transformers import NystromformerConfig
    from transformers.models.nystromformer.modeling_nystromformer import NystromformerSelfAttention

    torch.manual_seed(landmarks)
    config = NystromformerConfig(
        hidden_size=12,
        num_attention_heads=1,  # its first guess of the inverse is shared by all heads
        num_landmarks=landmarks,
        segment_means_seq_len=48,
        attention_probs_dropout_prob=0.0,
    )
    module = NystromformerSelfAttention(config).eval()
    module.conv_kernel_size = None  # its convolution of the values is beside the approximation
    x = rows(14, 48, 12)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)[None])[0][0].numpy()
        q, k, v = (part(torch.from_numpy(x)).numpy() for part in (module.query, module.key, module.value))
    params = {"landmarks": landmarks}
    came = attend(q, k, v, mechanism="nystrom-attention", params=params, backend=backend).output
    np.testing.assert_allclose(came, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("heads", [1, 4])
def test_linformer_is_linformer_s(backend: str, heads: int) -> None:
    theirs = library("linformer")
    torch.manual_seed(heads)
    module = theirs.LinformerSelfAttention(dim=16, seq_len=40, k=7, heads=heads).eval()
    x = rows(15, 40, 16)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)[None])[0].numpy()
        q, k, v = (part(torch.from_numpy(x)).numpy() for part in (module.to_q, module.to_k, module.to_v))
        mixes = {"key_mix": module.proj_k.T.numpy(), "value_mix": module.proj_v.T.numpy()}
    params = {"rank": 7, "heads": heads}
    came = attend(q, k, v, mechanism="linformer-attention", params=params, weights=mixes, backend=backend).output
    with torch.no_grad():
        out = module.to_out(torch.from_numpy(np.ascontiguousarray(came))).numpy()
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)
