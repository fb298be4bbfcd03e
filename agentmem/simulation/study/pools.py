"""The candidates of a set's queries, as the store's own search found them, split by split."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agentmem.errors import InvalidInput
from agentmem.records import Float32, Int64
from agentmem.simulation.datasets import DEV, TEST, TRAIN, Dataset, LabelledQuery

DEPTH = 50
"""Candidates a query."""


class Batch(NamedTuple):
    """Some queries with their candidates: b queries, m candidates, vectors of n.

    Attributes:
        x: float32 (b, n), unit vectors of the queries.
        keys: float32 (b, m, n), those of the candidates; zeros where there are fewer.
        missing: float32 (b, m), 0 for a candidate, −inf for none.
        target: float32 (b, m), the candidates' shares of the grades; zeros where none is relevant.
    """

    x: Float32
    keys: Float32
    missing: Float32
    target: Float32


@dataclass(frozen=True)
class Pools:
    """The queries of one split that have candidates, and those.

    Attributes:
        split: of the queries.
        queries: ids; b of them.
        x: float32 (b, n).
        rows: int64 (b, m), best first; −1 where there are fewer than m.
        grades: float32 (b, m), the judgements of the candidates; 0 for one that was not judged.
        vectors: float32 (rows, n), unit vectors, shared by the splits.
        ids: of the rows.
        qrels: judgements of every query of the split, those without candidates among them.
        categories: query id -> category, for the queries that have one.
    """

    split: str
    queries: tuple[str, ...]
    x: Float32
    rows: Int64
    grades: Float32
    vectors: Float32
    ids: tuple[str, ...]
    qrels: Mapping[str, Mapping[str, int]]
    categories: Mapping[str, str]

    def __len__(self) -> int:
        """Return how many queries have candidates."""
        return len(self.queries)

    def batch(self, places: Int64) -> Batch:
        """Return the queries in ``places`` with their candidates."""
        rows, grades = self.rows[places], self.grades[places]
        there = rows >= 0
        keys = self.vectors[np.where(there, rows, 0)]
        keys[~there] = 0
        total = grades.sum(axis=1, keepdims=True)
        target = grades / np.where(total > 0, total, 1)
        return Batch(self.x[places], keys, np.where(there, 0, -np.inf).astype(np.float32), target.astype(np.float32))

    @cached_property
    def taught(self) -> Int64:
        """The places of the queries with a relevant candidate."""
        return np.flatnonzero(self.grades.sum(axis=1) > 0)

    @cached_property
    def judged(self) -> Dataset:
        """The judgements of all queries of the split, as measures take them."""
        asked = tuple(
            LabelledQuery(query, "", None, {"category": self.categories.get(query)}, self.split) for query in self.qrels
        )
        return Dataset(self.split, (), asked, self.qrels, split=self.split)


class Sealed:
    """A test split, which can be looked at once."""

    def __init__(self, pools: Pools) -> None:
        self._pools: Pools | None = pools

    def open(self) -> Pools:
        """Return the pools.

        Raises:
            InvalidInput: they were looked at before.
        """
        if self._pools is None:
            raise InvalidInput("the test split was read already; what is measured on it twice was chosen by it")
        pools, self._pools = self._pools, None
        return pools


@dataclass(frozen=True)
class Searched:
    """One corpus, searched for every query.

    Attributes:
        splits: "train", "dev" and "test".
        distractors: share of the candidates that were made up, mean over the queries.
        size: vectors in the corpus.
    """

    splits: Mapping[str, Pools]
    distractors: float
    size: int

    @property
    def train(self) -> Pools:
        """What is fitted on."""
        return self.splits[TRAIN]

    @property
    def dev(self) -> Pools:
        """What training stops by, and configurations are chosen by."""
        return self.splits[DEV]

    def test(self) -> Sealed:
        """Return what is reported on, to be read once at the end."""
        return Sealed(self.splits[TEST])

    def save(self, path: Path) -> None:
        """Write all of it to one file."""
        arrays: dict[str, Any] = {"vectors": self.splits[TEST].vectors}
        splits = {}
        for name, pools in self.splits.items():
            arrays |= {f"{name}.x": pools.x, f"{name}.rows": pools.rows, f"{name}.grades": pools.grades}
            splits[name] = {"queries": pools.queries, "qrels": pools.qrels, "categories": pools.categories}
        ids = self.splits[TEST].ids
        told = {"ids": ids, "distractors": self.distractors, "size": self.size, "splits": splits}
        arrays["told"] = np.array(json.dumps(told))
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(file, **arrays)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Searched:
        """Read what ``save`` wrote."""
        with np.load(path, allow_pickle=False) as file:
            told = json.loads(str(file["told"]))
            vectors, ids = file["vectors"], tuple(told["ids"])
            splits = {
                name: Pools(
                    name,
                    tuple(each["queries"]),
                    file[f"{name}.x"],
                    file[f"{name}.rows"],
                    file[f"{name}.grades"],
                    vectors,
                    ids,
                    each["qrels"],
                    each["categories"],
                )
                for name, each in told["splits"].items()
            }
        return cls(splits, told["distractors"], told["size"])
