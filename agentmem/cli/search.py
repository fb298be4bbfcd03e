"""``agentmem search``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from agentmem.cli.common import (
    clean,
    console,
    hit_json,
    open_store,
    parse_json,
    print_json,
    reasons,
    store_options,
    when,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agentmem.records import Hit


def print_hits(hits: Sequence[Hit]) -> None:
    """Print hits as a table; the last column says why each is there where hits carry explanations."""
    from rich.table import Table
    from rich.text import Text

    explained = any(hit.explanation for hit in hits)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("#", justify="right")
    table.add_column("score", justify="right")
    table.add_column("memory", ratio=3)
    table.add_column("id", overflow="fold", max_width=32)
    if explained:
        table.add_column("why", ratio=2)
    for hit in hits:
        record = hit.record
        note = " · ".join(clean(part) for part in (record.namespace, record.speaker, when(record.created_at)) if part)
        memory = Text(clean(record.text, 300) or "(no text)").append(f"\n{note}", style="dim")
        why = [Text(reasons(hit))] if explained else []
        table.add_row(str(hit.rank), f"{hit.score:.2f}", memory, Text(clean(record.id), style="dim"), *why)
    console().print(table)


@click.command("search", short_help="Find memories by text, best first.")
@click.argument("text")
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="Hits at most.")
@click.option("--offset", type=click.IntRange(min=0), default=0, help="Leave out the best so many.")
@click.option("--namespace", "-n", help='Search here only; a trailing "/" means the branch below it.')
@click.option("--filter", "-f", "condition", metavar="JSON", help='E.g. \'{"topic": {"$in": ["life", "work"]}}\'.')
@click.option("--mechanism", default="auto", show_default=True, help="What ranks: auto, dense, lexical, rrf, ...")
@click.option("--ef", type=click.IntRange(min=1), help="Breadth of the graph search.")
@click.option("--exact", is_flag=True, help="Compare with every vector.")
@click.option("--min-score", type=float, help="Leave out hits that score less.")
@click.option("--explain", is_flag=True, help="Say why each hit is there.")
@store_options
def search_command(
    text: str,
    k: int,
    offset: int,
    namespace: str | None,
    condition: str | None,
    mechanism: str,
    ef: int | None,
    exact: bool,
    min_score: float | None,
    explain: bool,
    db: Path,
    as_json: bool,
) -> None:
    """Find memories by TEXT, best first. No hits is an answer too: exit code 0."""
    where = parse_json(condition, "--filter")
    with open_store(db, read_only=True) as store:
        hits = store.search(
            text,
            k=k,
            offset=offset,
            namespace=namespace,
            filter=where,
            mechanism=mechanism,
            ef=ef,
            exact=exact,
            min_score=min_score,
            explain=explain,
        )
    if as_json:
        print_json([hit_json(hit) for hit in hits])
    elif hits:
        print_hits(hits)
    else:
        click.echo("no hits")
