"""The same said twice: by the text's hash, and by the similarity of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from agentmem.memory.notes import note_of, text_hash
from agentmem.records import Float32, Record
from agentmem.validation import check_number

_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A memory that says what another one says.

    Attributes:
        id: of the one that goes.
        kept: id of the one that stays.
        reason: "hash" or "similarity".
        similarity: cosine of the two vectors; None for "hash".
    """

    id: str
    kept: str
    reason: Literal["hash", "similarity"]
    similarity: float | None


def check_threshold(similarity: float | None) -> float | None:
    """Return a threshold for the cosine of two vectors, within (0, 1]; None for no comparison."""
    return None if similarity is None else check_number(similarity, "similarity", low=1e-6, high=1.0)


def find_duplicates(
    records: Sequence[Record], vectors: Sequence[Float32 | None], similarity: float | None
) -> list[Duplicate]:
    """Return which memories of one scope are duplicates, and of which.

    Pinned memories stay, then those with a key, then the oldest (of the same time the one with the smaller id); turns
    of a conversation are no duplicates of anything.  Each is compared with those that stay, so that nothing is found
    among what is left.

    Args:
        records: all of one namespace.
        vectors: of each, float32 (dim,), or None.
        similarity: cosine from which on vectors mean the same; None compares hashes only.
    """
    order = sorted((n for n, record in enumerate(records) if record.thread is None), key=lambda n: _rank(records[n]))
    by_hash: dict[str, str] = {}
    nearest = _Nearest(similarity)
    found = []
    for number in order:
        record = records[number]
        note = note_of(record)
        name = text_hash(record.text) if record.text else None
        vector = _unit(vectors[number])
        if not note.pinned and note.key is None:
            if name in by_hash:
                found.append(Duplicate(record.id, by_hash[name], "hash", None))
                continue
            close = nearest.of(vector)
            if close is not None:
                found.append(Duplicate(record.id, close[0], "similarity", close[1]))
                continue
        if name is not None:
            by_hash.setdefault(name, record.id)
        nearest.add(record.id, vector)
    return found


def cosine(left: Float32, right: Float32) -> float:
    """Return the cosine of two vectors, float32 (dim,); 0 where one is zero."""
    one, other = _unit(left), _unit(right)
    return 0.0 if one is None or other is None else float(one @ other)


def _rank(record: Record) -> tuple[bool, bool, float, str]:
    note = note_of(record)
    return (not note.pinned, note.key is None, record.created_at, record.id)


def _unit(vector: Float32 | None) -> Float32 | None:
    """Return a vector of length 1; None for none, and for a zero vector."""
    if vector is None or not vector.any():
        return None
    wide = vector.astype(np.float64)
    unit: Float32 = (wide / np.linalg.norm(wide)).astype(np.float32)
    return unit


class _Nearest:
    """The vectors that stay, and the one nearest to another where it is near enough."""

    def __init__(self, threshold: float | None) -> None:
        self._threshold = threshold
        self._ids: list[str] = []
        self._rows = np.empty((0, 0), np.float32)

    def add(self, id: str, vector: Float32 | None) -> None:
        """Keep a vector of length 1."""
        if self._threshold is None or vector is None:
            return
        count = len(self._ids)
        if count == len(self._rows):
            grown = np.zeros((max(_BLOCK, 2 * count), len(vector)), np.float32)
            if count:
                grown[:count] = self._rows
            self._rows = grown
        self._rows[count] = vector
        self._ids.append(id)

    def of(self, vector: Float32 | None) -> tuple[str, float] | None:
        """Return the id and the cosine of the nearest, None where none is near enough."""
        if self._threshold is None or vector is None or not self._ids:
            return None
        cosines = self._rows[: len(self._ids)] @ vector
        best = int(np.argmax(cosines))
        return (self._ids[best], float(cosines[best])) if cosines[best] >= self._threshold else None
