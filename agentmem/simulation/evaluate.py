"""Recall, NDCG and reciprocal rank of a store's own searches over a labelled set (measures by ir-measures)."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from agentmem.errors import BackendUnavailable
from agentmem.records import Hit
from agentmem.simulation.datasets import Dataset
from agentmem.store import MemoryStore

CUTOFFS = (1, 5, 10, 30)
BATCH = 1000

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One way to search: a mechanism, and whether vectors are compared exactly."""

    name: str
    mechanism: str = "auto"
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one pipeline found.

    Attributes:
        pipeline: which one.
        run: query id -> {document id: score}, best first.
        metrics: measure -> mean over the queries, e.g. ``{"R@10": 0.5, "nDCG@10": 0.4, "RR": 0.6}``.
        seconds: wall time of all searches together.
    """

    pipeline: Pipeline
    run: Mapping[str, Mapping[str, float]]
    metrics: Mapping[str, float]
    seconds: float


DEFAULT_PIPELINES = (
    Pipeline("dense", "dense", exact=True),
    Pipeline("default"),
)


def _measures() -> ModuleType:
    try:
        return importlib.import_module("ir_measures")
    except ImportError as error:
        raise BackendUnavailable(
            'measuring needs ir-measures, which is not installed; run: pip install "agentmem[evaluate]"'
        ) from error


def _ignore(_: int) -> None:
    """Report progress to nobody."""


def new_store(folder: Path | str, dataset: Dataset) -> MemoryStore:
    """Make a store in ``folder`` for the dataset's own vectors, or with the bundled model where it has none."""
    path = Path(folder) / "memory.db"
    if dataset.document_vectors is None:
        return MemoryStore(path, merge="manual")
    return MemoryStore(path, embedder=None, dimension=dataset.document_vectors.shape[1], merge="manual")


def fill(store: MemoryStore, dataset: Dataset, progress: Progress = _ignore) -> None:
    """Add the documents of ``dataset`` to ``store``, with their vectors where the dataset has vectors.

    A document with neither text nor vector (Cranfield has some) cannot be remembered and is left out.

    Args:
        store: an empty store.
        dataset: what to add.
        progress: called with the number of documents of each batch once it is committed.
    """
    vectors = dataset.document_vectors
    rows = [row for row, document in enumerate(dataset.documents) if document.text or vectors is not None]
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        batch = [dataset.documents[row] for row in part]
        store.add_many(
            [document.text or None for document in batch],
            embeddings=None if vectors is None else vectors[part],
            ids=[document.id for document in batch],
            metadatas=[document.metadata for document in batch],
            namespace=[document.namespace for document in batch],
            threads=[document.thread for document in batch],
            sessions=[document.session for document in batch],
            speakers=[document.speaker for document in batch],
            positions=[document.position for document in batch],
            created_at=[document.created_at for document in batch],
        )
        progress(len(batch))


def search(store: MemoryStore, dataset: Dataset, row: int, pipeline: Pipeline, k: int, own: bool) -> list[Hit]:
    """Ask the query in ``row`` and return at most ``k`` hits; with ``own`` the query's own document is left out."""
    query = dataset.queries[row]
    vectors = dataset.query_vectors
    hits = store.search(
        query.text,
        embedding=None if vectors is None else vectors[row],
        k=k + own,
        namespace=query.namespace,
        mechanism=pipeline.mechanism,
        exact=pipeline.exact,
    )
    return [hit for hit in hits if not own or hit.id != query.id][:k]


def _metrics(dataset: Dataset, ranked: Mapping[str, Sequence[str]], k: int) -> dict[str, float]:
    """Return the means; ranks stand in for scores, so that ties keep the store's order."""
    measures = _measures()
    wanted = [measures.R @ cutoff for cutoff in CUTOFFS if cutoff <= k] + [measures.nDCG @ min(k, 10), measures.RR]
    qrels = {query: dict(grades) for query, grades in dataset.qrels.items()}
    run = {query: {found: float(-rank) for rank, found in enumerate(ids)} for query, ids in ranked.items()}
    means = measures.calc_aggregate(wanted, qrels, run)
    return {str(measure): float(means[measure]) for measure in wanted}


def evaluate(
    store: MemoryStore,
    dataset: Dataset,
    pipelines: Sequence[Pipeline] = DEFAULT_PIPELINES,
    *,
    k: int = 10,
    progress: Progress = _ignore,
) -> list[Evaluation]:
    """Search for every query with every pipeline and measure what came back.

    A query whose id is also a document's id is asked about that document: it is left out of the ranking.

    Args:
        store: holds the documents (see ``fill``).
        dataset: whose queries to ask.
        pipelines: the ways to search; by default exact dense search and the store's default.
        k: hits a query; measures with a deeper cutoff are left out.
        progress: called with 1 after each search.

    Returns:
        One evaluation a pipeline, in the order given.

    Raises:
        BackendUnavailable: ir-measures is not installed.
    """
    _measures()
    documents = {document.id for document in dataset.documents}
    evaluations = []
    for pipeline in pipelines:
        run: dict[str, dict[str, float]] = {}
        started = time.perf_counter()
        for row, query in enumerate(dataset.queries):
            run[query.id] = {
                hit.id: hit.score for hit in search(store, dataset, row, pipeline, k, query.id in documents)
            }
            progress(1)
        seconds = time.perf_counter() - started
        metrics = _metrics(dataset, {query: list(hits) for query, hits in run.items()}, k)
        evaluations.append(Evaluation(pipeline, run, metrics, seconds))
    return evaluations
