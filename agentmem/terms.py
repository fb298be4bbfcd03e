"""The words of a query that are scored: BM25 terms, and word pieces for late interaction that inherit their weight."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from agentmem.cache import Memo
from agentmem.embed.protocol import TokenEmbedder
from agentmem.records import Float32
from agentmem.rerank.kernels import token_vectors
from agentmem.rerank.lexicon import STOP_STEMS, TIME_STEMS, piece_weights
from agentmem.storage.terms import Analyzer


@dataclass(frozen=True, slots=True)
class QueryTerms:
    """A query's text, taken apart.

    Attributes:
        words: its words, in order, as ``Analyzer`` makes them.
        word_ids: uint32, the stem id of each word.
        ids: uint32, the stems that are scored: each once, in order, without stop words unless all are.
    """

    words: tuple[str, ...]
    word_ids: NDArray[np.uint32]
    ids: NDArray[np.uint32]


_STOP_IDS = frozenset(crc32(stem.encode()) for stem in STOP_STEMS)
TIME_IDS = np.array(sorted(crc32(stem.encode()) for stem in TIME_STEMS), np.uint32)
"""Ids of the stems by which a text tells when something happened."""
NO_IDS = np.empty(0, np.uint32)
CACHED_WORDS = 65_536
MAX_PIECES = 1_024
"""Word pieces of a query that late interaction looks at, the first ones: each is compared with every candidate's."""


def query_terms(text: str, analyzer: Analyzer) -> QueryTerms:
    """Take a query's text apart."""
    words, ids = analyzer.terms(text)
    distinct = list(dict.fromkeys(ids.tolist()))
    scored = [i for i in distinct if i not in _STOP_IDS]
    return QueryTerms(tuple(words), ids, np.array(scored or distinct, np.uint32))


class WordPieces:
    """The word pieces of queries, with their vectors; the pieces of words seen before are remembered.

    Args:
        tokenizer: whose token vectors the records' token ids refer to.
    """

    def __init__(self, tokenizer: TokenEmbedder) -> None:
        self._tokenizer = tokenizer
        self._of = Memo(self._tokens, CACHED_WORDS)

    def _tokens(self, word: str) -> list[int]:
        pieces: list[int] = self._tokenizer.token_ids([word])[0].tolist()
        return pieces

    @cached_property
    def question_mark(self) -> NDArray[np.uint32]:
        """The token id of "?", uint32 (1,); (0,) where the vocabulary lacks it."""
        mark = self._of["?"]
        return np.array(mark, np.uint32) if len(mark) == 1 else NO_IDS

    def weighted(self, terms: QueryTerms, idf: Float32) -> tuple[Float32, Float32]:
        """Return unit vectors, float32 (p, d), and weights, float32 (p,), sum 1, of a query's word pieces.

        Args:
            terms: of the query.
            idf: of ``terms.ids``.
        """
        weight_of = dict(zip(terms.ids.tolist(), idf.tolist(), strict=True))
        pieces: list[int] = []
        weights: list[float] = []
        for word, term in zip(terms.words, terms.word_ids.tolist(), strict=True):
            if term in weight_of:
                own = self._of[word]
                pieces += own
                weights += [weight_of[term]] * len(own)
        codes, scales = self._tokenizer.token_table()
        return token_vectors(codes, scales, pieces[:MAX_PIECES]), piece_weights(weights[:MAX_PIECES])
