"""A labelled set put into a store."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agentmem.progress import track
from agentmem.simulation.datasets import Dataset
from agentmem.simulation.hierarchy import targets_first
from agentmem.store import MemoryStore

BATCH = 1000
STATIC = "static"

Progress = Callable[[int], None]


def ignore(_: int) -> None:
    """Report progress to nobody."""


def new_store(folder: Path | str, dataset: Dataset, embedder: object = STATIC) -> MemoryStore:
    """Make a store in ``folder`` for the dataset's own vectors, or with an embedder where it was read without them."""
    path = Path(folder) / "memory.db"
    if dataset.document_vectors is None:
        return MemoryStore(path, embedder=embedder, merge="manual")
    return MemoryStore(path, embedder=None, dimension=dataset.document_vectors.shape[1], merge="manual")


def fill(store: MemoryStore, dataset: Dataset, progress: Progress = ignore) -> None:
    """Add the documents of ``dataset`` to ``store``, with their vectors where the dataset has vectors.

    A document with neither text nor vector (Cranfield has some) cannot be remembered and is left out.  Those without a
    time are all remembered at the same moment, so that none is more recent than another.

    Args:
        store: an empty store.
        dataset: what to add; documents go in in file order, or where they have links, what is linked to first.
        progress: called with the number of documents of each batch once it is committed.
    """
    vectors = dataset.document_vectors
    rows = [row for row in targets_first(dataset.documents) if dataset.documents[row].text or vectors is not None]
    now = time.time()
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
            created_at=[now if document.created_at is None else document.created_at for document in batch],
            links=[document.links for document in batch],
        )
        progress(len(batch))


@contextmanager
def filled_store(dataset: Dataset, embedder: object = STATIC, *, show: bool = False) -> Iterator[MemoryStore]:
    """Give a store in a temporary folder that holds the documents of ``dataset``, its index built.

    One thread builds the index, which makes the same graph every time.

    Args:
        dataset: what to add.
        embedder: for a dataset without vectors.
        show: show progress bars on standard error.
    """
    with tempfile.TemporaryDirectory(prefix="agentmem-") as folder, new_store(folder, dataset, embedder) as store:
        with track("remembering", len(dataset.documents), show) as advance:
            fill(store, dataset, advance)
        store.optimize(progress=show, threads=1)
        yield store
