"""Corpora of a given size and width out of a labelled set, searched by the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.embed import StaticEmbedder
from agentmem.errors import InvalidInput
from agentmem.records import Float32
from agentmem.simulation.datasets import DEV, TEST, TRAIN, Dataset, Document
from agentmem.simulation.evaluate import search_all
from agentmem.simulation.filling import filled_store
from agentmem.simulation.pipelines import pipelines_named
from agentmem.simulation.study.configuration import Corpus
from agentmem.simulation.study.pools import DEPTH, Pools, Searched
from agentmem.storage.terms import Analyzer

MADE_UP = "distractor-"
"""Ids of vectors that were made up begin with it."""
SEED = 0
"""Of the distractors and of the signs of words: every configuration searches the same corpora."""

Progress = Callable[[int], None]


def embedded(dataset: Dataset) -> Dataset:
    """Return the dataset with unit vectors: those that it was read with, or else the bundled model's.

    Documents without a vector (no text, or no word that the model knows) cannot be found by one and are left out, with
    their judgements; queries without one stay, and count as 0.

    Raises:
        InvalidInput: a document of the set is called like a made-up one.
    """
    if dataset.document_vectors is None:
        model = StaticEmbedder()
        texts = [document.text for document in dataset.documents]
        dataset = replace(
            dataset,
            document_vectors=model.embed(texts),
            query_vectors=model.embed([query.text for query in dataset.queries]),
        )
    if any(document.id.startswith(MADE_UP) for document in dataset.documents):
        raise InvalidInput(f"{dataset.name}: an id begins with {MADE_UP!r}, as those of made-up vectors do")
    vectors = _given(dataset.document_vectors)
    known = np.flatnonzero(vectors.any(axis=1)).tolist()
    return replace(
        dataset,
        documents=tuple(dataset.documents[row] for row in known),
        document_vectors=unit(vectors[known]),
        query_vectors=unit(_given(dataset.query_vectors)),
    )


def _given(vectors: Float32 | None) -> Float32:
    assert vectors is not None
    return vectors


def unit(vectors: NDArray[np.floating]) -> Float32:
    """Return rows of length 1; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: Float32 = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
    return result


def widened(dataset: Dataset) -> Dataset:
    """Return the dataset with vectors twice as wide: the second half are the text's words.

    They are its stems by TF-IDF, (1 + ln tf) · ln(1 + N / df), each added with its own random sign in a random place
    (feature hashing: Weinberger et al., ICML 2009), of unit length: a cosine is then the mean of that of the meanings
    and that of the words.  No number is repeated and none is padding, and any text has them, whatever embedded it.
    """
    vectors, asked = _given(dataset.document_vectors), _given(dataset.query_vectors)
    analyzer = Analyzer()
    documents = [np.unique(analyzer.terms(each.text)[1], return_counts=True) for each in dataset.documents]
    queries = [np.unique(analyzer.terms(each.text)[1], return_counts=True) for each in dataset.queries]
    terms, frequency = np.unique(np.concatenate([each for each, _ in documents]), return_counts=True)
    rarity = dict(zip(terms.tolist(), np.log1p(len(documents) / frequency).tolist(), strict=True))
    halves = [_hashed(each, rarity, vectors.shape[1]) for each in (documents, queries)]
    return replace(
        dataset,
        document_vectors=unit(np.concatenate([vectors, halves[0]], axis=1)),
        query_vectors=unit(np.concatenate([asked, halves[1]], axis=1)),
    )


def _hashed(
    texts: list[tuple[NDArray[np.uint32], NDArray[np.intp]]], rarity: Mapping[int, float], width: int
) -> Float32:
    table = np.zeros((len(texts), width))
    for row, (terms, counts) in enumerate(texts):
        mixed = terms.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(33)
        weights = np.array([rarity.get(term, 0.0) for term in terms.tolist()]) * (1 + np.log(counts))
        np.add.at(
            table[row], (mixed >> np.uint64(1)) % np.uint64(width), np.where(mixed & np.uint64(1), 1, -1) * weights
        )
    return unit(table)


