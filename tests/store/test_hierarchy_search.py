"""Hierarchies: a made-up taxonomy, found by its links; what is no hierarchy; and what links obey."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest

import agentmem
from agentmem.links import LINK_DEPTH, LINKED_ROWS, measure

BRANCHING, DEPTH, DIM = 4, 4, 24


def tree() -> list[str]:
    """Return the names of a tree's nodes, parents before children: "t", "t0", "t00", ...; 341 of them."""
    level, names = ["t"], ["t"]
    for _ in range(DEPTH):
        level = [f"{name}{child}" for name in level for child in range(BRANCHING)]
        names += level
    return names


def above(name: str) -> set[str]:
    """Return the ancestors of a node."""
    return {name[:length] for length in range(1, len(name))}


def embeddings(names: list[str], seed: int) -> dict[str, np.ndarray]:
    """Return vectors of which siblings share most and ancestors, whose own topic is more abstract, little."""
    rng = np.random.default_rng(seed)
    topic = {name: rng.normal(size=DIM) for name in names}
    return {
        name: (0.2 if len(name) <= DEPTH else 0.6) * topic.get(name[:-1], 0)
        + 0.5 * topic.get(name[:-2], 0)
        + rng.normal(size=DIM)
        for name in names
    }


def filled(kind: str = "parent", seed: int = 1, **fields: object) -> agentmem.MemoryStore:
    """Return a store of the tree, each node linked to the one above it."""
    names = tree()
    vectors = embeddings(names, seed)
    store = agentmem.MemoryStore(":memory:", embedder=None, dimension=DIM)
    store.add_many(
        [f"entry number {row}" for row in range(len(names))],
        ids=names,
        embeddings=np.array([vectors[name] for name in names]),
        links=[[(kind, name[:-1])] if len(name) > 1 else [] for name in names],
        **fields,
    )
    return store


def recall(store: agentmem.MemoryStore, mechanism: str, text: str | None = "entry") -> float:
    """Return recall@10 of the ancestors but for the top two levels, over 60 leaves that are hidden themselves."""
    leaves = [name for name in tree() if len(name) == DEPTH + 1]
    found = []
    for name in random.Random(2).sample(leaves, 60):
        wanted = {other for other in above(name) if len(other) > 2}
        hits = store.search(
            text, embedding=store.vector(name), k=10, filter={"@id": {"$ne": name}}, mechanism=mechanism
        )
        found.append(len(wanted & {hit.id for hit in hits}) / len(wanted))
    return float(np.mean(found))


@pytest.fixture(scope="module")
def taxonomy() -> Iterator[agentmem.MemoryStore]:
    """A store of the tree."""
    with filled() as store:
        yield store


def test_ancestors_are_found_by_links_where_vectors_find_none(taxonomy):
    assert recall(taxonomy, "dense") < 0.1
    assert recall(taxonomy, "memory-heads") < 0.55
    assert recall(taxonomy, "auto") > 0.7
    assert recall(taxonomy, "auto", text=None) > 0.7


def test_the_explanation_says_that_there_is_a_hierarchy_and_what_it_gave(taxonomy):
    hits = taxonomy.search("entry", embedding=taxonomy.vector("t0123"), k=10, explain=True)
    parent = next(hit for hit in hits if hit.id == "t012")
    assert parent.explanation.mechanism == "hierarchy-heads"
    assert parent.explanation.reason == "links lead up a hierarchy: parent"
    assert "links" in parent.explanation.sources
    assert parent.explanation.heads["ancestors"] > 0.5 * parent.score
    assert sum(parent.explanation.heads.values()) == pytest.approx(parent.score, rel=1e-5)


def test_a_record_that_stands_out_comes_before_all_that_stand_above_it(taxonomy):
    for leaf in ("t0123", "t3210", "t1111"):
        ids = [hit.id for hit in taxonomy.search(taxonomy.get(leaf).text, embedding=taxonomy.vector(leaf), k=5)]
        assert ids[0] == leaf
        assert above(leaf) - {"t"} <= set(ids)


def test_what_stands_above_everything_comes_last_of_the_ancestors(taxonomy):
    leaf = "t2222"
    hits = taxonomy.search("entry", embedding=taxonomy.vector(leaf), k=40, explain=True)
    ranks = {hit.id: hit.explanation.heads.get("ancestors", 0) for hit in hits}
    assert ranks["t222"] > ranks["t22"] > ranks["t2"] > ranks.get("t", 0)


def test_other_mechanisms_are_what_they_are_without_a_hierarchy(taxonomy):
    why = taxonomy.search("entry", embedding=taxonomy.vector("t0"), mechanism="memory-heads", explain=True)
    assert all("ancestors" not in hit.explanation.heads for hit in why)
    assert any("links" in hit.explanation.heads for hit in why)


