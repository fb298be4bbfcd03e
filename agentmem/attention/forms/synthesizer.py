"""Synthesized attention: scores that are learned, or made of the query alone, and never compare it with a key."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.call import Call
from agentmem.attention.engine import Engine
from agentmem.attention.forms.projections import by_head, project, project_output
from agentmem.attention.forms.scored import parts, softmax_of
from agentmem.attention.inputs import Floats, no_head_axis, require_finite, split_heads
from agentmem.errors import InvalidInput

DENSE = ("hidden", "scores")


def run_synthesizer(engine: Engine, call: Call) -> tuple[Floats, Floats | None]:
    """Softmax of the dense scores W_2 ReLU(W_1 x_i), of the random scores R, or of their sum, by what is learned.

    Column t belongs to the key of t-th place by ``positions``, and row t of R to the query there.
    """
    no_head_axis(call.declared.name, call.query, None)
    require_finite(query=call.query, key=call.key, value=call.value)
    _require_scores(call)
    _, _, value = project(call)
    split_heads(call.heads, value=value)
    v = np.ascontiguousarray(by_head(value, call.heads))
    slots = np.argsort(np.argsort(call.positions[1], kind="stable"), kind="stable")
    outs: list[Floats] = []
    shares: list[Floats] = []
    for part in parts(call):
        out, weights = softmax_of(engine, call, part, _scores(call, part)[:, :, slots], v, call.want_weights)
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
