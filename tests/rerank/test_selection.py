"""A mechanism is chosen for a task where it wins on feedback that it did not see, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agentmem.errors import InvalidInput
from agentmem.rerank import fusion, learned, selection
from agentmem.rerank.evidence import DENSE, QueryFeatures
from agentmem.rerank.promotion import FOLDS, HeldOut
from agentmem.rerank.selection import RIVALS, best_by_rivals, choose_mechanisms
from agentmem.rerank.training import Judged
from agentmem.rerank.weights import CHOICES, HeadWeights, start

SIZE = 12


@pytest.fixture
def searched(make):
    """Return a function: a judged search whose right answer stands at a place by each rival."""
    table = learned.head_table(make(SIZE), QueryFeatures())
    none = np.zeros((1, 3), np.float32)

    def search(task="default", right=2, **places):
        rivals = np.array([np.roll(np.arange(10), places.get(name, 9) - right) for name in RIVALS])
        target = np.zeros(SIZE, np.float32)
        target[right] = 1
        return Judged(
            table, target, np.zeros(SIZE, bool), np.ones(1, np.float32), 1.0, None, none, np.zeros(SIZE, int),
            np.arange(SIZE), np.zeros(SIZE, np.float32), task, rivals,
        )  # fmt: skip

    return search


def held(before, after=None):
    """Return held-out figures, spread over the parts and the part to choose by."""
    part = np.arange(len(before)) % (FOLDS + 1) - 1
    values = [np.where(part < 0, np.nan, each) for each in (before, before if after is None else after)]
    return HeldOut(part, *values)


def test_the_best_by_each_rival_are_those_of_its_ranking(make):
    rng = np.random.default_rng(0)
    evidence = make(SIZE, dense=rng.random(SIZE), lexical=rng.random(SIZE), sources=np.full(SIZE, DENSE))
    best = best_by_rivals(evidence, QueryFeatures())
    assert best.shape == (len(RIVALS), 10)
    for name, order in zip(RIVALS, best, strict=True):
        assert order.tolist() == fusion.rank(name, evidence, QueryFeatures()).order[:10].tolist()
    assert best_by_rivals(make(3), QueryFeatures()).shape == (len(RIVALS), 3)
    assert set(CHOICES) <= set(fusion.FUSIONS)


def test_what_wins_on_held_out_queries_is_chosen_for_their_task_alone(searched):
    searches = [searched("code-analysis", dense=0) for _ in range(40)] + [searched("default") for _ in range(40)]
    one, *others = choose_mechanisms(searches, held(np.full(80, 0.5)), False, {}, 0)
    assert not others
    assert (one.task, one.mechanism, one.instead, one.promoted) == ("code-analysis", "dense", "memory-heads", True)
    assert (one.compared.queries, one.compared.before, one.compared.after) == (30, 0.5, 1.0)
    assert one.compared.low > 0


def test_too_few_and_too_close_are_not(searched):
    few = choose_mechanisms([searched(dense=0) for _ in range(12)], held(np.full(12, 0.5)), False, {}, 0)
    assert [(each.mechanism, each.promoted, each.compared.queries) for each in few] == [("dense", False, 9)]
    rng = np.random.default_rng(1)
    noisy = [searched(dense=place) for place in rng.integers(0, 3, 60).tolist()]
    close = choose_mechanisms(noisy, held(rng.choice([0.5, 1.0], 60)), False, {}, 0)
    assert not any(each.promoted for each in close)
    assert choose_mechanisms([searched(dense=3)] * 40, held(np.ones(40)), False, {}, 0) == []


def test_a_choice_is_judged_on_queries_that_did_not_make_it(searched, monkeypatch):
    seen = []
    best = selection._best
    monkeypatch.setattr(
        selection, "_best", lambda rewards, present: seen.append(len(rewards)) or best(rewards, present)
    )
    choose_mechanisms([searched(lexical=0) for _ in range(40)], held(np.full(40, 0.2)), False, {}, 0)
    assert seen == [20, 20, 20, 30]


def test_the_way_back_to_the_heads_is_open(searched):
    searches, better = [searched(dense=2) for _ in range(40)], np.full(40, 0.9)
    present = {"default": "dense"}
    assert choose_mechanisms(searches, held(np.full(40, 0.2), better), False, present, 0) == []
    back = choose_mechanisms(searches, held(np.full(40, 0.2), better), True, present, 0)
    assert [(each.mechanism, each.instead, each.promoted) for each in back] == [("memory-heads", "dense", True)]


def test_choices_are_kept_with_the_weights():
    made = replace(start("x", 3), choices={"code-analysis": "dense"})
    assert HeadWeights.from_bytes(made.to_bytes()).choices == {"code-analysis": "dense"}
    for wrong in ({"cooking": "dense"}, {"default": "magic"}):
        with pytest.raises(InvalidInput, match="choices"):
            replace(made, choices=wrong)
