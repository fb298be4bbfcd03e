"""Words and stems: what a text is cut into for the lexical index, exactly as FTS5's Porter tokenizer stems it."""

from __future__ import annotations

import re
import sqlite3
import threading
import unicodedata
import weakref
import zlib
from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_WORDS = re.compile(r"[^\W_]+").findall
_MARKS = re.compile("[\u0300-\u036f]+")
_MAX_STEMMED = 64
"""FTS5's Porter stemmer leaves longer tokens as they are; they are not kept in the cache either."""
_CACHED_WORDS = 200_000


def fold(text: str) -> str:
    """Return a text casefolded, without Latin, Greek and Cyrillic diacritics, in compatibility form (NFKC)."""
    if text.isascii():
        return text.lower()
    bare = _MARKS.sub("", unicodedata.normalize("NFKD", text))
    return unicodedata.normalize("NFKC", bare).casefold()


class _Stemmer:
    """FTS5's 'porter unicode61' tokenizer, asked through a table in memory.  Not thread-safe."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self._connection.close)
        self._connection.execute("CREATE VIRTUAL TABLE words USING fts5(word, tokenize = 'porter unicode61')")
        self._connection.execute("CREATE VIRTUAL TABLE stems USING fts5vocab(words, 'instance')")

    def stems(self, words: Sequence[str]) -> list[str]:
        """Return the stem of each word: several tokens joined by spaces, the word itself where there is none."""
        parts: list[list[str]] = [[] for _ in words]
        connection = self._connection
        connection.execute("BEGIN")
        try:
            connection.executemany("INSERT INTO words(rowid, word) VALUES (?, ?)", enumerate(words))
            for row, term in connection.execute("SELECT doc, term FROM stems ORDER BY doc, offset"):
                parts[row].append(term)
        finally:
            connection.execute("ROLLBACK")
        return [" ".join(tokens) or word for tokens, word in zip(parts, words, strict=True)]


class Analyzer:
    """Cuts texts into words and numbers their stems.  Thread-safe; stems are cached, up to 200,000 words.

    A word is a run of letters and digits of the folded text (``fold``); its term id is the CRC-32 of its stem.
    """

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._lock = threading.Lock()
        self._stemmer: _Stemmer | None = None

    def terms(self, text: str) -> tuple[list[str], NDArray[np.uint32]]:
        """Return the words of a text, in order and repeated as there, and the term id of each, uint32 (n,)."""
        words = _WORDS(fold(text))
        return words, np.array(self._term_ids(words), np.uint32)

    def encode(self, text: str) -> bytes:
        """Return the term ids of a text as uint32 bytes in native order, as they are stored."""
        return array("I", self._term_ids(_WORDS(fold(text)))).tobytes()

    def encode_many(self, texts: Sequence[str]) -> list[bytes]:
        """Return ``encode`` of each text; words that were not known are stemmed together."""
        split = [_WORDS(fold(text)) for text in texts]
        known = self._ids
        unknown = [word for words in split for word in words if word not in known]
        if unknown:
            self._look_up(unknown)
        return [array("I", self._term_ids(words)).tobytes() for words in split]

    def _term_ids(self, words: list[str]) -> list[int]:
        known = self._ids
        try:
            return [known[word] for word in words]
        except KeyError:
            found = self._look_up(words)
            return [found[word] for word in words]

    def _look_up(self, words: list[str]) -> dict[str, int]:
        """Return the term id of each word; those that were not known are stemmed together."""
        with self._lock:
            if len(self._ids) > _CACHED_WORDS:
                self._ids = {}
            cache = self._ids
            distinct = dict.fromkeys(words)
            new = [word for word in distinct if word not in cache and len(word) <= _MAX_STEMMED]
            if new:
                if self._stemmer is None:
                    self._stemmer = _Stemmer()
                stems = self._stemmer.stems(new)
                cache.update((word, zlib.crc32(stem.encode())) for word, stem in zip(new, stems, strict=True))
            return {word: cache[word] if word in cache else zlib.crc32(word.encode()) for word in distinct}
