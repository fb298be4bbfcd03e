"""Hierarchical cross-attention: over groups by their mean keys, and within each group over its keys."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.call import Call
from agentmem.attention.engine import Engine
from agentmem.attention.forms.heads import apart, together
from agentmem.attention.inputs import Floats, require_finite, split_heads
from agentmem.attention.native.common import checked
from agentmem.attention.reference.common import softmax_rows

SCORES_AT_ONCE = 1 << 20
"""Scores of a block of queries: 4 MiB of scratch, however many keys there are."""


def run_hierarchy(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """a_gj = SM_g(q·c_g) · SM_{j in g}(q·k_j), c_g the mean of the group's keys; a key of no group stands alone."""
    heads, n_queries, n_keys = call.heads, call.n_queries, call.n_keys
    split_heads(heads, query=call.query, value=call.value)
    require_finite(query=call.query, key=call.key, value=call.value)
    assert call.segment_ids is not None, "declared as needed"
    kept = np.arange(n_keys) if call.mask is None else np.flatnonzero(call.mask)
    order, offsets = _grouped(call.segment_ids[1][kept])
    order = kept[order]
    q, k, v = (apart(x, heads) for x in (call.query, call.key, call.value))
    out = np.zeros((heads, n_queries, v.shape[-1]), q.dtype)
    weights = np.zeros((heads, n_queries, n_keys), q.dtype) if call.want_weights else None
    rows = max(1, SCORES_AT_ONCE // max(len(order), 1))
    scale = q.shape[-1] ** -0.5 if call.params["scale"] is None else call.params["scale"]
    for h in range(heads) if len(order) else ():
        keys, values = (x[h, order].astype(engine.dtype, copy=False) for x in (k, v))
        centres = np.add.reduceat(keys, offsets[:-1], dtype=np.float64) / np.diff(offsets)[:, None]
        for start in range(0, n_queries, rows):
            at = slice(start, start + rows)
            query = scale * q[h, at].astype(engine.dtype)
            with np.errstate(over="ignore", invalid="ignore"):  # found in the output, and told by name
                top = softmax_rows(query.astype(np.float64) @ centres.T).astype(engine.dtype)
                shares = engine.group_softmax(query @ keys.T, top, offsets)
                out[h, at] = shares @ values
            if weights is not None:
                weights[h, at, order] = shares.T
    checked(not np.isfinite(out).all())
    return together(out, call.query), weights


def _grouped(groups: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the order of the keys by group, and where each group starts and the last one ends."""
    alone = np.where(groups < 0, groups.max(initial=0) + 1 + np.arange(len(groups)), groups)
    order = np.argsort(alone, kind="stable")
    starts = np.flatnonzero(np.diff(alone[order], prepend=-1))
    return order, np.append(starts, len(groups))
