"""``MemoryStore``: the verbs of writing, reading, feedback and care, composed with search."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from agentmem import validation as check
from agentmem.calibration import CalibrationVerbs
from agentmem.care import CareVerbs
from agentmem.core import StoreCore
from agentmem.errors import InvalidInput
from agentmem.feedback import FeedbackVerbs
from agentmem.learning import LearningVerbs
from agentmem.ranking import check_mechanism
from agentmem.reading import ReadingVerbs
from agentmem.records import Float32, Hit, Query
from agentmem.reembedding import ReembeddingVerbs
from agentmem.search import Searcher
from agentmem.telemetry import RETURNED, told
from agentmem.writing import WritingVerbs


class MemoryStore(
    ReadingVerbs,
    WritingVerbs,
    FeedbackVerbs,
    LearningVerbs,
    CareVerbs,
    CalibrationVerbs,
    ReembeddingVerbs,
    StoreCore,
):
    """An embedded vector memory store in one SQLite file.

    Args:
        path: of the database, made when absent; ":memory:" for one that is gone when closed.  Derived index files lie
            in ``<path>-index/`` and may be deleted at any time.
        embedder: "static" (bundled, no download), "sentence-transformers:" and a model's name or folder, None for given
            vectors only, "stored" for whatever an existing store was made with, a callable ``list[str] -> array
            (n, dim)``, or an object with the Embedder protocol, e.g. ``agentmem.embed.HttpEmbedder``; either may be a
            coroutine function.
        dimension: of given vectors; an embedder knows its own.
        metric: "cosine", "ip" or "l2".
        durability: "normal" survives a killed process and, after power loss, keeps a prefix of the commits; "full"
            syncs every commit.
        read_only: refuse changes.
        timeout: seconds to wait for another process's write lock.
        candidates: each source is asked for k times this many.
        cache_size: results kept; 0 keeps none.
        cache_ttl: seconds for which a result is kept at most.
        hook_errors: "report" logs and skips a hook that raises, "raise" raises HookFailed.
        merge: "background" has a process of its own merge a grown tail into the index, "manual" leaves that to
            ``merge()`` and ``optimize()``.

    A store may be shared by threads, and opened by any number of processes.

    Raises:
        NotAStore: the path is a directory, not writable, or another program's file.
        SchemaTooNew: written by a newer agentmem.
        EmbedderMismatch: made with another embedder, dimension or metric.
        InvalidInput: an argument that cannot be used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] = "memory.db",
        *,
        embedder: object = "static",
        dimension: int | None = None,
        metric: str = "cosine",
        durability: str = "normal",
        read_only: bool = False,
        timeout: float = 5.0,
        candidates: int = 3,
        cache_size: int = 0,
        cache_ttl: float = 60.0,
        hook_errors: Literal["report", "raise"] = "report",
        merge: str = "background",
    ) -> None:
        super().__init__(
            path,
            embedder=embedder,
            dimension=dimension,
            metric=metric,
            durability=durability,
            read_only=read_only,
            timeout=timeout,
            candidates=candidates,
            cache_size=cache_size,
            cache_ttl=cache_ttl,
            hook_errors=hook_errors,
            merge=merge,
        )
        self._searcher = Searcher(self)

    @told(RETURNED)
    def search(
        self,
        text: str | None = None,
        *,
        embedding: Any = None,
        k: int = 10,
        offset: int = 0,
        namespace: str | None = None,
        filter: Mapping[str, Any] | None = None,
        mechanism: str = "auto",
        ef: int | None = None,
        exact: bool = False,
        min_score: float | None = None,
        explain: bool = False,
    ) -> list[Hit]:
        """Return the best records, best first.

        Args:
            text: what to look for; embedded by the store's embedder unless an embedding is given too.
            embedding: query vector, float (dim,).
            k: how many hits at most; fewer only where fewer match.
            offset: leave out this many of the best.
            namespace: exact; with a trailing "/" the whole branch below; None everything.
            filter: see docs/filters.md.
            mechanism: "auto" (hierarchy-heads where links make the records a hierarchy, else memory-heads for text and
                dense for a vector alone), "memory-heads", "hierarchy-heads", "dense", "lexical", "rrf", "convex",
                "prf" (similarity to the attended query), or an attention mechanism of the catalogue.
            ef: breadth of the graph search; larger finds more and takes longer.
            exact: scan instead of walking the graph.
            min_score: leave out hits that score less; scores are comparable within one mechanism only.
            explain: give each hit its explanation.

        Raises:
            InvalidInput: neither text nor embedding, or an argument that cannot be used.
            UnknownMechanism: the message lists those that exist.
            InvalidFilter: the message lists the operators that exist.
        """
        query = self._query(text, embedding, k, offset, namespace, filter, mechanism, ef, exact, min_score, explain)
        return self._searcher.run(query)

    @told()
    def search_many(
        self, texts: Sequence[str] | None = None, *, embeddings: Any = None, **options: Any
    ) -> list[list[Hit]]:
        """Return ``search``'s hits for each of several queries; texts are embedded in one call.

        Args:
            texts: n texts, or None.
            embeddings: float array (n, dim), or None.
            options: as for ``search``.
        """
        if texts is None and embeddings is None:
            raise InvalidInput("search_many needs texts, embeddings, or both")
        if texts is not None:
            check.check_list(texts, "texts")
        if embeddings is not None:
            embeddings = check.check_matrix(embeddings, self.identity.dimension, self.identity.metric)
        index = self.index
        if texts is not None and embeddings is None and self.embedder is not None:
            vectors: Any = [v if v.any() else None for v in self.ingest.embed([check.check_query(t) for t in texts])]
        else:
            vectors = embeddings
        count = len(vectors if texts is None else texts)
        if vectors is not None and len(vectors) != count:
            raise InvalidInput(f"{count} texts but {len(vectors)} embeddings")
        hits = [
            self.search(
                None if texts is None else texts[number],
                embedding=None if vectors is None else vectors[number],
                **options,
            )
            for number in range(count)
        ]
        with self.database.read() as reader:
            reader.check_generation(index.identity.generation)
        return hits

    @told()
    def knn(
        self,
        vectors: Any,
        k: int = 10,
        *,
        namespace: str | None = None,
        filter: Mapping[str, Any] | None = None,
        ef: int | None = None,
        exact: bool = False,
    ) -> tuple[NDArray[np.object_], Float32]:
        """Return the nearest records of each vector, as arrays only; no hooks, no rerank.

        Args:
            vectors: float array (m, dim).
            k: how many neighbours of each.
            namespace: as for ``search``.
            filter: as for ``search``.
            ef: as for ``search``.
            exact: as for ``search``.

        Returns:
            ids (m, k) of str, and distances (m, k) float32, lower is better: 1 − cosine, 1 − inner product, or squared
            l2; where fewer match, None and +inf.
        """
        queries = check.check_matrix(vectors, self.identity.dimension, self.identity.metric, "vectors")
        k = check.check_count(k, "k", low=1)
        ef = None if ef is None else check.check_count(ef, "ef", low=1)
        filter, namespace = check.check_scope(filter, namespace)
        return self._searcher.knn(queries, k, namespace, filter, ef, check.check_flag(exact, "exact"))

    def close(self) -> None:
        """Close the store; a background merge goes on by itself.  Closing twice is fine, as is closing after a fork."""
        super().close()
        self._searcher = Searcher(self)  # the one before knows views of the index, which hold its files

    def __enter__(self) -> MemoryStore:
        """Return the store, unless it is closed; leaving the block closes it."""
        _ = self.database
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the store."""
        self.close()

    def _query(
        self,
        text: str | None,
        embedding: Any,
        k: int,
        offset: int,
        namespace: str | None,
        filter: Mapping[str, Any] | None,
        mechanism: str,
        ef: int | None,
        exact: bool,
        min_score: float | None,
        explain: bool,
    ) -> Query:
        if filter is not None or namespace is not None:
            filter, namespace = check.check_scope(filter, namespace)
        if text is not None:
            text = check.check_query(text)
        elif embedding is None:
            raise InvalidInput("search needs text, an embedding, or both")
        if embedding is not None:
            embedding = check.check_vector(embedding, self.identity.dimension, self.identity.metric)
        return Query(
            text,
            embedding,
            check.check_count(k, "k", low=1),
            check.check_count(offset, "offset", low=0),
            namespace,
            filter,
            check_mechanism(mechanism),
            None if ef is None else check.check_count(ef, "ef", low=1),
            check.check_flag(exact, "exact"),
            None if min_score is None else check.check_number(min_score, "min_score"),
            check.check_flag(explain, "explain"),
            check.wall_clock(),
        )
