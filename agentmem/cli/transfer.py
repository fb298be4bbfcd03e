"""``agentmem import`` and ``export``: memories as lines of JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from agentmem.cli.common import (
    RECORD_FIELDS,
    interactive,
    open_store,
    parse_json,
    print_facts,
    print_json,
    store_options,
)
from agentmem.cli.jsonl import Line, read_lines
from agentmem.errors import InvalidInput
from agentmem.progress import track

if TYPE_CHECKING:
    from agentmem.store import MemoryStore

BATCH = 1000


def _column(lines: list[Line], name: str, default: Any = None) -> list[Any]:
    return [line.fields.get(name, default) for line in lines]


def _add(store: MemoryStore, lines: list[Line], on_conflict: Any) -> None:
    """Add lines that all have an embedding, or all have none, in one transaction."""
    embeddings = _column(lines, "embedding")
    times = _column(lines, "created_at")
    store.add_many(
        _column(lines, "text"),
        embeddings=None if embeddings[0] is None else embeddings,
        ids=[line.id for line in lines],
        metadatas=_column(lines, "metadata"),
        namespace=_column(lines, "namespace", ""),
        threads=_column(lines, "thread"),
        sessions=_column(lines, "session"),
        speakers=_column(lines, "speaker"),
        positions=_column(lines, "position"),
        created_at=None if times.count(None) == len(times) else times,
        importances=_column(lines, "importance", 0.5),
        ttl=_column(lines, "ttl"),
        on_conflict=on_conflict,
    )


def _add_batch(store: MemoryStore, lines: list[Line], on_conflict: str) -> int:
    """Add a batch and return how many of its lines were new or replaced; the error of a bad line names the line."""
    if on_conflict == "skip":
        there = store.get_many([line.id for line in lines])
        lines = [line for line, record in zip(lines, there, strict=True) if record is None]
    given = [line for line in lines if line.fields.get("embedding") is not None]
    texts = [line for line in lines if line.fields.get("embedding") is None]
    for part in filter(None, (given, texts)):
        try:
            _add(store, part, on_conflict)
        except InvalidInput:
            for line in part:
                try:
                    _add(store, [line], on_conflict)
                except InvalidInput as error:
                    raise line.failure(error) from error
    return len(lines)


def _link(store: MemoryStore, lines: list[Line]) -> None:
    """Write the links of lines, once every record that they may point to is there."""
    for start in range(0, len(lines), BATCH):
        with store.transaction():
            for line in lines[start : start + BATCH]:
                links = [(str(kind), str(target)) for kind, target in line.fields["links"]]
                if sorted(store.links(line.id)) != sorted(links):
                    try:
                        store.update(line.id, links=links)
                    except InvalidInput as error:
                        raise line.failure(error) from error


def _spooled(pipe: IO[bytes]) -> IO[bytes]:
    """Return what comes through a pipe as something that can be read twice."""
    return io.BytesIO(pipe.read())


def _first_dimension(file: IO[bytes]) -> int | None:
    """Return the length of the first line's embedding, None if it has none, and go back to the file's beginning."""
    first = next(read_lines(file), None)
    file.seek(0)
    embedding = first.fields.get("embedding") if first else None
    return None if embedding is None else len(embedding)


def _import(store: MemoryStore, file: IO[bytes], on_conflict: str, advance: Callable[[float], None]) -> dict[str, int]:
    seen = written = expired = start = 0
    linked: list[Line] = []
    lines = read_lines(file)
    while batch := list(islice(lines, BATCH)):
        live = [line for line in batch if not line.expired]
        written += _add_batch(store, live, on_conflict)
        linked += [line for line in live if line.fields.get("links")]
        seen += len(batch)
        expired += len(batch) - len(live)
        advance(batch[-1].end - start)
        start = batch[-1].end
    _link(store, linked)
    return {"lines": seen, "written": written, "skipped": seen - written - expired, "expired": expired}


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
def import_command(file: IO[bytes], on_conflict: str, db: Path, as_json: bool) -> None:
    """Add the memories in FILE, one JSON object a line ("-" reads standard input).

    A line holds "text" and/or "embedding", and any of id, namespace, metadata, thread, position, session, speaker,
    importance, created_at, ttl or expires_at, and links ([[kind, id], ...]). Lines are committed a thousand at a time.
    A line without an id gets one made from the file's path and the line, so that an import that was killed, or that
    stopped at a bad line, goes on where it was when the same command runs again. A new store takes the length of the
    first line's embedding as its dimension; without one it uses the bundled model.
    """
    if not file.seekable():
        file = _spooled(file)
    dimension = _first_dimension(file)
    size = file.seek(0, 2)
    file.seek(0)
    with open_store(db, create=True, dimension=dimension) as store:
        with track("importing", size, interactive()) as advance:
            report = _import(store, file, on_conflict, advance)
        store.optimize(progress=interactive())
    if as_json:
        print_json(report)
    else:
        print_facts(report.items())


def _exported(store: MemoryStore, namespace: str | None, where: Any, embeddings: bool) -> Iterator[dict[str, Any]]:
    for record in store.iterate(filter=where, namespace=namespace):
        line = {name: getattr(record, name) for name in (*RECORD_FIELDS, "expires_at")}
        line["links"] = store.links(record.id)
        if embeddings:
            vector = store.vector(record.id)
            line["embedding"] = None if vector is None else vector.tolist()
        yield {name: value for name, value in line.items() if value not in (None, [], {}, "")}


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

    With --json and a FILE, prints how many were written.
    """
    where = parse_json(condition, "--filter")
    count = 0
    with open_store(db, read_only=True) as store, click.open_file(file, "w", encoding="utf-8") as output:
        total = store.count(filter=where, namespace=namespace)
        with track("exporting", total, interactive()) as advance:
            for line in _exported(store, namespace, where, embeddings):
                output.write(json.dumps(line, ensure_ascii=False) + "\n")
                count += 1
                advance(1)
    if file != "-":
        print_json({"written": count}) if as_json else click.echo(f"{count} written to {file}")
