"""Learned projections before and after attention; the identity where weights are silent."""

from __future__ import annotations

import numpy as np

from agentmem.attention.call import Call
from agentmem.attention.inputs import Floats, require_finite
from agentmem.errors import InvalidInput

NAMES = {"query", "key", "value", "output"}
LEARNED = NAMES | {f"{name}_bias" for name in NAMES}


def project(call: Call) -> tuple[Floats, Floats, Floats]:
    """Return query, key and value times weights["query"], ["key"] and ["value"], plus their biases."""
    learned = call.weights
    if not LEARNED & learned.keys():
        return call.query, call.key, call.value
    if call.query.ndim == 3:
        raise InvalidInput("weights: expected query, key and value of 2 dimensions, came 3; project them beforehand")
    require_finite(query=call.query, key=call.key, value=call.value)
    rows = {"query": call.query, "key": call.key, "value": call.value}
    q, k, v = (_projected(x, learned.get(name), learned.get(f"{name}_bias"), name) for name, x in rows.items())
    if q.shape[1] != k.shape[1] and call.declared.layout != "grouped":
        raise InvalidInput(
            f"weights: projected query rows are {q.shape[1]} long, key rows {k.shape[1]}; make them equal"
        )
    return q, k, v


def project_output(call: Call, out: Floats) -> Floats:
    """Return the output times weights["output"], plus its bias."""
    return _projected(out, call.weights.get("output"), call.weights.get("output_bias"), "output")


def by_row(x: Floats, heads: int) -> Floats:
    """Return (n, heads · d) as (n, heads, d)."""
    return x.reshape(len(x), heads, x.shape[1] // heads)


def by_head(x: Floats, heads: int) -> Floats:
    """Return (n, heads · d) as (heads, n, d); three dimensions stay."""
    return x if x.ndim == 3 else by_row(x, heads).transpose(1, 0, 2)


def _projected(x: Floats, matrix: Floats | None, bias: Floats | None, name: str) -> Floats:
    if matrix is not None:
        if len(matrix) != x.shape[-1]:
            raise InvalidInput(f"weights[{name!r}]: expected {x.shape[-1]} rows, came {len(matrix)}")
        x = np.ascontiguousarray(x @ matrix)
    if bias is None:
        return x
    if len(bias) != x.shape[-1]:
        raise InvalidInput(f"weights['{name}_bias']: expected {x.shape[-1]} numbers, came {len(bias)}")
    return x + bias
