"""``agentmem recover``: saving what can be read of a damaged store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from agentmem.cli.common import interactive, plain_options, print_facts, print_json
from agentmem.embed import StaticEmbedder
from agentmem.files import private_opener
from agentmem.progress import track
from agentmem.records import METRICS
from agentmem.storage.recovery import Recovered, Recovery
from agentmem.transfer.lines import Head, dump_line, to_line, with_vector


def _head(recovery: Recovery) -> Head | None:
    """Return what the vectors are; None where the configuration cannot be read."""
    embedder, dimension, metric = (recovery.config(key) for key in ("embedder", "dimension", "metric"))
    if embedder is None or dimension is None or not dimension.isdecimal() or metric not in METRICS:
        return None
    return Head(embedder, int(dimension), metric)


def _shown(recovery: Recovery, what: str) -> Iterator[Recovered]:
    done = 0.0
    with track(what, 1.0, interactive()) as advance:
        for found, share in recovery.records():
            yield found
            advance(share - done)
            done = share


def _line(found: Recovered, ids: set[str], embed_anew: bool) -> dict[str, Any]:
    """Return a record as a line; of its links those to records that were read, too."""
    line = to_line(found.record, [link for link in found.links if link[1] in ids])
    return line if found.vector_lost and embed_anew else with_vector(line, found.vector)


@click.command("recover", short_help="Save what can be read of a damaged store.")
@click.argument("damaged", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--output",
    "-o",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="A new file for what could be read.",
)
@plain_options
def recover_command(damaged: Path, output: Path, as_json: bool) -> None:
    """Write every memory that can still be read in DAMAGED to a file that ``import`` reads, and say what is lost.

    DAMAGED is only read; no process should have it open. A memory whose vector is lost is written without: importing it
    embeds its text anew where the bundled model made the vectors, else it is found by its words. Links to lost memories
    are left out, and so is feedback.
    """
    if output.exists():
        raise click.UsageError(f"{output} exists already; name a new file")
    with closing(Recovery(str(damaged))) as recovery:
        head = _head(recovery)
        embed_anew = head is not None and head.embedder == StaticEmbedder().name
        ids = {found.record.id for found in _shown(recovery, "reading")}
        with open(output, "x", encoding="utf-8", newline="\n", opener=private_opener) as file:
            if head is not None:
                file.write(head.to_line())
            for found in _shown(recovery, "writing"):
                file.write(dump_line(_line(found, ids, embed_anew)))
        losses, tables = recovery.losses, recovery.damaged_tables()
        report = {
            "read": len(ids),
            "lost": len(losses.ids),
            "unknown": losses.unknown,
            "without_vector": losses.vectors,
            "without_links": losses.links,
        }
    if as_json:
        print_json(report | {"damaged_tables": tables, "lost_ids": losses.ids})
    else:
        print_facts((report | {"damaged_tables": ", ".join(tables) or "none"}).items())
