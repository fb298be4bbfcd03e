"""The leaderboard: every mechanism of the catalogue as the rerank, on every labelled set, gain or loss.

    python benchmarks/leaderboard.py --data-root DIR [--split test] [--seed 0]

Each folder of DIR that holds a labelled set in the BEIR layout is measured with its own vectors where it has them, else
with the bundled model's: exact dense search, the fusions, prf, the default, and each mechanism that the registry lists.
Queries of category 5 (adversarial) are left out; of a hierarchy (edges.tsv) records are linked, and ancestors of 2,000
or more are not judged.  What cannot run on a set is listed with the reason.

A set that is done is kept in results/leaderboard.partial.json, so that a run that was stopped goes on with the next
one; the code, the mechanisms and the options must be the same.  At the end results/leaderboard.json is written and the
table in docs/quality.md rendered.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import machine
import tables

import agentmem
from agentmem import attention
from agentmem.errors import AgentMemError
from agentmem.progress import track
from agentmem.simulation import (
    Dataset,
    Pipeline,
    evaluate,
    filled_store,
    pipelines_named,
    read_dataset,
    report,
)
from agentmem.simulation.pipelines import FUSIONS
from agentmem.store import MemoryStore

ADVERSARIAL = "5"
MAX_DESCENDANTS = 2_000
KEPT = ("recall@10", "ndcg@10", "mrr", "p50_us", "p95_us")
PARTIAL = machine.RESULTS / "leaderboard.partial.json"


def all_pipelines() -> tuple[Pipeline, ...]:
    """Return exact dense search, the fusions, the default, and every mechanism that the registry lists."""
    return pipelines_named(("dense", *FUSIONS, "prf", "auto", *attention.registry.list()))


def found_sets(root: Path, split: str) -> Iterator[Path]:
    """Yield the folders that hold a labelled set with that split."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        if (folder / "corpus.jsonl").exists() and (folder / "qrels" / f"{split}.tsv").exists():
            yield folder


def lacking(pipeline: Pipeline, dataset: Dataset) -> list[str]:
    """Return the inputs that a mechanism takes and that the set, untrained, has none of."""
    if pipeline.mechanism not in attention.registry.list():
        return []
    mechanism = attention.registry.get(pipeline.mechanism)
    if mechanism.form == "maxsim":
        return []  # the store gives it the tokens of texts, with the weights of words
    has = {
        "positions": mechanism.sequence or any(document.position is not None for document in dataset.documents),
        "segment_ids": any(document.thread is not None for document in dataset.documents),
        "edges": True,  # the store gives edges from the query to every candidate
        "context": True,  # each candidate's own surroundings take its place
    }
    return [name for name in mechanism.inputs() if not has.get(name, False)]


def verdict(change: dict[str, Any]) -> str:
    """Return "gain" or "loss" where the interval of the difference leaves 0 out, "same" for no change, "unclear"."""
    low, high = change["ci95"]
    if not change["win"] + change["loss"]:
        return "same"
    return "gain" if low > 0 else "loss" if high < 0 else "unclear"


def refusals(store: MemoryStore, dataset: Dataset, pipelines: Sequence[Pipeline]) -> dict[str, str]:
    """Return the pipelines that cannot run on this set, each with the reason, by asking the first query."""
    reasons = {}
    for pipeline in pipelines:
        try:
            evaluate(store, dataset.take([0]), [pipeline], deep=False)
        except AgentMemError as error:
            reasons[pipeline.name] = str(error)
    return reasons


def measure(folder: Path, split: str, seed: int) -> dict[str, Any]:
    """Return the figures of every pipeline on one set."""
    given = (folder / "corpus.npy").exists()
    limit = MAX_DESCENDANTS if (folder / "edges.tsv").exists() else None
    dataset = read_dataset(folder, split=split, vectors=given, exclude_categories=(ADVERSARIAL,), max_descendants=limit)
    pipelines = all_pipelines()
    show = sys.stderr.isatty()
    with filled_store(dataset, show=show) as store:
        reasons = refusals(store, dataset, pipelines)
        able = [pipeline for pipeline in pipelines if pipeline.name not in reasons]
        with track(f"{folder.name}: searching", len(dataset.queries) * len(able), show) as advance:
            evaluations = evaluate(store, dataset, able, deep=False, progress=advance)
    whole = report(dataset, evaluations, k=10, vectors="given" if given else "static", seed=seed)
    entries = {
        pipeline.name: {"reason": reasons[pipeline.name]}
        if pipeline.name in reasons
        else {**_entry(whole["pipelines"][pipeline.name]), "lacking": lacking(pipeline, dataset)}
        for pipeline in pipelines
    }
    names = ("vectors", "documents", "queries")
    return {**{name: whole[name] for name in names}, "max_descendants": limit, "pipelines": entries}


def _entry(figures: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of a pipeline's figures."""
    entry = {name: figures[name] for name in KEPT}
    if "against" not in figures:
        return entry
    changes = {name: figures["against"][name] for name in ("recall@10", "ndcg@10")}
    return {**entry, "against": changes, "verdict": verdict(changes["ndcg@10"])}


def mean_relative(sets: dict[str, Any]) -> dict[str, float]:
    """Return each pipeline's relative change of NDCG@10, mean over the sets on which it ran; dense itself is 0."""
    changes: dict[str, list[float]] = {}
    for each in sets.values():
        for name, entry in each["pipelines"].items():
            change = entry["against"]["ndcg@10"]["relative"] if "against" in entry else None
            if change is not None:
                changes.setdefault(name, []).append(change)
    return {name: statistics.fmean(values) for name, values in changes.items()} | {"dense": 0.0}


def fingerprint(options: argparse.Namespace) -> str:
    """Return a hash of all that the figures depend on but the data: code, mechanisms, options."""
    digest = hashlib.sha256(repr((options.split, options.seed, attention.registry.list())).encode())
    package = Path(agentmem.__file__).parent
    for path in sorted([*package.rglob("*.py"), *package.rglob("*.so")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def kept_sets(stamp: str) -> dict[str, Any]:
    """Return the sets that a run of the same code has done before it was stopped."""
    if not PARTIAL.exists():
        return {}
    kept = json.loads(PARTIAL.read_text())
    return dict(kept["sets"]) if kept["fingerprint"] == stamp else {}


def main() -> None:
    """Measure every set under the root, and render the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True, metavar="DIR")
    parser.add_argument("--split", default="test")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    stamp = fingerprint(options)
    sets = kept_sets(stamp)
    for folder in found_sets(options.data_root, options.split):
        if folder.name in sets:
            continue
        sets[folder.name] = measure(folder, options.split, options.seed)
        PARTIAL.write_text(json.dumps({"fingerprint": stamp, "sets": sets}))
        for name, entry in sets[folder.name]["pipelines"].items():
            told = entry.get("reason") or f"{entry['ndcg@10']:.3f} {entry.get('verdict', '')}"
            print(f"{folder.name:<20} {name:<24} {told}", flush=True)
    names = [pipeline.name for pipeline in all_pipelines()]
    result = {"split": options.split, "seed": options.seed, "pipelines": names, "sets": sets}
    print(machine.write("leaderboard", {**result, "mean_relative": mean_relative(sets)}))
    PARTIAL.unlink(missing_ok=True)
    tables.rewrite()


if __name__ == "__main__":
    main()
