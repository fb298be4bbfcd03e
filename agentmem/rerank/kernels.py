"""The rerank's one door to the compiled kernels, with the definitions in NumPy where they are not built."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from agentmem.backend import kernels
from agentmem.index.lexical import K1
from agentmem.index.ragged import take_ragged
from agentmem.records import Float32, Int64
from agentmem.rerank import constants as c
from agentmem.rerank import heads, lexicon
from agentmem.rerank.evidence import Evidence, QueryFeatures
from agentmem.rerank.gate import length_factor

_LINKS = list(heads.FIRST_STAGE).index("links")
_POINTS = tuple(c.WEIGHTS[name].threaded for name in ("semantic", "lexical", "late"))


def first_stage(evidence: Evidence, query: QueryFeatures, out: Float32) -> None:
    """Set what the heads of ``heads.FIRST_STAGE`` say, unweighted; ``out`` is float32 (13, m), in C order."""
    native = kernels("heads")
    if native is None:
        for row, head in enumerate(heads.FIRST_STAGE.values()):
            out[row] = head(evidence, query)
        return
    out[_LINKS] = heads.links(evidence, query) if len(evidence.links.owner) else 0
    (semantic, words, late), factor = _POINTS, length_factor(query)
    constants = (
        query.background.std if query.background.known else np.nan,
        c.POOL_DEVIATIONS,
        semantic,
        words * factor,
        late,
        c.NEIGHBOUR_DECAY,
        c.TELLS_TIME if query.asks_when else 0.0,
        c.ASKS,
        c.TIME_AFTER_DAYS * heads.DAY,
        c.TIME_BEFORE_DAYS * heads.DAY,
        c.LATEST_FACTOR if query.wants_latest else 1.0,
        factor,
    )
    native.first_stage(evidence, query, out, constants)


def weighted(table: Float32, weights: Float32) -> Float32:
    """Multiply a table, float32 (n_heads, m), by weights, (n_heads, m) or (n_heads, 1); return its sum, (m,)."""
    native = kernels("heads")
    total: Float32
    if native is None:
        table *= weights
        total = table.sum(axis=0)
    else:
        total = native.weighted(table, weights)
    return total


def session(evidence: Evidence, query: QueryFeatures, scores: Float32) -> Float32:
    """Return what ``heads.session`` says."""
    native = kernels("heads")
    if native is None or not len(evidence):
        return heads.session(evidence, query, scores)
    best: Float32 = native.session(evidence, scores)
    return best


RELATIONAL: Mapping[str, heads.RelationalHead] = MappingProxyType({**heads.RELATIONAL, "session": session})


def order(scores: Float32, dense: Float32, labels: Int64) -> Int64:
    """Return the candidates from best to worst, int64 (m,): by score, by dense score, by label; NaN last."""
    native = kernels("heads")
    places: Int64 = np.lexsort((labels, -dense, -scores)) if native is None else native.order(scores, dense, labels)
    return places


def scaled(values: Float32, seen: NDArray[np.bool_] | None = None) -> Float32:
    """Return values scaled to [0, 1] by the least and greatest of those seen, of all for None.

    0 for NaN, and for all where these are equal.
    """
    native = kernels("heads")
    result = np.zeros(len(values), np.float32)
    if native is not None:
        native.scaled(values, seen, result)
        return result
    pool = values if seen is None else values[seen]
    low, high = np.fmin.reduce(pool, initial=np.inf), np.fmax.reduce(pool, initial=-np.inf)
    if low < high:
        np.fmin(np.fmax((values - low) / (high - low), 0), 1, out=result)
    return result


def phrase_scores(
    offsets: Int64,
    terms: NDArray[np.uint32],
    rows: Int64,
    query: NDArray[np.uint32],
    weights: Float32,
    held: Float32 | None = None,
) -> Float32:
    """Return ``lexicon.phrase_scores`` of rows.

    Args:
        offsets: int64, where each row of the part that holds them begins in ``terms``.
        terms: uint32, of that part.
        rows: int64 (m,), its own numbers.
        query: uint32 (n,), the query's terms in order.
        weights: float32 (n,), theirs.
        held: float32 (m,), 0 for rows that are known to hold no term: they need not be looked at.
    """
    native = kernels("words")
    wanted = query.astype(np.int64)
    if native is None:
        bounds, gathered = take_ragged(offsets, terms, rows)
        return lexicon.phrase_scores(gathered, bounds, wanted, weights)
    scores: Float32 = native.phrases(offsets, terms, rows, wanted, np.minimum(weights[:-1], weights[1:]), held, K1)
    return scores


def lead_scores(
    offsets: Int64, terms: NDArray[np.uint32], rows: Int64, query: NDArray[np.uint32], weights: Float32
) -> Float32:
    """Return ``lexicon.lead_scores`` of rows; arguments as for ``phrase_scores``."""
    native = kernels("words")
    wanted, weights = query.astype(np.int64), np.ascontiguousarray(weights, np.float32)
    if native is None:
        bounds, gathered = take_ragged(offsets, terms, rows)
        return lexicon.lead_scores(gathered, bounds, wanted, weights)
    scores: Float32 = native.leads(offsets, terms, rows, wanted, weights, c.LEAD_WORDS)
    return scores


def token_vectors(codes: NDArray[np.int8], scales: Float32, tokens: list[int]) -> Float32:
    """Return the vectors of tokens, ``scales[tokens, None] * codes[tokens]``, float32 (n, d).

    Args:
        codes: int8 (V, d).
        scales: float32 (V,).
        tokens: n numbers below V.
    """
    native = kernels("words")
    vectors: Float32
    if native is None:
        vectors = codes[tokens].astype(np.float32) * scales[tokens, None]
    else:
        vectors = native.token_vectors(codes, scales, tokens)
    return vectors


def holding(
    offsets: Int64, ids: NDArray[np.unsignedinteger], rows: Int64, wanted: NDArray[np.uint32]
) -> NDArray[np.bool_]:
    """Return which rows hold one of some ids, bool (m,).

    Args:
        offsets: int64, where each row of the part that holds them begins in ``ids``.
        ids: uint16 or uint32, of that part.
        rows: int64 (m,), its own numbers.
        wanted: uint32, ascending.
    """
    native = kernels("words")
    found: NDArray[np.bool_]
    if native is not None:
        found = native.holding(offsets, ids, rows, wanted)
        return found
    bounds, gathered = take_ragged(offsets, ids, rows)
    total = np.zeros(len(gathered) + 1, np.int64)
    np.cumsum(np.isin(gathered, wanted), out=total[1:])
    found = total[bounds[1:]] > total[bounds[:-1]]
    return found
