"""Relevance: fits what turns a mechanism's scores into shares of certainty, and measures how far these are off.

    python benchmarks/relevance.py --data-root DIR [--fit]

DIR holds labelled sets in the BEIR layout.  With ``--fit`` the lines are fitted anew: on the ten best hits of each
training query of cosqa (with its vectors, and with the bundled model's, all alike), and of wordnet_ancestors for
hierarchy-heads; they go into ``agentmem.rerank.relevance`` by hand.  Without it, what is there is measured on the test
queries of every set.  Writes results/relevance.json and renders the table of docs/quality.md.

The expected calibration error (Naeini, Cooper, Hauskrecht 2015): hits are put into ten bins of equal width by their
relevance; it is the mean difference of a bin's relevance and its share of right hits, each bin weighed by its hits.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import machine
import numpy as np
import tables
from numpy.typing import NDArray

from agentmem.rerank.relevance import CALIBRATION, relevances
from agentmem.simulation import Dataset, evaluate, filled_store, pipelines_named, read_dataset

MECHANISMS = ("dense", "lexical", "rrf", "convex", "memory-heads", "late-interaction", "prf")
HIERARCHY = "hierarchy-heads"
FIT, FIT_HIERARCHY = "cosqa", "wordnet_ancestors"
ADVERSARIAL = "5"
MAX_DESCENDANTS = 2_000
BINS = 10
STEPS = 100

Float64 = NDArray[np.float64]


def hits(dataset: Dataset, mechanisms: tuple[str, ...]) -> dict[str, tuple[Float64, Float64]]:
    """Return {mechanism: scores and rightness (0 or 1) of the ten best hits of every query}."""
    with filled_store(dataset) as store:
        evaluations = evaluate(store, dataset, pipelines_named(mechanisms), deep=False)
    found = {}
    for each in evaluations:
        pairs = [
            (score, float(dataset.qrels[query].get(document, 0) > 0))
            for query, ranked in each.run.ranked.items()
            for document, score in ranked.items()
            if np.isfinite(score)
        ]
        scores, right = np.array(pairs, np.float64).reshape(-1, 2).T
        found[each.pipeline.name] = (scores, right)
    return found


def line(scores: Float64, right: Float64) -> tuple[float, float]:
    """Return slope and offset of the log odds by Newton's method; targets are drawn in a little, as Platt has them."""
    positive = right.sum()
    target = np.where(right > 0, (positive + 1) / (positive + 2), 1 / (len(right) - positive + 2))
    inputs = np.stack([(scores - scores.mean()) / scores.std(), np.ones(len(scores))], axis=1)
    weights = np.zeros(2)
    for _ in range(STEPS):
        share = 1 / (1 + np.exp(-inputs @ weights))
        curvature = inputs.T @ (inputs * (share * (1 - share))[:, None]) + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, inputs.T @ (target - share))
        weights += step
        if np.abs(step).max() < 1e-10:
            break
    slope = weights[0] / scores.std()
    return float(slope), float(weights[1] - slope * scores.mean())


def calibration_error(relevance: Float64, right: Float64) -> float:
    """Return the expected calibration error."""
    bins = np.minimum((relevance * BINS).astype(np.int64), BINS - 1)
    gaps = [abs((relevance - right)[bins == number].sum()) for number in range(BINS)]
    return float(sum(gaps) / len(right))


def measured(mechanism: str, scores: Float64, right: Float64) -> dict[str, float]:
    """Return how far relevance is off, and what one that always gives the set's own share of right hits would be."""
    relevance = np.array(relevances(mechanism, "cosine", scores.tolist()))
    return {
        "hits": len(right),
        "right": float(right.mean()),
        "relevance": float(relevance.mean()),
        "ece": calibration_error(relevance, right),
        "brier": float(((relevance - right) ** 2).mean()),
        "brier_of_the_share": float(right.mean() * (1 - right.mean())),
    }


def variants(root: Path, split: str, only: tuple[str, ...] = ()) -> Iterator[tuple[str, Dataset]]:
    """Yield every set with its own vectors, and with the bundled model's."""
    for folder in sorted(path for path in root.iterdir() if (path / "qrels" / f"{split}.tsv").exists()):
        if only and folder.name not in only:
            continue
        limit = MAX_DESCENDANTS if (folder / "edges.tsv").exists() else None
        for given in (True, False):
            name = f"{folder.name}/{'given' if given else 'static'}"
            yield (
                name,
                read_dataset(
                    folder, split=split, vectors=given, exclude_categories=(ADVERSARIAL,), max_descendants=limit
                ),
            )


def mechanisms_for(name: str) -> tuple[str, ...]:
    """Return the mechanisms that a set is asked through; the hierarchy's heads where there is a hierarchy."""
    return (*MECHANISMS, HIERARCHY) if name.startswith(FIT_HIERARCHY) else MECHANISMS


def fitted(root: Path) -> dict[str, dict[str, float]]:
    """Return {mechanism: slope and offset}."""
    seen: dict[str, list[tuple[Float64, Float64]]] = {}
    for name, dataset in variants(root, "train", (FIT, FIT_HIERARCHY)):
        wanted = (HIERARCHY,) if name.startswith(FIT_HIERARCHY) else MECHANISMS
        for mechanism, found in hits(dataset, wanted).items():
            seen.setdefault(mechanism, []).append(found)
    result = {}
    for mechanism, parts in seen.items():
        scores, right = (np.concatenate(column) for column in zip(*parts, strict=True))
        slope, offset = line(scores, right)
        result[mechanism] = {"slope": slope, "offset": offset, "hits": len(right), "right": float(right.mean())}
        print(f"{mechanism:<20} slope {slope:9.4g} offset {offset:9.4g}", flush=True)
    return result


def main() -> None:
    """Fit, or measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True, metavar="DIR")
    parser.add_argument("--fit", action="store_true")
    options = parser.parse_args()
    if options.fit:
        print(machine.write("relevance_fit", {"fitted": fitted(options.data_root)}))
        return
    sets: dict[str, Any] = {}
    for name, dataset in variants(options.data_root, "test"):
        found = hits(dataset, mechanisms_for(name))
        sets[name] = {mechanism: measured(mechanism, *pairs) for mechanism, pairs in found.items()}
        for mechanism, figures in sets[name].items():
            print(f"{name:<28} {mechanism:<18} {figures['right']:.3f} {figures['ece']:.3f}", flush=True)
    lines = {name: each._asdict() for name, each in CALIBRATION.items()}
    print(machine.write("relevance", {"lines": lines, "sets": sets}))
    tables.rewrite(check=False)


if __name__ == "__main__":
    main()
