"""Query enhancement and pruning: what each does to the default's quality.

    python benchmarks/enhance.py --data DIR [DIR ...]

Each folder is in the BEIR layout with vectors.  The residual attention of ``agentmem.enhance`` is fitted to the train
split's judgements, given as feedback, and measured on the dev split: as fitted, and with shares forced upon it.  Heads
that give less than a hundredth of all points on the train split are pruned, and the rest measured on dev.  Writes
results/enhance.json.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import machine

from agentmem import MemoryStore, SearchContext
from agentmem.enhance import QueryAttention, fit_query_attention
from agentmem.simulation import Dataset, Pipeline, evaluate, fill, new_store, read_dataset

PIPELINES = (Pipeline("dense", "dense", exact=True), Pipeline("auto"))
FORCED = (0.1, 0.4)
FLOOR = 0.01
PROBED = 100
ADVERSARIAL = ("5",)


def measured(store: MemoryStore, dataset: Dataset, name: str) -> dict[str, Any]:
    """Return {pipeline: {measure: mean}}."""
    found = {}
    for each in evaluate(store, dataset, PIPELINES, k=10):
        found[each.pipeline.name] = {key: each.metrics[key] for key in ("recall@10", "ndcg@10")}
    print(f"{dataset.name:<10} {name:<16}", found, flush=True)
    return found


def with_hook(store: MemoryStore, dataset: Dataset, each: QueryAttention, name: str) -> dict[str, Any]:
    """Measure with a residual attached, and take it away again."""
    before = store.hooks.registered("pre-retrieval")
    each.attach(store)
    found = measured(store, dataset, name)
    for hook in store.hooks.registered("pre-retrieval")[len(before) :]:
        store.hooks.unregister("pre-retrieval", hook)
    return found


def small_heads(store: MemoryStore, dataset: Dataset) -> list[str]:
    """Return the heads that give less than ``FLOOR`` of all points, in absolute value, to the hits of some queries."""
    points: Counter[str] = Counter()
    vectors = dataset.query_vectors
    assert vectors is not None
    for query, vector in zip(dataset.queries[:PROBED], vectors, strict=False):
        for hit in store.search(query.text, embedding=vector, namespace=query.namespace, explain=True):
            assert hit.explanation is not None
            points.update({name: abs(part) for name, part in hit.explanation.heads.items()})
    total = sum(points.values())
    return sorted(name for name, part in points.items() if part < FLOOR * total)


def measure(folder: Path) -> dict[str, Any]:
    """Measure one set."""
    train = read_dataset(folder, split="train", vectors=True, exclude_categories=ADVERSARIAL)
    dev = read_dataset(folder, split="dev", vectors=True, exclude_categories=ADVERSARIAL)
    assert train.query_vectors is not None
    with tempfile.TemporaryDirectory() as place, new_store(place, train) as store:
        fill(store, train)
        store.optimize()
        result = {"plain": measured(store, dev, "plain")}
        known = {document.id for document in store.iterate()}
        for query, vector in zip(train.queries, train.query_vectors, strict=True):
            accepted = [id for id, grade in train.qrels[query.id].items() if grade > 0 and id in known]
            if accepted:
                store.feedback(query.text, embedding=vector, accepted=accepted)
        fitted = fit_query_attention(store)
        print(f"{folder.name:<10} fitted: {fitted}", flush=True)
        moved = with_hook(store, dev, fitted, "fitted")
        result["fitted"] = {"share": fitted.share, "gain": fitted.gain, **moved}
        for share in FORCED:
            result[f"share {share}"] = with_hook(store, dev, QueryAttention(share), f"share {share}")
        pruned = small_heads(store, train)

        def prune(ctx: SearchContext) -> None:
            if ctx.attention_config.mechanism == "memory-heads":
                ctx.attention_config.heads.update(dict.fromkeys(pruned, 0.0))

        store.hooks.register("intelligence", prune)
        result["pruned"] = {"heads": pruned, **measured(store, dev, "pruned")}
    return result


def main() -> None:
    """Measure the sets named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR")
    options = parser.parse_args()
    print(machine.write("enhance", {"sets": {folder.name: measure(folder) for folder in options.data}}))


if __name__ == "__main__":
    main()
