"""``agentmem import`` and ``export``: memories from and to files, and from other stores."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from agentmem.cli.common import interactive, open_store, parse_json, print_facts, print_json, store_options
from agentmem.embed import StaticEmbedder
from agentmem.files import private_opener
from agentmem.progress import track
from agentmem.storage.writer import OnConflict
from agentmem.transfer import SOURCES, open_source, options_of
from agentmem.transfer.exporting import FORMATS, check_format, export_store
from agentmem.transfer.importing import Report, agree, import_source
from agentmem.transfer.lines import Head

if TYPE_CHECKING:
    from agentmem.store import MemoryStore

SHOWN = 20
"""Skipped lines that are printed; --json has all."""


def _target(db: Path, head: Head | None) -> MemoryStore:
    """Open the store to import into, or make one that is like the one that the source comes from."""
    if db.exists():
        return open_store(db)
    if head is None or head.embedder == StaticEmbedder().name:
        return open_store(db, create=True, metric="cosine" if head is None else head.metric)
    return open_store(db, create=True, dimension=head.dimension, metric=head.metric)


def _given(kind: str, options: dict[str, str | None]) -> dict[str, str]:
    """Return the options that were given, if they go with this kind of source."""
    given = {name: value for name, value in options.items() if value is not None}
    known = options_of(kind)
    for name in given:
        if name not in known:
            goes = ", ".join(f"--{each}" for each in sorted(known)) or "none of these"
            raise click.UsageError(f"--{name} does not go with --from {kind}; {goes} may")
    return given


def _show(report: Report) -> None:
    print_facts(report.summary().items())
    for skip in report.skips[:SHOWN]:
        click.echo(f"  {skip.where}: {' '.join(skip.reason.split())}")
    if len(report.skips) > SHOWN:
        click.echo(f"  and {len(report.skips) - SHOWN} more; --json lists all")


@click.command("import", short_help="Add memories from a file, or from another store.")
@click.argument("source", type=click.Path(exists=True, allow_dash=True))
@click.option(
    "--from", "kind", type=click.Choice(list(SOURCES)), default="jsonl", show_default=True, help="What SOURCE is."
)
@click.option("--table", "--collection", help="Of several, which to read (chroma, lancedb, sqlite-vec).")
@click.option("--id", help="The column of ids (lancedb); else the column id, or a hash of each row.")
@click.option("--text", help="The column of texts (lancedb, sqlite-vec); else the column text.")
@click.option("--vector", help="Of several columns of vectors, which to take (lancedb, sqlite-vec).")
@click.option("--texts", help="Another table with the texts, under the same rowids (sqlite-vec).")
@click.option("--namespace", "-n", help="For the records of another program; mcp-memory: of the graph.")
@click.option("--prefix", help="Put before every id of another program, so that ids of two do not meet.")
@click.option("--re-embed", is_flag=True, help="Leave the vectors; the store's model embeds the texts.")
@click.option(
    "--on-conflict",
    type=click.Choice(["skip", "replace", "error"]),
    default="skip",
    show_default=True,
    help="What to do with an id that is there already.",
)
@store_options
def import_command(
    source: str,
    kind: str,
    re_embed: bool,
    on_conflict: OnConflict,
    db: Path,
    as_json: bool,
    **options: str | None,
) -> None:
    """Add the memories in SOURCE: a file, or the folder or database of another program, which is only read.

    By --from it is: jsonl, one JSON object a line ("-" reads standard input); parquet, the same fields as columns;
    chroma, the folder of a persistent client; lancedb, the folder of a database; sqlite-vec, a database with a vec0
    table, for which the extension is not needed; mem0, a JSON file of what get_all returns; mcp-memory, memory.json of
    the reference MCP memory server.

    A line of JSON holds "text" and/or "embedding", and any of id, namespace, metadata, thread, position, session,
    speaker, importance, created_at, ttl or expires_at, and links ([[kind, id], ...]). Memories are committed a thousand
    at a time. One without an id gets one made from its source and what it holds, so that an import that was killed,
    or that stopped at a bad line, goes on where it was when the same command runs again.

    Vectors are taken as they are. A new store takes their length as its dimension, and has no model then: give it one
    with "agentmem reembed", or embed the texts on the way with --re-embed. A source without vectors makes a store with
    the bundled model. The file of an "export --embeddings" says what its vectors are: a new store becomes like the one
    that it comes from. Vectors of another model or length than an existing store's are refused.

    A bad line of a jsonl or parquet file ends the import and is named. What cannot be taken of another program's is
    skipped; everything that was skipped is listed with the reason, in full with --json. Feedback is not part of the
    format.
    """
    if db.exists() and source != "-" and os.path.samefile(source, db):
        raise click.UsageError(f"SOURCE is the store itself, {db}; name another store with --db")
    with ExitStack() as stack:
        found = stack.enter_context(open_source(kind, source, **_given(kind, options)))
        if re_embed:
            found = found.without_vectors()
        store = stack.enter_context(_target(db, found.head))
        agree(store, found)
        with track("importing", found.size, interactive()) as advance:
            report = import_source(store, found, on_conflict, advance)
        store.optimize(progress=interactive())
    if as_json:
        print_json(report.summary() | {"skips": [skip._asdict() for skip in report.skips]})
    else:
        _show(report)


def _output(file: str) -> AbstractContextManager[IO[bytes]]:
    """Return the file to write to, or standard output for "-"; a new file is for its owner only."""
    if file == "-":
        return click.open_file(file, "wb")
    return open(file, "wb", opener=private_opener)


@click.command("export", short_help="Write memories as JSON lines or Parquet.")
@click.argument("file", type=click.Path(dir_okay=False, writable=True, allow_dash=True), default="-")
@click.option("--format", type=click.Choice(FORMATS), default="jsonl", show_default=True, help="Of the file.")
@click.option("--namespace", "-n", help='Only this one; a trailing "/" means the branch below it.')
@click.option("--filter", "-f", "condition", metavar="JSON", help="Only what a filter matches.")
@click.option("--embeddings", is_flag=True, help="Write the vectors as well.")
@store_options
def export_command(
    file: str,
    format: str,
    namespace: str | None,
    condition: str | None,
    embeddings: bool,
    db: Path,
    as_json: bool,
) -> None:
    """Write memories to FILE, or to standard output, as lines of JSON or as Parquet, which ``import`` reads.

    All are of one moment. With --embeddings the file says what the vectors are, and importing it into a new store gives
    the same memories to the bit. Feedback and what has expired are left out; a backup has all.

    With --json and a FILE, prints how many were written.
    """
    where = parse_json(condition, "--filter")
    if format == "parquet" and file == "-":
        raise click.UsageError("Parquet goes to a file, not to standard output; name a FILE")
    check_format(format)
    with open_store(db, read_only=True) as store, ExitStack() as stack:

        def progress(total: int) -> Callable[[float], None]:
            return stack.enter_context(track("exporting", total, interactive()))

        count = export_store(
            store,
            stack.enter_context(_output(file)),
            format,
            filter=where,
            namespace=namespace,
            embeddings=embeddings,
            progress=progress,
        )
    if file != "-":
        print_json({"written": count}) if as_json else click.echo(f"{count} written to {file}")
