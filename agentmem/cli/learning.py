"""``agentmem learn`` and ``agentmem weights``: learned weights, from labels or from feedback."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from agentmem.cli.common import interactive, open_store, print_json, store_options, when
from agentmem.files import private_opener

if TYPE_CHECKING:
    from agentmem.learning import LearnReport
    from agentmem.rerank.weights import HeadWeights
    from agentmem.simulation.learn import FoldsReport, Measured


@click.command("learn", short_help="Learn how to rank, from a store's feedback or from a labelled set.")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A labelled set in the BEIR layout; by default the store's feedback is learned from.",
)
@click.option("--split", default="train", show_default=True, help="With --data: which queries; never test.")
@click.option(
    "--vectors",
    type=click.Choice(["static", "given"]),
    default="static",
    show_default=True,
    help="With --data: the bundled model, or the folder's corpus.npy and queries.npy.",
)
@click.option("--exclude-category", multiple=True, help="With --data: leave out such queries; repeatable.")
@click.option(
    "--folds",
    type=click.Choice(["namespace"]),
    help="With --data: leave each namespace out in turn, and measure on it. Takes all splits; keeps no weights.",
)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the weights to this new file.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of the held-out part.")
@store_options
@click.pass_context
def learn_command(
    ctx: click.Context,
    data: Path | None,
    split: str,
    vectors: str,
    exclude_category: tuple[str, ...],
    folds: str | None,
    output: Path | None,
    seed: int,
    db: Path,
    as_json: bool,
) -> None:
    """Fit heads, gate and projections; they rank from then on if they win on queries that they did not see.

    Without --data: on the store's feedback. With --data: on a set's labels; the weights go to --output, and into the
    store of --db where one is named and they won.
    """
    _new(output)
    if data is None:
        if folds:
            raise click.UsageError("--folds needs --data")
        with open_store(db) as store:
            report = store.learn(seed=seed, progress=interactive())
            weights = store.weights.get(report.number)
        _finish(weights, report, output, as_json)
        return
    from agentmem.simulation import learn as labels

    given = vectors == "given"
    if folds:
        if output:
            raise click.UsageError("--folds measures and keeps no weights; leave --output out")
        whole = labels.whole_set(data, given, exclude_category)
        _show_folds(labels.learn_folds(whole, seed=seed, progress=interactive()), as_json)
        return
    dataset = labels.training_set(data, split, given, exclude_category)
    weights, report = labels.learn_labels(dataset, seed=seed, progress=interactive())
    named = ctx.get_parameter_source("db") is ParameterSource.COMMANDLINE
    if named and report.promoted:
        with open_store(db) as store:
            store.weights.install(weights, f"learned from the labels of {dataset.name}, split {split}: {report.reason}")
    _finish(weights, report, output, as_json)


def _finish(weights: HeadWeights, report: LearnReport, output: Path | None, as_json: bool) -> None:
    if output is not None:
        _write(output, weights)
    if as_json:
        print_json(asdict(report))
        return
    state = "promoted" if report.promoted else "kept aside"
    click.echo(f"{state}: {report.reason}")
    click.echo(
        f"{report.queries} queries, {report.held_out} of them held out in turn; {report.found:.0%} of what is right is "
        f"among the candidates; {report.seconds:.1f} s"
    )
    if report.pruned:
        click.echo(f"pruned: {', '.join(report.pruned)}")


def _show_folds(report: FoldsReport, as_json: bool) -> None:
    if as_json:
        print_json(asdict(report))
        return

    def line(name: str, each: Measured) -> str:
        recalls = "  ".join(f"{each.recall[key]:.3f} {each.ndcg[key]:.3f}" for key in ("dense", "constants", "learned"))
        return f"{name:<24} {each.queries:>7}  {recalls}  {each.low:+.3f} {each.high:+.3f}"

    click.echo(
        f"{'recall@10, NDCG@10':<24} {'queries':>7}  {'dense':<11}  {'constants':<11}  {'learned':<11}  95% of gain"
    )
    for name, each in report.folds.items():
        click.echo(line(name, each))
    click.echo(line("all", report.whole))


def _write(path: Path, weights: HeadWeights) -> None:
    with open(path, "xb", opener=private_opener) as file:
        file.write(weights.to_bytes())


def _new(path: Path | None) -> None:
    if path is not None and path.exists():
        raise click.UsageError(f"{path} exists already; name a new file")


def _read(path: Path, db: Path) -> HeadWeights:
    from agentmem.rerank.weights import HeadWeights

    if path.resolve() == db.resolve():
        raise click.UsageError(f"{path} is the store; --file names the weights")
    return HeadWeights.from_bytes(path.read_bytes())


@click.command("weights", short_help="Show, take back, save or install a store's learned weights.")
@click.argument("action", type=click.Choice(["history", "rollback", "save", "install"]))
@click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A new one to save the active ones to, or one to install.",
)
@store_options
def weights_command(action: str, file: Path | None, db: Path, as_json: bool) -> None:
    """Show every attempt to learn (history), go back to the weights before (rollback), save the active, or install."""
    if (file is None) == (action in ("save", "install")):
        raise click.UsageError("save and install need --file; history and rollback take none")
    _new(file if action == "save" else None)
    with open_store(db, read_only=action in ("history", "save")) as store:
        if action == "rollback":
            store.weights.rollback()
        elif file is not None and action == "save":
            _write(file, store.weights.get())
        elif file is not None:
            store.weights.install(_read(file, db), f"installed from {file.name}")
        entries = [asdict(entry) for entry in store.weights.history()]
    if as_json:
        print_json(entries)
        return
    for entry in entries:
        click.echo(_entry_line(entry))
    if not any(entry["active"] for entry in entries):
        click.echo("searches rank by the constants")


def _entry_line(entry: dict[str, Any]) -> str:
    state = "active" if entry["active"] else "was active" if entry["promoted"] else "kept aside"
    return f"{entry['number']:>3}  {when(entry['at'])}  {state:<10}  {entry['report'].get('reason', '')}"
