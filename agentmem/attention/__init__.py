"""Attention mechanisms as a library of its own: usable with no store at all.

``attend`` runs any mechanism of the catalogue, ``score`` gives what it makes of each candidate, ``attend_rows`` and
``maxsim`` are the store's hot paths, and ``get_mechanism`` and its neighbours tell what there is.
"""

from __future__ import annotations

from agentmem.attention.attend import AttentionResult, attend
from agentmem.attention.mechanism import Mechanism, Parameter
from agentmem.attention.registry import get_mechanism, mechanism_names, mechanisms_by_category, register
from agentmem.attention.rows import attend_rows, maxsim
from agentmem.attention.score import score

__all__ = [
    "AttentionResult",
    "Mechanism",
    "Parameter",
    "attend",
    "attend_rows",
    "get_mechanism",
    "maxsim",
    "mechanism_names",
    "mechanisms_by_category",
    "register",
    "score",
]
