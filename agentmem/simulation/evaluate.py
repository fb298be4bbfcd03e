"""A labelled set asked through a store's own search: what each pipeline found, how good it is, how long it took."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agentmem.errors import InvalidInput
from agentmem.metrics import Metrics
from agentmem.rerank.weights import HeadWeights
from agentmem.simulation.datasets import Dataset, folds
from agentmem.simulation.filling import STATIC, Progress, filled_store, ignore
from agentmem.simulation.measures import DEEP, Values, deep_recall, ir_measures, measure
from agentmem.simulation.pipelines import DEFAULT_PIPELINES, DENSE, Pipeline
from agentmem.store import MemoryStore

Train = Callable[[MemoryStore, Dataset], None]
"""Fits what a store ranks by, on the training queries of the dataset given."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one pipeline's searches gave.

    Attributes:
        ranked: query id -> {document id: score}, best first.
        laps: stage -> seconds of each search, "total" among them.
        unanswered: queries of which the embedder knows no word, so that the mechanism had no vector to go by.
    """

    ranked: dict[str, dict[str, float]] = field(default_factory=dict)
    laps: dict[str, list[float]] = field(default_factory=dict)
    unanswered: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Loss:
    """What approximate dense search loses to an exact scan.

    Attributes:
        walks: searches that walked a graph; the others scanned anyhow, since that is faster for few rows.
        overlap: share of the exact search's hits that were found, mean over the queries.
        values: measure -> float64 (queries,), those of the exact search.
    """

    walks: int
    overlap: float
    values: Values


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one pipeline found, and how good it is.

    Attributes:
        pipeline: which one.
        run: its searches for k hits.
        values: measure -> float64 (queries,).
        loss: against exact search, for approximate dense search; else None.
    """

    pipeline: Pipeline
    run: Run
    values: Values
    loss: Loss | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """Measure -> mean over the queries, e.g. ``{"recall@10": 0.5, "ndcg@10": 0.4, "mrr": 0.6}``."""
        return {name: float(values.mean()) for name, values in self.values.items()}

    @property
    def seconds(self) -> float:
        """Wall time of all its searches together."""
        return sum(self.run.laps.get("total", ()))


class _Tap(Metrics):
    """Hands a store's samples on, and keeps those of the last call."""

    def __init__(self, behind: Metrics) -> None:
        super().__init__()
        self._behind = behind
        self.last: Sequence[tuple[str, float]] = ()

    def record(self, samples: Sequence[tuple[str, float]]) -> None:
        """Keep the samples of a call and hand them on."""
        self.last = samples
        self._behind.record(samples)


@contextmanager
def _tapped(store: MemoryStore) -> Iterator[_Tap]:
    behind = store.metrics
    store.metrics = tap = _Tap(behind)
    try:
        yield tap
    finally:
        store.metrics = behind


def _scope(dataset: Dataset, row: int) -> dict[str, Any]:
    """Return where a query searches: its namespace, without the document that it was made of."""
    query = dataset.queries[row]
    return {"namespace": query.namespace, "filter": None if query.own is None else {"@id": {"$ne": query.own}}}


def _ask(store: MemoryStore, tap: _Tap, dataset: Dataset, row: int, pipeline: Pipeline, k: int, run: Run) -> None:
    """Search for the query in ``row`` and note what came back."""
    query, vectors = dataset.queries[row], dataset.query_vectors
    try:
        hits = store.search(
            query.text,
            embedding=None if vectors is None else vectors[row],
            k=k,
            mechanism=pipeline.mechanism,
            exact=pipeline.exact,
            **_scope(dataset, row),
        )
    except InvalidInput:
        if vectors is not None or store.ingest.embed([query.text])[0].any():
            raise
        run.ranked[query.id] = {}
        run.unanswered.append(query.id)
        return
    run.ranked[query.id] = {hit.id: hit.score for hit in hits}
    for stage, seconds in tap.last:
        name = stage.split(".")[1]
        run.laps.setdefault(name, []).append(seconds)


def search_all(
    store: MemoryStore, dataset: Dataset, pipelines: Sequence[Pipeline], k: int, progress: Progress = ignore
) -> list[Run]:
    """Ask every query through every pipeline, turn by turn, so that a drift of the machine falls on all alike.

    Pipelines with weights of their own come after the others, each by itself: its weights rank in the store meanwhile.

    Args:
        store: holds the documents (see ``fill``).
        dataset: whose queries to ask.
        pipelines: the ways to search.
        k: hits a query.
        progress: called with 1 after each search.

    Returns:
        One run a pipeline, in the order given.
    """
    runs = [Run() for _ in pipelines]
    pairs = list(zip(pipelines, runs, strict=True))
    turns = [[pair for pair in pairs if pair[0].weights is None], *([pair] for pair in pairs if pair[0].weights)]
    with _tapped(store) as tap:
        for together in turns:
            if together:
                with _ranked_by(store, together[0][0].weights):
                    _ask_all(store, tap, dataset, together, k, progress)
    return runs


def _ask_all(
    store: MemoryStore,
    tap: _Tap,
    dataset: Dataset,
    pairs: list[tuple[Pipeline, Run]],
    k: int,
    progress: Progress,
) -> None:
    for row in range(len(dataset.queries)):
        first = row % len(pairs)
        for pipeline, run in pairs[first:] + pairs[:first]:
            _ask(store, tap, dataset, row, pipeline, k, run)
            progress(1)


@contextmanager
def _ranked_by(store: MemoryStore, weights: HeadWeights | None) -> Iterator[None]:
    """Have a store rank by weights, and go back to its own; None leaves it alone."""
    if weights is None:
        yield
        return
    store.weights.install(weights, "measured")
    try:
        yield
    finally:
        store.weights.rollback()


