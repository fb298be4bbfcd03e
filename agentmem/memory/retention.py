"""What is kept, and for how long: the least useful memories go first, pinned ones never."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from agentmem.errors import InvalidInput
from agentmem.memory.notes import note_of
from agentmem.records import Feedback, Record
from agentmem.validation import MAX_INTEGER, check_choice, check_count, check_number

Order = Literal["least useful first", "oldest first"]
ORDERS: tuple[Order, ...] = ("least useful first", "oldest first")
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Retention:
    """A policy.

    Attributes:
        max_age: seconds; memories that were written before that are deleted, those that were replaced too.
        max_count: how many live memories are kept; pinned ones count, but are never deleted.
        order: which ones go for ``max_count``: "least useful first" or "oldest first".
        half_life: seconds after which a memory that nobody needed is worth half.

    How useful a memory is::

        (importance + log2(1 + max(0, accepted + used / 2 - rejected)) / 2) · 2^(-age / half_life)

    ``accepted``, ``used`` and ``rejected`` count the feedback that names it, ``age`` is the seconds since it was
    written, remembered again, accepted or used, whichever was last.  Forgetting by halves, and use that makes up for
    it, are the usual models of memory (Ebbinghaus 1885; Anderson and Schooler 1991); the weights are a choice.

    Raises:
        InvalidInput: neither max_age nor max_count, or a value that cannot be used.
    """

    max_age: float | None = None
    max_count: int | None = None
    order: Order = "least useful first"
    half_life: float = 30 * DAY

    def __post_init__(self) -> None:
        if self.max_age is None and self.max_count is None:
            raise InvalidInput("a Retention needs max_age (seconds), max_count, or both")
        if self.max_age is not None:
            check_number(self.max_age, "max_age", low=0.0)
        if self.max_count is not None:
            check_count(self.max_count, "max_count", low=0, high=MAX_INTEGER)
        check_choice(self.order, "order", ORDERS)
        if check_number(self.half_life, "half_life", low=0.0) == 0:
            raise InvalidInput("half_life must be above 0 seconds")

    def removals(
        self, live: Sequence[Record], past: Sequence[Record], log: Sequence[Feedback], now: float
    ) -> list[Removal]:
        """Return what is to be deleted, in the order in which it goes.

        Args:
            live: the memories that are recalled.
            past: those that were replaced.
            log: all feedback.
            now: epoch seconds.
        """
        worth = usefulness(live, log, now, self.half_life)
        removals = []
        kept = list(live)
        if self.max_age is not None:
            limit = now - self.max_age
            old = [record for record in (*past, *live) if record.created_at < limit and not note_of(record).pinned]
            old.sort(key=lambda record: (record.created_at, record.id))
            removals = [Removal(record.id, "max_age", worth.get(record.id)) for record in old]
            gone = {record.id for record in old}
            kept = [record for record in live if record.id not in gone]
        if self.max_count is not None:
            by_age = self.order == "oldest first"
            free = [record for record in kept if not note_of(record).pinned]
            free.sort(key=lambda record: (0.0 if by_age else worth[record.id], record.created_at, record.id))
            too_many = max(0, len(kept) - self.max_count)
            removals += [Removal(record.id, "max_count", worth[record.id]) for record in free[:too_many]]
        return removals


@dataclass(frozen=True, slots=True)
class Removal:
    """A memory that a policy takes away.

    Attributes:
        id: of the memory.
        reason: "max_age" or "max_count".
        usefulness: see ``Retention``; None for one that was replaced already.
    """

    id: str
    reason: Literal["max_age", "max_count"]
    usefulness: float | None


def usefulness(records: Sequence[Record], log: Sequence[Feedback], now: float, half_life: float) -> Mapping[str, float]:
    """Return how useful each record is, see ``Retention``; one from the future is as fresh as one of now."""
    evidence: dict[str, float] = {}
    touched: dict[str, float] = {}
    for judged in log:
        for ids, weight in ((judged.accepted, 1.0), (judged.used, 0.5), (judged.rejected, -1.0)):
            for id in ids:
                evidence[id] = evidence.get(id, 0.0) + weight
                if weight > 0:
                    touched[id] = max(touched.get(id, judged.at), judged.at)
    worth = {}
    for record in records:
        last = max(record.created_at, touched.get(record.id, record.created_at), note_of(record).seen_at or -math.inf)
        value = record.importance + math.log2(1 + max(0.0, evidence.get(record.id, 0.0))) / 2
        worth[record.id] = value * 2.0 ** (-max(0.0, now - last) / half_life)
    return worth
