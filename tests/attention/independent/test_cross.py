"""The cross family against implementations of other hands: transformers' Perceiver, flamingo-pytorch, torch."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from contract import rows

from agentmem.attention import attend

EXTRA = 'not installed; pip install "agentmem[independent]"'


def library(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, reason=f"{name} is {EXTRA}")


torch = library("torch")


def plain(module: Any) -> Any:
    """The module without its normalisation of rows, biases at zero."""
    for name in ("layernorm1", "layernorm2", "norm"):
        if hasattr(module, name):
            setattr(module, name, torch.nn.Identity())
    for part in (module.query, module.key, module.value) if hasattr(module, "query") else ():
        torch.nn.init.zeros_(part.bias)
    return module.eval()


@pytest.mark.parametrize("heads", [1, 3])
def test_perceiver_is_transformers_s(backend: str, heads: int) -> None:
    library("transformers")
    from transformers import PerceiverConfig
    from transformers.models.perceiver.modeling_perceiver import PerceiverSelfAttention

    torch.manual_seed(heads)
    config = PerceiverConfig(attention_probs_dropout_prob=0.0)
    sizes = {"is_cross_attention": True, "qk_channels": 12, "v_channels": 12, "q_dim": 12, "kv_dim": 12}
    encode = plain(PerceiverSelfAttention(config, num_heads=heads, **sizes))
    decode = plain(PerceiverSelfAttention(config, num_heads=heads, **sizes))
    # by heads the latents' rows are split, so what the decoder does to them must keep the heads apart
    blocks = torch.block_diag(*[torch.ones(12 // heads, 12 // heads)] * heads)
    latents, x, query = (torch.from_numpy(rows(seed, n, 12)) for seed, n in ((1, 5), (2, 40), (3, 7)))
    with torch.no_grad():
        for part in (decode.key, decode.value):
            part.weight *= blocks
        encode.key.weight.copy_(decode.key.weight @ encode.value.weight)
        expected = decode(query[None], inputs=encode(latents[None], inputs=x[None])[0])[0][0].numpy()
        learned = {"latents": encode.query(latents).numpy()}
        arrays = decode.query(query), encode.key(x), decode.value(encode.value(x))
    params = {"latents": 5, "heads": heads}
    came = attend(
        *(a.numpy() for a in arrays), mechanism="perceiver-attention", params=params, weights=learned, backend=backend
    ).output
    np.testing.assert_allclose(came, expected, rtol=1e-4, atol=1e-6)


def test_gated_cross_attention_is_flamingo_pytorch_s(backend: str) -> None:
    theirs = library("flamingo_pytorch")
    torch.manual_seed(0)
    block = theirs.GatedCrossAttentionBlock(dim=12, dim_head=4, heads=3).eval()
    plain(block.attn)
    block.ff[0], block.ff[2] = torch.nn.Identity(), Squared()
    y, x = rows(4, 6, 12), rows(5, 20, 12)
    with torch.no_grad():
        block.attn_gate.fill_(0.4)
        block.ff_gate.fill_(-0.7)
        expected = block(torch.from_numpy(y)[None], torch.from_numpy(x)[None, None])[0].numpy()
        to_key, to_value = block.attn.to_kv.weight.T.chunk(2, dim=1)
        learned = {
            "gate": block.attn_gate,
            "query": block.attn.to_q.weight.T,
            "key": to_key,
            "value": to_value,
            "output": block.attn.to_out.weight.T,
            "ffn_gate": block.ff_gate,
            "ffn_in": block.ff[1].weight.T,
            "ffn_out": block.ff[3].weight.T,
        }
        weights = {name: array.detach().numpy() for name, array in learned.items()}
    came = attend(y, x, mechanism="gated-cross-attention", params={"heads": 3}, weights=weights, backend=backend).output
    np.testing.assert_allclose(came, expected, rtol=1e-4, atol=1e-5)


class Squared(torch.nn.Module):  # type: ignore[misc]
    """relu(x)², in place of that package's GELU."""

    def forward(self, x: Any) -> Any:
        return torch.relu(x) ** 2


def test_memory_attention_is_its_formula_in_torch(backend: str) -> None:
    query, key, value, near, near_value = rows(6, 5, 8), rows(7, 60, 8), rows(8, 60, 4), rows(9, 6, 8), rows(10, 6, 4)
    q, k, v, c, w = (torch.from_numpy(x.astype(np.float64)) for x in (query, key, value, near, near_value))
    unit = torch.nn.functional.normalize
    logits = 10 * unit(q, dim=1) @ unit(k, dim=1).T
    top = logits.topk(7, dim=1)
    far = (top.values.softmax(1)[:, :, None] * v[top.indices]).sum(1)
    local = (10 * unit(q, dim=1) @ unit(c, dim=1).T).softmax(1) @ w
    gate = 1 / (1 + math.exp(-0.3))
    params = {"top_k": 7, "gate": 0.3}
    came = attend(
        query, key, value, mechanism="memory-attention", params=params, context=(near, near_value), backend=backend
    ).output
    np.testing.assert_allclose(came, (gate * far + (1 - gate) * local).numpy(), rtol=1e-4, atol=1e-5)


def test_hierarchical_attention_is_its_formula_in_torch(backend: str) -> None:
    query, key, value = rows(11, 5, 8), rows(12, 30, 8), rows(13, 30, 4)
    groups = np.random.default_rng(14).integers(0, 5, 30)
    q, k, v = (torch.from_numpy(x.astype(np.float64)) for x in (query, key, value))
    names = np.unique(groups)
    centres = torch.stack([k[groups == name].mean(0) for name in names])
    outer = (q @ centres.T / math.sqrt(8)).softmax(1)
    expected = torch.zeros(5, 4, dtype=torch.float64)
    for column, name in enumerate(names):
        at = groups == name
        part = torch.nn.functional.scaled_dot_product_attention(q[None], k[at][None], v[at][None])[0]
        expected += outer[:, column : column + 1] * part
    came = attend(
        query,
        key,
        value,
        mechanism="hierarchical-cross-attention",
        segment_ids=(np.zeros(5, np.int64), groups),
        backend=backend,
    ).output
    np.testing.assert_allclose(came, expected.numpy(), rtol=1e-4, atol=1e-6)
