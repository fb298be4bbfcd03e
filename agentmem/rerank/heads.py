"""The heads of ``memory-heads``: each looks at the candidates from one side and returns float32 (m,), unweighted.

First-stage heads need the evidence alone; relational heads (session, peers, ancestors) pass on what the first stage
said about other candidates.  Every head is 0 where it has nothing to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.records import Float32
from agentmem.rerank import constants as c
from agentmem.rerank.evidence import Evidence, QueryFeatures
from agentmem.rerank.gate import length_factor

Head = Callable[[Evidence, QueryFeatures], Float32]
RelationalHead = Callable[[Evidence, QueryFeatures, Float32], Float32]

DAY = 86_400.0
_DECAY = np.exp(-c.NEIGHBOUR_DECAY * np.arange(128)).astype(np.float32)


def _or_zero(values: NDArray[Any]) -> Float32:
    """Return the values as float32, 0 for NaN."""
    result: Float32 = np.where(np.isnan(values), 0, values).astype(np.float32, copy=False)
    return result


def _floor(values: Float32, first_round: NDArray[np.bool_]) -> np.float32:
    """Return the least value of the first round, from which a head counts; NaN where there is none."""
    least: np.float32 = np.fmin.reduce(values[first_round], initial=np.float32(np.nan))
    return least


def _above(values: Float32, floor: np.float32) -> Float32:
    """Return what of each value is above the floor; 0 for NaN."""
    return _or_zero(np.maximum(values - floor, np.float32(0)))


def _own(values: Float32, evidence: Evidence) -> Float32:
    """Return what of each candidate's value is above the first round's least; what only a filter lets in may be below.

    Without the filter the candidates from below that are there for another reason all count 0.
    """
    floor = _floor(values, evidence.first_round)
    if evidence.inside is None:
        return _above(values, floor)
    return np.where(evidence.inside, _above(values, floor), _or_zero(values - floor))


def _deviation(evidence: Evidence, query: QueryFeatures) -> np.float32:
    """Return one background deviation of the dense scores; where it is unknown, a part of the pool's span."""
    if query.background.known:
        return np.float32(query.background.std)
    seen = evidence.dense[evidence.first_round]
    span = np.fmax.reduce(seen, initial=np.float32(np.nan)) - np.fmin.reduce(seen, initial=np.float32(np.nan))
    return np.float32(span / c.POOL_DEVIATIONS if span > 0 else 1.0)


def semantic(evidence: Evidence, query: QueryFeatures) -> Float32:
    """Dense similarity above the first round's least, in background deviations."""
    return _own(evidence.dense, evidence) / np.float32(_deviation(evidence, query))


def lexical(evidence: Evidence, query: QueryFeatures) -> Float32:
    """BM25."""
    return _or_zero(evidence.lexical)


def phrase(evidence: Evidence, query: QueryFeatures) -> Float32:
    """Query words that stand together."""
    return _or_zero(evidence.phrase)


def lead(evidence: Evidence, query: QueryFeatures) -> Float32:
    """Query words at the beginning of the text."""
    return _or_zero(evidence.lead) * np.float32(length_factor(query))


def late(evidence: Evidence, query: QueryFeatures) -> Float32:
    """Late interaction above the first round's least (MaxSim; Khattab and Zaharia, SIGIR 2020)."""
    return _own(evidence.late, evidence)


def neighbours(evidence: Evidence, query: QueryFeatures) -> Float32:
    """Local-window attention over the thread: what the turns around say, weighted e^(−Δ/2), in points."""
    around, rows = evidence.neighbours, c.WEIGHTS
    if not len(around.owner):
        return np.zeros(len(evidence), np.float32)
    points = (
        np.float32(rows["semantic"].threaded / _deviation(evidence, query))
        * _above(around.dense, _floor(evidence.dense, evidence.first_round))
        + np.float32(rows["lexical"].threaded * length_factor(query)) * _or_zero(around.lexical)
        + np.float32(rows["late"].threaded) * _above(around.late, _floor(evidence.late, evidence.first_round))
    )
    weights = _DECAY[np.abs(around.offset)]
    return _or_zero(np.bincount(around.owner, weights * points, minlength=len(evidence)))


