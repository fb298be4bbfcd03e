"""BigBird and Longformer against transformers, GAT and GATv2 against torch_geometric."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agentmem.attention import attend
from agentmem.attention.engine import engine
from agentmem.attention.supports import Support, build, packed, pieces

MISSING = 'needs torch, transformers and torch_geometric; run: pip install "agentmem[independent]"'
torch = pytest.importorskip("torch", reason=MISSING)

DIM, HEADS = 24, 3


def linear(layer: Any) -> np.ndarray:
    """The matrix that a linear layer multiplies rows by, its bias being silenced."""
    if getattr(layer, "bias", None) is not None:
        torch.nn.init.zeros_(layer.bias)
    return np.ascontiguousarray(layer.weight.detach().numpy().T)


def of_mask(mask: np.ndarray) -> Support:
    query, key = np.nonzero(mask)
    return packed(pieces(query, key, 1), len(mask))


@pytest.mark.parametrize("random", [1, 2])
def test_bigbird(backend: str, random: int) -> None:
    models = pytest.importorskip("transformers.models.big_bird.modeling_big_bird", reason=MISSING)
    config = models.BigBirdConfig(
        hidden_size=DIM,
        num_attention_heads=HEADS,
        block_size=4,
        num_random_blocks=random,
        use_bias=False,
        attention_probs_dropout_prob=0.0,
    )
    torch.manual_seed(0)
    layer = models.BigBirdBlockSparseAttention(config, seed=7).train()  # in evaluation it draws block 0 alone
    x = torch.randn(1, 48, DIM)
    masks = models.BigBirdModel.create_masks_for_block_sparse_attn(torch.ones(1, 48), 4)
    blocked, band, rows, columns = masks
    with torch.no_grad():
        output, shares = layer(x, band, rows, columns, blocked, blocked)
    expected, shares = output[0].numpy(), shares[0].numpy()
    fixed = {"block": 4, "window": 3, "global_first": 1, "global_last": 1, "random": random, "seed": 0}
    at, ours = np.arange(48), "block-window | block-global"
    certain = np.zeros((48, 48), bool)
    for i, row in enumerate(certain):
        row[build(ours, at, 48, fixed).keys(i)] = True
    drawn = build(f"{ours} | block-random", at, 48, fixed)
    q, k, v = (x[0].numpy() @ linear(part) for part in (layer.query, layer.key, layer.value))
    for h in range(HEADS):
        theirs = shares[h] > 0
        assert theirs[certain].all()
        np.testing.assert_array_equal(theirs.sum(1), drawn.sizes)  # as many random keys, each row
        cut = slice(8 * h, 8 * h + 8)
        came, weights = engine(backend).support(
            *(np.ascontiguousarray(part[:, cut]) for part in (q, k, v)), support=of_mask(theirs), want_weights=True
        )
        np.testing.assert_allclose(came, expected[:, cut], rtol=1e-4, atol=1e-5)
        assert weights is not None
        np.testing.assert_allclose(weights[0], shares[h], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tokens", [0, 1, 3])
def test_longformer(backend: str, tokens: int) -> None:
    models = pytest.importorskip("transformers.models.longformer.modeling_longformer", reason=MISSING)
    config = models.LongformerConfig(
        hidden_size=DIM, num_attention_heads=HEADS, attention_window=[8], attention_probs_dropout_prob=0.0
    )
    torch.manual_seed(1)
    layer = models.LongformerSelfAttention(config, 0).eval()
    names = ("query", "key", "value", "query_global", "key_global", "value_global")
    weights = {name: linear(getattr(layer, name)) for name in names}
    x, padding = torch.randn(1, 48, DIM), 5
    kinds = torch.zeros(1, 48)
    kinds[:, :tokens], kinds[:, 48 - padding :] = 10000.0, -10000.0
    with torch.no_grad():
        expected = layer(
            x,
            attention_mask=kinds,
            is_index_masked=kinds < 0,
            is_index_global_attn=kinds > 0,
            is_global_attn=bool(tokens),
        )[0]
    came = attend(
        x[0].numpy(),
        x[0].numpy(),
        mechanism="longformer-attention",
        params={"window": 8, "global_tokens": tokens, "heads": HEADS},
        weights=weights,
        mask=np.arange(48) < 48 - padding,
        backend=backend,
    )
    kept = slice(0, 48 - padding)
    np.testing.assert_allclose(came.output[kept], expected[0].numpy()[kept], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize("version", [1, 2])
def test_graph(backend: str, version: int, loops: bool) -> None:
    layers = pytest.importorskip("torch_geometric.nn", reason=MISSING)
    torch.manual_seed(version)
    kind = layers.GATConv if version == 1 else layers.GATv2Conv
    layer = kind(DIM, 5, heads=HEADS, add_self_loops=loops, bias=False).eval()
    x, pairs = torch.randn(40, DIM), np.random.default_rng(version).integers(0, 40, (160, 2))
    pairs = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
    with torch.no_grad():
        expected = layer(x, torch.as_tensor(pairs[:, ::-1].T.copy())).numpy()
    if version == 1:
        projection = linear(layer.lin)
        weights = dict.fromkeys(("query", "key", "value"), projection)
        weights |= {
            "attention": layer.att_src.detach().numpy().ravel(),
            "attention_query": layer.att_dst.detach().numpy().ravel(),
        }
    else:
        source = linear(layer.lin_l)
        weights = {"query": linear(layer.lin_r), "key": source, "value": source}
        weights["attention"] = layer.att.detach().numpy().ravel()
    came = attend(
        x.numpy(),
        x.numpy(),
        mechanism="graph-attention",
        params={"version": version, "heads": HEADS, "self_loops": loops},
        edges=pairs,
        weights=weights,
        backend=backend,
    )
    np.testing.assert_allclose(came.output, expected, rtol=1e-4, atol=1e-5)
