"""``agentmem import`` and ``export``: memories as lines of JSON."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from agentmem.cli.common import interactive, open_store, parse_json, print_facts, print_json, store_options
from agentmem.cli.jsonl import Head, Line, dump_line, read_head, read_lines, to_line, with_vector
from agentmem.embed import StaticEmbedder
from agentmem.errors import EmbedderMismatch, InvalidInput
from agentmem.files import private_opener
from agentmem.identity import GIVEN
from agentmem.progress import track
from agentmem.storage.reader import Reader
from agentmem.storage.writer import OnConflict
from agentmem.validation import check_links, check_scope

if TYPE_CHECKING:
    from agentmem.store import MemoryStore

BATCH = 1000


def _write(store: MemoryStore, lines: list[Line], on_conflict: OnConflict) -> int:
    """Write lines in one transaction, without their links; return how many were new or replaced."""
    with store.database.read() as reader:
        there = {old.id: old.created_at for old in reader.get([line.id for line in lines]) if old is not None}
    if on_conflict == "skip":
        lines = [line for line in lines if line.id not in there]
    drafts = [line.draft(there.get(line.id)) for line in lines]
    records = store.ingest.complete(drafts)
    with store.database.transaction() as writer:
        written = writer.insert_many(records, on_conflict)
    return sum(label is not None for _, label in written)


def _write_batch(store: MemoryStore, lines: list[Line], on_conflict: OnConflict) -> int:
    """Write a batch; where it is refused, write the lines before the bad one, and name that."""
    try:
        return _write(store, lines, on_conflict)
    except InvalidInput:
        return sum(_write_one(store, line, on_conflict) for line in lines)


def _write_one(store: MemoryStore, line: Line, on_conflict: OnConflict) -> int:
    try:
        return _write(store, [line], on_conflict)
    except InvalidInput as error:
        raise line.failure(error) from error


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


def _spooled(pipe: IO[bytes]) -> IO[bytes]:
    """Return what comes through a pipe as something that can be read twice."""
    return io.BytesIO(pipe.read())


def _head(file: IO[bytes]) -> Head | None:
    """Return what the vectors of a file are, by its first line; None where that has no vector."""
    head = read_head(file)
    if head is None:
        first = next(read_lines(file), None)
        file.seek(0)
        embedding = first.fields.get("embedding") if first else None
        head = None if embedding is None else Head(GIVEN, len(embedding), "cosine")
    return head


def _target(db: Path, head: Head | None) -> MemoryStore:
    """Open the store to import into, or make one that is like the one that the file comes from."""
    if db.exists():
        return open_store(db)
    if head is None or head.embedder == StaticEmbedder().name:
        return open_store(db, create=True, metric="cosine" if head is None else head.metric)
    return open_store(db, create=True, dimension=head.dimension, metric=head.metric)


def _agree(store: MemoryStore, head: Head) -> None:
    """Refuse vectors that the store's cannot be compared with."""
    identity = store.identity
    ours = Head(identity.embedder, identity.dimension, identity.metric)
    if replace(head, embedder=ours.embedder) != ours or ours.embedder not in (GIVEN, head.embedder):
        raise EmbedderMismatch(
            f"the file holds vectors of {head.embedder!r}, dimension {head.dimension}, metric {head.metric!r}; "
            f"{store.path} has {ours.embedder!r}, {ours.dimension}, {ours.metric!r}. Import it into a new store, or "
            "export it without --embeddings to have the texts embedded anew"
        )


def _import(
    store: MemoryStore, file: IO[bytes], on_conflict: OnConflict, advance: Callable[[float], None]
) -> dict[str, int]:
    seen = written = start = 0
    expired: set[str] = set()
    linked: list[Line] = []
    lines = read_lines(file)
    while batch := list(islice(lines, BATCH)):
        live = [line for line in batch if not line.expired]
        written += _write_batch(store, live, on_conflict)
        linked += [line for line in live if line.fields.get("links")]
        expired |= {line.id for line in batch if line.expired}
        seen += len(batch)
        advance(batch[-1].end - start)
        start = batch[-1].end
    _link(store, linked, on_conflict, expired)
    return {"lines": seen, "written": written, "skipped": seen - written - len(expired), "expired": len(expired)}


