"""Perceiver attention: learned latents read the keys, and the queries read the latents."""

from __future__ import annotations

import numpy as np

from agentmem.attention.call import Call
from agentmem.attention.engine import Engine
from agentmem.attention.inputs import Floats, require_finite, split_heads


def run_latent(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """Z = Attn(L, X, X), then Attn(q, Z, Z); where values are not the keys, each is read into latents of its own."""
    heads, scale, wanted = call.heads, call.params["scale"], call.want_weights
    split_heads(heads, query=call.query, value=call.value)
    require_finite(query=call.query, key=call.key, value=call.value)
    latents = call.weights["latents"]
    if call.query.ndim == 3:
        latents = np.ascontiguousarray(np.broadcast_to(latents, (heads, *latents.shape)))
    z_key, read = engine.softmax(
        latents, call.key, call.key, heads=heads, scale=scale, mask=call.mask, want_weights=wanted
    )
    z_value = z_key
    if call.value is not call.key:
        z_value, _ = engine.softmax(latents, call.key, call.value, heads=heads, scale=scale, mask=call.mask)
    out, decoded = engine.softmax(call.query, z_key, z_value, heads=heads, scale=scale, want_weights=wanted)
    return out, None if decoded is None or read is None else decoded @ read
