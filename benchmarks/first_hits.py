"""How often does a filter that passes the first hit put another one first?

    python benchmarks/first_hits.py --data-root DIR [--sets locomo scifact ...] [--queries 300]

Every record gets a random part of two or of four; a test query is asked without a filter, then with one that passes
the part of its first hit only, with the sets' own vectors and with the bundled model's.

Writes results/first_hits.json.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import machine

from agentmem import MemoryStore
from agentmem.simulation import Dataset, fill, new_store, read_dataset

WAYS = ("dense", "convex", "auto")
PARTS = (2, 4)
ADVERSARIAL = ("5",)


def parted(dataset: Dataset) -> Dataset:
    """Return the dataset with a random part of each number in ``PARTS`` for each document."""
    draw = random.Random(8)
    documents = [
        replace(each, metadata={**each.metadata, **{f"of {parts}": draw.randrange(parts) for parts in PARTS}})
        for each in dataset.documents
    ]
    return replace(dataset, documents=documents)


def flips(store: MemoryStore, dataset: Dataset, count: int, way: str) -> dict[str, Any]:
    """Return how many queries had a hit, and for each number of parts how many of their first hits were put off."""
    found, put_off = 0, dict.fromkeys(PARTS, 0)
    for row, query in enumerate(dataset.queries[:count]):
        embedding = None if dataset.query_vectors is None else dataset.query_vectors[row]
        asked: dict[str, Any] = {"embedding": embedding, "namespace": query.namespace, "mechanism": way}
        hits = store.search(query.text, **asked)
        if not hits:
            continue
        found += 1
        for parts in PARTS:
            name = f"of {parts}"
            again = store.search(query.text, filter={name: hits[0].record.metadata[name]}, **asked)
            put_off[parts] += again[0].id != hits[0].id
    return {"queries": found, **{f"a part of {parts}": value / found for parts, value in put_off.items()}}


def main() -> None:
    """Measure the sets named, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True, metavar="DIR")
    parser.add_argument("--sets", nargs="+", default=["locomo", "scifact", "cranfield", "cosqa"])
    parser.add_argument("--queries", type=int, default=300)
    options = parser.parse_args()
    results: dict[str, Any] = {}
    for name in options.sets:
        for given in (True, False):
            dataset = parted(
                read_dataset(options.data_root / name, split="test", vectors=given, exclude_categories=ADVERSARIAL)
            )
            with tempfile.TemporaryDirectory() as place, new_store(place, dataset) as store:
                fill(store, dataset)
                store.optimize(threads=1)
                key = f"{name}, {'given' if given else 'static'}"
                results[key] = {way: flips(store, dataset, options.queries, way) for way in WAYS}
                print(key, results[key], flush=True)
    print(machine.write("first_hits", {"sets": results}))


if __name__ == "__main__":
    main()
