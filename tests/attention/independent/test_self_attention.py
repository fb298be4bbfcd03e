"""The self-attention family against torch, transformers and x-transformers.

synthesizer-attention has no implementation on PyPI to compare with.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agentmem.attention import attend

EXTRA = 'needs: pip install "agentmem[independent]"'
torch: Any = pytest.importorskip("torch", reason=EXTRA)
attention = torch.nn.functional.scaled_dot_product_attention


def rows(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def tensor(x: np.ndarray) -> Any:
    return torch.from_numpy(x.astype(np.float64))[None]


def agree(came: np.ndarray, theirs: Any) -> None:
    np.testing.assert_allclose(came, theirs.detach().numpy(), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("n", [1, 31, 32, 33, 97])
@pytest.mark.parametrize("mechanism", ["causal-self-attention", "bidirectional-self-attention"])
def test_causal_and_bidirectional(backend: str, mechanism: str, n: int) -> None:
    q, k, v = rows(1, 3, n, 10), rows(2, 3, n, 10), rows(3, 3, n, 7)
    expected = attention(tensor(q), tensor(k), tensor(v), is_causal=mechanism.startswith("causal"))
    agree(attend(q, k, v, mechanism=mechanism, backend=backend).output, expected[0])


@pytest.mark.parametrize("distance", [2, 50])
def test_relative_keys(backend: str, distance: int) -> None:
    models = pytest.importorskip("transformers.models.wav2vec2_bert.modeling_wav2vec2_bert", reason=EXTRA)
    dim, heads, n = 24, 3, 33
    torch.manual_seed(0)
    config = models.Wav2Vec2BertConfig(
        hidden_size=dim,
        num_attention_heads=heads,
        position_embeddings_type="relative_key",
        left_max_position_embeddings=distance,
        right_max_position_embeddings=distance,
        attn_implementation="eager",
    )
    theirs = models.Wav2Vec2BertSelfAttention(config).double().eval()
    for layer in (theirs.linear_q, theirs.linear_k, theirs.linear_v, theirs.linear_out):
        torch.nn.init.zeros_(layer.bias)
    state = {name: array.numpy() for name, array in theirs.state_dict().items()}
    letters = {"query": "q", "key": "k", "value": "v", "output": "out"}
    learned = {name: state[f"linear_{letter}.weight"].T for name, letter in letters.items()}
    learned["relative_key"] = state["distance_embedding.weight"]
    x = rows(1, n, dim)
    came = attend(
        x,
        x,
        mechanism="relative-position-attention",
        params={"heads": heads, "distance": distance},
        positions=np.arange(n),
        weights=learned,
        backend=backend,
    )
    agree(came.output, theirs(tensor(x))[0][0])


@pytest.mark.parametrize("distance", [5, 64])
@pytest.mark.parametrize("reading", ["paper", "code"])
def test_disentangled(backend: str, reading: str, distance: int) -> None:
    # the published code reads the last term at δ(i, j): what the paper has comes of it, term by term, when the
    # distances are turned for that term
    models = pytest.importorskip("transformers.models.deberta.modeling_deberta", reason=EXTRA)
    dim, heads, n = 24, 3, 33
    torch.manual_seed(0)
    config = models.DebertaConfig(
        hidden_size=dim,
        num_attention_heads=heads,
        relative_attention=True,
        max_relative_positions=distance,
        pos_att_type=["c2p", "p2c"],
    )
    theirs = models.DisentangledSelfAttention(config).double().eval()
    torch.nn.init.zeros_(theirs.pos_q_proj.bias)
    x, table = rows(1, n, dim), rows(2, 2 * distance, dim)
    step = torch.arange(n)[:, None] - torch.arange(n)[None]
    both = theirs.pos_proj.weight.detach().clone(), theirs.pos_q_proj.weight.detach().clone()
    parts = theirs.in_proj.weight.detach().numpy().reshape(heads, 3, dim // heads, dim)
    learned = {name: parts[:, at].reshape(dim, dim).T for at, name in enumerate(("query", "key", "value"))}
    terms = [(1, 1, 1)] if reading == "code" else [(1, 0, 1), (0, 1, -1)]
    for to_position, to_content, turn in terms:
        with torch.no_grad():
            theirs.pos_proj.weight.copy_(to_position * both[0])
            theirs.pos_q_proj.weight.copy_(to_content * both[1])
        expected = theirs(tensor(x), torch.ones(1, 1, n, n), relative_pos=turn * step, rel_embeddings=tensor(table)[0])[
            0
        ][0]
        came = attend(
            x,
            x,
            mechanism="disentangled-attention",
            params={"heads": heads, "distance": distance, "reading": reading},
            positions=np.arange(n),
            weights=learned
            | {
                "positions": table,
                "position_key": to_position * both[0].numpy().T,
                "position_query": to_content * both[1].numpy().T,
            },
            backend=backend,
        )
        agree(came.output, expected)


@pytest.mark.parametrize("causal", [False, True])
def test_talking_heads(backend: str, causal: bool) -> None:
    x_attend = pytest.importorskip("x_transformers.attend", reason=EXTRA)
    heads, n = 4, 33
    theirs = (
        x_attend.Attend(heads=heads, pre_talking_heads=True, post_talking_heads=True, causal=causal).double().eval()
    )
    logits, shares = rows(4, heads, heads), rows(5, heads, heads)
    with torch.no_grad():  # theirs adds the mixed logits to the plain ones
        theirs.pre_softmax_talking_heads.weight.copy_(torch.from_numpy(logits - np.eye(heads))[..., None, None])
        theirs.post_softmax_talking_heads.weight.copy_(torch.from_numpy(shares)[..., None, None])
    q, k, v = rows(1, heads, n, 10), rows(2, heads, n, 10), rows(3, heads, n, 7)
    expected = theirs(tensor(q), tensor(k), tensor(v))[0]
    came = attend(
        q,
        k,
        v,
        mechanism="talking-heads-attention",
        params={"causal": causal},
        weights={"logits": logits, "shares": shares},
        backend=backend,
    )
    agree(came.output, expected[0])
