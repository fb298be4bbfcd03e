"""The words that count: which terms of a query are scored, BM25's constants, phrases, and words that tell a time.

BM25 over Porter stems, with document frequency df, number of records N and mean length avgdl taken *within the
searched scope* (namespace), each distinct term of the query once::

    idf(t)     = ln(1 + (N − df + ½) / (df + ½))
    score(d)   = Σ_t idf(t) · tf · (K1 + 1) / (tf + K1 · (1 − B + B · |d| / avgdl))

Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009); the idf is Lucene's, which is never negative.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from agentmem.index.lexical import K1
from agentmem.records import Float32, Int64
from agentmem.rerank.constants import LEAD_WORDS

PHRASE_REACH = 2
"""Two terms of the query stand together when at most one other stem is between them: stop words were left out."""

_STOP = """
    a an and ar are as at be been but by can could did do doe does for from ha had has have he her hi his how
    i if in into is it me my no not of on or our s she should such that the thei their them then there these
    they thi this to us wa was we were what when where which who whom whose why will with would you your
"""
STOP_STEMS = frozenset(_STOP.split())
"""Words, and their Porter stems, that a query is not scored by: half of a question's words, and none of its subject."""

_TIME = """yesterdai todai tonight tomorrow ago last next week weekend month year dai night morn afternoon even recent
    mondai monday tuesdai tuesday wednesdai wednesday thursdai thursday fridai friday saturdai saturday sundai sunday
    januari februari march april june juli august septemb octob novemb decemb"""
TIME_STEMS = frozenset(_TIME.split())
"""Porter stems, with the plain words of some stemmers, by which a text tells when something happened."""


def query_terms(stems: Iterable[str]) -> list[str]:
    """Return the stems that a query is scored by: each once, in its order, without stop words unless all are.

    Args:
        stems: the query's stems, in the order of the text.
    """
    distinct = list(dict.fromkeys(stems))
    return [stem for stem in distinct if stem not in STOP_STEMS] or distinct


def idf(count: int, frequency: NDArray[np.integer] | Sequence[int]) -> Float32:
    """Return the inverse document frequency of terms that ``frequency`` of ``count`` records hold; float32 (n,)."""
    df = np.asarray(frequency, np.float64)
    return np.log1p((count - df + 0.5) / (df + 0.5)).astype(np.float32)


def piece_weights(weights: Sequence[float]) -> Float32:
    """Return the weights of a query's word pieces in its late interaction, float32 (p,): sum 1, or all 0.

    Args:
        weights: p numbers: a piece weighs what the stem of its whole word weighs in BM25.
    """
    total = sum(weights) or 1.0
    return np.array([weight / total for weight in weights], np.float32)


def phrase_scores(terms: NDArray[np.unsignedinteger], offsets: Int64, query: Int64, weights: Float32) -> Float32:
    """Return how often pairs of terms that follow each other in the query stand together in each row; float32 (m,).

    Each pair counts like a term of BM25 without regard to length, at the lesser idf of its two terms (the sequential
    dependence of Metzler and Croft, SIGIR 2005).

    Args:
        terms: the rows' stem ids, one row after the other, each in the order of its text.
        offsets: int64 (m + 1,), where each row begins in ``terms``.
        query: int64 (n,), ids of the query's terms in its order, distinct; an id that no row holds may be −1.
        weights: float32 (n,), the idf of each.
    """
    rows = len(offsets) - 1
    if len(query) < 2 or not len(terms):
        return np.zeros(rows, np.float32)
    place = np.full(len(terms), -1, np.int64)
    for order, term in enumerate(query.tolist()):
        if term >= 0:
            place[terms == term] = order
    at = np.flatnonzero(place >= 0)
    first, row = place[at], np.searchsorted(offsets, at, side="right") - 1
    pairs = len(query) - 1
    counts = np.zeros(rows * pairs)
    for step in range(1, PHRASE_REACH + 1):
        met = (
            (first[step:] == first[:-step] + 1) & (row[step:] == row[:-step]) & (at[step:] - at[:-step] <= PHRASE_REACH)
        )
        counts += np.bincount(row[:-step][met] * pairs + first[:-step][met], minlength=rows * pairs)
    table = counts.reshape(rows, pairs)
    least = np.minimum(weights[:-1], weights[1:])
    return ((table * (K1 + 1.0) / (table + K1)) @ least).astype(np.float32)


def lead_scores(terms: NDArray[np.unsignedinteger], offsets: Int64, query: Int64, weights: Float32) -> Float32:
    """Return the idf of the query's terms that are among the first ``LEAD_WORDS`` of each row; float32 (m,).

    Arguments as for ``phrase_scores``.
    """
    lengths = np.diff(offsets)
    row = np.repeat(np.arange(len(lengths)), lengths)
    begins = np.arange(len(terms)) - offsets[row] < LEAD_WORDS
    scores = np.zeros(len(lengths))
    for term, weight in zip(query.tolist(), weights.tolist(), strict=True):
        scores[np.unique(row[begins & (terms == term)])] += weight
    return scores.astype(np.float32)
