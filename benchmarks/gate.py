"""The per-query gate: what it is worth, and whether its setting stands when CoSQA's training queries alone choose it.

    python benchmarks/gate.py --data-root DIR [--vectors given static]

Every query is asked once through the store's own search, and what its heads looked at is kept; the settings then rank
that anew.  A setting says with which power of the gate vectors gain where it takes weight off words (shipped: ½) and
with which late interaction loses (shipped: 1).  The grid is ranked on CoSQA's training queries, whose licence allows
to fit on them; its best, the shipped setting, one that leaves vectors and late interaction alone, and no gate at all
are measured on the test queries of every set.  LoCoMo without category 5.  Writes results/gate.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import machine
import numpy as np
from numpy.typing import NDArray

from agentmem.progress import track
from agentmem.rerank import fusion
from agentmem.rerank.evidence import Evidence, QueryFeatures
from agentmem.rerank.promotion import interval
from agentmem.simulation import Dataset, filled_store, read_dataset
from agentmem.store import MemoryStore

CHOSEN_ON = "cosqa"
GAINS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
LOSSES = (0.0, 0.5, 1.0, 1.5, 2.0)
SHIPPED = (0.5, 1.0)
ADVERSARIAL = ("5",)
DISCOUNTS = 1.0 / np.log2(np.arange(2, 12))


class Asked(NamedTuple):
    """What one search's heads looked at, and which of it is right."""

    evidence: Evidence
    features: QueryFeatures
    grades: NDArray[np.float64]
    ideal: NDArray[np.float64]


def asked(store: MemoryStore, dataset: Dataset, show: str) -> list[Asked]:
    """Ask every query once, and keep what the heads looked at."""
    kept: list[tuple[Evidence, QueryFeatures]] = []
    result = []
    shipped = fusion.memory_heads
    vectors = dataset.query_vectors

    def keep(evidence: Evidence, features: QueryFeatures) -> fusion.Ranking:
        kept.append((evidence, features))
        return shipped(evidence, features)

    with mock.patch.object(fusion, "memory_heads", keep), track(show, len(dataset.queries), True) as advance:
        for row, query in enumerate(dataset.queries):
            embedding = None if vectors is None else vectors[row]
            store.search(query.text, embedding=embedding, namespace=query.namespace, mechanism="memory-heads")
            evidence, features = kept.pop()
            with store.database.read() as reader:
                names = reader.ids_of(evidence.labels)
            right = {id: grade for id, grade in dataset.qrels[query.id].items() if grade > 0}
            grades = np.array([right.get(names[label], 0) for label in evidence.labels.tolist()], np.float64)
            result.append(Asked(evidence, features, grades, np.sort(np.array([*right.values()], np.float64))[::-1]))
            advance(1)
    return result


def ndcg(searches: Sequence[Asked], setting: tuple[float, float] | None) -> NDArray[np.float64]:
    """Return NDCG@10 of each search under a setting; None for no gate."""

    def lean(table: NDArray[np.float32], gate: NDArray[np.float64]) -> None:
        gain, loss = setting or (0.0, 0.0)
        sure = np.minimum(gate, 1)
        table[fusion._LATE] *= sure**loss
        table[fusion._SEMANTIC] /= sure**gain

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(fusion, "lean_on_vectors", lean))
        if setting is None:
            stack.enter_context(mock.patch.object(fusion, "lexical_gate", return_value=1.0))
        return np.array([gain_of(each, fusion.memory_heads(each.evidence, each.features).order) for each in searches])


def gain_of(each: Asked, order: NDArray[np.int64]) -> float:
    """Return NDCG@10 of an order of the candidates."""
    gains, ideal = each.grades[order[:10]], each.ideal[:10]
    return float(gains @ DISCOUNTS[: len(gains)] / (ideal @ DISCOUNTS[: len(ideal)]))


def measured(searches: Sequence[Asked], settings: dict[str, tuple[float, float] | None]) -> dict[str, Any]:
    """Return NDCG@10 of dense search and of each setting, with the interval of the shipped one's difference to it."""
    shipped = ndcg(searches, SHIPPED)
    dense = np.mean([gain_of(each, fusion.dense(each.evidence, each.features).order) for each in searches])
    result: dict[str, Any] = {"queries": len(searches), "dense": float(dense), "shipped": float(shipped.mean())}
    for name, setting in settings.items():
        other = ndcg(searches, setting)
        low, high = interval(shipped - other, seed=0)
        result[name] = {"ndcg": float(other.mean()), "shipped_more": [low, high]}
    return result


def main() -> None:
    """Choose, measure, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True, metavar="DIR")
    parser.add_argument("--sets", nargs="+", default=[CHOSEN_ON, "scifact", "cranfield", "locomo"])
    parser.add_argument("--vectors", nargs="+", choices=["given", "static"], default=["given", "static"])
    options = parser.parse_args()
    searches: dict[str, dict[str, list[Asked]]] = {}
    for vectors in options.vectors:
        for name in options.sets:
            splits = ("train", "test") if name == CHOSEN_ON else ("test",)
            read = {
                split: read_dataset(
                    options.data_root / name, split=split, vectors=vectors == "given", exclude_categories=ADVERSARIAL
                )
                for split in splits
            }
            with filled_store(read["test"], show=True) as store:
                searches[f"{name}, {vectors}"] = {
                    split: asked(store, dataset, f"{name}, {split}") for split, dataset in read.items()
                }
    grid: dict[tuple[float, float], float] = {}
    chosen_on = [searches[f"{CHOSEN_ON}, {vectors}"]["train"] for vectors in options.vectors]
    for setting in [(gain, loss) for gain in GAINS for loss in LOSSES]:
        grid[setting] = float(np.mean([ndcg(each, setting).mean() for each in chosen_on]))
        print(setting, round(grid[setting], 4), flush=True)
    best = max(grid, key=grid.__getitem__)
    settings = {"best of the grid": best, "words alone": (0.0, 0.0), "no gate": None}
    tested = {name: measured(splits["test"], settings) for name, splits in searches.items()}
    for name, each in tested.items():
        print(name, each, flush=True)
    kept = [{"gain": gain, "loss": loss, "ndcg": value} for (gain, loss), value in grid.items()]
    print(machine.write("gate", {"chosen_on": f"{CHOSEN_ON}, train", "grid": kept, "best": best, "test": tested}))


if __name__ == "__main__":
    main()
