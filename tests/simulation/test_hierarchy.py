"""Hierarchies: edges become links, ancestors are judged by their descendants, a query does not see its own record."""

import json

import numpy as np
import pytest

from agentmem.errors import InvalidInput
from agentmem.simulation import DENSE, Pipeline, evaluate, fill, new_store, read_dataset
from agentmem.simulation.hierarchy import descendants, read_edges

EDGES = [("cat", "feline"), ("lion", "feline"), ("feline", "animal"), ("dog", "animal"), ("cat", "pet"), ("dog", "pet")]
NAMES = ["cat", "lion", "dog", "feline", "pet", "animal"]


@pytest.fixture
def folder(tmp_path):
    """Six kinds of animal, children before parents; two of them ask for what they are."""
    texts = {name: f"{name}: a kind of thing called {name}" for name in NAMES}
    corpus = [{"_id": name, "text": texts[name]} for name in NAMES]
    queries = [{"_id": name, "text": texts[name]} for name in ("cat", "dog")]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (tmp_path / "qrels").mkdir()
    judged = [("cat", "feline"), ("cat", "animal"), ("cat", "pet"), ("dog", "animal"), ("dog", "pet")]
    (tmp_path / "qrels" / "test.tsv").write_text("head\n" + "".join(f"{a}\t{b}\t1\n" for a, b in judged))
    (tmp_path / "edges.tsv").write_text("child\tparent\n" + "".join(f"{a}\t{b}\n" for a, b in EDGES))
    vectors = np.zeros((6, 4))
    vectors[range(6), [0, 0, 1, 2, 3, 3]] = 1
    vectors[1, 1] = 0.5
    np.save(tmp_path / "corpus.npy", vectors)
    np.save(tmp_path / "queries.npy", vectors[[0, 2]])
    return tmp_path


def test_descendants_are_counted_once_each(folder):
    assert descendants(read_edges(folder / "edges.tsv")) == {"animal": 4, "feline": 2, "pet": 2}


def test_descendants_of_a_circle_do_not_count_themselves():
    assert descendants({"a": ["b"], "b": ["a"]}) == {"a": 1, "b": 1}


def test_ancestors_of_too_many_are_not_judged(folder):
    assert read_dataset(folder, max_descendants=5).qrels["cat"] == {"feline": 1, "animal": 1, "pet": 1}
    assert read_dataset(folder, max_descendants=4).qrels["cat"] == {"feline": 1, "pet": 1}
    with pytest.raises(InvalidInput, match="no query"):
        read_dataset(folder, max_descendants=2)


def test_a_limit_needs_the_edges(folder):
    (folder / "edges.tsv").unlink()
    assert not any(document.links for document in read_dataset(folder).documents)
    with pytest.raises(InvalidInput, match=r"edges\.tsv"):
        read_dataset(folder, max_descendants=4)


def test_edges_are_links_of_the_records_unless_left_out(folder, tmp_path):
    dataset = read_dataset(folder, vectors=True)
    with new_store(tmp_path, dataset) as store:
        fill(store, dataset)
        assert sorted(store.links("cat")) == [("parent", "feline"), ("parent", "pet")]
        assert store.links("animal") == []
    assert not any(document.links for document in read_dataset(folder, links=False).documents)


def test_a_query_does_not_see_its_own_record(folder, tmp_path):
    dataset = read_dataset(folder, vectors=True)
    with new_store(tmp_path, dataset) as store:
        fill(store, dataset)
        for result in evaluate(store, dataset, [DENSE, Pipeline("auto")]):
            assert result.run.ranked["cat"].keys() == {"lion", "dog", "feline", "pet", "animal"}
            assert "dog" not in result.run.ranked["dog"]


def test_both_with_links_and_without_can_be_measured(folder, tmp_path):
    feline = {}
    for links in (True, False):
        dataset = read_dataset(folder, vectors=True, links=links)
        (tmp_path / str(links)).mkdir()
        with new_store(tmp_path / str(links), dataset) as store:
            fill(store, dataset)
            (auto,) = evaluate(store, dataset, [Pipeline("auto")])
        feline[links] = auto.run.ranked["cat"]["feline"]
    assert feline[True] > feline[False], "lion, the nearest record, links to feline"


def test_edges_in_a_circle_are_refused(folder, tmp_path):
    with (folder / "edges.tsv").open("a") as file:
        file.write("animal\tcat\n")
    dataset = read_dataset(folder, vectors=True)
    with new_store(tmp_path, dataset) as store, pytest.raises(InvalidInput, match=r"circle: .*animal"):
        fill(store, dataset)


def test_a_malformed_edge_is_named(folder):
    (folder / "edges.tsv").write_text("child\tparent\ncat feline\n")
    with pytest.raises(InvalidInput, match=r"edges\.tsv, line 2"):
        read_dataset(folder)
