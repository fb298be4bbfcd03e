"""What stands above a record: recall and NDCG of its ancestors, by links, by vectors, and by a fitted depth.

    python benchmarks/hierarchy.py --data DIR [--split test]

The folder is in the BEIR layout, with vectors and with edges.tsv (child, parent).  A query's own record is filtered
out, and links through it with it.  Ancestors with 2,000 descendants or more stand above nearly everything and are not
judged; "listed" figures leave them out of the ranking too.  The depth is fitted to links other than those of the dev
and test queries, and ranks without any.  Writes results/hierarchy.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import ir_measures
import machine
from ir_measures import R, nDCG

from agentmem import MemoryStore
from agentmem.depth import fit_depth
from agentmem.links import levels_above
from agentmem.simulation import Dataset, read_dataset

COMMON = 2000
DEEP = 30
PIPELINES = ("dense", "memory-heads", "auto", "hyperbolic-attention")
MEASURES = (R @ 10, nDCG @ 10)


def edges_of(folder: Path) -> dict[str, list[str]]:
    """Return child -> parents."""
    parents: dict[str, list[str]] = defaultdict(list)
    for line in (folder / "edges.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        child, parent = line.split("\t")
        parents[child].append(parent)
    return parents


def descendants(dataset: Dataset, parents: dict[str, list[str]]) -> dict[str, int]:
    """Return how many documents stand below each."""
    place = {document.id: row for row, document in enumerate(dataset.documents)}
    links = {place[child]: [place[parent] for parent in above] for child, above in parents.items()}
    below: dict[str, int] = defaultdict(int)
    for row in range(len(dataset.documents)):
        for above in levels_above(links, row):
            below[dataset.documents[above].id] += 1
    return below


def filled(path: Path, dataset: Dataset, parents: dict[str, list[str]]) -> MemoryStore:
    """Return a store of the documents with their links to what is right above them."""
    assert dataset.document_vectors is not None
    store = MemoryStore(path, embedder=None, dimension=dataset.document_vectors.shape[1], merge="manual")
    with store.transaction():
        documents = dataset.documents
        ids = [document.id for document in documents]
        texts = [document.text for document in documents]
        store.add_many(texts, ids=ids, embeddings=dataset.document_vectors, progress=True)
        for document in documents:
            if parents[document.id]:
                store.update(document.id, links=[("parent", parent) for parent in parents[document.id]])
    store.optimize()
    return store


def judged(dataset: Dataset, below: dict[str, int]) -> dict[str, dict[str, int]]:
    """Return the queries that have an ancestor to judge, with these."""
    judgements = dataset.qrels.items()
    kept = {query: {id: grade for id, grade in grades.items() if below[id] < COMMON} for query, grades in judgements}
    return {query: grades for query, grades in kept.items() if grades}


def measure(store: MemoryStore, dataset: Dataset, below: dict[str, int], mechanism: str) -> dict[str, float]:
    """Return the means over the queries that have an ancestor to judge."""
    assert dataset.query_vectors is not None
    qrels = judged(dataset, below)
    runs: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    started = time.perf_counter()
    for query, vector in zip(dataset.queries, dataset.query_vectors, strict=True):
        if query.id not in qrels:
            continue
        own = {"@id": {"$ne": query.id}}
        ids = [hit.id for hit in store.search(query.text, embedding=vector, k=DEEP, filter=own, mechanism=mechanism)]
        runs[0][query.id] = {id: float(-rank) for rank, id in enumerate(ids)}
        runs[1][query.id] = {id: float(-rank) for rank, id in enumerate(ids) if below[id] < COMMON}
    seconds = time.perf_counter() - started
    whole, listed = (ir_measures.calc_aggregate(MEASURES, qrels, run) for run in runs)
    figures = {str(name): float(whole[name]) for name in MEASURES}
    figures |= {f"{name} listed": float(listed[name]) for name in MEASURES}
    return {**figures, "ms_a_query": seconds / len(qrels) * 1e3}


def main() -> None:
    """Measure the set named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--split", default="test")
    options = parser.parse_args()
    dataset = read_dataset(options.data, split=options.split, vectors=True)
    trained = {query.id for query in read_dataset(options.data, split="train").queries}
    held = [line.id for split in ("dev", "test") for line in read_dataset(options.data, split=split).queries]
    parents = edges_of(options.data)
    below = descendants(dataset, parents)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, filled(Path(folder) / "memory.db", dataset, parents) as store:
        started = time.perf_counter()
        depth = fit_depth(store, ["parent"], without=sorted(set(held) - trained), progress=True)
        print(f"depth fitted in {time.perf_counter() - started:.1f} s, scale {depth.scale}", flush=True)
        depth.attach(store)
        for mechanism in PIPELINES:
            results[mechanism] = figures = measure(store, dataset, below, mechanism)
            print(f"{mechanism:<22}", {name: round(value, 3) for name, value in figures.items()}, flush=True)
    ranked = [(count, id) for id, count in below.items() if count < COMMON]
    commonest = {id: float(count) for count, id in sorted(ranked, reverse=True)[:DEEP]}
    qrels = judged(dataset, below)
    means = ir_measures.calc_aggregate(MEASURES, qrels, dict.fromkeys(qrels, commonest))
    results["the same list for every query"] = {str(name): float(means[name]) for name in MEASURES}
    print(results["the same list for every query"])
    print(machine.write("hierarchy", {"split": options.split, "depth_scale": depth.scale, "pipelines": results}))


if __name__ == "__main__":
    main()
