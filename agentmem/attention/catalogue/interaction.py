"""Scores between several vectors a side."""

from __future__ import annotations

from agentmem.attention.mechanism import Mechanism, Weight

MECHANISMS = (
    Mechanism(
        name="late-interaction",
        category="interaction",
        summary="MaxSim: Σ over the query's vectors of w_i · max over the record's vectors of cosine",
        form="maxsim",
        takes=("segment_ids",),
        weights=(Weight(name="tokens", shape=("n_vectors",), init="ones", meaning="importance of each query vector"),),
        can_reorder=True,
        why="each query vector looks for its own best match, which no single vector a record can express",
        paper="Khattab 2020, arXiv:2004.12832",
    ),
)
