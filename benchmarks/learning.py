"""What learning from use is worth, and what it withstands: on labelled sets, with their own vectors.

    python benchmarks/learning.py --data-root DIR [--seeds 5] [--only folds transfer ...]

Every search is made once, by the store; learning and ranking then work on what its heads said, as the store does.
Nothing is learned on a query that is reported on.  Writes results/learning.json after each part, so that a run that
was cut off goes on with --only; the curve is drawn in docs/learning-curve.svg, anew with --only plot.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import machine
import numpy as np

from agentmem.extras import need
from agentmem.learning import Case, judged_searches
from agentmem.rerank.promotion import learn, ranked
from agentmem.rerank.training import Judged
from agentmem.rerank.weights import HeadWeights, start
from agentmem.simulation import filled_store
from agentmem.simulation.learn import cases_from, folds_of, learn_labels, measured, training_set, whole_set

EVENTS = (10, 30, 100, 300, 1000)
PICTURE = Path(__file__).parents[1] / "docs" / "learning-curve.svg"
WRONG = 0.2
SHOWN = 10
ADVERSARIAL = "5"


class Searched:
    """One set's queries, searched once.

    Attributes:
        searches: what the heads said, and what is right.
        keys: (namespace, key) of each.
        splits: of each.
        origin: the constants.
    """

    def __init__(self, folder: Path, change: Callable[[list[Case]], list[Case]] = lambda cases: cases) -> None:
        datasets = whole_set(folder, vectors=True, exclude_categories=(ADVERSARIAL,))
        names = sorted(file.stem for file in (folder / "qrels").glob("*.tsv"))
        cases = change([case for dataset in datasets for case in cases_from(dataset)])
        with filled_store(datasets[0], show=True) as store:
            self.searches = judged_searches(store, cases, lambda count: None)
            self.origin = start(store.identity.embedder, store.identity.dimension)
        self.keys = [(case.namespace or "", case.key) for case in cases]
        self.splits = [name for name, dataset in zip(names, datasets, strict=True) for _ in dataset.queries]

    def rows(self, *splits: str) -> list[int]:
        """Return the rows of the queries of some splits."""
        return [row for row, split in enumerate(self.splits) if split in splits]

    def learned(self, rows: Sequence[int], seed: int, change: Callable[[Judged], Judged] = lambda each: each) -> Any:
        """Learn on rows, their labels changed; return (weights that would rank, fitted, why not promoted)."""
        searches = [change(self.searches[row]) for row in rows]
        known = [row for row, each in enumerate(searches) if each.teaches or len(each.ideal)]
        keys = [self.keys[rows[row]][1] for row in known]
        fitted, _, why = learn([searches[row] for row in known], keys, None, self.origin, seed, lambda share: None)
        return (fitted.weights if why is None else self.origin), fitted, why

    def tested(self, weights: HeadWeights, seed: int) -> dict[str, Any]:
        """Measure weights on the test split."""
        tests = [self.searches[row] for row in self.rows("test")]
        return asdict(measured(tests, self.origin, [weights] * len(tests), seed))


def folds(sets: Callable[[str], Searched], seeds: int) -> Any:
    """LoCoMo, leave one conversation out, without category 5."""
    one, results = sets("locomo"), []
    for seed in range(seeds):
        report = asdict(folds_of(one.searches, one.keys, one.origin, seed, progress=True))
        results.append(report)
        print("folds", seed, report["whole"], flush=True)
    worst = min(results, key=lambda each: each["whole"]["ndcg"]["learned"])["whole"]
    return {"worst": worst, "seeds": results}


def transfer(sets: Callable[[str], Searched], seeds: int) -> Any:
    """Learn on the training split, measure on the test split."""
    results: dict[str, Any] = {}
    for name in ("locomo", "scifact", "cranfield", "cosqa"):
        one, results[name] = sets(name), []
        for seed in range(seeds):
            weights, fitted, why = one.learned(one.rows("train"), seed)
            told = {"promoted": why is None, "why": why, "rank": fitted.rank, **one.tested(weights, seed)}
            told |= {"pruned": fitted.pruned, "pruning": fitted.pruning and asdict(fitted.pruning)}
            results[name].append(told | {"if_promoted_anyway": one.tested(fitted.weights, seed)["ndcg"]["learned"]})
            print("transfer", name, seed, why, told["recall"], told["ndcg"], flush=True)
    return results


def curve(sets: Callable[[str], Searched], seeds: int) -> Any:
    """LoCoMo: gain on the test split against the number of feedback events."""
    one, results = sets("locomo"), {}
    for events in EVENTS:
        results[str(events)] = []
        for seed in range(seeds):
            rows = np.random.default_rng(seed).permutation(one.rows("train", "dev"))[:events].tolist()
            weights, _, why = one.learned(rows, seed)
            told = {"events": len(rows), "promoted": why is None, "why": why, **one.tested(weights, seed)}
            results[str(events)].append(told)
            print("curve", events, seed, why is None, told["ndcg"], flush=True)
    return results


def poisoned(rng: np.random.Generator) -> Callable[[Judged], Judged]:
    """Return what replaces the right answers of one query in five by a wrong one."""

    def change(each: Judged) -> Judged:
        if rng.random() >= WRONG:
            return each
        target = np.zeros_like(each.target)
        wrong = np.flatnonzero(each.target == 0)
        target[rng.choice(wrong)] = 1.0
        return replace(each, target=target, ideal=np.ones(1, np.float32))

    return change


def shown(one: Searched) -> Callable[[Judged], Judged]:
    """Return what a user judges who sees the first hits of the constants only: all of them, rightly."""

    def change(each: Judged) -> Judged:
        seen = np.zeros(len(each.target), bool)
        seen[ranked(each, one.origin)[:SHOWN]] = True
        target = np.where(seen, each.target, 0).astype(np.float32)
        return replace(each, target=target, rejected=seen & (target == 0), ideal=np.sort(target[target > 0])[::-1])

    return change


def changed(
    sets: Callable[[str], Searched], seeds: int, make: Callable[[Searched, int], Callable[[Judged], Judged]]
) -> Any:
    """Learn on changed labels of the training split, measure on the true ones of the test split."""
    results: dict[str, Any] = {}
    for name in ("locomo", "scifact", "cosqa"):
        one, results[name] = sets(name), []
        for seed in range(seeds):
            weights, _, why = one.learned(one.rows("train"), seed, make(one, seed))
            told = {"promoted": why is None, "why": why, **one.tested(weights, seed)}
            results[name].append(told)
            print("changed", name, seed, why is None, told["ndcg"], told["low"], flush=True)
    return results


def poisoning(sets: Callable[[str], Searched], seeds: int) -> Any:
    """One label in five is wrong."""
    return changed(sets, seeds, lambda one, seed: poisoned(np.random.default_rng(seed)))


def exposure(sets: Callable[[str], Searched], seeds: int) -> Any:
    """Only what was shown is judged."""
    return changed(sets, seeds, lambda one, seed: shown(one))


def duration(root: Path) -> Any:
    """How long it takes to learn from all queries of LoCoMo's training split."""
    dataset = training_set(root / "locomo", vectors=True)
    wall, cpu = time.perf_counter(), time.process_time()
    _, report = learn_labels(dataset)
    whole = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    print("duration", report.queries, report.seconds, whole, flush=True)
    return {"queries": report.queries, "learn_seconds": report.seconds, "with_filling": whole}


