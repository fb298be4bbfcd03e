"""What the commands share: their common options, opening a store, and printing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from agentmem.cli.app import Failure

if TYPE_CHECKING:
    from rich.console import Console

    from agentmem.records import Hit, Record
    from agentmem.store import MemoryStore

F = TypeVar("F", bound=Callable[..., Any])
TIMEOUT = 5.0
"""Seconds to wait for another process that is writing."""
RECORD_FIELDS = (
    "id",
    "text",
    "namespace",
    "metadata",
    "thread",
    "position",
    "session",
    "speaker",
    "importance",
    "created_at",
)


def _debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta["agentmem.debug"] = value


def debug_option(command: F) -> F:
    """Give a command ``--debug``."""
    return click.option(
        "--debug", is_flag=True, is_eager=True, expose_value=False, callback=_debug, help="Show tracebacks."
    )(command)


def plain_options(command: F) -> F:
    """Give a command ``--json`` and ``--debug``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")(debug_option(command))


def db_option(command: F) -> F:
    """Give a command ``--db``."""
    return click.option(
        "--db",
        type=click.Path(dir_okay=False, path_type=Path),
        default=Path("memory.db"),
        envvar="AGENTMEM_DB",
        show_envvar=True,
        show_default=True,
        help="The store.",
    )(command)


def store_options(command: F) -> F:
    """Give a command ``--db``, ``--json`` and ``--debug``."""
    return db_option(plain_options(command))


def open_store(
    db: Path,
    *,
    read_only: bool = False,
    create: bool = False,
    dimension: int | None = None,
    metric: str = "cosine",
) -> MemoryStore:
    """Open a store with the embedder that it was made with.

    Args:
        db: the file.
        read_only: refuse changes.
        create: make the store where there is none.
        dimension: for a new store, the length of given vectors; None makes it with the bundled model.
        metric: for a new store.

    Raises:
        Failure: there is no store at ``db`` and none is to be made.
    """
    from agentmem.store import MemoryStore

    if db.exists():
        return MemoryStore(db, embedder="stored", read_only=read_only, timeout=TIMEOUT, merge="manual")
    if not create:
        raise Failure(f"there is no store at {db}; name one with --db, or make one with: agentmem add --db {db} TEXT")
    if dimension is not None:
        return MemoryStore(db, embedder=None, dimension=dimension, metric=metric, merge="manual")
    return MemoryStore(db, metric=metric, merge="manual")


def parse_json(value: str | None, what: str) -> dict[str, Any] | None:
    """Return an option's JSON object, None for None.

    Raises:
        click.UsageError: it is not a JSON object.
    """
    if value is None:
        return None
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f'{what} is not JSON ({error}); write it like \'{{"topic": "life"}}\'') from error
    if not isinstance(parsed, dict):
        raise click.UsageError(f'{what} must be a JSON object, like \'{{"topic": "life"}}\'')
    return parsed


def print_json(value: object) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def record_json(record: Record) -> dict[str, Any]:
    """Return a record's fields, in the names that ``import`` reads."""
    values = {name: getattr(record, name) for name in RECORD_FIELDS}
    return values | {"updated_at": record.updated_at, "expires_at": record.expires_at}


def hit_json(hit: Hit) -> dict[str, Any]:
    """Return a hit as JSON holds it."""
    explanation = None
    if hit.explanation is not None:
        explanation = asdict(hit.explanation) | {"heads": dict(hit.explanation.heads)}
    figures = {name: getattr(hit, name) for name in ("rank", "score", "similarity", "relevance")}
    return {**figures, **record_json(hit.record), "explanation": explanation}


def console(*, stderr: bool = False) -> Console:
    """Return a console; a pipe gets plain lines of 120 columns at most."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    return made if made.is_terminal else Console(stderr=stderr, highlight=False, width=120)


def interactive() -> bool:
    """Say whether standard error is a terminal, where progress bars are shown."""
    return console(stderr=True).is_terminal


def clean(text: str | None, width: int | None = None) -> str:
    """Return a text on one line and without control characters, cut to ``width``."""
    line = " ".join((text or "").split())
    line = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)
    return line if width is None or len(line) <= width else line[: width - 1] + "…"


def when(epoch: float | None) -> str:
    """Return a time as people read it, UTC; before the year 1 or after 9999 its seconds since 1970."""
    if epoch is None:
        return "never"
    if not -62_135_596_800 <= epoch < 253_402_300_800:
        return f"{epoch:g} s"
    return datetime.fromtimestamp(epoch, timezone.utc).strftime("%Y-%m-%d %H:%M")


def reasons(hit: Hit, most: int = 3) -> str:
    """Return why a hit is there: the heads with the largest parts in its score, and the sources that found it."""
    if hit.explanation is None:
        return ""
    parts = sorted(hit.explanation.heads.items(), key=lambda part: -abs(part[1]))[:most]
    heads = ", ".join(f"{name} {value:+.2f}" for name, value in parts if round(value, 2))
    return f"{heads}  ({', '.join(hit.explanation.sources)})"


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print names and values in two columns."""
    rows = [(name, clean(str(value))) for name, value in facts]
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        click.echo(f"{name:<{width}}  {value}")
