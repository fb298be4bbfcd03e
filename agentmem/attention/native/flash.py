"""Flash-decoding, and attention over coded keys, by the compiled kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentmem.attention.inputs import Floats
from agentmem.attention.native.common import checked
from agentmem.attention.threads import num_threads

if TYPE_CHECKING:
    from agentmem.attention.quantise import Codes


class FlashKernels:
    """Keys in parts, and keys in few bits."""

    direct: Any
    _quantised: Any

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
        head_dim = query.shape[-1] // (heads if query.ndim == 2 else 1)
        factor = head_dim**-0.5 if scale is None else scale
        result: Floats
        result, bad = self.direct.decode(query, key, value, heads, factor, causal, parts, out, num_threads())
        checked(bad, query=query, key=key, value=value)
        return result

    def attend_codes(self, query: Floats, keys: Codes, values: Codes, scale: float) -> Floats:
        """Softmax attention of rotated, padded queries over coded keys; (n_queries, padded value_dim)."""
        coded = keys.words, keys.scales, keys.bits, values.words, values.scales, values.bits
        out, bad = self._quantised.attend(query, *coded, scale)
        checked(bad, query=query)
        result: Floats = out
        return result