@click.command("import", short_help="Add memories from a file of JSON lines.")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--on-conflict",
    type=click.Choice(["skip", "replace", "error"]),
    default="skip",
    show_default=True,
    help="What to do with an id that is there already.",
)
@store_options
def import_command(file: IO[bytes], on_conflict: OnConflict, db: Path, as_json: bool) -> None:
    """Add the memories in FILE, one JSON object a line ("-" reads standard input).

    A line holds "text" and/or "embedding", and any of id, namespace, metadata, thread, position, session, speaker,
    importance, created_at, ttl or expires_at, and links ([[kind, id], ...]). Lines are committed a thousand at a time.
    A line without an id gets one made from the file's path and the line, so that an import that was killed, or that
    stopped at a bad line, goes on where it was when the same command runs again. A new store takes the length of the
    first line's embedding as its dimension; without one it uses the bundled model. The file of an "export --embeddings"
    says what its vectors are: a new store becomes like the one that it comes from, and one with vectors of another kind
    is refused. Feedback is not part of the format.
    """
    if not file.seekable():
        file = _spooled(file)
    head = _head(file)
    size = file.seek(0, 2)
    file.seek(0)
    with _target(db, head) as store:
        if head is not None:
            _agree(store, head)
        with track("importing", size, interactive()) as advance:
            report = _import(store, file, on_conflict, advance)
        store.optimize(progress=interactive())
    if as_json:
        print_json(report)
    else:
        print_facts(report.items())


def _exported(
    reader: Reader, namespace: str | None, where: Any, embeddings: bool, now: float
) -> Iterator[dict[str, Any]]:
    after = 0
    while page := reader.page(after, BATCH, where, namespace, now):
        after = page[-1].label
        for record in page:
            line = to_line(record, _live_links(reader, record.id, now))
            yield with_vector(line, reader.vector(record.id)) if embeddings else line


def _live_links(reader: Reader, id: str, now: float) -> list[tuple[str, str]]:
    links = reader.links(id)
    targets = reader.get([target for _, target in links])
    return [
        link
        for link, target in zip(links, targets, strict=True)
        if target is not None and (target.expires_at is None or target.expires_at > now)
    ]


def _output(file: str) -> AbstractContextManager[IO[str]]:
    """Return the file to write to, or standard output for "-"; a new file is for its owner only."""
    if file == "-":
        return click.open_file(file, "w", encoding="utf-8")
    return open(file, "w", encoding="utf-8", newline="\n", opener=private_opener)


@click.command("export", short_help="Write memories as JSON lines.")
@click.argument("file", type=click.Path(dir_okay=False, writable=True, allow_dash=True), default="-")
@click.option("--namespace", "-n", help='Only this one; a trailing "/" means the branch below it.')
@click.option("--filter", "-f", "condition", metavar="JSON", help="Only what a filter matches.")
@click.option("--embeddings", is_flag=True, help="Write the vectors as well.")
@store_options
def export_command(
    file: str, namespace: str | None, condition: str | None, embeddings: bool, db: Path, as_json: bool
) -> None:
    """Write memories to FILE, or to standard output, as lines of JSON that ``import`` reads.

    All are of one moment. With --embeddings the first line says what the vectors are, and importing the file into a new
    store gives the same memories to the bit. Feedback and what has expired are left out; a backup has all.

    With --json and a FILE, prints how many were written.
    """
    where, namespace = check_scope(parse_json(condition, "--filter"), namespace)
    now = time.time()
    count = 0
    with open_store(db, read_only=True) as store, store.database.read() as reader, _output(file) as output:
        if embeddings:
            identity = store.identity
            output.write(Head(identity.embedder, identity.dimension, identity.metric).to_line())
        total = reader.count(where, namespace, now)
        with track("exporting", total, interactive()) as advance:
            for line in _exported(reader, namespace, where, embeddings, now):
                output.write(dump_line(line))
                count += 1
                advance(1)
    if file != "-":
        print_json({"written": count}) if as_json else click.echo(f"{count} written to {file}")
