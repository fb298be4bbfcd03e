"""Parameters that several families share."""

from __future__ import annotations

from dataclasses import replace

from agentmem.attention.mechanism import Parameter, Weight

SCALE = Parameter(name="scale", default=None, meaning="factor on q·k; None: 1/√head_dim", positive=True)
CAUSAL = Parameter(
    name="causal", default=False, meaning="query i sees the keys up to i + n_keys − n_queries, as at the end of a text"
)
CAUSAL_BY_PLACE = replace(CAUSAL, meaning="a query sees no key of a later position")
HEAD_DIM = Parameter(
    name="head_dim",
    default=None,
    meaning="length of a head's rows, as the projections make them; None: whatever they make, dim/heads without them",
    minimum=1,
    whole=True,
)


def heads(default: int) -> Parameter:
    """Return the number of heads that the dimension is split into."""
    return Parameter(name="heads", default=default, meaning="heads that the dimension is split into", minimum=1)


QUERY = Weight(name="query", shape=("dim", "inner"), init="identity", meaning="W_Q; the identity where absent")
KEY = Weight(name="key", shape=("dim", "inner"), init="identity", meaning="W_K; the identity where absent")
VALUE = Weight(
    name="value", shape=("value_dim", "inner_value"), init="identity", meaning="W_V; the identity where absent"
)
OUTPUT = Weight(name="output", shape=("inner_value", "out"), init="identity", meaning="W_O; the identity where absent")
PROJECTIONS = (QUERY, KEY, VALUE, OUTPUT)
"""Learned projections of query, key, value and output."""

BIASES = (
    Weight(name="query_bias", shape=("inner",), init="zeros", meaning="b_Q, added after W_Q; none where absent"),
    Weight(name="key_bias", shape=("inner",), init="zeros", meaning="b_K, added after W_K; none where absent"),
    Weight(name="value_bias", shape=("inner_value",), init="zeros", meaning="b_V, added after W_V; none where absent"),
    Weight(name="output_bias", shape=("out",), init="zeros", meaning="b_O, added after W_O; none where absent"),
)
"""Learned biases of the projections."""
