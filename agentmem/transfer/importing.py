"""From a source into a store: batch by batch, so that an import that was killed goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from agentmem.errors import EmbedderMismatch, InvalidInput
from agentmem.identity import GIVEN
from agentmem.storage.writer import OnConflict
from agentmem.transfer.lines import Head, Line
from agentmem.transfer.source import Source
from agentmem.validation import check_links

if TYPE_CHECKING:
    from agentmem.store import MemoryStore

BATCH = 1000
THERE = "there already"
TAKEN = "another record has its id"
TWICE = "its id came before in the same source"
EXPIRED = "expired"


class Skip(NamedTuple):
    """A line that was not written: where it stands, its id, and why."""

    where: str
    id: str
    reason: str


@dataclass(slots=True)
class Report:
    """What came of an import.

    Attributes:
        lines: read.
        written: new, or in the place of those that were there.
        skips: the others.
    """

    lines: int = 0
    written: int = 0
    skips: list[Skip] = field(default_factory=list)

    @property
    def expired(self) -> int:
        """How many lines were left out because their time was over."""
        return sum(skip.reason == EXPIRED for skip in self.skips)

    def summary(self) -> dict[str, Any]:
        """Return the counts: lines = written + skipped + expired."""
        expired = self.expired
        return {
            "lines": self.lines,
            "written": self.written,
            "skipped": len(self.skips) - expired,
            "expired": expired,
        }


def agree(store: MemoryStore, source: Source) -> None:
    """Refuse a source whose vectors the store's cannot be compared with, or without any for a store without a model.

    Raises:
        EmbedderMismatch: the message names the remedies.
    """
    identity = store.identity
    ours = Head(identity.embedder, identity.dimension, identity.metric)
    head = source.head
    if head is None:
        if source.foreign and store.embedder is None:
            raise EmbedderMismatch(
                f"the source has no vectors to be taken, and {store.path} has no model to make them of the texts; "
                "import it into a new store, or give this one a model first: agentmem reembed"
            )
        return
    metric = ours.metric if source.foreign else head.metric
    if replace(head, embedder=ours.embedder, metric=metric) != ours or ours.embedder not in (GIVEN, head.embedder):
        raise EmbedderMismatch(
            f"the source holds vectors of {head.embedder!r}, dimension {head.dimension}, metric {head.metric!r}; "
            f"{store.path} has {ours.embedder!r}, {ours.dimension}, {ours.metric!r}. Import it into a new store, or "
            "with --re-embed to have the store's model embed the texts anew"
        )


def import_source(
    store: MemoryStore, source: Source, on_conflict: OnConflict, advance: Callable[[float], None]
) -> Report:
    """Write what a source holds; each batch is a commit.

    Args:
        store: to write to; see ``agree``.
        source: to read.
        on_conflict: with an id that is there: "skip", "replace" or "error".
        advance: called with how far the source was read since the call before.

    Raises:
        BadSource: a line of a strict source that cannot be written; those before it are.
        DuplicateId: with "error".
    """
    report = Report()
    expired: set[str] = set()
    linked: list[Line] = []
    start: float = 0
    lines = iter(source.lines)
    while batch := list(islice(lines, BATCH)):
        good = [line for line in batch if line.problem is None and not line.expired]
        bad = [line for line in batch if line.problem is not None or line.expired]
        report.skips += [Skip(line.where, line.id, line.problem or EXPIRED) for line in bad]
        written, skips = _write_batch(store, good, on_conflict, source.strict)
        report.written += written
        report.skips += skips
        refused = {skip.id for skip in skips if skip.reason not in (THERE, TWICE)}
        linked += [line for line in good if line.fields.get("links") and line.id not in refused]
        expired |= {line.id for line in batch if line.expired}
        report.lines += len(batch)
        advance(batch[-1].end - start)
        start = batch[-1].end
    _link(store, linked, on_conflict, expired)
    return report


def _write(store: MemoryStore, lines: list[Line], on_conflict: OnConflict) -> tuple[int, list[Skip]]:
    """Write lines in one transaction, without their links; return how many were written, and the others."""
    with store.database.read() as reader:
        there = {old.id: old for old in reader.get([line.id for line in lines]) if old is not None}
    skips = []
    if on_conflict == "skip":
        for line in lines:
            if line.id in there:
                same = (there[line.id].text or None) == (line.fields.get("text") or None)
                skips.append(Skip(line.where, line.id, THERE if same else TAKEN))
        lines = [line for line in lines if line.id not in there]
    times = {id: old.created_at for id, old in there.items()}
    records = store.ingest.complete([line.draft(times.get(line.id)) for line in lines])
    with store.database.transaction() as writer:
        written = writer.insert_many(records, on_conflict)
    late = [line for line, (_, label) in zip(lines, written, strict=True) if label is None]
    return len(lines) - len(late), skips + [Skip(line.where, line.id, TWICE) for line in late]


def _write_batch(
    store: MemoryStore, lines: list[Line], on_conflict: OnConflict, strict: bool
) -> tuple[int, list[Skip]]:
    """Write a batch; where it is refused write line by line, and name or list the bad ones."""
    try:
        return _write(store, lines, on_conflict)
    except InvalidInput:
        written = 0
        skips: list[Skip] = []
        for line in lines:
            try:
                count, skipped = _write(store, [line], on_conflict)
            except InvalidInput as error:
                if strict:
                    raise line.failure(error) from error
                count, skipped = 0, [Skip(line.where, line.id, str(error))]
            written += count
            skips += skipped
        return written, skips


def _link(store: MemoryStore, lines: list[Line], on_conflict: OnConflict, expired: set[str]) -> None:
    """Write the links of lines, once every record that they may point to is there; none to what has expired."""
    for start in range(0, len(lines), BATCH):
        with store.database.transaction() as writer, store.database.read() as reader:
            for line in lines[start : start + BATCH]:
                try:
                    wanted = [link for link in check_links(line.fields["links"]) if link[1] not in expired]
                    there = set(reader.links(line.id))
                    if on_conflict == "replace" and not there <= set(wanted):
                        writer.unlink_all(line.id)
                        there = set()
                    for kind, target in wanted:
                        if (kind, target) not in there:
                            writer.link(line.id, kind, target)
                except InvalidInput as error:
                    raise line.failure(error) from error
