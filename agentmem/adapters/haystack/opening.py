"""What the parts of the document store share: the store below it, opened when it is first needed, and its errors."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from haystack.document_stores.errors import DocumentStoreError, DuplicateDocumentError
from haystack.errors import FilterError
from numpy.typing import NDArray

from agentmem import (
    AgentMemError,
    AsyncMemoryStore,
    CallableEmbedder,
    DuplicateId,
    InvalidFilter,
    InvalidInput,
    MemoryStore,
    NotFound,
    Record,
)
from agentmem.adapters.haystack.documents import has_embedding

Vector = NDArray[np.float32]
GIVEN = "haystack"
"""The embedder's name in stores whose vectors Haystack's embedders bring."""


@contextmanager
def in_haystacks_terms() -> Iterator[None]:
    """Raise Haystack's exceptions for agentmem's."""
    try:
        yield
    except InvalidFilter as error:
        raise FilterError(str(error)) from error
    except DuplicateId as error:
        raise DuplicateDocumentError(str(error)) from error
    except AgentMemError as error:
        raise DocumentStoreError(str(error)) from error


class OpenedStore:
    """The composition; see ``AgentMemDocumentStore`` for the arguments."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        embedding_dimension: int | None,
        embedder: str,
        metric: str,
        namespace: str,
        return_embedding: bool,
    ) -> None:
        if namespace.endswith("/"):
            raise ValueError(f"namespace {namespace!r} ends in '/', which stands for a whole branch; leave that out")
        self.path = os.fspath(path)
        self.embedding_dimension = embedding_dimension
        self.embedder = embedder
        self.metric = metric
        self.namespace = namespace
        self.return_embedding = return_embedding
        self._lock = threading.Lock()
        self._opened: tuple[MemoryStore, AsyncMemoryStore] | None = None

    @property
    def store(self) -> MemoryStore:
        """Return the store, which is opened when it is first asked for.

        Raises:
            DocumentStoreError: it cannot be opened, or was made for other vectors.
        """
        return self._open()[0]

    async def asynchronous(self) -> AsyncMemoryStore:
        """Return the store for coroutines."""
        opened = self._opened
        return opened[1] if opened is not None else (await asyncio.to_thread(self._open))[1]

    def close(self) -> None:
        """Close the store, as Haystack closes what its components hold; a file is opened again when it is needed."""
        opened = self._let_go()
        if opened is not None:
            opened[0].close()

    async def close_async(self) -> None:
        """Close the store, when the calls that have begun are done; see ``close``."""
        opened = self._let_go()
        if opened is not None:
            await opened[1].close()
            await asyncio.to_thread(opened[0].close)

    def _let_go(self) -> tuple[MemoryStore, AsyncMemoryStore] | None:
        with self._lock:
            opened = self._opened
            if self.path != ":memory:":
                self._opened = None
            return opened

    def _open(self) -> tuple[MemoryStore, AsyncMemoryStore]:
        with self._lock:
            if self._opened is not None:
                return self._opened
            with in_haystacks_terms():
                store = MemoryStore(self.path, embedder=self._embedder(), metric=self.metric)
            self._opened = opened = store, AsyncMemoryStore(store)
            return opened

    def _embedder(self) -> object:
        dimension = self.embedding_dimension
        if dimension is None:
            return self.embedder

        def none(texts: Sequence[str]) -> Vector:
            """Give no text a vector: zeros stand for none."""
            return np.zeros((len(texts), dimension), np.float32)

        return CallableEmbedder(none, GIVEN, dimension)

    def _refuse_strangers(self, records: Sequence[Record | None]) -> None:
        for record in records:
            if record is not None and record.namespace != self.namespace:
                raise DuplicateId(
                    f"the id {record.id!r} stands in the namespace {record.namespace!r} of {self.path}, and ids are "
                    f"unique in a file; use other ids in {self.namespace!r}, or another file"
                )

    def _vector(self, record: Record) -> Vector | None:
        """Return the vector that gives a document its embedding; None where it has none, or is gone meanwhile."""
        try:
            return self.store.vector(record.id) if has_embedding(record) else None
        except NotFound:
            return None

    async def _vector_async(self, store: AsyncMemoryStore, record: Record) -> Vector | None:
        try:
            return await store.vector(record.id) if has_embedding(record) else None
        except NotFound:
            return None


def first_k(top_k: int) -> int:
    """Return how many documents are wanted at most.

    Raises:
        InvalidInput: a negative number.
    """
    if top_k < 0:
        raise InvalidInput(f"top_k must be at least 0, got {top_k}")
    return top_k
