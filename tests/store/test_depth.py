"""A depth fitted to a store's own links finds what stands above a record whose links are not known."""

from __future__ import annotations

import random

import numpy as np
import pytest

import agentmem
from agentmem.depth import DepthMap, fit_depth, fitted

DIM, TOPICS, KINDS = 32, 12, 12


def corpus(seed: int) -> tuple[list[str], np.ndarray, dict[str, str]]:
    """Return names, vectors and parents: a root, 12 topics, 12 kinds of each, 6 things of each kind.

    A kind's vector has its topic's part turned by one rotation for all: siblings are alike, ancestors are not.
    """
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
    topics = rng.normal(size=(TOPICS, DIM))
    kinds = rng.normal(size=(TOPICS, KINDS, DIM))
    names, vectors, parent = ["root"], [rng.normal(size=DIM)], {}
    for topic in range(TOPICS):
        names.append(f"{topic}")
        vectors.append(topics[topic] @ turn + 0.3 * rng.normal(size=DIM))
        parent[names[-1]] = "root"
        for kind in range(KINDS):
            names.append(f"{topic}.{kind}")
            vectors.append((topics[topic] + kinds[topic, kind]) @ turn + 0.3 * rng.normal(size=DIM))
            parent[names[-1]] = f"{topic}"
            for thing in range(6):
                names.append(f"{topic}.{kind}.{thing}")
                vectors.append(topics[topic] + kinds[topic, kind] + 0.3 * rng.normal(size=DIM))
                parent[names[-1]] = f"{topic}.{kind}"
    return names, np.array(vectors), parent


@pytest.fixture(scope="module")
def taxonomy():
    """A store of it, and the names of 40 things whose own links are kept for the test."""
    names, vectors, parent = corpus(5)
    with agentmem.MemoryStore(":memory:", embedder=None, dimension=DIM) as store:
        store.add_many(
            [f"entry {name}" for name in names],
            ids=names,
            embeddings=vectors,
            links=[[("parent", parent[name])] if name in parent else [] for name in names],
        )
        yield store, random.Random(6).sample([name for name in names if name.count(".") == 2], 40)


def recall(store: agentmem.MemoryStore, names: list[str], mechanism: str) -> float:
    """Return recall@10 of a thing's kind and topic."""
    found = 0.0
    for name in names:
        wanted = {name.rsplit(".", 1)[0], name.split(".", 1)[0]}
        hits = store.search(embedding=store.vector(name), k=11, mechanism=mechanism)
        found += len(wanted & {hit.id for hit in hits if hit.id != name}) / 2
    return found / len(names)


def test_it_finds_what_stands_above_without_its_links(taxonomy):
    store, held = taxonomy
    plain = recall(store, held, "hyperbolic-attention")
    assert plain == pytest.approx(recall(store, held, "dense"), abs=0.05), "rows of one length: the cosine's order"
    fit_depth(store, ["parent"], without=held).attach(store)
    assert recall(store, held, "hyperbolic-attention") > max(0.6, 2 * plain)
    assert recall(store, held, "dense") < 0.3


def test_general_records_lie_nearer_to_the_centre():
    names, vectors, parent = corpus(7)
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    place = {name: row for row, name in enumerate(names)}
    found = fitted(unit, np.arange(len(names)), {place[name]: [place[above]] for name, above in parent.items()})
    depths = (unit - found.mean) @ found.depth
    levels = np.array([name.count(".") for name in names])
    assert depths[levels == 2].mean() > depths[levels == 1].mean()
    lengths = np.linalg.norm(DepthMap(found.mean, found.up, found.depth, 0.1).placed(unit), axis=1)
    assert np.corrcoef(lengths, depths)[0, 1] > 0.99


def test_a_text_is_embedded_and_a_filter_is_obeyed():
    with agentmem.MemoryStore(":memory:") as store:
        animals = ["heron", "otter", "lynx", "newt", "shrew"]
        names = [f"{animal} number {row}" for row in range(40) for animal in animals]
        store.add_many(animals, ids=animals)
        store.add_many(names, ids=names, links=[[("is", name.split()[0])] for name in names])
        fit_depth(store).attach(store)
        hits = store.search("heron number 3", k=3, mechanism="hyperbolic-attention", explain=True)
        assert hits[0].explanation.mechanism == "hyperbolic-attention"
        only = store.search("heron", k=3, mechanism="hyperbolic-attention", filter={"@id": "otter"})
        assert [hit.id for hit in only] == ["otter"]


def test_too_few_links_and_another_metric_are_refused(tmp_path):
    with agentmem.MemoryStore(":memory:", embedder=None, dimension=2) as store:
        store.add("a", embedding=[1, 0])
        with pytest.raises(agentmem.InvalidInput, match="0 records have a record above them"):
            fit_depth(store)
    with (
        agentmem.MemoryStore(":memory:", embedder=None, dimension=2, metric="l2") as store,
        pytest.raises(agentmem.InvalidInput, match="cosine"),
    ):
        fit_depth(store)
