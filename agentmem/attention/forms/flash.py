"""Flash attention at low precision, and flash-decoding."""

from __future__ import annotations

import numpy as np

from agentmem.attention import quantise
from agentmem.attention.call import Call
from agentmem.attention.engine import Engine
from agentmem.attention.inputs import Floats, require_finite, split_heads
from agentmem.errors import InvalidInput

KEYS_A_PART = 2048
"""Of flash-decoding, where the number of parts is not given: enough for a thread to be worth its start."""


def run_low_precision(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """Code keys and values head by head, and attend over what the codes say."""
    split_heads(call.heads, query=call.query, value=call.value)
    require_finite(query=call.query, key=call.key, value=call.value)
    key = _coded(call.key, call.heads, str(call.params["precision"]))
    value = key if call.value is call.key else _coded(call.value, call.heads, "int16")
    return engine.softmax(
        call.query,
        key,
        value,
        heads=call.heads,
        scale=call.params["scale"],
        causal=call.params["causal"],
        mask=call.mask,
        want_weights=call.want_weights,
        out=call.out,
    )


def _coded(rows: Floats, heads: int, precision: str) -> Floats:
    """Return rows as their codes have them, each head coded on its own."""
    by_head = rows.reshape(-1, rows.shape[-1] if rows.ndim == 3 else rows.shape[-1] // heads)
    decoded = quantise.restore(quantise.encode(by_head.astype(np.float32, copy=False), precision))
    return np.ascontiguousarray(decoded.reshape(rows.shape), rows.dtype)


def run_decoding(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """Attend to parts of the keys on their own, and merge them by log-sum-exp; hidden keys are left out beforehand."""
    split_heads(call.heads, query=call.query, value=call.value)
    heads, scale, causal = call.heads, call.params["scale"], call.params["causal"]
    if causal and call.mask is not None:
        raise InvalidInput("flash-decoding takes a mask or causal order, not both: leave hidden keys out of the arrays")
    keep = slice(None) if call.mask is None else call.mask
    key, value = (np.ascontiguousarray(rows[..., keep, :]) for rows in (call.key, call.value))
    parts = call.params["parts"] or max(1, key.shape[-2] // KEYS_A_PART)
    out = engine.decode(call.query, key, value, heads=heads, scale=scale, causal=causal, parts=parts, out=call.out)
    if not call.want_weights:
        return out, None
    same = engine.softmax(
        call.query, call.key, call.value, heads=heads, scale=scale, causal=causal, mask=call.mask, want_weights=True
    )
    return out, same[1]
