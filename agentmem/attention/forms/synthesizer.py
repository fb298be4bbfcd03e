"""Synthesized attention: scores that are learned, or made of the query alone, and never compare it with a key."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.bias import Bias
from agentmem.attention.call import Call
from agentmem.attention.engine import Engine
from agentmem.attention.forms.projections import by_head, project, project_output
from agentmem.attention.forms.softmax import is_causal
from agentmem.attention.inputs import Floats, no_head_axis, require_finite, split_heads
from agentmem.errors import InvalidInput

CHUNK = 256
"""Queries whose scores are made at a time, so that no (n_queries, n_keys) array is, unless weights are wanted."""
DENSE = ("hidden", "scores")


def run_synthesizer(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """Softmax of the dense scores W_2 ReLU(W_1 x_i), of the random scores R, or of their sum, by what is learned.

    Column t belongs to the key of t-th place by ``positions``, and row t of R to the query there.
    """
    no_head_axis(call.declared.name, call.query, None)
    require_finite(query=call.query, key=call.key, value=call.value)
    _require_scores(call)
    heads, of_keys = call.heads, call.positions[1]
    _, _, value = project(call)
    split_heads(heads, value=value)
    v = np.ascontiguousarray(by_head(value, heads))
    slots = np.argsort(np.argsort(of_keys, kind="stable"), kind="stable")
    nothing = np.zeros((heads, call.n_keys, 1), v.dtype)
    outs: list[Floats] = []
    shares: list[Floats] = []
    for start in range(0, max(call.n_queries, 1), CHUNK):
        part = slice(start, start + CHUNK)
        matrix = np.ascontiguousarray(_scores(call, part)[:, :, slots])
        by_query = call.mask is not None and call.mask.ndim > 1
        out, weights = engine.softmax(
            np.zeros((heads, matrix.shape[1], 1), v.dtype),
            nothing,
            v,
            heads=heads,
            bias=Bias(places=(call.positions[0][part], of_keys), causal=is_causal(call), matrix=matrix),
            mask=np.ascontiguousarray(call.mask[..., part, :]) if by_query else call.mask,  # type: ignore[index]
            want_weights=call.want_weights,
        )
        outs.append(out)
        if weights is not None:
            shares.append(weights)
    out = np.concatenate(outs, 1).transpose(1, 0, 2).reshape(call.n_queries, value.shape[1])
    return project_output(call, out), np.concatenate(shares, 1) if call.want_weights else None


def _require_scores(call: Call) -> None:
    """Raise InvalidInput where neither kind of scores is there as a whole."""
    missing = [f"weights[{name!r}]" for name in DENSE if name not in call.weights]
    if len(missing) == 1 or (missing and "random" not in call.weights):
        instead = "" if len(missing) == 1 else ", or weights['random'] in their place"
        needs = f"{call.declared.name} needs {', '.join(missing)}{instead}"
        raise InvalidInput(f"{needs}; AttentionWeights.init makes weights to start from")


def _scores(call: Call, part: slice) -> Floats:
    """Return the scores of some queries, (heads, n, n_keys), keys in the order of their places."""
    learned = call.weights
    scores = np.zeros((call.heads, len(call.query[part]), call.n_keys), call.query.dtype)
    if "hidden" in learned:
        hidden = call.query[part] @ learned["hidden"]
        if "hidden_bias" in learned:
            hidden += learned["hidden_bias"][:, None]
        scores += np.maximum(hidden, 0) @ learned["scores"]
        if "scores_bias" in learned:
            scores += learned["scores_bias"][:, None]
    if "random" in learned:
        scores += learned["random"][:, _rows(call)[part]]
    return scores


def _rows(call: Call) -> NDArray[np.int64]:
    """Return each query's row of the random scores: the key's at its place, or the last before it."""
    of_queries, of_keys = call.positions
    rows = np.searchsorted(np.sort(of_keys), of_queries, "right") - 1
    if len(rows) and rows.min() < 0:
        raise InvalidInput("positions: a query stands before every key; random scores have a row for each key's place")
    return rows
