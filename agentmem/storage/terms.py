"""Words and stems: what a text is cut into for the lexical index.

Stems are those of Porter's algorithm ("An algorithm for suffix stripping", Program 14(3), 1980) as Snowball has it.
"""

from __future__ import annotations

import re
import threading
import unicodedata
import zlib
from array import array

import numpy as np
import Stemmer
from numpy.typing import NDArray

from agentmem.cache import Memo

_WORDS = re.compile(r"[^\W_]+").findall
_TO_LETTERS = bytes(ord(chr(code).lower()) if chr(code).isalnum() else ord(" ") for code in range(128)).ljust(256)
"""What becomes of each ASCII byte, so that only words and the spaces between them are left."""
_MARKS = re.compile("[\u0300-\u036f]+")
_STEMMED = range(3, 65)
"""Lengths of the words that have stems; shorter ones are too short to have a suffix, longer ones are no words."""
_REMEMBERED = 200_000


def fold(text: str) -> str:
    """Return a text casefolded, without Latin, Greek and Cyrillic diacritics, in compatibility form (NFKC)."""
    if text.isascii():
        return text.lower()
    bare = _MARKS.sub("", unicodedata.normalize("NFKD", text))
    return unicodedata.normalize("NFKC", bare).casefold()


def _words(text: str) -> list[str]:
    """Return the runs of letters and digits of the folded text."""
    if text.isascii():
        return text.encode().translate(_TO_LETTERS).decode().split()
    return _WORDS(fold(text))


class Analyzer:
    """Cuts texts into words and numbers their stems.  Thread-safe; the stems of 200,000 words are remembered.

    A word is a run of letters and digits of the folded text (``fold``); its term id is the CRC-32 of its stem.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stemmer = Stemmer.Stemmer("porter", 0)
        self._ids = Memo(self._id, size=_REMEMBERED)

    def terms(self, text: str) -> tuple[list[str], NDArray[np.uint32]]:
        """Return the words of a text, in order and repeated as there, and the term id of each, uint32 (n,)."""
        words = _words(text)
        return words, np.array([self._ids[word] for word in words], np.uint32)

    def encode(self, text: str) -> bytes:
        """Return the term ids of a text as uint32 bytes in native order, as they are stored."""
        return array("I", map(self._ids.__getitem__, _words(text))).tobytes()

    def _id(self, word: str) -> int:
        if len(word) not in _STEMMED:
            return zlib.crc32(word.encode())
        with self._lock:
            return zlib.crc32(self._stemmer.stemWord(word).encode())
