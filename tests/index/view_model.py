"""A model of the index in plain Python: a list of rows, looked at one by one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from agentmem.index import kernels
from agentmem.rows import Rows, rows_from_tuples

BACKENDS = ["native", "numpy"]
NAMESPACES = ["", "users/1", "users/10", "users/1/a", "users/1/b", "users/1/a/x", "users", "zoo"]
SCOPES = [None, "", "users/1", "users/1/", "users/10", "users/", "users", "nowhere", "nowhere/", "zoo"]


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Run on the compiled kernels or on their NumPy twins."""
    with pytest.MonkeyPatch.context() as patch:
        if name == "numpy":
            patch.setattr(kernels, "kernels", lambda _: None)
        elif kernels.kernels("scan") is None:
            pytest.skip("the kernels are not built")
        yield


@dataclass
class ModelRow:
    label: int
    namespace: str
    thread: str | None
    position: float | None
    expires_at: float | None
    vector: np.ndarray | None
    tokens: np.ndarray
    terms: np.ndarray
    alive: bool = True

    def as_tuple(self) -> tuple[Any, ...]:
        vector = None if self.vector is None else self.vector.tobytes()
        return (
            *(self.label, self.namespace, self.thread, self.thread and "s", "Ann Other", self.position),
            *(float(self.label), self.expires_at, 0.25, vector, self.tokens.tobytes(), self.terms.tobytes()),
        )


def as_rows(rows: Sequence[ModelRow], dimension: int) -> Rows:
    return rows_from_tuples([row.as_tuple() for row in rows], dimension)


def random_rows(rng: np.random.Generator, first: int, count: int, dimension: int) -> list[ModelRow]:
    """Rows with labels from ``first`` on; vectors of small integers, so that scores are exact and ties are common."""
    rows = []
    for label in range(first, first + count):
        vector = rng.integers(-3, 4, dimension).astype(np.float32)
        rows.append(
            ModelRow(
                label=label,
                namespace=NAMESPACES[rng.integers(len(NAMESPACES))],
                thread=[None, "t", "u"][rng.integers(3)],
                position=None if rng.random() < 0.2 else float(rng.integers(6)),
                expires_at=None if rng.random() < 0.7 else float(rng.integers(10)),
                vector=vector if vector.any() and rng.random() < 0.8 else None,
                tokens=rng.integers(0, 50, rng.integers(4)).astype(np.uint16),
                terms=rng.integers(0, 12, rng.integers(9)).astype(np.uint32),
            )
        )
    return rows


class Model:
    """What a view should answer, computed the slow way."""

    def __init__(self, metric: str, rows: Sequence[ModelRow] = ()) -> None:
        self.metric = metric
        self.rows = list(rows)

    def in_namespace(self, namespace: str | None) -> list[ModelRow]:
        rows = [row for row in self.rows if row.alive]
        if namespace is None:
            return rows
        if namespace.endswith("/"):
            return [row for row in rows if row.namespace.startswith(namespace)]
        return [row for row in rows if row.namespace == namespace]

    def scope(self, namespace: str | None, now: float, labels: Sequence[int] | None) -> list[ModelRow]:
        return [
            row
            for row in self.in_namespace(namespace)
            if (row.expires_at is None or row.expires_at > now) and (labels is None or row.label in labels)
        ]

    def score(self, query: np.ndarray, vector: np.ndarray) -> float:
        query, vector = query.astype(np.float64), vector.astype(np.float64)
        if self.metric == "l2":
            return -float(((query - vector) ** 2).sum())
        if self.metric == "cosine":
            vector = vector / np.linalg.norm(vector)
            query = query / (np.linalg.norm(query) or 1.0)
        return float(query @ vector)

    def nearest(self, query: np.ndarray, k: int, scope: Sequence[ModelRow]) -> list[tuple[float, int]]:
        scored = [(self.score(query, row.vector), row.label) for row in scope if row.vector is not None]
        return sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:k]

    def bm25(self, terms: Sequence[int], namespace: str | None, scope: Sequence[ModelRow]) -> dict[int, float]:
        population = [row for row in self.in_namespace(namespace) if len(row.terms)]
        average = sum(len(row.terms) for row in population) / max(len(population), 1)
        scores: dict[int, float] = {}
        for row in scope:
            occurrences = Counter(row.terms.tolist())
            for term in terms:
                if occurrences[term]:
                    frequency = sum(term in other.terms for other in population)
                    idf = math.log(1 + (len(population) - frequency + 0.5) / (frequency + 0.5))
                    tf = occurrences[term]
                    share = tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * len(row.terms) / average))
                    scores[row.label] = scores.get(row.label, 0.0) + idf * share
        return scores

    def neighbours(self, label: int, radius: int, scope: Sequence[ModelRow]) -> dict[int, int]:
        """The neighbours of a row: rank offset by label."""

        def place(row: ModelRow) -> tuple[bool, float, int]:
            return row.position is None, row.position or 0.0, row.label

        row = next(row for row in self.rows if row.label == label)
        if row.thread is None:
            return {}
        thread = [other for other in scope if (other.namespace, other.thread) == (row.namespace, row.thread)]
        before = sorted((other for other in thread if place(other) < place(row)), key=place, reverse=True)
        after = sorted((other for other in thread if place(other) > place(row)), key=place)
        found = {other.label: -rank for rank, other in enumerate(before[:radius], 1)}
        return found | {other.label: rank for rank, other in enumerate(after[:radius], 1)}
