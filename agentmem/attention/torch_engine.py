"""The optional engine over PyTorch: softmax attention through scaled_dot_product_attention, on CUDA where it is."""

from __future__ import annotations

from functools import cache
from typing import Any, NoReturn

import numpy as np

from agentmem.attention.bias import Bias, bucket
from agentmem.attention.inputs import Floats, Mask, require_finite
from agentmem.attention.reference.softmax import biased
from agentmem.errors import BackendUnavailable
from agentmem.extras import need


class TorchEngine:
    """Softmax attention by PyTorch, float32 or float64; every other stage is refused, never run elsewhere.

    Args:
        torch: the module.
    """

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self.name = f"torch ({self._device})"

    def __getattr__(self, stage: str) -> NoReturn:
        """Refuse a stage that it does not have."""
        if stage.startswith("_"):
            raise AttributeError(stage)
        raise BackendUnavailable(f"backend='torch' runs softmax attention only, and this asks for {stage}; use 'auto'")

    def softmax(
        self,
        query: Floats,
        key: Floats,
        value: Floats,
        *,
        heads: int = 1,
        scale: float | None = None,
        causal: bool = False,
        block: int = 0,
        block_q: int = 0,
        top_k: int = 0,
        cosine: bool = False,
        bias: Bias | None = None,
        dropout: float = 0.0,
        seed: int = 0,
        mask: Mask | None = None,
        want_weights: bool = False,
        out: Floats | None = None,
    ) -> tuple[Floats, Floats | None]:
        """Softmax attention over (n, heads · d) or (heads, n, d); see ``SoftmaxReference.softmax``.

        The vendor's fused kernel runs unless weights are wanted, ``top_k`` cuts or values depend on the distance; its
        blocks are its own.  What ``bias`` adds to the scores is made as one array beforehand, as that kernel takes it.
        """
        if dropout:
            raise BackendUnavailable(
                "backend='torch': dropout there draws from PyTorch's own generator, so a seed would leave out other "
                "weights than on the other backends; use 'auto'"
            )
        require_finite(query=query, key=key, value=value)
        torch, split = self._torch, query.ndim == 3
        q = self._by_head(query, heads)
        groups = len(key) if split else key.shape[1] // q.shape[-1]  # heads of the keys, each for as many queries'
        k, v = (self._by_head(rows, groups).repeat_interleave(heads // groups, 0) for rows in (key, value))
        if cosine:
            q, k = (torch.nn.functional.normalize(rows, dim=-1) for rows in (q, k))
        scale = q.shape[-1] ** -0.5 if scale is None else scale
        kept, shape = self._kept(mask, causal, q.shape[-2], k.shape[-2]), (heads, q.shape[-2], k.shape[-2])
        added = None if bias is None else torch.tensor(biased(np.zeros(shape), bias), dtype=q.dtype, device=q.device)
        by_distance = None if bias is None or bias.bucket_values is None else self._by_distance(bias, q)
        if want_weights or 0 < top_k < k.shape[-2] or by_distance is not None:
            scores = q @ k.transpose(-1, -2) * scale
            w = self._weights(scores if added is None else scores + added, kept, top_k)
            mixed = w @ v
            if by_distance is not None:
                mixed = mixed + torch.einsum("hij,ijd->hid", w, by_distance)
        else:
            if added is not None:
                kept = added if kept is None else added.masked_fill(~kept, -torch.inf)
            w, mixed = None, torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=kept, scale=scale)
        if kept is not None:
            seen = kept if kept.dtype == torch.bool else kept > -torch.inf
            mixed = torch.where(seen.any(-1, keepdim=True), mixed, 0.0)
        elif not k.shape[-2]:
            mixed = torch.zeros_like(mixed)
        if not split:
            mixed = mixed.transpose(0, 1).reshape(q.shape[-2], -1)
        return self._array(mixed), None if w is None or not want_weights else self._array(w)

    def _by_distance(self, bias: Bias, like: Any) -> Any:
        """Return what the distance adds to the value of each key, (n_queries, n_keys, value_dim)."""
        assert bias.places is not None
        assert bias.bucket_values is not None
        at = bucket(bias.places[0][:, None] - bias.places[1][None, :], bias.buckets)
        return self._torch.tensor(bias.bucket_values[at], dtype=like.dtype, device=like.device)

    def _by_head(self, rows: Floats, heads: int) -> Any:
        tensor = self._torch.tensor(rows, device=self._device)
        return tensor if rows.ndim == 3 else tensor.reshape(len(rows), heads, rows.shape[1] // heads).transpose(0, 1)

    def _kept(self, mask: Mask | None, causal: bool, n_queries: int, n_keys: int) -> Any:
        """Return the mask and the causal order as one bool tensor, None for all."""
        kept = None
        if mask is not None:
            kept = self._torch.tensor(mask, device=self._device).expand(*mask.shape[:-2], n_queries, n_keys)
        if causal:
            order = self._torch.tensor(np.tri(n_queries, n_keys, n_keys - n_queries, dtype=bool), device=self._device)
            kept = order if kept is None else kept & order
        return kept

    def _weights(self, scores: Any, kept: Any, top_k: int) -> Any:
        torch = self._torch
        if kept is not None:
            scores = scores.masked_fill(~kept, -torch.inf)
        if 0 < top_k < scores.shape[-1]:
            order = scores.sort(dim=-1, descending=True, stable=True).indices[..., :top_k]
            cut = torch.full_like(scores, -torch.inf)
            scores = cut.scatter(-1, order, scores.gather(-1, order))
        return scores.softmax(-1).nan_to_num(0.0)

    @staticmethod
    def _array(tensor: Any) -> Floats:
        array: Floats = tensor.cpu().numpy()
        return array


@cache
def torch_engine() -> TorchEngine:
    """Return the engine.

    Raises:
        MissingExtra: PyTorch is not installed.
    """
    return TorchEngine(need("torch", "torch", "backend='torch'"))
