"""Learned projections before and after attention; the identity where weights are silent."""

from __future__ import annotations

import numpy as np

from agentmem.attention.call import Call
from agentmem.attention.inputs import Floats
from agentmem.errors import InvalidInput

PROJECTIONS = ("query", "key", "value")


def project(call: Call) -> tuple[Floats, Floats, Floats]:
    """Return query, key and value times weights["query"], ["key"] and ["value"]."""
    learned = call.weights
    if not any(name in learned for name in (*PROJECTIONS, "output")):
        return call.query, call.key, call.value
    if call.query.ndim == 3:
        raise InvalidInput("weights: expected query, key and value of 2 dimensions, came 3; project them beforehand")
    rows = {"query": call.query, "key": call.key, "value": call.value}
    q, k, v = (np.ascontiguousarray(x @ learned[n]) if n in learned else x for n, x in rows.items())
    if q.shape[1] != k.shape[1]:
        raise InvalidInput(
            f"weights: projected query rows are {q.shape[1]} long, key rows {k.shape[1]}; make them equal"
        )
    return q, k, v


def project_output(call: Call, out: Floats) -> Floats:
    """Return the output times weights["output"]."""
    output = call.weights.get("output")
    if output is None:
        return out
    if len(output) != out.shape[-1]:
        raise InvalidInput(f"weights['output']: expected {out.shape[-1]} rows, came {len(output)}")
    return out @ output