@pytest.mark.parametrize("how", ["filter", "namespace", "expiry"])
def test_links_obey(how, monkeypatch):
    """A record that may not be found is neither reached nor passed through."""
    names = tree()
    hidden = "t01"
    options: dict[str, object] = {}
    if how == "namespace":
        options["namespace"] = ["b" if name == hidden else "a" for name in names]
    if how == "expiry":
        options["ttl"] = [10.0 if name == hidden else None for name in names]
    with filled(**options) as store:
        where: dict[str, object] = {"filter": {"@id": {"$ne": hidden}}} if how == "filter" else {}
        if how == "namespace":
            where = {"namespace": "a"}
        if how == "expiry":
            clock = agentmem.validation.wall_clock() + 100
            monkeypatch.setattr("agentmem.validation.wall_clock", lambda: clock)
        hits = store.search("entry", embedding=store.vector("t0123"), k=10, explain=True, **where)
        assert hits[0].explanation.mechanism == "hierarchy-heads"
        found = {hit.id: hit for hit in hits}
        assert hidden not in found
        assert found["t012"].explanation.heads["ancestors"] > 0
        assert not {"t0", "t"} & found.keys(), "the only way there leads through a hidden record"


def store_of(pairs: list[tuple[int, int]], size: int) -> agentmem.MemoryStore:
    """Return a store of records "0", "1", ..., each linked to others."""
    out: dict[int, list[tuple[str, str]]] = {row: [] for row in range(size)}
    for source, target in pairs:
        out[source].append(("to", str(target)))
    store = agentmem.MemoryStore(":memory:", embedder=None, dimension=4)
    vectors = np.random.default_rng(3).normal(size=(size, 4))
    store.add_many(
        [f"note {row}" for row in range(size)],
        ids=[str(row) for row in range(size)],
        embeddings=vectors,
        links=[out[row] for row in range(size)],
    )
    return store


def chains(length: int, count: int) -> list[tuple[int, int]]:
    """Return links of replies to the message before, in ``count`` threads."""
    return [(row, row - 1) for row in range(length * count) if row % length]


RNG = random.Random(4)
NO_TREES = {
    "none": [],
    "one chain": chains(400, 1),
    "chains": chains(12, 40),
    "threads of replies": [(row, RNG.randrange(row - row % 8, row)) for row in range(480) if row % 8],
    "citations": [(row, RNG.randrange(row)) for row in range(20, 480) for _ in range(8)],
    "tags": [(row, RNG.randrange(10)) for row in range(10, 480)],
    "a ring": [(row, (row + 1) % 480) for row in range(480)],
    "a tree on a ring": [(row, row // 3) for row in range(1, 480)] + [(0, 400)],
    "few links": [(row, (row - 1) // 2) for row in range(1, 60)],
    "everything to everything": [(row, other) for row in range(40) for other in range(40)],
}


@pytest.mark.parametrize("name", NO_TREES)
def test_what_is_no_hierarchy(name):
    with store_of(NO_TREES[name], 480) as store:
        hits = store.search("note", embedding=[1, 2, 3, 4], explain=True)
        assert {hit.explanation.mechanism for hit in hits} == {"memory-heads"}


@pytest.mark.parametrize("branching", [2, 3, 8])
def test_trees_of_any_width_are_hierarchies(branching):
    with store_of([(row, (row - 1) // branching) for row in range(1, 480)], 480) as store:
        hits = store.search("note", embedding=[1, 2, 3, 4], explain=True)
        assert {hit.explanation.reason for hit in hits} == {"links lead up a hierarchy: to"}


def test_a_hierarchy_that_grows_in_an_open_store_is_found(tmp_path):
    with agentmem.MemoryStore(tmp_path / "memory.db", embedder=None, dimension=4, merge="manual") as store:
        store.add("a note", embedding=[1, 0, 0, 0], id="0", links=[])
        assert store.search("note", embedding=[1, 0, 0, 0], explain=True)[0].explanation.mechanism == "memory-heads"
        for row in range(1, 100):
            vector = np.random.default_rng(row).normal(size=4)
            store.add(f"note {row}", embedding=vector, id=str(row), links=[("in", str((row - 1) // 3))])
            store.search("note", embedding=vector)
        why = store.search("note", embedding=[1, 0, 0, 0], explain=True)[0].explanation
        assert why.reason == "links lead up a hierarchy: in"


def test_long_chains_wide_fans_and_loops_are_bounded():
    size = 900
    pairs = chains(450, 1) + [(450, row) for row in range(451, size)] + [(row, row) for row in range(0, 100, 7)]
    with store_of(pairs, size) as store:
        hits = store.search("note", embedding=store.vector("449"), k=size, explain=True)
        linked = {hit.id for hit in hits if "links" in hit.explanation.sources}
        assert {str(449 - step) for step in range(1, LINK_DEPTH + 1)} <= linked
        hits = store.search("note", embedding=store.vector("450"), k=10, explain=True)
        assert sum("links" in hit.explanation.sources for hit in hits) < 3 * LINKED_ROWS


def test_few_records_make_no_hierarchy():
    assert measure({"parent": {2: [1], 3: [1]}}, np.array([1, 2, 3])).kinds == ()


def test_links_that_lead_up_no_hierarchy_are_followed_beside_one():
    names = tree()
    with filled() as store:
        note = store.add("a note on the side", embedding=-store.vector("t0123"), id="note")
        store.update("t0123", links=[("parent", "t012"), ("see", note)])
        hits = store.search("entry", embedding=store.vector("t0123"), k=len(names), explain=True)
        why = next(hit.explanation for hit in hits if hit.id == note)
        assert why.mechanism == "hierarchy-heads"
        assert why.heads["links"] > 0
        assert "ancestors" not in why.heads
