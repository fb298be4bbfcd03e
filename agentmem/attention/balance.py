"""How evenly a router loads its experts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from agentmem.attention import registry
from agentmem.attention.call import require_inputs
from agentmem.attention.engine import REFERENCE
from agentmem.attention.forms.routes import chosen_each, router_logits
from agentmem.attention.inputs import floats, require_finite
from agentmem.attention.reference.common import softmax_rows
from agentmem.attention.weights import checked_weights, sizes_of
from agentmem.errors import InvalidInput


def load_balance_loss(
    query: object,
    *,
    weights: Mapping[str, object],
    mechanism: str = "moe-attention",
    params: Mapping[str, object] | None = None,
    alpha: float = 0.01,
) -> float:
    """Return alpha · E · Σ_i f_i P_i: alpha where the experts share the queries evenly, alpha · E where one has all.

    f_i is the share of choices that fell on expert i, before capacity; P_i its mean probability over the queries.

    Args:
        query: float32 or float64 (n_queries, dim), not empty.
        weights: the mechanism's learned arrays; only "router" counts.
        mechanism: "moe-attention", "switch-attention", or another whose queries choose their experts.
        params: the mechanism's parameters.
        alpha: factor; 0.01 in the paper.

    Raises:
        UnknownMechanism: no such name.
        InvalidInput: a mechanism without such a choice, or arrays that do not fit; InvalidVector for NaN and infinity.

    Source: Fedus 2021, arXiv:2101.03961.
    """
    declared = registry.get(mechanism)
    if declared.route not in ("top-k", "switch"):
        raise InvalidInput(f"{mechanism} has no load to balance; expected moe-attention or switch-attention")
    require_inputs(declared, {"weights": weights})
    resolved, rows = declared.resolve(params), floats("query", query, (2,))
    require_finite(query=rows)
    if len(rows) == 0:
        raise InvalidInput("query: expected at least one row, came none; there is no load yet")
    sizes = sizes_of(declared, resolved, rows.shape[1], rows.shape[1], None)
    router = checked_weights(declared, {"router": weights["router"]}, sizes, rows.dtype)["router"]
    logits = router_logits(rows, router, resolved)
    chosen, _ = REFERENCE.route(logits, chosen_each(mechanism, resolved), len(rows))
    experts = logits.shape[1]
    loads = np.bincount(chosen.ravel(), minlength=experts) / chosen.size
    return float(alpha * experts * (loads @ softmax_rows(logits.astype(np.float64)).mean(0)))
