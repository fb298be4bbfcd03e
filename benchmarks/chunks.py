"""Documents cut into sentences, each a record of its document's thread: do the heads over threads help there?

    python benchmarks/chunks.py --data DIR [DIR ...] [--split train] [--queries 200]

Each folder is in the BEIR layout; sentences are embedded by the bundled model, and a document is where its best
sentence is.  "auto without threads" has the same sentences as plain records.  Writes results/chunks.json.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import ir_measures
import machine
from ir_measures import R, nDCG

from agentmem import MemoryStore
from agentmem.simulation import Dataset, fill, new_store, read_dataset

SENTENCE = re.compile(r"(?<=[.!?])\s+")
DEPTH = 30
MEASURES = (R @ 10, nDCG @ 10)


def cut(dataset: Dataset, threads: bool) -> Dataset:
    """Return the dataset with a record for each sentence."""
    sentences = []
    for document in dataset.documents:
        for position, text in enumerate(part for part in SENTENCE.split(document.text) if part.strip()):
            thread = document.id if threads else None
            place = float(position) if threads else None
            sentences.append(
                replace(document, id=f"{document.id}#{position}", text=text, thread=thread, position=place)
            )
    return replace(dataset, documents=tuple(sentences))


def measure(store: MemoryStore, dataset: Dataset, mechanism: str) -> dict[str, float]:
    """Return the means over documents, each at the place of its best sentence."""
    run: dict[str, dict[str, float]] = {}
    for query in dataset.queries:
        hits = store.search(query.text, k=DEPTH, mechanism=mechanism, exact=mechanism == "dense")
        documents = dict.fromkeys(hit.id.rsplit("#", 1)[0] for hit in hits)
        run[query.id] = {document: float(-rank) for rank, document in enumerate(documents)}
    means = ir_measures.calc_aggregate(MEASURES, {query: dict(dataset.qrels[query]) for query in run}, run)
    return {str(name): float(means[name]) for name in MEASURES}


def main() -> None:
    """Measure the sets named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument("--split", default="train")
    parser.add_argument("--queries", type=int, default=200)
    options = parser.parse_args()
    results: dict[str, Any] = {}
    for folder in options.data:
        whole = read_dataset(folder, split=options.split)
        whole = replace(whole, queries=whole.queries[: options.queries])
        results[folder.name] = figures = {}
        for threads in (True, False):
            dataset = cut(whole, threads)
            with tempfile.TemporaryDirectory() as place, new_store(place, dataset) as store:
                fill(store, dataset)
                store.optimize()
                for mechanism in ("dense", "lexical", "rrf", "convex", "auto") if threads else ("auto",):
                    name = mechanism if threads else "auto without threads"
                    figures[name] = measure(store, dataset, mechanism)
                    print(f"{folder.name:<12} {name:<22}", figures[name], flush=True)
        results[folder.name]["sentences"] = len(dataset.documents)
    print(machine.write("chunks", {"split": options.split, "queries": options.queries, "sets": results}))


if __name__ == "__main__":
    main()