def plot(curve: Any) -> None:
    """Draw the gain over the constants against the number of feedback events: each seed, their mean, the intervals."""
    need("matplotlib", "plot", "a plot").rcParams.update(
        {"svg.hashsalt": "agentmem", "svg.fonttype": "none", "font.size": 9}
    )
    figure = need("matplotlib.figure", "plot", "a plot").Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.subplots()
    events = [int(name) for name in curve]
    for measure, colour in (("ndcg", "tab:blue"), ("recall", "tab:orange")):
        name = {"ndcg": "NDCG@10", "recall": "recall@10"}[measure]
        gains = [
            [each[measure]["learned"] / each[measure]["constants"] - 1 for each in seeds] for seeds in curve.values()
        ]
        axes.plot(events, np.mean(gains, axis=1), "o-", color=colour, label=f"{name}, mean of the seeds")
        axes.plot(events, gains, ".", color=colour, alpha=0.4)
    bounds = [
        [np.mean([each[side] / each["ndcg"]["constants"] for each in seeds]) for seeds in curve.values()]
        for side in ("low", "high")
    ]
    axes.fill_between(events, *bounds, color="tab:blue", alpha=0.15, label="NDCG@10, 95% interval")
    axes.axhline(0, color="grey", linewidth=0.8)
    axes.set(xscale="log", xlabel="feedback events", ylabel="gain over the constants, on queries never seen")
    axes.set_xticks(events, [str(each) for each in events], minor=False)
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:+.0%}")
    axes.legend(frameon=False, loc="upper left")
    figure.savefig(PICTURE, metadata={"Date": None, "Creator": None})


PARTS = {"folds": folds, "transfer": transfer, "curve": curve, "poisoning": poisoning, "exposure": exposure}


def main() -> None:
    """Measure the parts named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=[*PARTS, "duration", "plot"], default=[*PARTS, "duration"])
    options = parser.parse_args()
    kept: dict[str, Searched] = {}

    def sets(name: str) -> Searched:
        if name not in kept:
            kept[name] = Searched(options.data_root / name)
        return kept[name]

    path = machine.RESULTS / "learning.json"
    for name in options.only:
        if name == "plot":
            plot(json.loads(path.read_text())["parts"]["curve"])
            continue
        result = duration(options.data_root) if name == "duration" else PARTS[name](sets, options.seeds)
        parts = json.loads(path.read_text())["parts"] if path.exists() else {}
        machine.write("learning", {"parts": parts | {name: result}})
        if name == "curve":
            plot(result)


if __name__ == "__main__":
    main()
