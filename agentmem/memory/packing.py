"""Hits, packed into a prompt within a budget of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from typing import TYPE_CHECKING

from agentmem.errors import InvalidInput
from agentmem.records import Hit
from agentmem.validation import check_count

if TYPE_CHECKING:
    from agentmem.store import MemoryStore

CountTokens = Callable[[str], int]
_FIRST, _LAST = -62_135_596_800, 253_402_300_800
"""Epoch seconds of the years that a date is written for: 1 to 9999."""
_BYTES_A_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Recall:
    """What ``Memory.recall`` found, ready for a prompt.

    Attributes:
        query: the text that was searched for.
        text: the prompt: each memory under a number, from 1; empty where nothing was found or nothing fits.
        hits: the memories in the prompt, by their numbers.
        tokens: how many tokens the text has, 0 for an empty one.
        shown: all hits of the search, best first: those in the prompt and those that did not fit.
    """

    query: str
    text: str
    hits: tuple[Hit, ...]
    tokens: int
    shown: tuple[Hit, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the memories in the prompt: that of number n is ``ids[n - 1]``."""
        return tuple(hit.id for hit in self.hits)

    def id_of(self, number: int) -> str:
        """Return the id of the memory with this number in the prompt.

        Raises:
            InvalidInput: there is no such number.
        """
        return self.ids[check_count(number, "the number of a memory in the prompt", low=1, high=len(self.hits)) - 1]


def default_count(store: MemoryStore) -> CountTokens:
    """Return the count of a text by the bundled model's tokenizer, or a quarter of its UTF-8 bytes where that is more.

    The tokenizer (WordPiece, English) leaves out what it does not know, such as most Chinese and emoji.  Its tokens end
    where a line does, so that each line is counted once, however often it is packed anew.
    """

    @lru_cache(maxsize=1024)
    def known(line: str) -> int:
        return len(store.tokenizer.token_ids([line])[0])

    def count(text: str) -> int:
        return max(sum(map(known, text.split("\n"))), -(-len(text.encode()) // _BYTES_A_TOKEN))

    return count


def pack(query: str, found: Sequence[Hit], budget: int, count: CountTokens) -> Recall:
    """Return the prompt of the best hits that fit.

    Hits are taken best first; one with which the whole text would exceed the budget is left out, and the next one
    tried.  Threads, and memories without one, stand in the order of their best hit; within a thread in order of time.

    Raises:
        InvalidInput: the count is no number.
    """
    chosen: list[Hit] = []
    text, tokens = "", 0
    for hit in found:
        if not hit.text:
            continue
        tried = [*chosen, hit]
        longer = _written(_ordered(tried))
        needed = _counted(count, longer)
        if needed <= budget:
            chosen, text, tokens = tried, longer, needed
    hits = tuple(hit for part in _ordered(chosen) for hit in part)
    return Recall(query, text, hits, tokens, tuple(found))


def _counted(count: CountTokens, text: str) -> int:
    tokens = count(text)
    if isinstance(tokens, bool) or not isinstance(tokens, int):
        raise InvalidInput(f"count_tokens must return an int for a text, got {type(tokens).__name__}")
    return tokens


def _ordered(hits: Sequence[Hit]) -> list[list[Hit]]:
    """Return hits by thread, each in order of time."""
    parts: dict[tuple[str, ...], list[Hit]] = {}
    for hit in hits:
        record = hit.record
        part = (record.namespace, record.thread) if record.thread is not None else (record.id,)
        parts.setdefault(part, []).append(hit)
    return [sorted(part, key=_time) for part in parts.values()]


def _time(hit: Hit) -> tuple[float, float, int]:
    """Return a hit's place in its thread; those that have none stand by their time, behind."""
    record = hit.record
    return (float("inf") if record.position is None else record.position, record.created_at, record.label)


def _written(parts: Sequence[Sequence[Hit]]) -> str:
    number = 0
    blocks = []
    for part in parts:
        lines = []
        for hit in part:
            number += 1
            lines.append(_line(number, hit))
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _line(number: int, hit: Hit) -> str:
    """Return a memory as the prompt shows it; further lines of its text are indented, so that none looks like one."""
    record = hit.record
    date = ""
    if _FIRST <= record.created_at < _LAST:
        date = f"({datetime.fromtimestamp(record.created_at, timezone.utc):%Y-%m-%d}) "
    speaker = f"{' '.join(record.speaker.split())}: " if record.speaker else ""
    text = "\n    ".join((record.text or "").strip().splitlines())
    return f"[{number}] {date}{speaker}{text}"
