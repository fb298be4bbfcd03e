"""``agentmem evaluate``: pipelines measured on a labelled set, through the store's own search."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from agentmem.cli.common import console, interactive, plain_options, print_json
from agentmem.progress import track

GIVEN = "given"


def _measured(
    data: Path,
    split: str,
    vectors: str,
    pipelines: str,
    weights: tuple[Path, ...],
    k: int,
    excluded: tuple[str, ...],
    folds: bool,
    seed: int,
    links: bool,
    max_descendants: int | None,
) -> dict[str, Any]:
    from agentmem import simulation

    chosen = simulation.pipelines_named([name.strip() for name in pipelines.split(",") if name.strip()], weights)
    dataset = simulation.read_dataset(
        data,
        split=split,
        vectors=vectors == GIVEN,
        exclude_categories=excluded,
        links=links,
        max_descendants=max_descendants,
    )
    if folds:
        tuple(simulation.folds(dataset))
    count = len(dataset.queries) * simulation.searches(chosen)
    with (
        simulation.filled_store(dataset, vectors, show=interactive()) as store,
        track("searching", count, interactive()) as advance,
    ):
        evaluations = simulation.evaluate(store, dataset, chosen, k=k, progress=advance)
    return simulation.report(dataset, evaluations, k=k, vectors=vectors, seed=seed, folds=folds)


@click.command("evaluate", short_help="Measure ways to search on a labelled set.")
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A labelled set in the BEIR layout: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv.",
)
@click.option("--split", default="test", show_default=True, help="Which queries: train, dev, test, or all.")
@click.option(
    "--vectors",
    default="static",
    show_default=True,
    help="An embedder (static, sentence-transformers:MODEL), or given for the folder's corpus.npy and queries.npy.",
)
@click.option(
    "--pipelines",
    default="dense,auto",
    show_default=True,
    help="Separated by commas: dense (exact), hnsw, lexical, rrf, convex, auto, or any attention mechanism. "
    "The others are compared with the first.",
)
@click.option(
    "--weights",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file that `agentmem learn --output` wrote, as one more pipeline, called as the file is; repeatable.",
)
@click.option("--k", default=10, show_default=True, type=click.IntRange(min=1), help="Hits a search.")
@click.option("--exclude-category", multiple=True, help="Leave out queries of this category; repeatable.")
@click.option(
    "--folds",
    type=click.Choice(["namespace"]),
    help="Leave one namespace out in turn. These pipelines are not trained, so the means stay what they are.",
)
@click.option("--links/--no-links", default=True, help="Link records by edges.tsv, where there is one (the default).")
@click.option(
    "--max-descendants",
    type=click.IntRange(min=1),
    help="Of a hierarchy, count as relevant only documents with fewer descendants than this by edges.tsv.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of the bootstrap.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the result to a file as well: JSON where its name ends in .json, else Markdown.",
)
@plain_options
def evaluate_command(
    data: Path,
    split: str,
    vectors: str,
    pipelines: str,
    weights: tuple[Path, ...],
    k: int,
    exclude_category: tuple[str, ...],
    folds: str | None,
    links: bool,
    max_descendants: int | None,
    seed: int,
    output: Path | None,
    as_json: bool,
) -> None:
    """Measure ways to search on a labelled set: recall, NDCG, MRR and hit rate, with intervals, and latency by stage.

    The set goes into a store in a temporary folder, and every query is asked through that store's own search.
    docs/evaluation.md says how to label a set and how each figure is made.
    """
    from agentmem.simulation.markdown import markdown

    measured = _measured(
        data, split, vectors, pipelines, weights, k, exclude_category, folds is not None, seed, links, max_descendants
    )
    if output is not None:
        whole = json.dumps(measured, indent=1) + "\n" if output.suffix == ".json" else markdown(measured)
        output.write_text(whole, encoding="utf-8")
    if as_json:
        print_json(measured)
    elif console().is_terminal:
        from rich.markdown import Markdown

        console().print(Markdown(markdown(measured)))
    else:
        click.echo(markdown(measured), nl=False)
