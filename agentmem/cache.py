"""Two caches: of results, never stale since an entry counts at its seq only; and of pure functions of words."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    value: T
    seq: int
    until: float


class ResultCache(Generic[T]):
    """Least-recently-used results.

    Args:
        size: how many results are kept; 0 switches the cache off.
        ttl: seconds for which a result is kept at most.
    """

    def __init__(self, size: int, ttl: float) -> None:
        self.size = size
        self.ttl = ttl
        self.hits = 0
        self.misses = 0
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, _Entry[T]] = OrderedDict()

    def get(self, key: Hashable, seq: int, now: float) -> T | None:
        """Return the result made under this key at this very seq, if it has not expired by ``now``."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or entry.seq != seq or now >= entry.until:
                self._entries.pop(key, None)
                self.misses += 1
                return None
            self._entries.move_to_end(key)
            self.hits += 1
            return entry.value

    def put(self, key: Hashable, value: T, seq: int, now: float, next_expiry: float | None) -> None:
        """Keep a result until its ttl, or until the next record of the store expires, whichever comes first."""
        until = now + self.ttl if next_expiry is None else min(now + self.ttl, next_expiry)
        with self._lock:
            self._entries[key] = _Entry(value, seq, until)
            self._entries.move_to_end(key)
            while len(self._entries) > self.size:
                self._entries.popitem(last=False)

    def summary(self) -> dict[str, int]:
        """Return {size, entries, hits, misses}."""
        with self._lock:
            return {"size": self.size, "entries": len(self._entries), "hits": self.hits, "misses": self.misses}


class Memo(dict[str, V]):
    """A function of words, remembered: ``memo[word]`` calls it once a word.  Thread-safe as a dict is.

    Args:
        function: pure; called for a word that is not there.
        size: words at most; a full memo begins anew.
    """

    LONGEST = 64
    """Longer words are not remembered: they hardly come again, and would make the memo large."""

    def __init__(self, function: Callable[[str], V], size: int) -> None:
        super().__init__()
        self._function = function
        self._size = size

    def __missing__(self, word: str) -> V:
        value = self._function(word)
        if len(word) <= self.LONGEST:
            if len(self) >= self._size:
                self.clear()
            self[word] = value
        return value
