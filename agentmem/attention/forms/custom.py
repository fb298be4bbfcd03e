"""Mechanisms of a caller's own: a Python function of a ``Call``, what it returns checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from agentmem.attention.call import Call
from agentmem.attention.inputs import Floats, require_finite
from agentmem.errors import BackendUnavailable, InvalidInput


def run_custom(run: Callable[[Call], Any], call: Call, backend: str) -> tuple[Floats, Floats | None]:
    """Call the function and return its output, and its weights where the call wants them.

    Raises:
        BackendUnavailable: a backend was asked for by name.
        InvalidInput: what it returned is not of the right shape, or it has no weights and they are wanted;
            InvalidVector: NaN or infinity in the inputs or in what it returned.
    """
    name = call.declared.name
    if backend not in ("auto", "numpy"):
        raise BackendUnavailable(f"backend={backend!r}: {name} is a Python function; use 'auto'")
    require_finite(query=call.query, key=call.key, value=call.value)
    returned = run(call)
    output, weights = returned if isinstance(returned, tuple) else (returned, None)
    lead = call.query.shape[:-1]
    out = _checked(name, "the output", output, [(*lead, call.value.shape[-1])])
    if not call.want_weights:
        return out, None
    if weights is None:
        raise InvalidInput(f"{name} returned no weights; have it return (output, weights)")
    pairs = (call.n_queries, call.n_keys)
    return out, _checked(name, "the weights", weights, [pairs, (call.heads, *pairs)])


def _checked(name: str, what: str, came: object, shapes: list[tuple[int, ...]]) -> Floats:
    array = np.asarray(came)
    if array.dtype.kind != "f" or array.shape not in shapes:
        expected = " or ".join(map(str, shapes))
        raise InvalidInput(
            f"{name}: expected {what} as floats of shape {expected}, came {array.dtype} of {array.shape}"
        )
    require_finite(**{f"{what} of {name}": array})
    return array
