"""``agentmem simulate``: the study of multi-head attention, on labelled data."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from agentmem.cli.common import console, interactive, plain_options, print_json
from agentmem.errors import InvalidInput

if TYPE_CHECKING:
    from agentmem.simulation import Dataset
    from agentmem.simulation.study import Configuration

GIVEN = "given"
SIZES = (10_000, 50_000, 100_000)
MOST = 10_000_000
QUICK = {"heads": (1, 8), "hidden": (128,), "layers": (1,), "dropout": (0.1,), "sizes": (0,), "seeds": 2}
REPORT = "report"


def _numbers(kind: type[int] | type[float]) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """Return a callback that reads numbers separated by commas, each once."""

    def read(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[float, ...] | None:
        if value is None:
            return None
        try:
            numbers = tuple(kind(word) for word in value.split(","))
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is not a list of numbers like 1,4,8") from error
        if len(set(numbers)) < len(numbers) or not all(0 <= number <= MOST for number in numbers):
            raise click.BadParameter(f"{value!r} holds a number twice, or one that is not from 0 to {MOST}")
        return numbers

    return read


def _read(
    data: Path | None, cross_modal: Path | None, transfer: Path | None, vectors: str, excluded: tuple[str, ...]
) -> tuple[Dataset, Dataset | None]:
    """Return the set to study and the one to carry over to."""
    from agentmem.simulation import read_dataset, study

    if cross_modal is not None:
        dataset = study.read_checkout(cross_modal)
    elif data is not None:
        dataset = read_dataset(data, split="all", vectors=vectors == GIVEN, exclude_categories=excluded, links=False)
    else:
        return study.embedded(study.made_set(0)), study.embedded(study.made_set(1))
    if transfer is None:
        return study.embedded(dataset), None
    other = read_dataset(transfer, split="test", vectors=vectors == GIVEN, exclude_categories=excluded, links=False)
    return study.embedded(dataset), study.embedded(other)


def _configurations(dataset: Dataset, values: dict[str, Any]) -> tuple[Configuration, ...]:
    from agentmem.simulation import study

    sizes = values["sizes"]
    if sizes is None:
        sizes = [size for size in SIZES if size >= len(dataset.documents)]
    assert dataset.document_vectors is not None
    own = dataset.document_vectors.shape[1]
    dimensions = values["dimensions"] or (own, 2 * own)
    corpora = [study.Corpus(size, dimension) for dimension in dimensions for size in sizes]
    for corpus in corpora:
        if corpus.size and corpus.size < len(dataset.documents):
            raise InvalidInput(f"{dataset.name} has {len(dataset.documents)} documents; --sizes must be larger, or 0")
        if corpus.dimension not in (own, 2 * own):
            raise InvalidInput(
                f"{dataset.name} has vectors of {own} dimensions; --dimensions may be {own} and {2 * own}"
            )
    shapes = study.shapes(values["heads"], values["hidden"], values["layers"], values["dropout"])
    return study.grid(shapes, corpora, values["seeds"])


@click.command("simulate", short_help="Study multi-head attention as a reranker on labelled data.")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A labelled set in the BEIR layout with the splits train, dev and test; by default one made from a seed.",
)
@click.option(
    "--cross-modal",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A checkout of this project, whose code, documents and tests become the set.",
)
@click.option(
    "--transfer",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Another set, on whose test queries the rerankers are measured without having been trained there.",
)
@click.option(
    "--vectors",
    type=click.Choice(["static", GIVEN]),
    default="static",
    show_default=True,
    help="The bundled model, or the folders' corpus.npy and queries.npy.",
)
@click.option("--exclude-category", multiple=True, help="Leave out queries of this category; repeatable.")
@click.option(
    "--heads", callback=_numbers(int), metavar="NUMBERS", default="1,4,8,16", show_default=True, help="Attention heads."
)
@click.option(
    "--hidden",
    callback=_numbers(int),
    metavar="NUMBERS",
    default="128,256,512",
    show_default=True,
    help="Width of all heads.",
)
@click.option(
    "--layers",
    callback=_numbers(int),
    metavar="NUMBERS",
    default="1,2,3",
    show_default=True,
    help="How often a query attends.",
)
@click.option(
    "--dropout",
    callback=_numbers(float),
    metavar="NUMBERS",
    default="0,0.1,0.2",
    show_default=True,
    help="Of attention weights.",
)
@click.option(
    "--sizes",
    callback=_numbers(int),
    metavar="NUMBERS",
    help="Vectors of the corpora, the rest made up; 0 for the set as it is. By default 10000,50000,100000.",
)
@click.option(
    "--dimensions",
    callback=_numbers(int),
    metavar="NUMBERS",
    help="Widths: that of the vectors and twice that, by default both.",
)
@click.option("--seeds", type=click.IntRange(1, 100), default=3, show_default=True, help="Runs of each configuration.")
@click.option("--quick", is_flag=True, help="A few shapes, two seeds, the set as it is: under two minutes.")
@click.option("--workers", type=click.IntRange(1, 1024), help="Processes; by default one a core.")
@click.option("--ray-address", help='A Ray cluster to run on ("auto", "ray://host:10001"; "local" starts one here).')
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("simulation"),
    show_default=True,
    help="The folder of results; what is there already is not run again.",
)
@plain_options
@click.pass_context
def simulate_command(ctx: click.Context, /, **options: Any) -> None:
    """Train small multi-head attention rerankers on a labelled set, and measure what each choice is worth.

    Every result is one line of OUTPUT/results.jsonl, and a run that was cut off goes on where it was. OUTPUT/report.md,
    report.json and plots tell all results of the folder. The test split is read once a run, after training.
    docs/simulation.md says how each figure is made and what came out on real sets.
    """
    from agentmem.extras import need
    from agentmem.simulation import study
    from agentmem.simulation.measures import ir_measures
    from agentmem.simulation.study.plots import draw
    from agentmem.simulation.study.report import markdown

    ir_measures()
    need("matplotlib.figure", "simulate", "plots")
    if options["data"] is not None and options["cross_modal"] is not None:
        raise click.UsageError("--data and --cross-modal are two sets; give one of them")
    values = _values(ctx, options)
    dataset, other = _read(
        *(options[name] for name in ("data", "cross_modal", "transfer", "vectors", "exclude_category"))
    )
    configurations = _configurations(dataset, values)
    folder: Path = options["output"]
    run = study.Study(folder, dataset, other)
    run.run(
        configurations,
        workers=options["workers"] or os.cpu_count() or 1,
        ray_address=options["ray_address"],
        show=interactive(),
    )
    report = study.summary(run.head, run.lines)
    (folder / f"{REPORT}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    text = markdown(report)
    (folder / f"{REPORT}.md").write_text(text, encoding="utf-8")
    draw(report, folder)
    if options["as_json"]:
        print_json(report)
    elif console().is_terminal:
        from rich.markdown import Markdown

        console().print(Markdown(text))
    else:
        click.echo(text, nl=False)


def _values(ctx: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers to run: those of --quick stand in the place of defaults, not of what was given."""
    names = ("heads", "hidden", "layers", "dropout", "sizes", "dimensions", "seeds")
    values = {name: options[name] for name in names}
    if options["quick"]:
        values |= {n: v for n, v in QUICK.items() if ctx.get_parameter_source(n) is not ParameterSource.COMMANDLINE}
    return values
