"""Learning from a labelled set: its training labels become feedback, from which a store learns as from any other."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agentmem.errors import InvalidInput
from agentmem.learning import Case, LearnReport, judged_searches
from agentmem.progress import track
from agentmem.rerank.promotion import interval, learn, ndcg, ranked
from agentmem.rerank.training import Judged
from agentmem.rerank.weights import HeadWeights, start
from agentmem.simulation.beir import read_dataset
from agentmem.simulation.datasets import TEST, Dataset
from agentmem.simulation.filling import filled_store

CUTOFF = 10


@dataclass(frozen=True, slots=True)
class Measured:
    """Means over queries: of a search by vectors alone, by the constants, and by what was learned.

    Attributes:
        queries: how many.
        recall, ndcg: pipeline ("dense", "constants", "learned") -> recall@10, NDCG@10.
        low, high: the 95% interval of the gain in NDCG@10 of the learned weights over the constants, by paired
            bootstrap over the queries.
    """

    queries: int
    recall: Mapping[str, float]
    ndcg: Mapping[str, float]
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class FoldsReport:
    """Leave one namespace out: each one's queries, ranked by weights learned on all others.

    Attributes:
        whole: over the queries of all namespaces.
        folds: namespace -> the same for its queries.
        promoted: the namespaces whose weights passed the promotion gate; the others were ranked by the constants.
    """

    whole: Measured
    folds: Mapping[str, Measured]
    promoted: tuple[str, ...]


def training_set(
    folder: Path, split: str = "train", vectors: bool = False, exclude_categories: Collection[int | str] = ()
) -> Dataset:
    """Read a split to learn from; queries that are judged in ``qrels/test.tsv`` as well are left out.

    Raises:
        InvalidInput: the split is "test", or nothing else is left of it.
    """
    if split == TEST:
        raise InvalidInput("the test split is for measuring: nothing learns from it; use --split train or dev")
    dataset = read_dataset(folder, split=split, vectors=vectors, exclude_categories=exclude_categories)
    rows = [row for row, query in enumerate(dataset.queries) if query.split != TEST]
    if not rows:
        raise InvalidInput(f"{folder}: all queries read are of the split {TEST!r}; nothing is left to learn from")
    return dataset.take(rows)


def whole_set(folder: Path, vectors: bool = False, exclude_categories: Collection[int | str] = ()) -> list[Dataset]:
    """Read all splits of a set, for what leaves one namespace out."""
    names = sorted(file.stem for file in (folder / "qrels").glob("*.tsv"))
    if not names:
        raise InvalidInput(f"{folder / 'qrels'} holds no judgements; expected a file for each split, e.g. train.tsv")
    return [read_dataset(folder, split=name, vectors=vectors, exclude_categories=exclude_categories) for name in names]


def cases_from(dataset: Dataset) -> list[Case]:
    """Return what the labels say of each query: what is relevant is right."""
    vectors = dataset.query_vectors
    return [
        Case(
            query.text,
            None if vectors is None else vectors[row],
            query.namespace,
            {document: 1.0 for document, grade in dataset.qrels[query.id].items() if grade > 0},
        )
        for row, query in enumerate(dataset.queries)
    ]


def learn_labels(dataset: Dataset, *, seed: int = 0, progress: bool = False) -> tuple[HeadWeights, LearnReport]:
    """Learn from a set's labels as ``store.learn()`` does from feedback: a part decides whether the weights may rank.

    Args:
        dataset: from ``training_set``.
        seed: of the split into queries to fit on and to test on.
        progress: show bars.
    """
    with filled_store(dataset, show=progress) as store:
        vectors, there = dataset.query_vectors, {document.id for document in dataset.documents}
        with store.transaction():
            for row, query in enumerate(dataset.queries):
                right = [name for name, grade in dataset.qrels[query.id].items() if grade > 0 and name in there]
                if right:
                    store.feedback(query.text, embedding=None if vectors is None else vectors[row], accepted=right)
        report = store.learn(seed=seed, progress=progress)
        return store.weights.get(report.number), report


def learn_folds(datasets: Sequence[Dataset], *, seed: int = 0, progress: bool = False) -> FoldsReport:
    """Leave one namespace out: learn on the queries of all others, and rank its own.

    Args:
        datasets: the splits of one set; each query is asked in a namespace.
        seed: of each fold's split into queries to fit on and to test on.
        progress: show bars.

    Raises:
        InvalidInput: fewer than two namespaces.
    """
    cases = [case for dataset in datasets for case in cases_from(dataset)]
    names = sorted({case.namespace for case in cases if case.namespace is not None})
    if len(names) < 2 or any(case.namespace is None for case in cases):
        raise InvalidInput("--folds namespace needs queries in two namespaces or more, each query in one")
    with filled_store(datasets[0], show=progress) as store:
        identity = store.identity
        with track("searching", len(cases), progress) as advance:
            searches = judged_searches(store, cases, advance)
    origin = start(identity.embedder, identity.dimension)
    return folds_of(searches, [(case.namespace or "", case.key) for case in cases], origin, seed, progress)


def folds_of(
    searches: Sequence[Judged], keys: Sequence[tuple[str, str]], origin: HeadWeights, seed: int, progress: bool
) -> FoldsReport:
    """Return what each fold comes to; ``keys`` are the namespace and the key of each search."""
    names = sorted({name for name, _ in keys})
    used: list[HeadWeights] = [origin] * len(searches)
    promoted = []
    with track("learning", len(names), progress) as advance:
        for left_out in names:
            rows = [row for row, (name, _) in enumerate(keys) if name != left_out]
            fitted, _, why = learn(
                [searches[row] for row in rows], [keys[row][1] for row in rows], None, origin, seed, lambda share: None
            )
            if why is None:
                promoted.append(left_out)
                for row, (name, _) in enumerate(keys):
                    used[row] = fitted.weights if name == left_out else used[row]
            advance(1)
    folds = {}
    for name in names:
        rows = [row for row, key in enumerate(keys) if key[0] == name]
        folds[name] = measured([searches[row] for row in rows], origin, [used[row] for row in rows], seed)
    return FoldsReport(measured(searches, origin, used, seed), folds, tuple(promoted))


def measured(searches: Sequence[Judged], origin: HeadWeights, used: Sequence[HeadWeights], seed: int = 0) -> Measured:
    """Measure rankings of judged searches: the same that the store's own search would give."""
    gains = {"dense": [], "constants": [], "learned": []}  # type: dict[str, list[float]]
    found = {name: [] for name in gains}  # type: dict[str, list[float]]
    for each, weights in zip(searches, used, strict=True):
        dense = np.where(np.isnan(each.dense), -np.inf, each.dense)
        orders = {
            "dense": np.lexsort((each.labels, -dense)),
            "constants": ranked(each, origin),
            "learned": ranked(each, weights),
        }
        for name, order in orders.items():
            gains[name].append(ndcg(each, order))
            found[name].append(recall(each, order))
    low, high = interval(np.array(gains["learned"]) - np.array(gains["constants"]), seed)
    means = [{name: float(np.mean(values)) for name, values in table.items()} for table in (found, gains)]
    return Measured(len(searches), means[0], means[1], low, high)


def recall(judged: Judged, order: NDArray[np.intp]) -> float:
    """Return the share of what is right that is among the first ten."""
    return float((judged.target[order[:CUTOFF]] > 0).sum() / len(judged.ideal))
