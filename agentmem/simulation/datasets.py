"""Labelled retrieval sets in the BEIR layout (Thakur et al. 2021, arXiv 2104.08663), read into frozen dataclasses.

A folder holds ``corpus.jsonl`` (``_id``, ``title``, ``text``, ``metadata``), ``queries.jsonl`` (``_id``, ``text``,
``metadata``) and ``qrels/<split>.tsv`` (a header, then query id, document id, grade); optionally ``corpus.npy`` and
``queries.npy``, one embedding a line, in the order of the files.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agentmem.errors import InvalidInput
from agentmem.records import Float32

THREAD_KEYS = ("thread", "conversation", "document")
TIME_KEYS = ("created_at", "epoch", "timestamp")


@dataclass(frozen=True, slots=True)
class Document:
    """One line of ``corpus.jsonl``; ``text`` is the title and the text, joined by a space."""

    id: str
    text: str
    namespace: str
    thread: str | None
    session: str | None
    speaker: str | None
    position: float | None
    created_at: float | str | None
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LabelledQuery:
    """One line of ``queries.jsonl``; ``namespace`` is where to search, None for everywhere."""

    id: str
    text: str
    namespace: str | None
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Documents, the queries of one split, and which documents answer them.

    Attributes:
        name: the folder's name.
        documents: in file order.
        queries: those of the split, in file order.
        qrels: query id -> {document id: grade}; a grade above 0 is relevant.
        document_vectors: float32 array of shape (documents, dim), or None where they were not asked for.
        query_vectors: float32 array of shape (queries, dim), or None.
    """

    name: str
    documents: tuple[Document, ...]
    queries: tuple[LabelledQuery, ...]
    qrels: Mapping[str, Mapping[str, int]]
    document_vectors: Float32 | None = None
    query_vectors: Float32 | None = None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())
    except FileNotFoundError as error:
        raise InvalidInput(
            f"{path} does not exist; a BEIR folder holds corpus.jsonl, queries.jsonl and qrels/<split>.tsv"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text: {error}") from error


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in _lines(path):
        try:
            value = json.loads(line)
        except ValueError as error:
            raise InvalidInput(f"{path}, line {number}: not JSON ({error})") from error
        if not isinstance(value, dict) or "_id" not in value or "text" not in value:
            raise InvalidInput(f'{path}, line {number}: expected an object with "_id" and "text"')
        yield value


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


def _query(line: Mapping[str, Any]) -> LabelledQuery:
    metadata = line.get("metadata") or {}
    return LabelledQuery(str(line["_id"]), str(line["text"]), _word(metadata.get("namespace")), metadata)


def _qrels(path: Path) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    for number, line in _lines(path):
        if number == 1:
            continue
        try:
            query, document, grade = line.rstrip("\n").split("\t")
            qrels.setdefault(query, {})[document] = int(grade)
        except ValueError as error:
            raise InvalidInput(f"{path}, line {number}: expected query id, document id and a whole grade") from error
    return qrels


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


def read_dataset(
    folder: Path | str, *, split: str = "test", vectors: bool = False, exclude_categories: Collection[int | str] = ()
) -> Dataset:
    """Read one split of a labelled set.

    Args:
        folder: where ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/`` are.
        split: the name of a file in ``qrels/``, without its ending.
        vectors: read ``corpus.npy`` and ``queries.npy`` as well (any float type; returned as float32).
        exclude_categories: leave out queries whose ``metadata.category`` is one of these.

    Raises:
        InvalidInput: a file is missing or malformed; the message names it and the line.
    """
    folder = Path(folder)
    qrels = _qrels(folder / "qrels" / f"{split}.tsv")
    documents = tuple(map(_document, _objects(folder / "corpus.jsonl")))
    asked = tuple(map(_query, _objects(folder / "queries.jsonl")))
    excluded = {str(category) for category in exclude_categories}
    kept = [
        row
        for row, query in enumerate(asked)
        if query.id in qrels and str(query.metadata.get("category")) not in excluded
    ]
    if not kept:
        raise InvalidInput(f"{folder}: no query of the split {split!r} is left to ask")
    return Dataset(
        name=folder.resolve().name,
        documents=documents,
        queries=tuple(asked[row] for row in kept),
        qrels={asked[row].id: qrels[asked[row].id] for row in kept},
        document_vectors=_vectors(folder / "corpus.npy", len(documents)) if vectors else None,
        query_vectors=_vectors(folder / "queries.npy", len(asked))[kept] if vectors else None,
    )
