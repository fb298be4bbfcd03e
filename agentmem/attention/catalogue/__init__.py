"""The declarations, one module a family; nothing here computes."""

from __future__ import annotations

from agentmem.attention.catalogue import (
    cross,
    flash,
    graph,
    hyperbolic,
    interaction,
    linear,
    moe,
    multi_head,
    self_attention,
    sparse,
)
from agentmem.attention.mechanism import Mechanism

CATALOGUE: tuple[Mechanism, ...] = (
    *multi_head.MECHANISMS,
    *self_attention.MECHANISMS,
    *cross.MECHANISMS,
    *linear.MECHANISMS,
    *sparse.MECHANISMS,
    *flash.MECHANISMS,
    *moe.MECHANISMS,
    *hyperbolic.MECHANISMS,
    *graph.MECHANISMS,
    *interaction.MECHANISMS,
)
