"""The learned choice of mechanism: its regret against the best fixed mechanism, over five seeds.

    python benchmarks/selection.py --data-root DIR [--seeds 5]

So many queries of a set's training (and development) splits, drawn by the seed, are the feedback; what is chosen from
them under the promotion gate ranks the test queries.  Regret is the NDCG@10 of the mechanism that is best for the test
queries, known only afterwards, less that of what was chosen.  Besides the labelled sets: all of them as one store, and
CoSQA with each query's words, or its vector, exchanged for another query's, where the default is far from the best;
that alone, and in one store with LoCoMo, where one mechanism does not suit all tasks.  The heads keep their constants,
so that the choice is judged alone.  Writes results/selection.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import machine
import numpy as np
from learning import Searched
from numpy.typing import NDArray

from agentmem.learning import Case
from agentmem.rerank.promotion import CHOOSING, FOLDS, HeldOut, ndcg, part_of, ranked
from agentmem.rerank.selection import choose_mechanisms
from agentmem.rerank.training import Judged
from agentmem.rerank.weights import CHOICES

EVENTS = (100, 300, 1000)
SETS = ("cosqa", "scifact", "cranfield", "locomo")


def exchanged(words: bool) -> Any:
    """Return what gives each query the words, or the vector, of another one."""

    def change(cases: list[Case]) -> list[Case]:
        others = np.random.default_rng(0).permutation(len(cases)).tolist()
        if words:
            return [replace(case, query=cases[other].query) for case, other in zip(cases, others, strict=True)]
        return [replace(case, vector=cases[other].vector) for case, other in zip(cases, others, strict=True)]

    return change


class Stream:
    """Judged searches to choose by and to test on, with what every mechanism makes of them: float64 (n, n_choices)."""

    def __init__(self, sets: Sequence[Searched]) -> None:
        self.feedback: list[Judged] = []
        self.tests: list[Judged] = []
        self.keys: list[str] = []
        feedback, tests = [], []
        for one in sets:
            for row, (split, each) in enumerate(zip(one.splits, one.searches, strict=True)):
                rewards = [ndcg(each, ranked(each, one.origin)), *(ndcg(each, order) for order in each.rivals)]
                if split == "test":
                    self.tests.append(each)
                    tests.append(rewards)
                else:
                    self.feedback.append(each)
                    self.keys.append(one.keys[row][1])
                    feedback.append(rewards)
        self.rewards, self.test_rewards = np.array(feedback), np.array(tests)

    def policy(self, rows: Sequence[int], seed: int) -> dict[str, str]:
        """Return what some of the feedback chooses: task -> mechanism."""
        places = np.array([part_of(self.keys[row], seed) for row in rows])
        part = np.floor((places - CHOOSING) / (1 - CHOOSING) * FOLDS).astype(np.intp)
        before = np.where(part < 0, np.nan, self.rewards[rows, 0])
        searches = [self.feedback[row] for row in rows]
        choices = choose_mechanisms(searches, HeldOut(part, before, before), False, {}, seed)
        return {each.task: each.mechanism for each in choices if each.promoted}

    def tested(self, policy: dict[str, str]) -> NDArray[np.float64]:
        """Return the NDCG@10 of the test queries by a policy."""
        columns = [CHOICES.index(policy.get(each.task, CHOICES[0])) for each in self.tests]
        values: NDArray[np.float64] = self.test_rewards[np.arange(len(columns)), columns]
        return values


def measured(stream: Stream, seeds: int) -> dict[str, Any]:
    """Return the fixed mechanisms, and for each number of events the regret of each seed."""
    fixed = dict(zip(CHOICES, stream.test_rewards.mean(axis=0).tolist(), strict=True))
    best = max(fixed, key=fixed.__getitem__)
    runs = []
    for events in sorted({min(events, len(stream.feedback)) for events in EVENTS}):
        for seed in range(seeds):
            rows = np.random.default_rng(seed).permutation(len(stream.feedback))[:events].tolist()
            policy = stream.policy(rows, seed)
            ndcg_now = float(stream.tested(policy).mean())
            runs.append(
                {"events": events, "seed": seed, "policy": policy, "ndcg": ndcg_now, "regret": fixed[best] - ndcg_now}
            )
    return {"queries": len(stream.tests), "fixed": fixed, "best": best, "runs": runs}


def main() -> None:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    sets = {name: Searched(options.data_root / name) for name in SETS}
    streams = {name: Stream([one]) for name, one in sets.items()} | {"all in one": Stream(list(sets.values()))}
    for name, words in (("cosqa, words of another query", True), ("cosqa, vector of another query", False)):
        changed = Searched(options.data_root / "cosqa", exchanged(words))
        streams |= {name: Stream([changed]), f"locomo and {name}": Stream([sets["locomo"], changed])}
    results = {}
    for name, stream in streams.items():
        results[name] = measured(stream, options.seeds)
        print(name, results[name]["best"], results[name]["fixed"], flush=True)
        for run in results[name]["runs"]:
            print("  ", run, flush=True)
    print(machine.write("selection", {"sets": results}))


if __name__ == "__main__":
    main()
