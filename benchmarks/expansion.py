"""Queries expanded by what was accepted for similar ones: what it is worth where it is taken, and where it is forced.

    python benchmarks/expansion.py --data-root DIR [--vectors given]

Judgements of some queries are given to the store as feedback; ``fit_expansion`` chooses by it, and decides whether to
expand at all; other queries are measured, without and with what was chosen, and with one setting forced upon them.
LoCoMo without category 5: feedback is on a half of each conversation's questions, the other half is measured; its
train and dev conversations first, its test conversations once.  The other sets: feedback on train, measured on dev and
once on test.  Writes results/expansion.json.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import machine
import numpy as np

from agentmem import MemoryStore
from agentmem.enhance import Expansion, fit_expansion
from agentmem.rerank.promotion import interval
from agentmem.simulation import Dataset, Pipeline, evaluate, filled_store, read_dataset

ADVERSARIAL = ("5",)
FORCED = Expansion(0.7, 0.3, 2)
PIPELINES = (Pipeline("dense", "dense", exact=True), Pipeline("auto"))
MEASURES = ("recall@10", "ndcg@10")


def halves(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """Return two random halves of a set's queries."""
    order = np.random.default_rng(0).permutation(len(dataset.queries))
    first, second = (np.sort(half).tolist() for half in np.array_split(order, 2))
    return dataset.take(first), dataset.take(second)


def pairs(root: Path, name: str, given: bool) -> list[tuple[str, Dataset, Dataset]]:
    """Return (what is measured, queries with feedback, queries to measure) of a set."""

    def read(split: str) -> Dataset:
        return read_dataset(root / name, split=split, vectors=given, exclude_categories=ADVERSARIAL)

    if name == "locomo":
        return [(f"locomo, a half of {split}", *halves(read(split))) for split in ("train", "dev", "test")]
    return [(f"{name}, {split}", read("train"), read(split)) for split in ("dev", "test")]


def teach(store: MemoryStore, dataset: Dataset) -> None:
    """Give a dataset's judgements to the store as feedback."""
    known = {document.id for document in store.iterate()}
    with store.transaction():
        for row, query in enumerate(dataset.queries):
            right = [id for id, grade in dataset.qrels[query.id].items() if grade > 0 and id in known]
            if right:
                vector = None if dataset.query_vectors is None else dataset.query_vectors[row]
                store.feedback(query.text, embedding=vector, accepted=right)


def measured(store: MemoryStore, dataset: Dataset, each: Expansion) -> dict[str, Any]:
    """Return pipeline -> measure -> values of the queries, with an expansion attached."""
    before = store.hooks.registered("pre-retrieval")
    each.attach(store)
    found = {one.pipeline.name: one.values for one in evaluate(store, dataset, PIPELINES, deep=False)}
    for hook in store.hooks.registered("pre-retrieval")[len(before) :]:
        store.hooks.unregister("pre-retrieval", hook)
    return found


def told(plain: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return means, and the 95% interval of the difference to the plain search in NDCG@10."""
    result = {}
    for name, values in other.items():
        low, high = interval(values["ndcg@10"] - plain[name]["ndcg@10"], seed=0)
        result[name] = {key: float(values[key].mean()) for key in MEASURES} | {"ndcg_more": [low, high]}
    return result


def main() -> None:
    """Measure the sets named, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True, metavar="DIR")
    parser.add_argument("--sets", nargs="+", default=["locomo", "scifact", "cranfield", "cosqa"])
    parser.add_argument("--vectors", choices=["given", "static"], default="given")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    for name in options.sets:
        for title, feedback, dataset in pairs(options.data_root, name, options.vectors == "given"):
            with filled_store(dataset) as store:
                teach(store, feedback)
                fitted = fit_expansion(store, progress=True)
                plain = measured(store, dataset, Expansion())
                results[title] = {
                    "feedback": len(feedback.queries),
                    "queries": len(dataset.queries),
                    "fitted": asdict(fitted),
                    "plain": told(plain, plain),
                    "expanded": told(plain, measured(store, dataset, fitted)),
                    "forced": told(plain, measured(store, dataset, FORCED)),
                }
            print(title, results[title], flush=True)
    print(machine.write("expansion", {"vectors": options.vectors, "forced": asdict(FORCED), "sets": results}))


if __name__ == "__main__":
    main()
