"""Which mechanism is chosen, and why: rules as data, and outcomes that change the choice."""

from __future__ import annotations

import json
import random
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem.attention import registry
from agentmem.attention.rules import TASKS, Features, parse_rule
from agentmem.attention.selector import RULES, LearnedSelector, MechanismSelector
from agentmem.errors import InvalidInput, UnknownMechanism
from agentmem.rerank.query import TaskType

OWN = ("seq_len > 100 -> cross-attention", "task == code-analysis -> standard-mha", "default -> scaled-dot")


@pytest.mark.parametrize(
    ("features", "mechanism"),
    [
        ({"sequence_length": 40_000}, "longformer-attention"),
        ({"sequence_length": 16_384, "batch_size": 8, "hierarchical": False, "graph": False}, "linear-attention"),
        ({"sequence_length": 8_192}, "flash-attention-v2"),
        ({"sequence_length": 100, "hierarchical": True}, "hyperbolic-attention"),
        ({"sequence_length": 100, "graph": True}, "graph-attention"),
        ({"sequence_length": 100, "moe": True}, "moe-attention"),
        ({"sequence_length": 100, "task": "code-analysis"}, "hierarchical-cross-attention"),
        ({"sequence_length": 100, "task": "memory-retrieval"}, "memory-attention"),
        ({"sequence_length": 100, "task": "long-context"}, "longformer-attention"),
        ({"sequence_length": 100, "task": "swarm-coordination"}, "star-attention"),
        ({"sequence_length": 0}, "flash-attention-v2"),
    ],
)
def test_the_rules_as_they_come(features: dict[str, object], mechanism: str) -> None:
    chosen = MechanismSelector().select(**features)  # type: ignore[arg-type]
    assert chosen.mechanism == mechanism
    assert chosen.reason.startswith("rule: ")
    assert chosen.reason.endswith(f"-> {mechanism}")


def test_the_rules_that_come_name_mechanisms_that_exist() -> None:
    names = {parse_rule(text).mechanism for text in RULES}
    assert names <= set(registry.list())


@pytest.mark.parametrize(
    ("condition", "features", "holds"),
    [
        ("seq_len >= 5", Features(5), True),
        ("seqLen > 5", Features(5), False),
        ("sequence_length != 5", Features(5), False),
        ("batch_size < 2.5", Features(5, 2), True),
        ("not graph", Features(5), True),
        ("not graph and seq_len == 4", Features(5), False),
        ("graph or hierarchical and moe", Features(5, graph=True), True),
        ("(graph or hierarchical) and moe", Features(5, graph=True), False),
        ("not (graph or moe)", Features(5, moe=True), False),
        ('task == "long-context"', Features(5, task="long-context"), True),
        ("task != long-context", Features(5, task="long-context"), False),
        ("default", Features(5), True),
    ],
)
def test_conditions(condition: str, features: Features, holds: bool) -> None:
    assert parse_rule(f"{condition} -> scaled-dot").holds(features) is holds


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("seq_len > 8192", 'expected a rule such as "seq_len > 8192 -> linear-attention"'),
        ("graph -> graph -> graph", "expected a rule such as"),
        (" -> scaled-dot", "expected a condition before ->"),
        ("graph -> ", "a mechanism behind it"),
        ("seq_len -> scaled-dot", "ends too early"),
        ("seq_len > many -> scaled-dot", "expected a number, came 'many'"),
        ("seq_len is 5 -> scaled-dot", "expected one of > >= < <= == != behind seq_len, came 'is'"),
        ("task > default -> scaled-dot", "expected one of == != behind task"),
        ("task == cooking -> scaled-dot", "unknown task 'cooking', there are code-analysis"),
        ("graph moe -> scaled-dot", "unexpected 'moe'"),
        ("(graph -> scaled-dot", "ends too early"),
        ("(graph moe) -> scaled-dot", r"expected \)"),
        ("__import__('os') -> scaled-dot", "unknown word '__import__'; it may speak of seq_len, batch_size"),
        ("seq_len > 5; graph -> scaled-dot", "unexpected ';'"),
        ("(" * 500 + "graph -> scaled-dot", "more than 20 brackets"),
        ("not " * 500 + "graph -> scaled-dot", "more than 20 brackets"),
    ],
)
def test_what_is_no_rule_is_refused_with_words(rule: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        parse_rule(rule)


@given(st.text(max_size=60))
def test_no_text_is_run(text: str) -> None:
    try:
        parse_rule(text)
    except InvalidInput:
        return
    assert "->" in text


def test_the_tasks_are_those_that_a_search_tells_apart() -> None:
    assert set(TASKS) == set(get_args(TaskType))


def test_own_rules_and_overrides() -> None:
    selector = MechanismSelector(OWN)
    assert selector.select(101).mechanism == "cross-attention"
    assert selector.select(100, task="code-analysis").mechanism == "standard-mha"
    changed = selector.overridden("hierarchical and seq_len > 100 -> flash-attention-v2")
    assert changed.select(101, hierarchical=True).mechanism == "flash-attention-v2"
    assert changed.select(101).mechanism == "cross-attention"
    assert selector.select(101, hierarchical=True).mechanism == "cross-attention"
    with pytest.raises(UnknownMechanism, match="no mechanism 'fast'"):
        MechanismSelector(("default -> fast",))
    with pytest.raises(UnknownMechanism, match="no mechanism 'fast'"):
        selector.overridden("graph -> fast")
    with pytest.raises(InvalidInput, match="the last one to hold always"):
        MechanismSelector(OWN[:-1])


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ({"sequence_length": -1}, "sequence_length: expected a whole number, at least 0, came -1"),
        ({"sequence_length": 1.5}, "sequence_length: expected a whole number"),
        ({"sequence_length": 1, "batch_size": 0}, "batch_size: expected a whole number, at least 1"),
        ({"sequence_length": 1, "graph": 1}, "graph: expected True or False, came 1"),
        ({"sequence_length": 1, "task": "cooking"}, "task: expected one of code-analysis"),
    ],
)
def test_impossible_features(features: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        MechanismSelector().select(**features)  # type: ignore[arg-type]


def test_without_evidence_the_rules_decide() -> None:
    learned = LearnedSelector(OWN, least=3)
    assert learned.select(5).reason == "rule: default -> scaled-dot"
    for _ in range(2):
        learned.record("default", "standard-mha", 1.0)
    for _ in range(50):
        learned.record("default", "scaled-dot", 0.0)
    assert all(learned.select(5).mechanism == "scaled-dot" for _ in range(50))  # two outcomes are not three
    learned.record("default", "standard-mha", 1.0)
    assert learned.select(5).mechanism == "standard-mha"
    assert learned.select(5, task="long-context").mechanism == "scaled-dot"  # of another task nothing is known
    reason = "outcomes at default: 1.00 over 3, against 0.00 over 50 of scaled-dot, which the rules choose"
    assert learned.select(5).reason == reason
    alone = LearnedSelector(OWN, least=3)
    for _ in range(9):
        alone.record("default", "standard-mha", 1.0)
    assert alone.select(5).mechanism == "scaled-dot"  # the rules' own choice has not been seen at all
    assert alone.outcomes()["default"]["standard-mha"] == (9.0, 9)


def test_recording_checks_its_input() -> None:
    learned = LearnedSelector(OWN)
    for reward in (-0.1, 1.1, float("nan"), True, "1"):
        with pytest.raises(InvalidInput, match="reward: expected a number from 0 to 1"):
            learned.record("default", "scaled-dot", reward)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="task: expected one of"):
        learned.record("cooking", "scaled-dot", 1)
    with pytest.raises(UnknownMechanism):
        learned.record("default", "fast", 1)
    with pytest.raises(InvalidInput, match="least: expected a whole number, at least 1"):
        LearnedSelector(OWN, least=0)


