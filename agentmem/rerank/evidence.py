"""What the heads look at: one search's candidates as arrays, gathered by the store, and what the query's words ask for.

Who fills the arrays need know nothing of the heads, and the heads know nothing of SQL or of an index.  Rows are the
candidates, in any order; NaN says that a source has nothing to say about a row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from agentmem.keys import speaker_key
from agentmem.records import Float32, Int64
from agentmem.rerank.lexicon import STOP_STEMS
from agentmem.rerank.query import LOOKED_AT
from agentmem.rerank.temporal import TimeSpan, may_name_times, parse_times

DENSE, LEXICAL, NEIGHBOURS, LINKS = 1, 2, 4, 8
SOURCES = {"dense": DENSE, "lexical": LEXICAL, "neighbours": NEIGHBOURS, "links": LINKS}

_WORD = re.compile(r"[^\W_]+")
_speaker_key = lru_cache(65_536)(speaker_key)
_WHEN = re.compile(r"\s*(?:when\b|(?:what|which|on what|in what|in which)\s+(?:day|date|week|month|year|time)\b)", re.I)
_LATEST_WORDS = frozenset({"now", "currently", "latest", "recent", "recently", "newest", "days", "moment"})
"""Without one of these there is nothing to search for."""
_LATEST = re.compile(r"\b(?:now|currently|latest|(?:most )?recent(?:ly)?|newest|these days|at the moment)\b", re.I)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Turns around the candidates, in the same thread, whether candidates themselves or not; n rows, any order.

    Attributes:
        owner: int32 (n,), the candidate beside which the turn stands.
        offset: int8 (n,), how many turns after (positive) or before (negative) its owner; −3 … 3, never 0.
        dense, lexical, late: float32 (n,), as in ``Evidence``.
    """

    owner: NDArray[np.int32]
    offset: NDArray[np.int8]
    dense: Float32
    lexical: Float32
    late: Float32


def no_neighbours() -> Neighbours:
    """Return an empty ``Neighbours``."""
    none = np.zeros(0, np.float32)
    return Neighbours(np.zeros(0, np.int32), np.zeros(0, np.int8), none, none, none)


@dataclass(frozen=True, slots=True)
class Links:
    """Which candidates are reached by links from which first-round candidates; n rows, each pair at most once.

    Attributes:
        owner: int32 (n,), the candidate that is reached.
        source: int32 (n,), the candidate whose link, or chain of links, reaches it.
    """

    owner: NDArray[np.int32]
    source: NDArray[np.int32]


def no_links() -> Links:
    """Return an empty ``Links``."""
    return Links(np.zeros(0, np.int32), np.zeros(0, np.int32))


@dataclass(frozen=True, slots=True)
class Ancestors:
    """Which candidates stand above which in a hierarchy of links; n pairs, each at most once, no record above itself.

    Attributes:
        owner: int32 (n,), the candidate that stands above.
        source: int32 (n,), the candidate that stands below; one of ``sources``.
        sources: int32 (s,), the first-round candidates from which the hierarchy was climbed, at its top or not.
        rarity: float32 (m,), −ln of the share of the store's records that stand below each candidate.
    """

    owner: NDArray[np.int32]
    source: NDArray[np.int32]
    sources: NDArray[np.int32]
    rarity: Float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """m candidates of one search.

    Attributes:
        labels: int64 (m,), the rows' labels; the last tie-break.
        dense: float32 (m,), similarity to the query in the store's metric, higher is better (cosine, inner product, or
            minus the L2 distance); NaN for a row without a vector or a query without one.
        lexical: float32 (m,), BM25 (``agentmem.rerank.lexicon`` says which); 0 for a row that shares no term; NaN where
            the query has no text.
        phrase: float32 (m,), ``agentmem.rerank.lexicon.phrase_scores``; NaN where there is no text.
        lead: float32 (m,), ``agentmem.rerank.lexicon.lead_scores``; NaN where there is no text, 0 for all where
            every record has a thread.
        late: float32 (m,), MaxSim in [−1, 1]: the mean, weighted by ``piece_weights``, over the query's word pieces of
            the greatest cosine with any of the row's token vectors; NaN for a row or query without tokens.
        first_round: bool (m,), whether the row was among the first-round candidates (dense or lexical) *before* any
            filter made by a hook: ranges are taken from these rows alone, so that dropping rows cannot reorder others.
        sources: uint8 (m,), bits DENSE, LEXICAL, NEIGHBOURS, LINKS: which candidate sources offered the row.
        thread_key, session_key, speaker_key: int64 (m,), see ``agentmem.keys``; 0 for none.
        created_at: float64 (m,), epoch seconds; NaN for unknown.
        importance: float32 (m,), in [0, 1].
        asks: bool (m,), the text holds a question mark.
        tells_time: bool (m,), one of ``agentmem.rerank.lexicon.TIME_STEMS`` is among the text's stems.
        feedback: float32 (m,), learnt preference in [−1, 1]; 0 where nothing was learnt.
        peers: float32 (m, m), similarities of the candidates' vectors with each other, in the store's metric, or None;
            NaN in the rows and columns of candidates without a vector.  The diagonal is not looked at.
        neighbours: the turns around the candidates.
        links: the links among the candidates, but for those that lead up a hierarchy.
        ancestors: the hierarchy among the candidates; None where the records carry none.
        inside: bool (m,), the rows that the same search without its filter ranks, or None for all.  All are judged by
            these alone, so that a filter changes no score; the first round is among them.
    """

    labels: Int64
    dense: Float32
    lexical: Float32
    phrase: Float32
    lead: Float32
    late: Float32
    first_round: NDArray[np.bool_]
    sources: NDArray[np.uint8]
    thread_key: Int64
    session_key: Int64
    speaker_key: Int64
    created_at: NDArray[np.float64]
    importance: Float32
    asks: NDArray[np.bool_]
    tells_time: NDArray[np.bool_]
    feedback: Float32
    peers: Float32 | None = None
    neighbours: Neighbours = field(default_factory=no_neighbours)
    links: Links = field(default_factory=no_links)
    ancestors: Ancestors | None = None
    inside: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        """Return the number of candidates."""
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Background:
    """How the store's vectors score against each other when they have nothing to do with each other.

    The mean and the standard deviation of the similarities of some 130,000 pairs out of 512 rows drawn at random; it
    belongs to the store, costs nothing at search time, and makes scores of any embedder comparable.

    Attributes:
        mean: of the store's metric, higher is better.
        std: NaN where the store holds too few vectors to tell (fewer than ``MIN_BACKGROUND``).
    """

    mean: float
    std: float

    @property
    def known(self) -> bool:
        """Whether there is a spread to measure by."""
        return isfinite(self.mean) and isfinite(self.std) and self.std > 1e-6 * max(1.0, abs(self.mean))


