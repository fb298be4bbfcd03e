"""BM25 over the stems of the records' texts (Robertson & Zaragoza 2009, "The Probabilistic Relevance Framework")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log1p

import numpy as np
from numpy.typing import NDArray

from agentmem.index import kernels
from agentmem.index.part import Postings
from agentmem.index.planner import Found, best_of
from agentmem.index.scope import PartScope, Scope
from agentmem.index.tail import Tail
from agentmem.records import Float32, Int64

K1 = 1.2
"""How soon further occurrences of a term stop counting."""
B = 0.75
"""How much a text's length counts against it.

Milder constants (0.9, 0.4) suit turns better where BM25 stands alone; beside the other heads the difference is gone for
turns, and documents lose by it.
"""


@dataclass(frozen=True, slots=True)
class Lexical:
    """The result of one lexical search.

    Attributes:
        rows: int64, the best rows, best first; only rows that hold at least one of the terms.
        scores: float32, theirs.
        idf: float32 (t,), of each term in the namespace.
        scored: for each part with rows in scope, the first one and the scores, float32, of the rows from there on.
    """

    rows: Int64
    scores: Float32
    idf: Float32
    scored: tuple[tuple[int, Float32], ...]

    def scores_of(self, rows: Int64) -> Float32:
        """Return the scores of global rows, float32 (m,); 0 for rows without any of the terms or out of scope."""
        result = np.zeros(len(rows), np.float32)
        for first, scores in self.scored:
            local = rows - first
            if len(local) and local.min() >= 0 and local.max() < len(scores):
                return scores[local]
            inside = (local >= 0) & (local < len(scores))
            result[inside] = scores[local[inside]]
        return result


def search(terms: NDArray[np.uint32], k: int, scope: Scope) -> Lexical:
    """Return the ``k`` best rows in scope for the stems of a query; a stem given twice counts twice.

    Args:
        terms: uint32 (t,).
        k: how many rows at most.
        scope: the statistics (idf, average length) are taken over its population, not over the filtered rows.
    """
    inverted = [_postings(part, terms) for part in scope.population]
    idf, average = _statistics(terms, scope.population, inverted)
    saturation = (K1 + 1.0, K1 * (1.0 - B), K1 * B / average)
    arrays: list[tuple[int, Float32]] = []
    found: list[Found] = []
    for part, lists in zip(scope.parts, inverted, strict=True):
        if part.count == 0:
            continue
        scores = np.zeros(part.stop - part.start, np.float32)
        for postings in lists:
            kernels.accumulate(postings, terms, idf, saturation, part.part.lengths, part.start, scores)
        rows, best = kernels.top_scores(scores, part.start, part.part.labels, part.mask, k)
        arrays.append((part.base + part.start, scores))
        found.append((part, rows, best))
    rows, best = best_of(found, k)
    return Lexical(rows, best, idf, tuple(arrays))


def _postings(scope: PartScope, terms: NDArray[np.uint32]) -> tuple[Postings, ...]:
    if scope.count == 0:
        return ()
    part = scope.part
    return part.postings_of(np.unique(terms)) if isinstance(part, Tail) else (part.postings,)


def _statistics(
    terms: NDArray[np.uint32], population: Sequence[PartScope], inverted: Sequence[tuple[Postings, ...]]
) -> tuple[Float32, float]:
    """Return the terms' inverse document frequencies and the average length of a text."""
    texts, length = 0, 0
    frequencies = np.zeros(len(terms), np.int64)
    for part, lists in zip(population, inverted, strict=True):
        if part.count == 0:
            continue
        part_texts, part_length = part.texts
        texts += part_texts
        length += part_length
        for postings in lists:
            frequencies += kernels.document_frequencies(postings, terms, part.start, part.stop, part.mask)
    idf = [log1p((texts - frequency + 0.5) / (frequency + 0.5)) for frequency in frequencies.tolist()]
    return np.array(idf, np.float32), (length / texts if texts else 1.0)
