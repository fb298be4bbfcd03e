"""Attention mechanisms as a library of its own: usable with no store at all.

``attend`` runs any mechanism of the catalogue, ``score`` and ``rank`` give what it makes of candidates,
``AttentionWeights`` holds what is learned, ``registry`` tells what there is.  ``AttentionService`` adds defaults, a
cache, batches and metrics, ``MechanismSelector`` chooses, ``register_sql_functions`` brings attention to SQL.
``attend_rows`` and ``maxsim`` are the store's hot paths.
"""

from __future__ import annotations

from agentmem.attention import masks, positions, registry
from agentmem.attention.attend import AttentionResult, attend
from agentmem.attention.balance import load_balance_loss
from agentmem.attention.buffers import BufferPool
from agentmem.attention.forms.hyperbolic import curvature_for_depth
from agentmem.attention.mechanism import Mechanism, Parameter, Weight
from agentmem.attention.rows import attend_rows, maxsim
from agentmem.attention.score import Ranked, prf, rank, score
from agentmem.attention.selector import LearnedSelector, MechanismSelector, Recommendation
from agentmem.attention.service import AttentionService, ServiceResult
from agentmem.attention.sql import register_sql_functions
from agentmem.attention.status import backend_status, is_native_available
from agentmem.attention.weights import AttentionWeights

__all__ = [
    "AttentionResult",
    "AttentionService",
    "AttentionWeights",
    "BufferPool",
    "LearnedSelector",
    "Mechanism",
    "MechanismSelector",
    "Parameter",
    "Ranked",
    "Recommendation",
    "ServiceResult",
    "Weight",
    "attend",
    "attend_rows",
    "backend_status",
    "curvature_for_depth",
    "is_native_available",
    "load_balance_loss",
    "masks",
    "maxsim",
    "positions",
    "prf",
    "rank",
    "register_sql_functions",
    "registry",
    "score",
]
