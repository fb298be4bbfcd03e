"""Routing of queries to experts in plain float64 NumPy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agentmem.attention.inputs import Floats
from agentmem.attention.reference.common import softmax_rows


class RoutingReference:
    """Routing of queries to experts."""

    def route(self, logits: Floats, k: int, capacity: int) -> tuple[NDArray[np.int32], Floats]:
        """Return each query's k likeliest experts and their gates; −1 and 0 where an expert was full.

        First choices are served before second ones, queries in order.
        """
        chosen = np.argsort(-logits, axis=1, kind="stable")[:, :k]
        gates = softmax_rows(np.take_along_axis(logits, chosen, 1).astype(np.float64))
        load = np.zeros(logits.shape[1], np.int64)
        for choice in range(k):
            for query in range(len(logits)):
                load[chosen[query, choice]] += 1
                if load[chosen[query, choice]] > capacity:
                    chosen[query, choice], gates[query, choice] = -1, 0.0
        return chosen.astype(np.int32), gates
