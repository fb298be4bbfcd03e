"""Scores between several vectors a side."""

from __future__ import annotations

from agentmem.attention.mechanism import Mechanism, Weight

MECHANISMS = (
    Mechanism(
        name="late-interaction",
        category="interaction",
        summary="MaxSim: Σ over the query's vectors of w_i · max over the record's vectors of cosine",
        formula="Σ_i w_i · max_{t ∈ record} cos(q_i, k_t)",
        form="maxsim",
        score="cosine",
        normaliser="",
        takes=("segment_ids",),
        weights=(Weight(name="tokens", shape=("n_vectors",), init="ones", meaning="importance of each query vector"),),
        can_reorder=True,
        why="each query vector looks for its own best match, which no single vector a record can express",
        complexity="O(n_query_vectors · n_record_vectors · d)",
        best_for="questions of several parts, each answered by some word of the record",
        paper="Khattab 2020, arXiv:2004.12832",
    ),
)
