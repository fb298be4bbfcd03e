"""The declarations, one module a family; nothing here computes."""

from __future__ import annotations

from agentmem.attention.catalogue import cross, flash, hyperbolic, interaction, linear, moe, multi_head, self_attention
from agentmem.attention.mechanism import Mechanism

CATALOGUE: tuple[Mechanism, ...] = (
    *multi_head.MECHANISMS,
    *self_attention.MECHANISMS,
    *cross.MECHANISMS,
    *linear.MECHANISMS,
    *flash.MECHANISMS,
    *moe.MECHANISMS,
    *hyperbolic.MECHANISMS,
    *interaction.MECHANISMS,
)
