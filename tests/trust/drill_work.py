"""The work that is interrupted: random operations on a store, each with what it must leave behind, and the comparison.

A record's text says all about it: its vector and its metadata follow from it, so that a record is whole or it is not.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass, field

import numpy as np

import agentmem
from agentmem import maintenance
from agentmem.index import planner

DIMENSION = 8
GROUPS = 12
MOST = 400
"""Beyond so many records one tends to delete."""

Model = dict[str, str]
"""What a store must hold: texts by id."""


@dataclass(frozen=True)
class Step:
    """One operation.

    Attributes:
        verb: of the store, or "transaction" for several verbs in one.
        puts: the texts, by id, that are there when it is done.
        deletes: ids that are not.
        group: what ``delete_where`` selects.
        link: the id that a record that is added links to.
    """

    verb: str
    puts: Model = field(default_factory=dict)
    deletes: tuple[str, ...] = ()
    group: int = -1
    link: str = ""

    def applied(self, model: Model) -> Model:
        """Return what a store that held ``model`` holds afterwards."""
        return {id: text for id, text in {**model, **self.puts}.items() if id not in self.deletes}


def group_of(text: str) -> int:
    return zlib.crc32(text.encode()) % GROUPS


def vector_of(text: str) -> np.ndarray:
    """Return the vector of a text, float32 (DIMENSION,)."""
    return np.random.default_rng(zlib.crc32(text.encode())).random(DIMENSION, np.float32) + np.float32(0.1)


def open_store(path, durability="normal") -> agentmem.MemoryStore:
    return agentmem.MemoryStore(path, embedder=None, dimension=DIMENSION, merge="manual", durability=durability)


def make_small() -> None:
    """Have this process build and search graphs at sizes that a drill can afford."""
    maintenance.GRAPH_ROWS = 40
    planner.SCAN_ROWS = 20


class Work:
    """An endless, seeded row of operations."""

    def __init__(self, seed: str, model: Model) -> None:
        self.model = dict(model)
        self._seed = seed
        self._chance = random.Random(seed)
        self._count = 0

    def next(self) -> Step:
        """Return an operation at random; most of them change records."""
        roll = self._chance.random()
        if len(self.model) < 10 or roll < 0.12:
            return self.add_many(self._chance.randint(2, 30))
        if roll < (0.6 if len(self.model) > MOST else 0.17):
            return self._delete_group()
        if roll < 0.95:
            makers = (self._add, self._add, self._upsert, self._update, self._delete, self._transaction)
            return self._chance.choice(makers)()
        return Step(self._chance.choice(("merge", "merge", "optimize", "vacuum")))

    def done(self, step: Step) -> None:
        """Take note that an operation was carried out."""
        self.model = step.applied(self.model)

    def add_many(self, count: int) -> Step:
        return Step("add_many", dict(self._fresh() for _ in range(count)))

    def _fresh(self) -> tuple[str, str]:
        self._count += 1
        name = f"{self._seed}-{self._count}"
        return name, f"memory {name}"

    def _some(self, most: int) -> list[str]:
        return self._chance.sample(sorted(self.model), min(len(self.model), self._chance.randint(1, most)))

    def _add(self) -> Step:
        return Step("add", dict([self._fresh()]), link=self._some(1)[0] if self._chance.random() < 0.5 else "")

    def _upsert(self) -> Step:
        name, text = self._fresh()
        return Step("upsert", {self._some(1)[0] if self._chance.random() < 0.7 else name: text})

    def _update(self) -> Step:
        return Step("update", {self._some(1)[0]: self._fresh()[1]})

    def _delete(self) -> Step:
        return Step("delete", deletes=tuple(self._some(8)))

    def _delete_group(self) -> Step:
        group = self._chance.randrange(GROUPS)
        return Step("delete_where", deletes=self._members(group), group=group)

    def _members(self, group: int) -> tuple[str, ...]:
        return tuple(id for id, text in self.model.items() if group_of(text) == group)

    def _transaction(self) -> Step:
        puts = dict(self._fresh() for _ in range(3))
        updated, *deletes = self._some(6)
        return Step("transaction", {**puts, updated: self._fresh()[1]}, tuple(deletes))


def perform(store: agentmem.MemoryStore, step: Step) -> None:
    """Carry out an operation on a store."""
    if step.verb == "transaction":
        *added, (updated, text) = step.puts.items()
        with store.transaction():
            _put(store, Step("add_many", dict(added)))
            _put(store, Step("update", {updated: text}))
            store.delete(*step.deletes)
    elif step.verb == "delete":
        store.delete(*step.deletes)
    elif step.verb == "delete_where":
        store.delete_where({"group": step.group})
    elif step.puts:
        _put(store, step)
    else:
        getattr(store, step.verb)()


def _put(store: agentmem.MemoryStore, step: Step) -> None:
    ids, texts = list(step.puts), list(step.puts.values())
    vectors, metadatas = [vector_of(text) for text in texts], [{"group": group_of(text)} for text in texts]
    if step.verb == "add_many":
        store.add_many(texts, ids=ids, embeddings=vectors, metadatas=metadatas)
    elif step.verb == "update":
        store.update(ids[0], text=texts[0], embedding=vectors[0], metadata=metadatas[0])
    else:
        links = {"links": [("after", step.link)]} if step.link else {}
        verb = store.add if step.verb == "add" else store.upsert
        verb(texts[0], id=ids[0], embedding=vectors[0], metadata=metadatas[0], **links)


def held_by(store: agentmem.MemoryStore) -> Model:
    """Return what a store holds; each record's vector and metadata are those of its text."""
    records = list(store.iterate())
    for record in records:
        vector = store.vector(record.id)
        assert vector is not None, record
        assert np.array_equal(vector, vector_of(record.text)), record
        assert record.metadata == {"group": group_of(record.text)}, record
    return {record.id: record.text for record in records}


def found_by(store: agentmem.MemoryStore, size: int) -> set[str]:
    """Return the ids that one search for more than everything finds."""
    return {hit.id for hit in store.search(embedding=np.ones(DIMENSION), k=size + 10)}


@dataclass(frozen=True)
class Verdict:
    """What became of the acknowledged operations, in records, and of the one that was under way.

    Attributes:
        lost: acknowledged, but not there, or not as acknowledged.
        resurrected: there, but never acknowledged, or deleted.
        torn: the operation under way was carried out in part.
    """

    lost: int = 0
    resurrected: int = 0
    torn: bool = False


def judge(found: Model, before: Model, pending: Step | None) -> Verdict:
    """Compare what a store holds with what it acknowledged and with the operation that was under way."""
    after = before if pending is None else pending.applied(before)
    touched = {id for id in {**before, **after} if before.get(id) != after.get(id)}
    news = [found.get(id) != before.get(id) for id in touched]
    return Verdict(
        lost=sum(found.get(id) != text for id, text in before.items() if id not in touched),
        resurrected=sum(id not in before and id not in after for id in found),
        torn=any(news) and any(found.get(id) != after.get(id) for id in touched),
    )