def _walks(store: MemoryStore, dataset: Dataset) -> int:
    """Return for how many queries a plain search walks a graph."""
    plans: dict[str, bool] = {}
    walked = 0
    for row in range(len(dataset.queries)):
        scope = _scope(dataset, row)
        key = repr(scope)
        if key not in plans:
            plans[key] = any(part["search"] == "graph" for part in store.explain_plan(**scope)["parts"])
        walked += plans[key]
    return walked


def _overlap(found: Run, exact: Run) -> float:
    """Return the share of the exact search's hits that another one has, mean over the queries that have hits."""
    shares = [len(hits.keys() & found.ranked[query].keys()) / len(hits) for query, hits in exact.ranked.items() if hits]
    return float(np.mean(shares)) if shares else 1.0


@dataclass(slots=True)
class _Asked:
    """The searches of an evaluation, of one store or of several folds together."""

    pipelines: Sequence[Pipeline]
    runs: list[Run] = field(default_factory=list)
    deep: list[Run] = field(default_factory=list)
    walks: int = 0

    def ask(self, store: MemoryStore, dataset: Dataset, k: int, deep: bool, progress: Progress) -> None:
        """Ask the queries of ``dataset``, besides those asked before."""
        self.runs = _joined(self.runs, search_all(store, dataset, self.pipelines, k, progress))
        if deep:
            self.deep = _joined(self.deep, search_all(store, dataset, self.pipelines, DEEP, progress))
        if any(pipeline.approximate for pipeline in self.pipelines):
            self.walks += _walks(store, dataset)

    def evaluations(self, dataset: Dataset, k: int) -> list[Evaluation]:
        """Return what the pipelines are worth."""
        values = [measure(dataset, run.ranked, k) for run in self.runs]
        if self.deep:
            deep = [deep_recall(dataset, run.ranked) for run in self.deep]
            values = [{**value, **more} for value, more in zip(values, deep, strict=True)]
        exact = next((place for place, each in enumerate(self.pipelines) if each == DENSE), None)
        evaluations = []
        for pipeline, run, value in zip(self.pipelines, self.runs, values, strict=True):
            loss = None
            if pipeline.approximate and exact is not None:
                loss = Loss(self.walks, _overlap(run, self.runs[exact]), values[exact])
            evaluations.append(Evaluation(pipeline, run, value, loss))
        return evaluations


def _joined(before: list[Run], after: list[Run]) -> list[Run]:
    if not before:
        return after
    for old, new in zip(before, after, strict=True):
        old.ranked.update(new.ranked)
        old.unanswered.extend(new.unanswered)
        for stage, seconds in new.laps.items():
            old.laps.setdefault(stage, []).extend(seconds)
    return before


def _with_exact(pipelines: Sequence[Pipeline]) -> Sequence[Pipeline]:
    """Return the pipelines, with exact dense search behind them where an approximate one is to be held against it."""
    needed = any(pipeline.approximate for pipeline in pipelines) and DENSE not in pipelines
    return [*pipelines, DENSE] if needed else pipelines


def searches(pipelines: Sequence[Pipeline], *, deep: bool = True) -> int:
    """Return how many searches an evaluation makes for each query, for a progress bar."""
    return len(_with_exact(pipelines)) * (1 + deep)


def evaluate(
    store: MemoryStore,
    dataset: Dataset,
    pipelines: Sequence[Pipeline] = DEFAULT_PIPELINES,
    *,
    k: int = 10,
    deep: bool = True,
    progress: Progress = ignore,
) -> list[Evaluation]:
    """Search for every query with every pipeline and measure what came back.

    The document that a query was made of (``LabelledQuery.own``) is hidden from its search by a filter, with its links.

    Args:
        store: holds the documents (see ``fill``).
        dataset: whose queries to ask.
        pipelines: the ways to search; by default exact dense search and the store's default.
        k: hits a query; where it is below 10, measures are taken at k in the place of 10.
        deep: search for 30 hits too, for recall@30.
        progress: called with 1 after each search.

    Returns:
        One evaluation a pipeline, in the order given.

    Raises:
        BackendUnavailable: ir-measures is not installed.
        EmbedderMismatch: a pipeline's weights were fitted with another embedder than the store's.
    """
    ir_measures()
    asked = _Asked(_with_exact(pipelines))
    asked.ask(store, dataset, k, deep, progress)
    return asked.evaluations(dataset, k)[: len(pipelines)]


def evaluate_folds(
    dataset: Dataset,
    pipelines: Sequence[Pipeline] = DEFAULT_PIPELINES,
    *,
    train: Train,
    embedder: object = STATIC,
    k: int = 10,
    deep: bool = True,
    progress: Progress = ignore,
) -> list[Evaluation]:
    """Leave one namespace out: train a new store on the queries of the others, and ask it those left out.

    Args:
        dataset: read with split "train" or "all"; see ``folds``.
        pipelines: the ways to search.
        train: called with each fold's store, filled with all documents, and the dataset of its training queries.
        embedder: for a dataset without vectors.
        k: as for ``evaluate``.
        deep: as for ``evaluate``.
        progress: called with 1 after each search.

    Returns:
        One evaluation a pipeline; each query was asked of the store that was not trained on its namespace.

    Raises:
        InvalidInput: there are no folds; see ``folds``.
        BackendUnavailable: ir-measures is not installed.
    """
    ir_measures()
    asked = _Asked(_with_exact(pipelines))
    for fold in folds(dataset):
        with filled_store(dataset, embedder) as store:
            train(store, fold.train)
            asked.ask(store, fold.test, k, deep, progress)
    return asked.evaluations(dataset, k)[: len(pipelines)]
