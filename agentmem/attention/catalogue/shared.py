"""Parameters that several families share."""

from __future__ import annotations

from agentmem.attention.mechanism import Parameter, Weight

SCALE = Parameter(name="scale", default=None, meaning="factor on q·k; None: 1/√head_dim", positive=True)
CAUSAL = Parameter(
    name="causal", default=False, meaning="query i sees the keys up to i + n_keys − n_queries, as at the end of a text"
)


def heads(default: int) -> Parameter:
    """Return the number of heads that the dimension is split into."""
    return Parameter(name="heads", default=default, meaning="heads that the dimension is split into", minimum=1)


PROJECTIONS = (
    Weight(name="query", shape=("dim", "inner"), init="identity", meaning="W_Q; the identity where absent"),
    Weight(name="key", shape=("dim", "inner"), init="identity", meaning="W_K; the identity where absent"),
    Weight(name="value", shape=("value_dim", "inner_value"), init="identity", meaning="W_V; the identity where absent"),
    Weight(name="output", shape=("inner_value", "out"), init="identity", meaning="W_O; the identity where absent"),
)
"""Learned projections of query, key, value and output."""
