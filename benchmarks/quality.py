"""Quality on labelled sets: recall, NDCG and reciprocal rank of every pipeline, through the store's own search.

    python benchmarks/quality.py --data DIR [DIR ...] [--split test]

Each folder is in the BEIR layout.  Where it has vectors (corpus.npy, queries.npy) they are measured as well as the
bundled model's.  Queries of LoCoMo's category 5 (adversarial: the marked turn is the misattributed one) are measured
with and without.  Writes results/quality.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import machine

from agentmem.simulation import Dataset, evaluate, filled_store, pipelines_named, read_dataset

PIPELINES = pipelines_named(("dense", "lexical", "rrf", "convex", "auto"))
ADVERSARIAL = "5"


def measure(dataset: Dataset) -> dict[str, Any]:
    """Return {pipeline: measures}; recall@30 comes from searches with k = 30, all else from k = 10."""
    with filled_store(dataset) as store:
        evaluations = evaluate(store, dataset, PIPELINES)
    dense = evaluations[0].metrics
    result = {}
    for each in evaluations:
        metrics = each.metrics
        change = {name: metrics[name] / dense[name] - 1 for name in ("recall@10", "ndcg@10") if dense[name]}
        milliseconds = each.seconds / len(dataset.queries) * 1e3
        result[each.pipeline.name] = {**metrics, "against_dense": change, "ms_a_query": milliseconds}
    return result


def variants(folder: Path, split: str) -> Sequence[tuple[str, dict[str, Any]]]:
    """Return the ways to read a set: its vectors or the bundled model's, with and without adversarial queries."""
    kinds = [False, True] if (folder / "corpus.npy").exists() else [False]
    found = []
    for given in kinds:
        name = f"{folder.name}/{'given' if given else 'static'}"
        whole = read_dataset(folder, split=split, vectors=given)
        found.append((name, {"vectors": given}))
        if any(str(query.metadata.get("category")) == ADVERSARIAL for query in whole.queries):
            found.append((f"{name}/without-category-5", {"vectors": given, "exclude_categories": (ADVERSARIAL,)}))
    return found


def main() -> None:
    """Measure the sets named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument("--split", default="test")
    options = parser.parse_args()
    results = {}
    for folder in options.data:
        for name, reading in variants(folder, options.split):
            dataset = read_dataset(folder, split=options.split, **reading)
            measured = measure(dataset)
            results[name] = {"documents": len(dataset.documents), "queries": len(dataset.queries), **measured}
            for pipeline, figures in measured.items():
                recall, ndcg = figures["recall@10"], figures["ndcg@10"]
                print(f"{name:<40} {pipeline:<8} {recall:.3f} {ndcg:.3f} {figures['ms_a_query']:6.2f} ms", flush=True)
    print(machine.write("quality", {"split": options.split, "sets": results}))


if __name__ == "__main__":
    main()
