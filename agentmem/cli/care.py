"""Looking after a store: info, stats, calibrate, check, optimize, backup, verify, reembed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from agentmem.cli.app import PROBLEMS
from agentmem.cli.common import console, interactive, open_store, plain_options, print_facts, print_json, store_options
from agentmem.records import METRICS
from agentmem.validation import MAX_K


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield a nested mapping's leaves under dotted names; the parts of a list are counted from 1."""
    for name, item in value.items():
        if isinstance(item, list):
            item = {str(number): part for number, part in enumerate(item, 1)}
        if isinstance(item, Mapping):
            yield from _flat(item, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", item


def _show(facts: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(facts)
    else:
        print_facts(_flat(facts))


@click.command("info", short_help="Say what a store is and holds.")
@store_options
def info_command(db: Path, as_json: bool) -> None:
    """Say what a store is: its embedder, dimension and metric, how many memories, which index files."""
    with open_store(db, read_only=True) as store:
        _show(store.info(), as_json)


@click.command("stats", short_help="Count by namespace; show the index and latencies.")
@click.option("--prometheus", is_flag=True, help="Print Prometheus' text format; no namespaces.")
@store_options
def stats_command(prometheus: bool, db: Path, as_json: bool) -> None:
    """Count memories by namespace, and tell what the store measures of itself."""
    if prometheus and as_json:
        raise click.UsageError("--prometheus and --json are two formats; give one of them")
    with open_store(db, read_only=True) as store:
        if prometheus:
            click.echo(store.metrics_text(), nl=False)
            return
        _show({"namespaces": store.namespaces(), **store.stats()}, as_json)


@click.command("calibrate", short_help="Measure how the store's vectors score.")
@store_options
def calibrate_command(db: Path, as_json: bool) -> None:
    """Measure how the store's vectors score against each other, and keep that in the store.

    The ranking weighs words against vectors by it. Worth calling once for a store with an embedder of your own, and
    after it has grown much; without it each process measures a smaller sample by itself.
    """
    with open_store(db) as store, console(stderr=True).status("calibrating"):
        measured = store.calibrate()
    _show({"mean": measured.mean, "std": measured.std}, as_json)


@click.command("check", short_help="Verify the store and the index.")
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Memories to search for.",
)
@store_options
@click.pass_context
def check_command(ctx: click.Context, sample: int, db: Path, as_json: bool) -> None:
    """Verify the database and the index, and compare the graph's answers with exact ones.

    Exits with 5 when there are problems.
    """
    with open_store(db) as store, console(stderr=True).status("checking"):
        report = store.check(sample=sample)
    if as_json:
        print_json(asdict(report) | {"ok": report.ok})
    else:
        for problem in report.problems:
            click.echo(problem)
        verdict = "ok" if report.ok else f"{len(report.problems)} problems"
        click.echo(f"{verdict}: {report.records} memories, recall@10 of the index {report.recall:.3f}")
    if not report.ok:
        ctx.exit(PROBLEMS)


@click.command("optimize", short_help="Rebuild the index now.")
@store_options
def optimize_command(db: Path, as_json: bool) -> None:
    """Rebuild the index over all memories now, with all cores, and tidy the database."""
    with open_store(db) as store:
        report = store.optimize(progress=interactive())
    _show(asdict(report), as_json)


@click.command("backup", short_help="Copy the store to a new file, while it is in use.")
@click.argument("target", type=click.Path(path_type=Path))
@store_options
def backup_command(target: Path, db: Path, as_json: bool) -> None:
    """Copy the store, as it is at this moment, to the new file TARGET; others may read and write meanwhile.

    To restore a backup, copy it to where no process has a store open, and use it.
    """
    with open_store(db, read_only=True) as store:
        written = store.backup(target, progress=interactive())
    if as_json:
        print_json({"path": str(target), "bytes": written})
    else:
        click.echo(f"{written} bytes written to {target}")


@click.command("verify", short_help="Check a backup without changing it.")
@click.argument("backup", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@plain_options
@click.pass_context
def verify_command(ctx: click.Context, backup: Path, as_json: bool) -> None:
    """Check BACKUP, or any store that no process has open: SQLite's integrity check, full text, tables, vectors.

    The file is only read. Exits with 5 when there are problems.
    """
    from agentmem.care import CareVerbs

    with console(stderr=True).status("verifying"):
        report = CareVerbs.verify(backup)
    if as_json:
        print_json(asdict(report) | {"ok": report.ok})
    else:
        for problem in report.problems:
            click.echo(problem)
        click.echo(f"{'ok' if report.ok else f'{len(report.problems)} problems'}: {report.records} memories")
    if not report.ok:
        ctx.exit(PROBLEMS)


@click.command("reembed", short_help="Change the embedding model.")
@click.option(
    "--embedder",
    required=True,
    help='"static", the bundled model, or "sentence-transformers:NAME" with the name of a model or its folder.',
)
@click.option(
    "--metric",
    type=click.Choice(METRICS),
    help="Of the store from then on; its own by default.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1, max=MAX_K),
    default=256,
    show_default=True,
    help="Memories to embed and keep at a time.",
)
@store_options
def reembed_command(embedder: str, metric: str | None, batch: int, db: Path, as_json: bool) -> None:
    """Give every memory a vector of another embedding model, then rebuild the index.

    The store can be searched and written meanwhile. If this is interrupted, the same command goes on where it ended.
    """
    with open_store(db) as store:
        report = store.reembed(embedder, metric=metric, batch=batch, progress=interactive())
        store.merge()
    _show(asdict(report), as_json)
