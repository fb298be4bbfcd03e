"""Softmax over scores that a form makes itself, some queries at a time: no (n_queries, n_keys) array is made."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from agentmem.attention.bias import Bias
from agentmem.attention.call import Call
from agentmem.attention.engine import Engine
from agentmem.attention.forms.softmax import is_causal
from agentmem.attention.inputs import Floats

FLOATS = 1 << 20
"""Scores that are made at a time, of all heads together; of one query at least."""


def parts(call: Call) -> Iterator[slice]:
    """Return slices of the queries; an empty one where there is no query."""
    rows = max(FLOATS // max(call.heads * call.n_keys, 1), 1)
    for start in range(0, max(call.n_queries, 1), rows):
        yield slice(start, min(start + rows, call.n_queries))


def softmax_of(
    engine: Engine, call: Call, part: slice, scores: Floats, value: Floats, want_weights: bool
) -> tuple[Floats, Floats | None]:
    """Return Σ_j softmax_j(scores) value_j and the weights of some queries: scores (heads, n, n_keys), keys in order.

    Queries and keys are one zero each, so that the scores alone count.
    """
    heads, width = scores.shape[:2]
    by_query = call.mask is not None and call.mask.ndim > 1
    return engine.softmax(
        np.zeros((heads, width, 1), value.dtype),
        np.zeros((heads, call.n_keys, 1), value.dtype),
        value,
        heads=heads,
        bias=Bias(
            places=(call.positions[0][part], call.positions[1]),
            causal=is_causal(call),
            matrix=np.ascontiguousarray(scores),
        ),
        mask=np.ascontiguousarray(call.mask[..., part, :]) if by_query else call.mask,  # type: ignore[index]
        want_weights=want_weights,
    )
