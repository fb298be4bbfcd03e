"""Attention mechanisms as a library of its own: usable with no store at all.

``attend`` runs any mechanism of the catalogue, ``score`` and ``rank`` give what it makes of candidates,
``AttentionWeights`` holds what is learned, ``registry`` tells what there is; ``attend_rows`` and ``maxsim`` are the
store's hot paths.
"""

from __future__ import annotations

from agentmem.attention import registry
from agentmem.attention.attend import AttentionResult, attend
from agentmem.attention.balance import load_balance_loss
from agentmem.attention.forms.hyperbolic import curvature_for_depth
from agentmem.attention.mechanism import Mechanism, Parameter, Weight
from agentmem.attention.rows import attend_rows, maxsim
from agentmem.attention.score import Ranked, prf, rank, score
from agentmem.attention.weights import AttentionWeights

__all__ = [
    "AttentionResult",
    "AttentionWeights",
    "Mechanism",
    "Parameter",
    "Ranked",
    "Weight",
    "attend",
    "attend_rows",
    "curvature_for_depth",
    "load_balance_loss",
    "maxsim",
    "prf",
    "rank",
    "registry",
    "score",
]