def links(evidence: Evidence, query: QueryFeatures) -> Float32:
    """Graph attention over the links: the squared share of certainty, in [0, 1], of the records that point at each.

    The best ``LINK_SOURCES`` dense candidates of the first round share a certainty of 1 by softmax; whoever is reached
    from them inherits their shares.  The square asks for agreement among them.
    """
    edges, size = evidence.links, len(evidence)
    scores = np.where(evidence.first_round & ~np.isnan(evidence.dense), evidence.dense, -np.inf)
    if not len(edges.owner) or not np.isfinite(scores).any():
        return np.zeros(size, np.float32)
    best = np.argsort(-scores, kind="stable")[: c.LINK_SOURCES]
    share = np.zeros(size)
    share[best] = np.exp((scores[best] - scores[best[0]]) / (c.LINK_TEMPERATURE * _deviation(evidence, query)))
    share /= share.sum()
    return _or_zero(np.bincount(edges.owner, share[edges.source], minlength=size) ** 2)


def time(evidence: Evidence, query: QueryFeatures) -> Float32:
    """1 for a record made within a time that the query names, fading outside it: slowly after it, faster before."""
    result = np.zeros(len(evidence), np.float32)
    for span in query.spans:
        after = (evidence.created_at - span.end) / (c.TIME_AFTER_DAYS * DAY)
        before = (span.start - evidence.created_at) / (c.TIME_BEFORE_DAYS * DAY)
        result = np.fmax(result, np.exp(-np.maximum(np.maximum(after, before), 0.0)).astype(np.float32))
    return result


def speaker(evidence: Evidence, query: QueryFeatures) -> Float32:
    """1 for what was said by somebody whom the query names."""
    return _or_zero((evidence.speaker_key[:, None] == query.named).any(axis=1) & (evidence.speaker_key != 0))


def form(evidence: Evidence, query: QueryFeatures) -> Float32:
    """Points for telling a time when one is asked for, and off for asking."""
    tells = c.TELLS_TIME * evidence.tells_time if query.asks_when else 0.0
    return np.asarray(tells - c.ASKS * evidence.asks, np.float32)


def recency(evidence: Evidence, query: QueryFeatures) -> Float32:
    """A linear slope on age (ALiBi; Press et al., ICLR 2022) from the first round's oldest, 0, to its newest, 1."""
    pool = evidence.created_at[evidence.first_round]
    oldest, newest = np.fmin.reduce(pool, initial=np.nan), np.fmax.reduce(pool, initial=np.nan)
    if not newest > oldest:
        return np.zeros(len(evidence), np.float32)
    slope = np.minimum(np.maximum((evidence.created_at - oldest) / (newest - oldest), 0.0), 1.0)
    factor = c.LATEST_FACTOR if query.wants_latest else 1.0
    return _or_zero(factor * slope)


def importance(evidence: Evidence, query: QueryFeatures) -> Float32:
    """The importance that the writer gave."""
    return _or_zero(evidence.importance)


def feedback(evidence: Evidence, query: QueryFeatures) -> Float32:
    """The preference that was learnt."""
    return _or_zero(evidence.feedback)


def session(evidence: Evidence, query: QueryFeatures, scores: Float32) -> Float32:
    """Hierarchical attention, hard: what the best *other* candidate of the same session has above the median."""
    size = len(evidence)
    if size < 2 or not evidence.session_key.any():
        return np.zeros(size, np.float32)
    pool = scores[evidence.first_round] if evidence.first_round.any() else scores
    middle = len(pool) // 2
    above = np.maximum(scores - np.partition(pool, middle)[middle], 0)
    if evidence.inside is not None:
        above[~evidence.inside] = 0
    together = evidence.session_key[:, None] == evidence.session_key
    np.fill_diagonal(together, False)
    best: Float32 = (together * above).max(axis=1) * (evidence.session_key != 0)
    return best


