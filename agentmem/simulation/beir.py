"""Labelled sets read from folders in the BEIR layout (Thakur et al. 2021, arXiv 2104.08663).

A folder holds ``corpus.jsonl`` (``_id``, ``title``, ``text``, ``metadata``), ``queries.jsonl`` (``_id``, ``text``,
``metadata``) and ``qrels/<split>.tsv`` (a header, then query id, document id, grade); optionally ``corpus.npy`` and
``queries.npy``, one embedding a line, in the order of the files, and ``edges.tsv`` (a header, then child id, parent
id).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agentmem.errors import InvalidInput
from agentmem.records import Float32
from agentmem.simulation.datasets import ALL, DEV, TEST, TRAIN, Dataset, Document, LabelledQuery
from agentmem.simulation.hierarchy import descendants, linked, read_edges
from agentmem.simulation.lines import objects_of, rows_of

THREAD_KEYS = ("thread", "conversation", "document")
TIME_KEYS = ("created_at", "epoch", "timestamp")
STRICTNESS = (TRAIN, DEV, TEST)
"""A query with judgements in several splits is of the last of these, so that it is never trained on by mistake."""

Qrels = dict[str, dict[str, int]]


def _first(metadata: Mapping[str, Any], keys: Collection[str]) -> Any:
    return next((metadata[key] for key in keys if metadata.get(key) is not None), None)


def _word(value: Any) -> str | None:
    return None if value is None else str(value)


def _document(line: Mapping[str, Any]) -> Document:
    metadata = line.get("metadata") or {}
    position = metadata.get("position")
    return Document(
        id=str(line["_id"]),
        text=" ".join(part for part in (line.get("title"), line["text"]) if part),
        namespace=str(metadata.get("namespace", "")),
        thread=_word(_first(metadata, THREAD_KEYS)),
        session=_word(metadata.get("session")),
        speaker=_word(metadata.get("speaker")),
        position=None if position is None else float(position),
        created_at=_first(metadata, TIME_KEYS),
        metadata=metadata,
    )


def _query(line: Mapping[str, Any], split: str, texts: Mapping[str, set[str]]) -> LabelledQuery:
    """Return a query; its own document is the one that metadata.self names, or that has the same id and text."""
    metadata = line.get("metadata") or {}
    name, text = str(line["_id"]), str(line["text"])
    own = _word(metadata.get("self")) or (name if text in texts.get(name, ()) else None)
    return LabelledQuery(name, text, _word(metadata.get("namespace")), metadata, split, own)


def _qrels(path: Path) -> Qrels:
    qrels: Qrels = {}
    for number, fields in rows_of(path):
        try:
            query, document, grade = fields
            qrels.setdefault(query, {})[document] = int(grade)
        except ValueError as error:
            raise InvalidInput(f"{path}, line {number}: expected query id, document id and a whole grade") from error
    return qrels


def _judged(folder: Path, split: str) -> tuple[Qrels, dict[str, str]]:
    """Return the judgements of a split, or of "all", and the split of each query."""
    names = sorted(file.stem for file in (folder / "qrels").glob("*.tsv"))
    if split != ALL and split not in names:
        there = ", ".join([*names, ALL]) if names else "none"
        raise InvalidInput(f"{folder / 'qrels' / split}.tsv does not exist; the splits of this set: {there}")
    qrels: Qrels = {}
    splits: dict[str, str] = {}
    for name in sorted(names, key=lambda name: STRICTNESS.index(name) if name in STRICTNESS else -1):
        for query, grades in _qrels(folder / "qrels" / f"{name}.tsv").items():
            qrels.setdefault(query, {}).update(grades)
            splits[query] = name
    return {query: grades for query, grades in qrels.items() if split in (ALL, splits[query])}, splits


def _vectors(path: Path, rows: int) -> Float32:
    try:
        vectors = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise InvalidInput(f"{path} does not exist; use the bundled model for a folder without vectors") from error
    except ValueError as error:
        raise InvalidInput(f"{path} is not a .npy file of numbers: {error}") from error
    if vectors.ndim != 2 or len(vectors) != rows:
        raise InvalidInput(f"{path} has shape {vectors.shape}; expected ({rows}, dimension), a row a line")
    return np.ascontiguousarray(vectors, dtype=np.float32)


def _corpus(folder: Path, links: bool) -> tuple[tuple[Document, ...], dict[str, set[str]]]:
    """Return the documents, and by id the text of each with and without its title."""
    lines = list(objects_of(folder / "corpus.jsonl"))
    documents = tuple(map(_document, lines))
    edges = folder / "edges.tsv"
    if links and edges.exists():
        documents = linked(documents, read_edges(edges))
    texts = {each.id: {each.text, str(line["text"])} for each, line in zip(documents, lines, strict=True)}
    return documents, texts


def _below(folder: Path, qrels: Qrels, limit: int) -> Qrels:
    """Return the judgements of documents with fewer than ``limit`` descendants."""
    counts = descendants(read_edges(folder / "edges.tsv"))
    return {
        query: {document: grade for document, grade in grades.items() if counts[document] < limit}
        for query, grades in qrels.items()
    }


def read_dataset(
    folder: Path | str,
    *,
    split: str = TEST,
    vectors: bool = False,
    exclude_categories: Collection[int | str] = (),
    links: bool = True,
    max_descendants: int | None = None,
) -> Dataset:
    """Read a labelled set with the queries of one split, or of all.

    Queries without a relevant document are left out: nothing could answer them.

    Args:
        folder: where ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/`` are.
        split: the name of a file in ``qrels/``, without its ending, or "all".
        vectors: read ``corpus.npy`` and ``queries.npy`` as well (any float type; returned as float32).
        exclude_categories: leave out queries whose ``metadata.category`` is one of these.
        links: give documents ("parent", id) links by ``edges.tsv``, where there is one.
        max_descendants: of a hierarchy, count only documents with fewer descendants than this as relevant: those with
            the most answer every query.

    Raises:
        InvalidInput: a file is missing or malformed; the message names it and the line.
    """
    folder = Path(folder)
    qrels, splits = _judged(folder, split)
    if max_descendants is not None:
        qrels = _below(folder, qrels, max_descendants)
    qrels = {query: grades for query, grades in qrels.items() if any(grade > 0 for grade in grades.values())}
    documents, texts = _corpus(folder, links)
    asked = [_query(line, splits.get(str(line["_id"]), split), texts) for line in objects_of(folder / "queries.jsonl")]
    excluded = {str(category) for category in exclude_categories}
    kept = [row for row, query in enumerate(asked) if query.id in qrels and query.category not in excluded]
    if not kept:
        raise InvalidInput(f"{folder}: no query of the split {split!r} is left to ask")
    return Dataset(
        name=folder.resolve().name,
        documents=documents,
        queries=tuple(asked),
        qrels=qrels,
        document_vectors=_vectors(folder / "corpus.npy", len(documents)) if vectors else None,
        query_vectors=_vectors(folder / "queries.npy", len(asked)) if vectors else None,
        split=split,
    ).take(kept)