def test_outcomes_are_kept_and_taken_up_again() -> None:
    learned = LearnedSelector(OWN, seed=3)
    for number in range(30):
        learned.record("default", "scaled-dot", 0.25)
        learned.record("default", "standard-mha", number % 2)
    kept = json.loads(json.dumps(learned.outcomes()))
    again = LearnedSelector(OWN, outcomes=kept, seed=3)
    assert again.outcomes() == learned.outcomes()
    assert [again.select(5) for _ in range(20)] == [learned.select(5) for _ in range(20)]
    for wrong in ((2.0, 1), (1.0, 0), (-1.0, 3)):
        with pytest.raises(InvalidInput, match=r"(reward|trials): expected"):
            LearnedSelector(OWN, outcomes={"default": {"scaled-dot": wrong}})


def choices(seed: int) -> list[str]:
    learned = LearnedSelector(OWN, least=1, seed=seed)
    for mechanism in ("scaled-dot", "standard-mha"):
        learned.record("default", mechanism, 0.5)
    return [learned.select(5).mechanism for _ in range(40)]


def test_the_same_seed_the_same_choices() -> None:
    assert choices(1) == choices(1)
    assert choices(1) != choices(2)
    assert set(choices(1)) == {"scaled-dot", "standard-mha"}


ARMS = ("scaled-dot", "standard-mha", "cross-attention", "flash-attention-v2")


def simulated(seed: int, steps: int, means: dict[str, dict[str, float]]) -> tuple[float, float]:
    """Return the regret of the learner, and of the rules alone, on tasks whose outcomes are drawn from ``means``."""
    world = random.Random(seed)
    learned = LearnedSelector(OWN, seed=seed)

    def outcome(task: str, arm: str) -> float:
        return float(world.random() < means[task][arm])

    for task in means:
        for arm in ARMS:
            for _ in range(learned.least):
                learned.record(task, arm, outcome(task, arm))
    ours = rules = 0.0
    for _ in range(steps):
        task = world.choice(list(means))
        best = max(means[task].values())
        chosen = learned.select(5, task=task).mechanism
        learned.record(task, chosen, outcome(task, chosen))
        ours += best - means[task][chosen]
        rules += best - means[task][MechanismSelector(OWN).select(5, task=task).mechanism]
    return ours, rules


@pytest.mark.parametrize("seed", range(5))
def test_regret(seed: int) -> None:
    world = random.Random(100 + seed)
    means = {task: {arm: world.uniform(0.2, 0.8) for arm in ARMS} for task in TASKS}
    ours, rules = simulated(seed, 2_000, means)
    assert ours < 0.5 * rules
    longer, _ = simulated(seed, 4_000, means)
    assert longer - ours < 0.7 * ours  # regret grows ever more slowly


@pytest.mark.parametrize("seed", range(5))
def test_where_the_rules_are_right_little_is_lost(seed: int) -> None:
    right = {"code-analysis": "standard-mha"}
    means = {task: {arm: 0.7 if arm == right.get(task, "scaled-dot") else 0.4 for arm in ARMS} for task in TASKS}
    ours, rules = simulated(seed, 2_000, means)
    assert rules == 0
    assert ours / 2_000 < 0.05
