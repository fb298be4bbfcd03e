"""``memory-heads`` with learned weights: the same heads, each turn's sides one by one, and what W_Q and W_K add.

Relational heads look at what the *constants* make of the first stage, so that every head's value is fixed before any
weight is learned: a score is linear in the points, and learning is matrix work over tables made once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agentmem.records import Float32
from agentmem.rerank import kernels
from agentmem.rerank.evidence import Evidence, QueryFeatures
from agentmem.rerank.fusion import Ranking, gate_of, lean_on_vectors, lean_on_words, ranking_of, shipped_weights
from agentmem.rerank.gate import length_factor, standing
from agentmem.rerank.heads import FIRST_STAGE, GATED, RELATIONAL, sides
from agentmem.rerank.weights import HEADS, HeadWeights

GATED_ROWS = [HEADS.index(name) for name in sorted(GATED)]
PROJECTION = 60.0
"""Points for a whole unit that W_Q and W_K add to the similarity of unit vectors; about those of the semantic head."""
NAMES = (*HEADS, "projection")


@dataclass(frozen=True, slots=True)
class HeadTable:
    """What every head says of m candidates, unweighted.

    Attributes:
        values: float32 (n_heads, m), rows as ``weights.HEADS``; lexical heads scaled down for a long query, late
            interaction, vectors and the words of a beginning by the fixed part of the gate.
        plain: bool (m,), records without a thread.
        height: the standing of the dense first hit above the background (``gate.standing``); NaN where unknown.
    """

    values: Float32
    plain: NDArray[np.bool_]
    height: float


def head_table(evidence: Evidence, query: QueryFeatures) -> HeadTable:
    """Look at the candidates with every head."""
    stage, shipped = len(FIRST_STAGE), len(FIRST_STAGE) + len(RELATIONAL)
    values = np.empty((len(HEADS), len(evidence)), np.float32)
    kernels.first_stage(evidence, query, out=values[:stage])
    base = (values[:stage] * shipped_weights(evidence, query)[:stage]).sum(axis=0)
    for row, relation in enumerate(kernels.RELATIONAL.values(), stage):
        values[row] = relation(evidence, query, base)
    values[shipped:] = sides(evidence, query)
    plain = evidence.thread_key == 0
    values[GATED_ROWS] *= np.float32(length_factor(query))
    gate = gate_of(evidence, query, plain)
    lean_on_vectors(values, gate)
    lean_on_words(values, gate)
    return HeadTable(values, plain, standing(evidence, query.background))


def gate_factors(gate: NDArray[np.floating], height: float) -> NDArray[np.floating]:
    """Return the factors of the lexical heads, (2,) for threaded and for plain records, each within ½ to 2."""
    if np.isnan(height):
        return np.ones(2, gate.dtype)
    factors: NDArray[np.floating] = np.exp2(np.clip(gate @ np.array([height, 1.0], gate.dtype), -1.0, 1.0))
    return factors


def parts(table: HeadTable, weights: HeadWeights, projected: Float32) -> Float32:
    """Return each head's part of each score, float32 (n_heads + 1, m); the last row is what W_Q and W_K add.

    Args:
        table: of the candidates.
        weights: learned.
        projected: float32 (m,), ``project`` of the candidates.
    """
    kinds = table.plain.astype(np.intp)
    result = np.empty((len(NAMES), len(kinds)), np.float32)
    np.multiply(table.values, weights.table()[:, kinds], out=result[:-1])
    result[GATED_ROWS] *= gate_factors(weights.gate, table.height)[kinds]
    np.multiply(projected, np.float32(PROJECTION), out=result[-1])
    return result


def unit(vectors: Float32) -> Float32:
    """Return rows of length one; rows of zeros stay so."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Float32 = np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)
    return scaled


def project(weights: HeadWeights, embedding: Float32 | None, vectors: Float32) -> Float32:
    """Return (W_Q q)·(W_K k), float32 (m,), for a query vector of any length and unit vectors (m, dim)."""
    if embedding is None or not len(weights.query):
        return np.zeros(len(vectors), np.float32)
    projected: Float32 = np.matmul(vectors, (weights.query @ unit(embedding)) @ weights.key)
    return projected


def rank(evidence: Evidence, query: QueryFeatures, weights: HeadWeights, projected: Float32) -> Ranking:
    """Rank candidates by learned weights; ``projected`` as for ``parts``."""
    return ranking_of(evidence, parts(head_table(evidence, query), weights, projected), NAMES)
