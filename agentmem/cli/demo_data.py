"""``agentmem demo --data``: a labelled set goes into a store, and the default is measured against dense search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agentmem.cli.answers import SHOWN, Answer, ask, print_answers
from agentmem.cli.common import console, interactive, print_json
from agentmem.progress import track
from agentmem.simulation import DEFAULT_PIPELINES, Dataset, Evaluation, evaluate, filled_store, read_dataset
from agentmem.store import MemoryStore

MEASURES = {"recall@10": "recall@10", "ndcg@10": "NDCG@10"}


def _examples(store: MemoryStore, dataset: Dataset) -> list[Answer]:
    """Ask a few queries, taken evenly from the set."""
    answers = []
    for row in range(0, len(dataset.queries), max(1, len(dataset.queries) // SHOWN))[:SHOWN]:
        query = dataset.queries[row]
        embedding = None if dataset.query_vectors is None else dataset.query_vectors[row]
        relevant = frozenset(document for document, grade in dataset.qrels[query.id].items() if grade > 0)
        right = query.metadata.get("answer")
        answers.append(ask(store, query.text, right, relevant, embedding=embedding, namespace=query.namespace))
    return answers


def _change(before: float, after: float) -> str:
    return f"{after / before - 1:+.1%}" if before else "n/a"


def _print_evaluations(evaluations: Sequence[Evaluation], dataset: Dataset, split: str) -> None:
    from rich import box
    from rich.table import Table

    queries = len(dataset.queries)
    title = f"{dataset.name}: {len(dataset.documents)} memories, {queries} {split} queries, k = 10"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    for column in ("", *MEASURES.values(), "ms a search"):
        table.add_column(column, justify="right" if column else "left")
    plain, default = evaluations
    for name, evaluation in (("plain dense search, exact", plain), ("the default", default)):
        figures = [f"{evaluation.metrics[measure]:.3f}" for measure in MEASURES]
        table.add_row(name, *figures, f"{evaluation.seconds / queries * 1e3:.2f}")
    table.add_row("change", *(_change(plain.metrics[name], default.metrics[name]) for name in MEASURES), "")
    console().print(table)


def demo_dataset(folder: Path, *, given: bool, split: str, excluded: Sequence[str], as_json: bool) -> None:
    """Fill a store with a labelled set, show some of its queries, and print the measures.

    Args:
        folder: in the BEIR layout.
        given: use the folder's vectors, not the bundled model's.
        split: which queries.
        excluded: categories of queries to leave out.
        as_json: print JSON.
    """
    dataset = read_dataset(folder, split=split, vectors=given, exclude_categories=excluded)
    searches = len(dataset.queries) * len(DEFAULT_PIPELINES)
    with filled_store(dataset, show=interactive()) as store:
        answers = _examples(store, dataset)
        with track("searching", searches, interactive()) as advance:
            evaluations = evaluate(store, dataset, deep=False, progress=advance)
    if as_json:
        results = {each.pipeline.name: {**each.metrics, "seconds": each.seconds} for each in evaluations}
        print_json({"set": dataset.name, "split": split, "queries": len(dataset.queries), "results": results})
        return
    print_answers(answers)
    _print_evaluations(evaluations, dataset, split)
