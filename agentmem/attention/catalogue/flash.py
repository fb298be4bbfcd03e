"""Exact attention by blocks."""

from __future__ import annotations

from agentmem.attention.catalogue.shared import CAUSAL, SCALE, heads
from agentmem.attention.mechanism import Mechanism, Parameter

MECHANISMS = (
    Mechanism(
        name="flash-attention-v2",
        category="flash",
        summary="exact softmax attention over blocks of keys with an online softmax",
        form="softmax",
        parameters=(
            heads(1),
            SCALE,
            CAUSAL,
            Parameter(name="block_size", default=0, meaning="keys a block; 0: by the size of the cache", minimum=0),
        ),
        can_reorder=False,
        why="the same numbers as scaled-dot in another order of summation",
        paper="Dao 2023, arXiv:2307.08691; Dao 2022, arXiv:2205.14135",
    ),
)
