"""The learned weights of a store: which of them rank, what was tried, and the way back."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentmem import validation as check
from agentmem.core import StoreCore
from agentmem.errors import EmbedderMismatch, InvalidInput, NotFound
from agentmem.identity import Identity
from agentmem.rerank.weights import HeadWeights
from agentmem.storage.reader import Reader
from agentmem.storage.weights import WeightsRow

log = logging.getLogger("agentmem.weights")

MECHANISM = "memory-heads"


@dataclass(frozen=True, slots=True)
class WeightsEntry:
    """One attempt to learn.

    Attributes:
        number: counts up within a store.
        at: epoch seconds, UTC.
        active: whether searches rank by these weights now.
        promoted: whether they ever did.
        report: what was measured and why they were promoted or kept aside; ``LearnReport`` says what is in it.
    """

    number: int
    at: float
    active: bool
    promoted: bool
    report: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ranking:
    """The weights that rank at one seq.

    Attributes:
        number: of the active ones, or None.
        weights: None where none are active, or where those that are cannot be used.
        ignored: why they cannot.
    """

    number: int | None = None
    weights: HeadWeights | None = None
    ignored: str | None = None


def active_weights(reader: Reader, identity: Identity) -> Ranking:
    """Return the weights that searches of a store with this identity rank by."""
    number = reader.active_weights()
    if number is None:
        return Ranking()
    try:
        weights = HeadWeights.from_bytes(reader.weights_value(number) or b"")
    except InvalidInput as error:
        return Ranking(number, None, str(error))
    why = weights.fits(identity.embedder, identity.dimension)
    return Ranking(number, None if why else weights, why)


class ActiveWeights:
    """Follows the database: the weights are read anew when their number or the embedding model has changed."""

    def __init__(self, core: StoreCore) -> None:
        self._core = core
        self._kept: tuple[int, int, Ranking] | None = None

    def at(self, reader: Reader, seq: int) -> Ranking:
        """Return the weights that rank at the reader's seq."""
        core, kept = self._core, self._kept
        generation = core.identity.generation
        if core.database.in_transaction():
            return active_weights(reader, core.identity)
        if kept is not None and kept[:2] == (seq, generation):
            return kept[2]
        if kept is None or kept[1] != generation or reader.active_weights() != kept[2].number:
            found = active_weights(reader, core.identity)
            if found.ignored:
                log.warning("learned weights %s of %s are ignored: %s", found.number, core.path, found.ignored)
        else:
            found = kept[2]
        self._kept = (seq, generation, found)
        return found


class StoreWeights:
    """The learned weights of one store, as ``store.weights``."""

    def __init__(self, core: StoreCore) -> None:
        self._core = core

    def history(self) -> list[WeightsEntry]:
        """Return every attempt to learn, oldest first."""
        with self._core.database.read() as reader:
            return [_entry(row) for row in reader.all_weights()]

    def active(self) -> WeightsEntry | None:
        """Return the attempt whose weights searches rank by; None for the constants."""
        return next((entry for entry in self.history() if entry.active), None)

    def get(self, number: int | None = None) -> HeadWeights:
        """Return weights by number; by default those that are active.

        Raises:
            NotFound: there are none of that number, or none are active.
            InvalidInput: they cannot be read.
        """
        number = None if number is None else check.check_count(number, "number", low=1, high=check.MAX_INTEGER)
        with self._core.database.read() as reader:
            number = reader.active_weights() if number is None else number
            value = None if number is None else reader.weights_value(number)
        if value is None:
            raise NotFound("no learned weights are active" if number is None else f"no weights have number {number}")
        return HeadWeights.from_bytes(value)

    def install(self, weights: HeadWeights, note: str = "installed") -> int:
        """Have searches rank by given weights, from the next one on, in every process; return their number.

        Args:
            weights: as ``get`` or ``HeadWeights.from_bytes`` returns them.
            note: kept in the history.

        Raises:
            EmbedderMismatch: they were fitted with another embedder.
        """
        if not isinstance(weights, HeadWeights):
            raise InvalidInput(f"install takes HeadWeights, got {type(weights).__name__}")
        note = check.check_string(note, "note")
        database, identity = self._core.database, self._core.identity
        why = weights.fits(identity.embedder, identity.dimension)
        if why:
            raise EmbedderMismatch(f"these weights cannot rank here: {why}; learn anew with store.learn()")
        at, value = check.wall_clock(), weights.to_bytes()
        with database.transaction() as writer, database.read() as reader:
            report = {"promoted": True, "reason": note, "previous": reader.active_weights()}
            number = writer.add_weights(at, MECHANISM, value, json.dumps(report))
            writer.activate_weights(number, at)
        return number

    def rollback(self) -> WeightsEntry | None:
        """Go back to the weights that ranked before the active ones; return those, None for the constants.

        Raises:
            NotFound: no learned weights are active.
        """
        database = self._core.database
        with database.transaction() as writer, database.read() as reader:
            rows = {row.id: row for row in reader.all_weights()}
            present = next((row for row in rows.values() if row.active), None)
            if present is None:
                raise NotFound("no learned weights are active; there is nothing to go back from")
            previous = json.loads(present.report).get("previous")
            writer.activate_weights(previous if previous in rows else None, check.wall_clock())
        return self.active()


def _entry(row: WeightsRow) -> WeightsEntry:
    report = json.loads(row.report)
    return WeightsEntry(row.id, row.at, row.active, bool(report.get("promoted")), report)
