"""A mixture of mechanisms: each query's own blend of what several of them give."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from agentmem.attention import forms, registry
from agentmem.attention.call import Call, make_call
from agentmem.attention.engine import Engine
from agentmem.attention.inputs import Floats, no_head_axis, require_finite
from agentmem.attention.reference.common import softmax_rows
from agentmem.errors import InvalidInput

INPUTS = ("positions", "segment_ids", "edges", "context")


def run_mixture(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """Σ_m π_m(q) · Attn_m(q, K, V), π = softmax(q W_g); weights are the members' means over heads, mixed alike."""
    no_head_axis(call.declared.name, call.query, call.mask)
    require_finite(query=call.query, key=call.key, value=call.value)
    share = softmax_rows((call.query @ call.weights["router"]).astype(np.float64)).astype(call.query.dtype)
    out = np.zeros((call.n_queries, call.value.shape[1]), call.query.dtype)
    mixed = np.zeros((call.n_queries, call.n_keys), call.query.dtype)
    for at, member in enumerate(_member_calls(call)):
        part, weights = forms.FORMS[member.declared.form](engine, member)
        out += share[:, at, None] * part.astype(out.dtype, copy=False)
        if weights is not None:
            mixed += share[:, at, None] * (weights.mean(0) if weights.ndim == 3 else weights).astype(mixed.dtype)
    return out, mixed if call.want_weights else None


def members(listed: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the names and parameters in a list such as "scaled-dot, standard-mha heads=4 causal=true".

    Raises:
        InvalidInput: a member without a name, or words behind it that are not name=value.
    """
    for member in listed.split(","):
        name, *pairs = member.split() or [""]
        params = {}
        for pair in pairs:
            key, equals, text = pair.partition("=")
            if not (key and equals and text):
                raise InvalidInput(f"members: expected {name} name=value ..., came {pair!r}")
            try:
                params[key] = json.loads(text)
            except json.JSONDecodeError:
                params[key] = text
        if not name:
            raise InvalidInput(f"members: expected names separated by commas, came {listed!r}")
        yield name, params


def _member_calls(call: Call) -> Iterator[Call]:
    """Return the call of each member: the same arrays, its own parameters, and of the other inputs what it takes."""
    for name, params in members(call.params["members"]):
        declared = registry.get(name)
        if declared.form not in forms.FORMS or any(weight.required for weight in declared.weights):
            raise InvalidInput(
                f"members: {name} cannot be one; choose catalogued mechanisms with an output and no required weights"
            )
        given = {key: getattr(call, key) if key in declared.inputs() else None for key in INPUTS}
        if not call.ordered:
            given["positions"] = None
        yield make_call(
            declared,
            call.query,
            call.key,
            call.value,
            params=params,
            mask=call.mask,
            weights=None,
            want_weights=call.want_weights,
            **given,
        )
