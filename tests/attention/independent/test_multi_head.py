"""The multi-head family against torch, transformers and x-transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agentmem.attention import attend

EXTRA = 'needs: pip install "agentmem[independent]"'
torch: Any = pytest.importorskip("torch", reason=EXTRA)
attention = torch.nn.functional.scaled_dot_product_attention


def rows(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def both(*arrays: np.ndarray) -> tuple[list[np.ndarray], list[Any]]:
    """Return the arrays in float32, and in float64 as tensors with a batch of one in front."""
    narrow = [np.ascontiguousarray(x, np.float32) for x in arrays]
    return narrow, [torch.from_numpy(x.astype(np.float64))[None] for x in narrow]


def flat(heads: Any) -> np.ndarray:
    """Return (1, heads, n, d) as (n, heads · d)."""
    return heads[0].transpose(0, 1).flatten(1).numpy()


def agree(came: np.ndarray, theirs: Any) -> None:
    expected = theirs.detach().numpy() if isinstance(theirs, torch.Tensor) else theirs
    np.testing.assert_allclose(came, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("mechanism", ["scaled-dot", "flash-attention-v2", "cross-attention"])
@pytest.mark.parametrize(("n_queries", "n_keys"), [(1, 31), (33, 97), (32, 32)])
def test_sdpa_with_a_mask(backend: str, mechanism: str, n_queries: int, n_keys: int) -> None:
    (q, k, v), (tq, tk, tv) = both(rows(1, n_queries, 24), rows(2, n_keys, 24), rows(3, n_keys, 7))
    mask = np.random.default_rng(4).random((n_queries, n_keys)) < 0.7
    mask[:, 0] = True
    came = attend(q, k, v, mechanism=mechanism, mask=mask, backend=backend)
    agree(came.output, attention(tq, tk, tv, attn_mask=torch.from_numpy(mask))[0])


@pytest.mark.parametrize("mechanism", ["scaled-dot", "flash-attention-v2", "standard-mha"])
def test_sdpa_causal(backend: str, mechanism: str) -> None:
    (q, k, v), tensors = both(rows(1, 1, 33, 24), rows(2, 1, 33, 24), rows(3, 1, 33, 7))
    came = (
        attend(q[0], k[0], v[0], mechanism=mechanism, params={"causal": True}, backend=backend)
        if (mechanism != "standard-mha")
        else attend(q, k, v, mechanism=mechanism, params={"causal": True}, backend=backend)
    )
    agree(came.output.reshape(33, 7), attention(*tensors, is_causal=True)[0, 0])


@pytest.mark.parametrize(("heads", "dim"), [(1, 16), (4, 20), (8, 64)])
def test_multihead_attention_with_projections_and_biases(backend: str, heads: int, dim: int) -> None:
    torch.manual_seed(heads)
    theirs = torch.nn.MultiheadAttention(dim, heads, batch_first=True, dtype=torch.float64)
    torch.nn.init.normal_(theirs.in_proj_bias)
    torch.nn.init.normal_(theirs.out_proj.bias)
    (q, k, v), tensors = both(rows(1, 5, dim), rows(2, 33, dim), rows(3, 33, dim))
    expected, shares = theirs(*tensors, average_attn_weights=False)
    names, learned = ("query", "key", "value"), {}
    for name, matrix, bias in zip(
        names, theirs.in_proj_weight.detach().chunk(3), theirs.in_proj_bias.detach().chunk(3), strict=True
    ):
        learned |= {name: matrix.numpy().T, f"{name}_bias": bias.numpy()}
    learned |= {
        "output": theirs.out_proj.weight.detach().numpy().T,
        "output_bias": theirs.out_proj.bias.detach().numpy(),
    }
    params = {"heads": heads}
    came = attend(
        q, k, v, mechanism="standard-mha", params=params, weights=learned, return_weights=True, backend=backend
    )
    agree(came.output, expected[0])
    agree(came.weights, shares[0])


@pytest.mark.parametrize(("heads", "groups"), [(4, 2), (8, 1), (6, 6)])
def test_groups(backend: str, heads: int, groups: int) -> None:
    (q, k, v), tensors = both(rows(1, heads, 5, 12), rows(2, groups, 33, 12), rows(3, groups, 33, 7))
    expected = attention(*tensors, enable_gqa=True)[0]
    params = {"groups": groups}
    agree(attend(q, k, v, mechanism="grouped-query-attention", params=params, backend=backend).output, expected)
    if groups == 1:
        agree(attend(q, k, v, mechanism="multi-query-attention", backend=backend).output, expected)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("pairs", "family"), [("halves", "llama"), ("neighbours", "gptj")])
def test_rotary(backend: str, pairs: str, family: str, causal: bool) -> None:
    models = pytest.importorskip(f"transformers.models.{family}.modeling_{family}", reason=EXTRA)
    (q, k, v), (tq, tk, tv) = both(rows(1, 3, 33, 16), rows(2, 3, 33, 16), rows(3, 3, 33, 7))
    angle = torch.arange(33, dtype=torch.float64)[:, None] * 10_000.0 ** (-torch.arange(0, 16, 2) / 16)
    if family == "llama":
        cos, sin = (torch.cat([f(angle), f(angle)], -1)[None] for f in (torch.cos, torch.sin))
        tq, tk = models.apply_rotary_pos_emb(tq, tk, cos, sin)
    else:
        turned = [
            models.apply_rotary_pos_emb(x.transpose(1, 2), torch.sin(angle)[None], torch.cos(angle)[None])
            for x in (tq, tk)
        ]
        tq, tk = (x.transpose(1, 2) for x in turned)
    params = {"pairs": pairs, "causal": causal}
    came = attend(q, k, v, mechanism="rotary-mha", params=params, positions=np.arange(33), backend=backend)
    agree(came.output, attention(tq, tk, tv, is_causal=causal)[0])


@pytest.mark.parametrize("heads", [1, 2, 8, 16])
def test_alibi(backend: str, heads: int) -> None:
    bloom = pytest.importorskip("transformers.models.bloom.modeling_bloom", reason=EXTRA)
    (q, k, v), tensors = both(rows(1, heads, 33, 8), rows(2, heads, 33, 8), rows(3, heads, 33, 7))
    alibi = bloom.build_alibi_tensor(torch.ones(1, 33), heads, torch.float64).reshape(1, heads, 1, 33)
    hidden = torch.full((33, 33), -torch.inf, dtype=torch.float64).triu(1)
    came = attend(q, k, v, mechanism="alibi-mha", positions=np.arange(33), backend=backend)
    agree(came.output, attention(*tensors, attn_mask=alibi + hidden)[0])


@pytest.mark.parametrize("layer", [1, 4])
def test_differential(backend: str, layer: int) -> None:
    diff = pytest.importorskip("transformers.models.diffllama.modeling_diffllama", reason=EXTRA)
    heads, half, dim = 3, 4, 24
    torch.manual_seed(layer)
    config = diff.DiffLlamaConfig(
        hidden_size=dim,
        num_attention_heads=2 * heads,
        num_key_value_heads=2 * heads,
        head_dim=half,
        attn_implementation="eager",
        rms_norm_eps=1e-5,
        lambda_std_dev=0.5,
    )
    theirs = diff.DiffLlamaAttention(config, layer - 1).double().eval()
    (x,), (tx,) = both(rows(1, 33, dim))
    still = torch.ones(1, 33, half, dtype=torch.float64), torch.zeros(1, 33, half, dtype=torch.float64)
    hidden = torch.full((33, 33), -torch.inf, dtype=torch.float64).triu(1)[None, None]
    expected = theirs(tx, still, hidden)[0][0]
    # their first heads are the first halves of ours, their last the second: of queries, keys and values alike
    order = np.arange(2 * heads * half).reshape(2, heads, half).transpose(1, 0, 2).ravel()
    state = {name: array.numpy() for name, array in theirs.state_dict().items()}
    learned = {name: state[f"{name[0]}_proj.weight"].T[:, order] for name in ("query", "key", "value")}
    learned["output"] = state["o_proj.weight"].T
    learned |= {name: array for name, array in state.items() if name.startswith("lambda")}
    came = attend(
        x,
        x,
        mechanism="differential-attention",
        params={"heads": heads, "causal": True, "layer": layer},
        weights=learned,
        backend=backend,
    )
    agree(came.output, expected)
