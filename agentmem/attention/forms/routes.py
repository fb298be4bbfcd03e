"""How queries find experts: what the atom ``route`` of a mixture of experts names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.call import Call, Params
from agentmem.attention.engine import Engine
from agentmem.attention.inputs import Floats
from agentmem.attention.reference.common import softmax_rows
from agentmem.errors import InvalidInput


class Share(NamedTuple):
    """What one expert has to do.

    Attributes:
        expert: its number.
        queries: rows, int64 (m,).
        gates: the factor on its output for each of them, (m, 1).
    """

    expert: int
    queries: NDArray[np.int64]
    gates: Floats


def router_logits(query: Floats, router: Floats, params: Params) -> Floats:
    """Return x W_g, (n_queries, experts), each number of x first shaken by ±jitter where there is any."""
    if params.get("jitter"):
        rng = np.random.default_rng(params["seed"])
        query = query * rng.uniform(1 - params["jitter"], 1 + params["jitter"], query.shape).astype(query.dtype)
    return np.ascontiguousarray(query @ router)


def chosen_each(name: str, params: Params) -> int:
    """Return how many experts a query is sent to.

    Raises:
        InvalidInput: more than there are.
    """
    count, experts = int(params.get("experts_per_token", 1)), int(params["experts"])
    if count > experts:
        raise InvalidInput(f"{name}: experts_per_token is {count}, but there are {experts} experts")
    return count


def _queries_choose(engine: Engine, call: Call) -> tuple[Floats, NDArray[np.int32], Floats]:
    params, k = call.params, chosen_each(call.declared.name, call.params)
    logits = router_logits(call.query, call.weights["router"], params)
    room = math.ceil(params["capacity"] * len(logits) * k / params["experts"])
    return logits, *engine.route(logits, k, room)


def _shares(chosen: NDArray[np.int32], gates: Floats) -> list[Share]:
    found = []
    for expert in np.unique(chosen[chosen >= 0]).tolist():
        at, choice = np.nonzero(chosen == expert)
        found.append(Share(expert, at, gates[at, choice][:, None]))
    return found


def _top_k(engine: Engine, call: Call) -> list[Share]:
    """The likeliest experts of each query; gates are the softmax over those."""
    _, chosen, gates = _queries_choose(engine, call)
    return _shares(chosen, gates)


def _switch(engine: Engine, call: Call) -> list[Share]:
    """The likeliest expert of each query; the gate is its probability among all."""
    logits, chosen, _ = _queries_choose(engine, call)
    return _shares(chosen, softmax_rows(logits.astype(np.float64)).max(1, keepdims=True))


def _expert_choice(engine: Engine, call: Call) -> list[Share]:
    """The likeliest queries of each expert, the earlier one on a tie; the gate is its probability for the query."""
    n, experts = call.n_queries, call.params["experts"]
    room = min(n, math.ceil(call.params["capacity"] * n / experts))
    chances = softmax_rows(router_logits(call.query, call.weights["router"], call.params).astype(np.float64))
    best = np.argsort(-chances, axis=0, kind="stable")[:room]
    return [Share(e, best[:, e], chances[best[:, e], e][:, None]) for e in range(experts)]


ROUTES: Mapping[str, Callable[[Engine, Call], list[Share]]] = MappingProxyType(
    {"top-k": _top_k, "switch": _switch, "expert-choice": _expert_choice}
)
