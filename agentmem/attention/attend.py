"""``attend``: the one call for every mechanism."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from agentmem.attention import registry
from agentmem.attention.buffers import deliver
from agentmem.attention.call import Weights, make_call
from agentmem.attention.forms import SCORED, run_form
from agentmem.attention.inputs import Floats
from agentmem.errors import InvalidInput


class AttentionResult(NamedTuple):
    """What attention gives.

    Attributes:
        output: the dtype of the inputs: (n_queries, value_dim), with n_heads in front where the query had it; ``out``
            where the caller gave it.
        weights: where asked for: (n_heads, n_queries, n_keys), without n_heads where the mechanism averages over heads;
            None otherwise.
        backend: what ran: "native", "numpy", "torch (cpu)", "torch (cuda)", or "python" for a caller's own mechanism.
    """

    output: Floats
    weights: Floats | None
    backend: str


def attend(
    query: object,
    key: object,
    value: object = None,
    *,
    mechanism: str = "scaled-dot",
    params: Mapping[str, object] | None = None,
    mask: object = None,
    positions: object = None,
    segment_ids: object = None,
    edges: object = None,
    context: tuple[object, object] | None = None,
    weights: Weights = None,
    return_weights: bool = False,
    backend: str = "auto",
    out: NDArray[Any] | None = None,
) -> AttentionResult:
    """Attend from queries to keys under any mechanism of the catalogue.

    Args:
        query: float32 or float64 (n_queries, dim), or (n_heads, n_queries, head_dim).
        key: (n_keys, dim), or (n_heads, n_keys, head_dim).
        value: (n_keys, value_dim), or (n_heads, n_keys, value_dim); key where None.
        mechanism: a name of ``registry.list()``.
        params: the mechanism's parameters; the declaration has their meaning and defaults.
        mask: bool, True = keep: (n_keys,), (n_queries, n_keys) or (n_heads, n_queries, n_keys).  A query that keeps
            nothing gets zeros.
        positions: numbers (n_keys,), the place of each row in its sequence, the queries being the last rows; or a
            pair (queries', keys').
        segment_ids: integers (n_keys,), the group (thread, session, document) of each row, negative for none; or a
            pair.
        edges: integers (n_edges, 2): query row, key row.
        context: (key, value) of the local context, for "memory-attention".
        weights: learned arrays by name, ``AttentionWeights`` or a mapping; the declaration says which are required.
        return_weights: also return the attention weights: what the values are mixed by, before value and output
            projections, residual and feed-forward parts.
        backend: "auto", "native", "numpy", or "torch" (softmax attention only); the result says which ran.  "auto" runs
            float64 on NumPy, in float64.
        out: an array of the output's shape and dtype, to hold the output.  The kernels of softmax attention write to it
            where it is C-contiguous, no input lies in it and there are no learned weights; else the output is copied.
            What it holds after an exception is undefined.

    Raises:
        UnknownMechanism: no such name.
        InvalidInput: arrays or parameters that do not fit, or missing inputs, all of them named; InvalidVector for
            dimensions, NaN and infinity.
        BackendUnavailable: the backend asked for cannot run.
    """
    declared = registry.get(mechanism)
    if declared.form == SCORED:
        raise InvalidInput(f"{mechanism} has scores and no output; call score() or maxsim()")
    call = make_call(
        declared,
        query,
        key,
        value,
        params=params,
        mask=mask,
        positions=positions,
        segment_ids=segment_ids,
        edges=edges,
        context=context,
        weights=weights,
        want_weights=return_weights,
        out=out,
    )
    output, w, ran = run_form(call, backend)
    dtype = call.query.dtype
    delivered = deliver(output.astype(dtype, copy=False), out)
    return AttentionResult(delivered, None if w is None else w.astype(dtype, copy=False), ran)