def peers(evidence: Evidence, query: QueryFeatures, scores: Float32) -> Float32:
    """Attention of each candidate over the others: softmax of their vectors' similarity, the scores as values.

    Neighbours in the space of vectors tend to be relevant to the same queries (score regularisation: Diaz, CIKM 2005).
    """
    size = len(evidence)
    if evidence.peers is None or size < 2:
        return np.zeros(size, np.float32)
    logits = evidence.peers / np.float32(c.PEER_TEMPERATURE * _deviation(evidence, query))
    np.fill_diagonal(logits, -np.inf)
    logits = np.where(np.isnan(logits), np.float32(-np.inf), logits)
    top = logits.max(axis=1, keepdims=True)
    weights = np.exp(logits - np.where(np.isfinite(top), top, np.float32(0)))
    total = weights.sum(axis=1)
    return _or_zero(weights @ scores / np.where(total > 0, total, np.float32(1)))


def ancestors(evidence: Evidence, query: QueryFeatures, scores: Float32) -> Float32:
    """Hierarchical attention: the share of certainty below each record, by how rare it is to have one below it.

    The candidates from which a hierarchy was climbed share a certainty of 1 by softmax of their scores; each hands its
    share to all that stand above it.  Its own counts four times its cube: a record is the answer itself only where it
    stands out.  What stands above everything says nothing, so shares count times −ln of the part of all records that
    stands below (information content: Resnik, IJCAI 1995).
    """
    size, climbed = len(evidence), evidence.ancestors
    if climbed is None or not len(climbed.sources):
        return np.zeros(size, np.float32)
    own = scores[climbed.sources] / np.float32(c.ANCESTOR_TEMPERATURE)
    certainty = np.exp(own - own.max())
    share = np.zeros(size)
    share[climbed.sources] = certainty / certainty.sum()
    mass = 4.0 * share**3 + np.bincount(climbed.owner, share[climbed.source], minlength=size)
    return _or_zero(mass * climbed.rarity)


FIRST_STAGE: Mapping[str, Head] = MappingProxyType(
    {
        "semantic": semantic,
        "lexical": lexical,
        "phrase": phrase,
        "late": late,
        "neighbours": neighbours,
        "links": links,
        "time": time,
        "speaker": speaker,
        "form": form,
        "recency": recency,
        "importance": importance,
        "feedback": feedback,
        "lead": lead,
    }
)

RELATIONAL: Mapping[str, RelationalHead] = MappingProxyType(
    {"session": session, "peers": peers, "ancestors": ancestors}
)

SILENT_WITHOUT: Mapping[str, str] = MappingProxyType(
    {"session": "session_key", "peers": "peers", "ancestors": "ancestors"}
)
"""The column of ``Evidence`` without which a relational head says nothing."""

GATED = frozenset({"lexical", "phrase"})
"""Heads that the per-query gate scales, for plain records."""

SIDE_NAMES = tuple(
    f"{source}:{where}"
    for source in ("semantic", "lexical", "late")
    for where in ("before", "after", "earlier", "later")
)
"""What ``neighbours`` adds up, one by one: the turn right before or after, and those further away."""


def sides(evidence: Evidence, query: QueryFeatures) -> Float32:
    """The turns around each candidate, by source and place: float32 (12, m), rows as ``SIDE_NAMES``."""
    around, size = evidence.neighbours, len(evidence)
    table = np.zeros((len(SIDE_NAMES), size), np.float32)
    if not len(around.owner):
        return table
    says = (
        _above(around.dense, _floor(evidence.dense, evidence.first_round)) / _deviation(evidence, query),
        _or_zero(around.lexical) * np.float32(length_factor(query)),
        _above(around.late, _floor(evidence.late, evidence.first_round)),
    )
    where = np.where(np.abs(around.offset) == 1, 0, 2) + (around.offset > 0)
    for source, values in enumerate(says):
        cells = np.bincount(where * size + around.owner, values, minlength=4 * size)
        table[4 * source : 4 * source + 4] = cells.reshape(4, size)
    return table
