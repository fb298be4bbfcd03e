"""Labelled retrieval sets: documents, queries that know their split, and which documents answer them.

What is fitted may look at ``Dataset.training_queries()`` only: it never holds a query that is reported on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agentmem.errors import InvalidInput
from agentmem.records import Float32

TRAIN, DEV, TEST, ALL = "train", "dev", "test", "all"


@dataclass(frozen=True, slots=True)
class Document:
    """One line of ``corpus.jsonl``.

    Attributes:
        id: unique in the set.
        text: the title and the text, joined by a space.
        namespace: where it is remembered, "" where the set has none.
        thread: the conversation or document that it is a part of, or None.
        session: the sitting, or None.
        speaker: who says it, or None.
        position: its place in the thread, or None.
        created_at: epoch seconds or an ISO 8601 string, or None.
        metadata: as the line gives it.
        links: (kind, document id) pairs.
    """

    id: str
    text: str
    namespace: str
    thread: str | None
    session: str | None
    speaker: str | None
    position: float | None
    created_at: float | str | None
    metadata: Mapping[str, Any]
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class LabelledQuery:
    """One line of ``queries.jsonl``.

    Attributes:
        id: unique in the set.
        text: what is asked.
        namespace: where to search, None for everywhere.
        metadata: as the line gives it.
        split: the file of judgements that it stands in; "test" is never fitted on.
        own: id of the document that the query was made of, which its search must not see, or None.
    """

    id: str
    text: str
    namespace: str | None
    metadata: Mapping[str, Any]
    split: str = TEST
    own: str | None = None

    @property
    def category(self) -> str | None:
        """The kind of question, where the set tells it."""
        value = self.metadata.get("category")
        return None if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Documents, queries, and which documents answer them.

    Attributes:
        name: the folder's name.
        documents: in file order.
        queries: in file order; each has a relevant document.
        qrels: query id -> {document id: grade}; a grade above 0 is relevant.
        document_vectors: float32 array of shape (documents, dim), or None where they were not asked for.
        query_vectors: float32 array of shape (queries, dim), or None.
        split: what was asked for: the name of a file of judgements, or "all".
    """

    name: str
    documents: tuple[Document, ...]
    queries: tuple[LabelledQuery, ...]
    qrels: Mapping[str, Mapping[str, int]]
    document_vectors: Float32 | None = None
    query_vectors: Float32 | None = None
    split: str = TEST

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The namespaces that queries search in, sorted."""
        return tuple(sorted({query.namespace for query in self.queries if query.namespace is not None}))

    def take(self, rows: Sequence[int]) -> Dataset:
        """Return the same documents with the queries in ``rows`` only."""
        queries = tuple(self.queries[row] for row in rows)
        vectors = None if self.query_vectors is None else self.query_vectors[list(rows)]
        qrels = {query.id: self.qrels[query.id] for query in queries}
        return replace(self, queries=queries, qrels=qrels, query_vectors=vectors)

    def part(self, split: str) -> Dataset:
        """Return the same documents with the queries of one split only.

        Raises:
            InvalidInput: there is none.
        """
        rows = [row for row, query in enumerate(self.queries) if query.split == split]
        if not rows:
            there = ", ".join(sorted({query.split for query in self.queries}))
            raise InvalidInput(f"{self.name}: no query is of the split {split!r}; those read are of: {there}")
        return replace(self.take(rows), split=split)

    def training_queries(self) -> Dataset:
        """Return the queries that weights or constants may be fitted on: those of the split "train", no others.

        Raises:
            InvalidInput: there is none; read the set with split="train" or "all".
        """
        return self.part(TRAIN)


@dataclass(frozen=True, slots=True)
class Fold:
    """One namespace left out: its queries are "test", those of all others "train"; the documents are all there."""

    namespace: str
    train: Dataset
    test: Dataset


def folds(dataset: Dataset) -> Iterator[Fold]:
    """Yield one fold a namespace: leave one out.

    The splits of the folder play no part: what is reported of a fold was not fitted on.

    Raises:
        InvalidInput: fewer than two namespaces, or a query without one; or the set was read with split="test", whose
            queries are not to be fitted on.
    """
    if dataset.split == TEST:
        raise InvalidInput(
            f"{dataset.name}: folds train on the queries of other namespaces, and those read are of the split 'test', "
            "which is never trained on; use the split 'train', or 'all' for a set on which nothing else was fitted"
        )
    if len(dataset.namespaces) < 2 or any(query.namespace is None for query in dataset.queries):
        raise InvalidInput(
            f"{dataset.name}: leaving one namespace out needs queries with metadata.namespace, in two or more "
            f"namespaces; there are {len(dataset.namespaces)}"
        )
    for namespace in dataset.namespaces:
        roles = [TEST if query.namespace == namespace else TRAIN for query in dataset.queries]
        queries = tuple(replace(query, split=role) for query, role in zip(dataset.queries, roles, strict=True))
        dealt = replace(dataset, queries=queries)
        yield Fold(namespace, dealt.part(TRAIN), dealt.part(TEST))