def enlarged(dataset: Dataset, size: int) -> Dataset:
    """Return the dataset with made-up vectors beside its documents, ``size`` in all; 0 leaves it as it is.

    They are drawn from the normal distribution with the mean and the covariance of the documents' vectors, and made
    unit vectors; each lies in the namespace of a document drawn at random.  They have no text.

    Raises:
        InvalidInput: the set has more documents than that.
    """
    missing = size - len(dataset.documents)
    if not size or not missing:
        return dataset
    if missing < 0:
        raise InvalidInput(f"{dataset.name} has {len(dataset.documents)} vectors; ask for more than that, not {size}")
    rng = np.random.default_rng(SEED)
    vectors = _given(dataset.document_vectors)
    made = unit(_alike(vectors.astype(np.float64), missing, rng))
    spaces = [dataset.documents[row].namespace for row in rng.integers(len(dataset.documents), size=missing).tolist()]
    documents = tuple(
        Document(f"{MADE_UP}{number}", "", namespace, None, None, None, None, None, {})
        for number, namespace in enumerate(spaces)
    )
    return replace(dataset, documents=dataset.documents + documents, document_vectors=np.concatenate([vectors, made]))


def _alike(vectors: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    mean = vectors.mean(axis=0)
    values, directions = np.linalg.eigh(np.cov(vectors, rowvar=False))
    root = directions * np.sqrt(np.maximum(values, 0))
    drawn: NDArray[np.float64] = rng.standard_normal((count, len(mean))) @ root.T + mean
    return drawn


def corpus_of(dataset: Dataset, corpus: Corpus) -> Dataset:
    """Return an embedded dataset at a size and width.

    Raises:
        InvalidInput: the width is neither that of the vectors nor twice that.
    """
    own = _given(dataset.document_vectors).shape[1]
    if corpus.dimension not in (own, 2 * own):
        raise InvalidInput(f"{dataset.name}: its vectors have {own} dimensions; ask for {own} or {2 * own}")
    return enlarged(dataset if corpus.dimension == own else widened(dataset), corpus.size)


def searched(dataset: Dataset, *, show: bool = False, progress: Progress = lambda count: None) -> Searched:
    """Search a store that holds the dataset for the best ``DEPTH`` candidates of every query, by their vectors.

    Args:
        dataset: as ``corpus_of`` returns it; with queries of "train", "dev" and "test", or of "test" only.
        show: show progress bars on standard error.
        progress: called with 1 after each search.
    """
    with filled_store(dataset, show=show) as store:
        run = search_all(store, dataset, pipelines_named(["hnsw"]), DEPTH, progress)[0]
    names = [document.id for document in dataset.documents]
    place = {name: row for row, name in enumerate(names)}
    found = {query: np.array([place[each] for each in hits], np.int64) for query, hits in run.ranked.items() if hits}
    used = np.unique(np.concatenate(list(found.values())))
    vectors = _given(dataset.document_vectors)[used]
    ids = tuple(names[row] for row in used.tolist())
    rows = {query: np.searchsorted(used, mine) for query, mine in found.items()}
    splits = {
        split: _pools(dataset, split, rows, vectors, ids)
        for split in (TRAIN, DEV, TEST)
        if any(query.split == split for query in dataset.queries)
    }
    made_up = np.array([name.startswith(MADE_UP) for name in ids])
    shares = [float(made_up[mine].mean()) for mine in rows.values()]
    return Searched(splits, float(np.mean(shares)), len(names))


def _pools(dataset: Dataset, split: str, found: Mapping[str, Any], vectors: Float32, ids: tuple[str, ...]) -> Pools:
    every = [place for place, query in enumerate(dataset.queries) if query.split == split]
    asked = [place for place in every if dataset.queries[place].id in found]
    rows = np.full((len(asked), DEPTH), -1, np.int64)
    grades = np.zeros(rows.shape, np.float32)
    for line, place in enumerate(asked):
        name = dataset.queries[place].id
        mine = found[name]
        rows[line, : len(mine)] = mine
        grades[line, : len(mine)] = [max(dataset.qrels[name].get(ids[row], 0), 0) for row in mine.tolist()]
    return Pools(
        split,
        tuple(dataset.queries[place].id for place in asked),
        _given(dataset.query_vectors)[asked],
        rows,
        grades,
        vectors,
        ids,
        {dataset.queries[place].id: dict(dataset.qrels[dataset.queries[place].id]) for place in every},
        {
            dataset.queries[place].id: category
            for place in every
            if (category := dataset.queries[place].category) is not None
        },
    )