MIN_BACKGROUND = 64
"""Fewer vectors than this say too little about their spread."""

UNKNOWN_BACKGROUND = Background(float("nan"), float("nan"))


def measure_background(vectors: Float32, normalised: bool, l2: bool = False) -> Background:
    """Return the background of a sample of the store's vectors.

    Args:
        vectors: float32 (n, dim), at most some 512 rows drawn at random, without rows that are all zero.
        normalised: whether the metric is cosine, so that rows are to be scaled to unit length first.
        l2: whether the metric is minus the L2 distance rather than the inner product.
    """
    count = len(vectors)
    if count < MIN_BACKGROUND:
        return UNKNOWN_BACKGROUND
    rows = np.asarray(vectors, np.float64)
    if normalised:
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    scores = rows @ rows.T
    if l2:
        squares = np.diagonal(scores)
        scores = -np.sqrt(np.maximum(squares[:, None] + squares - 2.0 * scores, 0.0))
    pairs = scores[np.triu_indices(count, 1)]
    return Background(float(pairs.mean()), float(pairs.std()))


@dataclass(frozen=True, slots=True)
class QueryFeatures:
    """What the query asks for, beyond similarity.

    Attributes:
        background: the store's background similarity.
        idf_sum: the idf of all the query's terms (those that BM25 scores) added up; 0 where it has none.
        named: int64 (n,), the ``speaker_key`` of every word of the query but plain stop words (a "will" is no Will):
            whoever of them is a speaker was named.
        spans: the stretches of time that it names.
        asks_when: whether it asks for a time.
        wants_latest: whether it asks for the present state of things ("now", "latest").
    """

    background: Background = UNKNOWN_BACKGROUND
    idf_sum: float = 0.0
    named: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    spans: Sequence[TimeSpan] = ()
    asks_when: bool = False
    wants_latest: bool = False


def query_features(
    text: str | None, now: float, background: Background = UNKNOWN_BACKGROUND, idf_sum: float = 0.0
) -> QueryFeatures:
    """Return the features of a query.

    Args:
        text: the query's text; None for a vector alone.
        now: epoch seconds to which "yesterday" and its like refer.
        background: the store's background similarity.
        idf_sum: the idf of the query's terms added up, by which a long query is known.
    """
    if not text:
        return QueryFeatures(background)
    words = dict.fromkeys(word.casefold() for word in _WORD.findall(text) if word not in STOP_STEMS)
    return QueryFeatures(
        background=background,
        idf_sum=idf_sum,
        named=np.array([_speaker_key(word) for word in words], np.int64),
        spans=parse_times(text[:LOOKED_AT], now) if may_name_times(words) else (),
        asks_when=_WHEN.match(text) is not None,
        wants_latest=not _LATEST_WORDS.isdisjoint(words) and _LATEST.search(text) is not None,
    )
