"""Attention along the edges of a graph."""

from __future__ import annotations

from agentmem.attention.catalogue.shared import PROJECTIONS, heads
from agentmem.attention.mechanism import Mechanism, Parameter, Weight

MECHANISMS = (
    Mechanism(
        name="graph-attention",
        category="graph",
        summary="each row attends the rows that an edge joins it to, by a learned additive score",
        formula="a_ij = SM_j∈N(i) LeakyReLU(aᵀ[W_Q q_i ‖ W_K k_j]) (GAT), SM aᵀ LeakyReLU(W_Q q_i + W_K k_j) (GATv2)",
        form="graph",
        score="additive",
        support="edges",
        parameters=(
            heads(1),
            Parameter(name="version", default=1, meaning="1: GAT; 2: GATv2", minimum=1, maximum=2),
            Parameter(name="slope", default=0.2, meaning="of LeakyReLU below 0", minimum=0, maximum=1),
            Parameter(name="self_loops", default=True, meaning="each row also sees itself"),
        ),
        weights=(
            *PROJECTIONS[:3],
            Weight(
                name="attention",
                shape=("inner",),
                init="normal",
                meaning="a: of the key's part in GAT, of the sum in GATv2; head after head",
                required=True,
            ),
            Weight(
                name="attention_query",
                shape=("inner",),
                init="normal",
                meaning="GAT's a of the query's part, zeros where absent; not for version 2",
            ),
        ),
        needs=("edges",),
        sequence=True,
        can_reorder=True,
        why="only candidates that an edge joins to the query score, and by a learned vector",
        complexity="O(edges · d)",
        best_for="memories with links between them",
        paper="Veličković 2018, arXiv:1710.10903; GATv2: Brody 2021, arXiv:2105.14491",
    ),
)
