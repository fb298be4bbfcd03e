"""Candidates to one ranking: ``memory-heads`` and the fusions that it is to be compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from agentmem.errors import UnknownMechanism
from agentmem.records import Float32
from agentmem.rerank import evidence as ev
from agentmem.rerank import kernels
from agentmem.rerank.constants import RRF_CONSTANT, VECTORS_GAIN, WEIGHTS
from agentmem.rerank.evidence import Evidence, QueryFeatures
from agentmem.rerank.gate import length_factor, lexical_gate
from agentmem.rerank.heads import FIRST_STAGE, GATED, RELATIONAL, SILENT_WITHOUT

HEAD_NAMES = (*FIRST_STAGE, *RELATIONAL)
_WEIGHTS = np.array([[WEIGHTS[name][kind] for name in HEAD_NAMES] for kind in (0, 1)], np.float32).T
_THREADED = np.ascontiguousarray(_WEIGHTS[:, :1])
_THREADED.setflags(write=False)
_GATED = slice(HEAD_NAMES.index("lexical"), HEAD_NAMES.index("phrase") + 1)
assert set(HEAD_NAMES[_GATED]) == GATED
_LATE, _LEAD, _SEMANTIC = (HEAD_NAMES.index(name) for name in ("late", "lead", "semantic"))


@dataclass(frozen=True, slots=True)
class Ranking:
    """The scores of m candidates, and where they come from.

    Attributes:
        scores: float32 (m,), higher is better; −inf for a row of which the mechanism's only source knows nothing.
        parts: float32 (n_heads, m); the sum over the heads is the score.
        head_names: n_heads names.
        order: int64 (m,), the candidates from best to worst: by score, then by raw dense score, then by label.
        dense: float32 (m,), similarity to the query's vector; NaN for a row without a vector, and where the query has
            none.
    """

    scores: Float32
    parts: Float32
    head_names: tuple[str, ...]
    order: NDArray[np.int64]
    dense: Float32

    def explain(self, candidate: int) -> dict[str, float]:
        """Return what each head gave a candidate, in points; heads that gave nothing are left out."""
        column = self.parts[:, candidate].tolist()
        return {name: part for name, part in zip(self.head_names, column, strict=True) if part}


def ranking_of(evidence: Evidence, table: Float32, names: tuple[str, ...]) -> Ranking:
    """Return the ranking by the sum of ``table``, float32 (n_heads, m), over its heads."""
    scores = table.sum(axis=0)
    return Ranking(scores, table, names, kernels.order(scores, evidence.dense, evidence.labels), evidence.dense)


LEAD = 1e-3
"""Points by which the first hit stays ahead of what only a filter lets in."""


def passing(
    ranking: Ranking, evidence: Evidence, places: NDArray[np.int64], first: NDArray[np.int64] | np.int64
) -> Ranking:
    """Return the ranking of the candidates that pass a filter.

    A filter does not change what comes first: what the search without it does not find stays behind its first hit, by
    points taken off its first head.

    Args:
        ranking: of all candidates.
        evidence: of them, with ``inside``.
        places: int64 (n,), those that pass, ``first`` among them.
        first: the one that comes first without the filter.
    """
    assert evidence.inside is not None
    table = ranking.parts[:, places]
    ahead = np.maximum(ranking.scores[places] - ranking.scores[first] + np.float32(LEAD), 0)
    table[0] -= np.where(evidence.inside[places], np.float32(0), ahead)
    scores, dense = table.sum(axis=0), evidence.dense[places]
    return Ranking(scores, table, ranking.head_names, kernels.order(scores, dense, evidence.labels[places]), dense)


def _or_last(values: Float32) -> Float32:
    """Return the values, −inf for NaN."""
    return np.where(np.isnan(values), np.float32(-np.inf), values)


def _reciprocal_ranks(values: Float32, listed: NDArray[np.bool_], labels: NDArray[np.int64]) -> Float32:
    result = np.zeros(len(values), np.float32)
    rows = np.flatnonzero(listed & ~np.isnan(values))
    rows = rows[np.lexsort((labels[rows], -values[rows]))]
    result[rows] = 1.0 / (RRF_CONSTANT + 1.0 + np.arange(len(rows)))
    return result


def dense(evidence: Evidence, query: QueryFeatures) -> Ranking:
    """Rank by the raw similarity of the vectors."""
    return ranking_of(evidence, _or_last(evidence.dense)[None], ("dense",))


def lexical(evidence: Evidence, query: QueryFeatures) -> Ranking:
    """Rank by BM25."""
    return ranking_of(evidence, _or_last(evidence.lexical)[None], ("lexical",))


def rrf(evidence: Evidence, query: QueryFeatures) -> Ranking:
    """Reciprocal rank fusion over exactly the candidates that each source offered (constant 60)."""
    parts = [
        _reciprocal_ranks(values, (evidence.sources & bit) != 0, evidence.labels)
        for values, bit in ((evidence.dense, ev.DENSE), (evidence.lexical, ev.LEXICAL))
    ]
    return ranking_of(evidence, np.stack(parts), ("dense", "lexical"))


def convex(evidence: Evidence, query: QueryFeatures) -> Ranking:
    """Half the dense and half the lexical score, each scaled to [0, 1] over the first round."""
    parts = [
        np.float32(0.5) * kernels.scaled(values, evidence.first_round) for values in (evidence.dense, evidence.lexical)
    ]
    return ranking_of(evidence, np.stack(parts), ("dense", "lexical"))


def shipped_weights(evidence: Evidence, query: QueryFeatures) -> Float32:
    """Return what the constants and the gate make of each head, float32 (n_heads, m), or (n_heads, 1) for all alike."""
    n_plain, factor = len(evidence) - np.count_nonzero(evidence.thread_key), length_factor(query)
    if not n_plain and factor == 1:
        return _THREADED
    if not n_plain:
        weights: Float32 = _THREADED.copy()
        weights[_GATED] *= np.float32(factor)
        return weights
    plain = evidence.thread_key == 0
    kinds = plain[:1] if n_plain == len(plain) else plain
    weights = np.take(_WEIGHTS, kinds.view(np.uint8), axis=1)
    weights[_GATED] *= np.float32(factor)
    gate = gate_of(evidence, query, kinds)
    weights[_GATED] *= gate
    lean_on_vectors(weights, gate)
    lean_on_words(weights, gate)
    return weights


def gate_of(evidence: Evidence, query: QueryFeatures, plain: NDArray[np.bool_]) -> NDArray[np.float64] | np.float64:
    """Return the gate of each candidate, float64 (m,): 1 for those of a thread; one number where all are."""
    return np.where(plain, lexical_gate(evidence, query.background), 1.0) if plain.any() else np.float64(1)


def lean_on_vectors(table: Float32, gate: NDArray[np.float64] | np.float64) -> None:
    """Where vectors are sure of their first hit, take from late interaction and give to the vectors, in place."""
    sure = np.minimum(gate, 1)
    table[_LATE] *= sure
    table[_SEMANTIC] /= sure**VECTORS_GAIN


def lean_on_words(table: Float32, gate: NDArray[np.float64] | np.float64) -> None:
    """Where vectors are unsure of their first hit, let the words at the beginning of a text count too, in place."""
    table[_LEAD] *= np.maximum(gate - 1, 0)


def memory_heads(evidence: Evidence, query: QueryFeatures) -> Ranking:
    """Attention heads over memory structure, added up in points of BM25; see ``agentmem.rerank.constants``."""
    weights, stage = shipped_weights(evidence, query), len(FIRST_STAGE)
    table = np.zeros((len(HEAD_NAMES), len(evidence)), np.float32)
    kernels.first_stage(evidence, query, out=table[:stage])
    base = scores = kernels.weighted(table[:stage], weights[:stage])
    for row, (name, relation) in enumerate(kernels.RELATIONAL.items(), stage):
        if getattr(evidence, SILENT_WITHOUT[name]) is not None:
            table[row] = relation(evidence, query, base) * weights[row]
            scores = scores + table[row]
    order = kernels.order(scores, evidence.dense, evidence.labels)
    return Ranking(scores, table, HEAD_NAMES, order, evidence.dense)


Fusion = Callable[[Evidence, QueryFeatures], Ranking]

FUSIONS: Mapping[str, Fusion] = MappingProxyType(
    {
        "dense": dense,
        "lexical": lexical,
        "rrf": rrf,
        "convex": convex,
        "memory-heads": memory_heads,
        "hierarchy-heads": memory_heads,
    }
)


def rank(name: str, evidence: Evidence, query: QueryFeatures) -> Ranking:
    """Rank candidates by a mechanism of this module.

    Raises:
        UnknownMechanism: there is no such fusion.
    """
    if name not in FUSIONS:
        raise UnknownMechanism(f"no fusion is called {name!r}; there are {', '.join(FUSIONS)}")
    return FUSIONS[name](evidence, query)
