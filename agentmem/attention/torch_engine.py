"""The optional engine over PyTorch: softmax attention through scaled_dot_product_attention, on CUDA where it is."""

from __future__ import annotations

from functools import cache
from typing import Any, NoReturn

import numpy as np

from agentmem.attention.inputs import Floats, Mask, require_finite
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
        top_k: int = 0,
        cosine: bool = False,
        mask: Mask | None = None,
        want_weights: bool = False,
        **atoms: Any,
    ) -> tuple[Floats, Floats | None]:
        """Softmax attention over (n, heads · d) or (heads, n, d); see ``SoftmaxReference.softmax``.

        The vendor's fused kernel runs unless weights are wanted or ``top_k`` cuts; ``block`` is the vendor's choice.
        """
        asked = [name for name, value in atoms.items() if _given(value)]
        if asked:
            raise BackendUnavailable(f"backend='torch' knows no {', '.join(asked)}; use 'auto'")
        require_finite(query=query, key=key, value=value)
        torch, split = self._torch, query.ndim == 3
        q = self._by_head(query, heads)
        groups = len(key) if split else key.shape[1] // q.shape[-1]  # heads of the keys, each for as many queries'
        k, v = (self._by_head(rows, groups).repeat_interleave(heads // groups, 0) for rows in (key, value))
        if cosine:
            q, k = (torch.nn.functional.normalize(rows, dim=-1) for rows in (q, k))
        scale = q.shape[-1] ** -0.5 if scale is None else scale
        kept = self._kept(mask, causal, q.shape[-2], k.shape[-2])
        if want_weights or 0 < top_k < k.shape[-2]:
            w = self._weights(q @ k.transpose(-1, -2) * scale, kept, top_k)
            out = w @ v
        else:
            w, out = None, torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=kept, scale=scale)
        if kept is not None:
            out = torch.where(kept.any(-1, keepdim=True), out, 0.0)
        elif not k.shape[-2]:
            out = torch.zeros_like(out)
        if not split:
            out = out.transpose(0, 1).reshape(q.shape[-2], -1)
        return self._array(out), None if w is None or not want_weights else self._array(w)

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


def _given(value: Any) -> bool:
    """Say whether an argument asks for something: None, False and 0 do not."""
    return value is not None and not (isinstance(value, (bool, int, float)) and not value)


@cache
def torch_engine() -> TorchEngine:
    """Return the engine.

    Raises:
        MissingExtra: PyTorch is not installed.
    """
    return TorchEngine(need("torch", "torch", "backend='torch'"))
