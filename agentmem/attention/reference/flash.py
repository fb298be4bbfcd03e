"""Flash-decoding, and attention over coded keys, in plain float64 NumPy."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from agentmem.attention.inputs import Floats, require_finite
from agentmem.attention.reference.common import by_head, softmax_rows

if TYPE_CHECKING:
    from agentmem.attention.quantise import Codes


class FlashReference:
    """Keys in parts, and keys in few bits."""

    def decode(
        self,
        query: Floats,
        key: Floats,
        value: Floats,
        *,
        heads: int,
        scale: float | None,
        causal: bool,
        parts: int,
        out: Floats | None = None,
    ) -> Floats:
        """Attention over ``parts`` of the keys each query sees, merged by log-sum-exp; shapes as for ``softmax``."""
        require_finite(query=query, key=key, value=value)
        q, k, v = by_head(query, heads), by_head(key, heads), by_head(value, heads)
        n_queries, n_keys = q.shape[1], k.shape[1]
        scores = q @ k.transpose(0, 2, 1) * (q.shape[-1] ** -0.5 if scale is None else scale)
        merged = np.zeros((len(q), n_queries, v.shape[-1]))
        for i in range(n_queries):
            seen = min(max(i + 1 + n_keys - n_queries, 0), n_keys) if causal else n_keys
            bounds = [seen * part // parts for part in range(parts + 1)]
            spans = [slice(a, b) for a, b in pairwise(bounds) if a < b]
            if spans:
                logsums = np.stack([np.logaddexp.reduce(scores[:, i, span], axis=-1) for span in spans])
                outs = np.stack([(softmax_rows(scores[:, i : i + 1, s]) @ v[:, s])[:, 0] for s in spans])
                merged[:, i] = (softmax_rows(logsums.T).T[:, :, None] * outs).sum(0)
        return merged if query.ndim == 3 else merged.transpose(1, 0, 2).reshape(n_queries, -1)

    def attend_codes(self, query: Floats, keys: Codes, values: Codes, scale: float) -> Floats:
        """Softmax attention of rotated, padded queries over coded keys; (n_queries, padded value_dim)."""
        require_finite(query=query)
        scores = scale * (query.astype(np.float64) @ keys.decode().astype(np.float64).T)
        return softmax_rows(scores) @ values.decode().astype(np.float64)
