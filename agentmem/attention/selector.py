"""Which mechanism for what: rules as data, and a learner that leaves them only for recorded outcomes."""

from __future__ import annotations

import copy
import random
import threading
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from agentmem.attention import registry
from agentmem.attention.rules import TASKS, Features, Rule, parse_rule
from agentmem.errors import InvalidInput

RULES = (
    "seq_len > 32768 -> longformer-attention",
    "seq_len > 8192 -> linear-attention",
    "hierarchical -> hyperbolic-attention",
    "graph -> graph-attention",
    "moe -> moe-attention",
    "task == code-analysis -> hierarchical-cross-attention",
    "task == memory-retrieval -> memory-attention",
    "task == long-context -> longformer-attention",
    "task == swarm-coordination -> star-attention",
    "default -> flash-attention-v2",
)
"""The first that holds decides: length before structure, structure before task."""


class Recommendation(NamedTuple):
    """A mechanism, and why.

    Attributes:
        mechanism: a name of the registry.
        reason: the rule or the outcomes that chose it.
    """

    mechanism: str
    reason: str


def features_of(
    sequence_length: int,
    batch_size: int = 1,
    hierarchical: bool = False,
    graph: bool = False,
    moe: bool = False,
    task: str = "default",
) -> Features:
    """Return the features, checked.

    Raises:
        InvalidInput: a length below 0, a batch below 1, a flag that is not bool, or an unknown task.
    """
    for name, value, least in (("sequence_length", sequence_length, 0), ("batch_size", batch_size, 1)):
        if type(value) is not int or value < least:
            raise InvalidInput(f"{name}: expected a whole number, at least {least}, came {value!r}")
    for name, flag in (("hierarchical", hierarchical), ("graph", graph), ("moe", moe)):
        if type(flag) is not bool:
            raise InvalidInput(f"{name}: expected True or False, came {flag!r}")
    if task not in TASKS:
        raise InvalidInput(f"task: expected one of {', '.join(TASKS)}, came {task!r}")
    return Features(sequence_length, batch_size, hierarchical, graph, moe, task)


class MechanismSelector:
    """Chooses by the first rule that holds.

    Args:
        rules: see the module ``rules``; the last one is to hold always ("default -> ..."); ``RULES`` where None.

    Raises:
        InvalidInput: not a rule, or none that always holds; UnknownMechanism for a mechanism that does not exist.
    """

    def __init__(self, rules: Iterable[str] | None = None) -> None:
        self.rules: tuple[Rule, ...] = tuple(parse_rule(text) for text in (RULES if rules is None else rules))
        if not self.rules or self.rules[-1].condition != "default":
            raise InvalidInput('rules: expected the last one to hold always, such as "default -> flash-attention-v2"')
        for rule in self.rules if rules is not None else ():
            registry.get(rule.mechanism)

    def overridden(self, *rules: str) -> MechanismSelector:
        """Return a selector that asks these rules before its own."""
        changed = copy.copy(self)
        changed.rules = (*MechanismSelector((*rules, RULES[-1])).rules[:-1], *self.rules)
        return changed

    def select(
        self,
        sequence_length: int,
        *,
        batch_size: int = 1,
        hierarchical: bool = False,
        graph: bool = False,
        moe: bool = False,
        task: str = "default",
    ) -> Recommendation:
        """Return the mechanism for calls of that kind, and the rule that says so.

        Args:
            sequence_length: keys that a query sees at most.
            batch_size: calls of that size at a time.
            hierarchical: the rows form a hierarchy.
            graph: edges between rows are known.
            moe: different kinds of queries are to be treated differently.
            task: "code-analysis", "memory-retrieval", "long-context", "swarm-coordination" or "default".

        Raises:
            InvalidInput: an argument out of range.
        """
        return self.choose(features_of(sequence_length, batch_size, hierarchical, graph, moe, task))

    def choose(self, features: Features) -> Recommendation:
        """Return the mechanism for features that are checked."""
        rule = next(rule for rule in self.rules if rule.holds(features))
        return Recommendation(rule.mechanism, f"rule: {rule}")


class Outcomes(NamedTuple):
    """What was recorded of a mechanism at a task: sum of rewards, and how many there were."""

    reward: float = 0.0
    trials: int = 0


class LearnedSelector(MechanismSelector):
    """Rules, and among the mechanisms whose outcomes were recorded a seeded bandit (Thompson sampling), task by task.

    A mechanism is a candidate for a task once it has ``least`` recorded outcomes there; until the rules' own choice has
    as many, or where nothing else has, the rules decide.  So nothing is ever tried at random: outcomes come from calls
    that named a mechanism, from hooks, or from an evaluation.

    Args:
        rules: as for ``MechanismSelector``.
        outcomes: what ``outcomes()`` returned of another one: sum of rewards and trials, by task and mechanism.
        least: outcomes from which on a mechanism may be chosen, at least 1.
        seed: of the sampling.

    Source: Thompson 1933, Biometrika 25; Chapelle & Li 2011, NeurIPS (rewards in [0, 1] as weighted Bernoulli trials).
    """

    def __init__(
        self,
        rules: Iterable[str] | None = None,
        *,
        outcomes: Mapping[str, Mapping[str, tuple[float, int]]] | None = None,
        least: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__(rules)
        if type(least) is not int or least < 1:
            raise InvalidInput(f"least: expected a whole number, at least 1, came {least!r}")
        self.least = least
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._outcomes: dict[str, dict[str, Outcomes]] = {task: {} for task in TASKS}
        for task, kept in (outcomes or {}).items():
            for mechanism, (reward, trials) in kept.items():
                self._add(task, mechanism, reward, trials)

    def record(self, task: str, mechanism: str, reward: float) -> None:
        """Record how well a mechanism did at a task.

        Args:
            task: as for ``select``.
            mechanism: a name of the registry.
            reward: from 0 (useless) to 1 (as wished).

        Raises:
            InvalidInput: an unknown task, or a reward out of range; UnknownMechanism: no such mechanism.
        """
        self._add(task, mechanism, reward, 1)

    def _add(self, task: str, mechanism: str, reward: float, trials: int) -> None:
        features_of(0, task=task)
        registry.get(mechanism)
        if type(trials) is not int or trials < 1:
            raise InvalidInput(f"trials: expected a whole number, at least 1, came {trials!r}")
        if isinstance(reward, bool) or not isinstance(reward, (int, float)) or not 0 <= reward <= trials:
            raise InvalidInput(f"reward: expected a number from 0 to {trials}, came {reward!r}")
        with self._lock:
            before = self._outcomes[task].get(mechanism, Outcomes())
            self._outcomes[task][mechanism] = Outcomes(before.reward + reward, before.trials + trials)

    def outcomes(self) -> Mapping[str, Mapping[str, Outcomes]]:
        """Return what was recorded, by task and mechanism."""
        with self._lock:
            return {task: dict(kept) for task, kept in self._outcomes.items()}

    def choose(self, features: Features) -> Recommendation:
        """Return the mechanism whose sampled mean reward is the largest, or the rules' choice without evidence."""
        ruled = super().choose(features)
        with self._lock:
            kept = self._outcomes[features.task]
            known = {name: seen for name, seen in kept.items() if seen.trials >= self.least}
            if ruled.mechanism not in known or len(known) == 1:
                return ruled
            sampled = {
                name: self._random.betavariate(1 + seen.reward, 1 + seen.trials - seen.reward)
                for name, seen in known.items()
            }
        best = max(sampled, key=sampled.__getitem__)
        if best == ruled.mechanism:
            return ruled
        ours, rules = known[best], known[ruled.mechanism]
        return Recommendation(
            best,
            f"outcomes at {features.task}: {ours.reward / ours.trials:.2f} over {ours.trials}, against "
            f"{rules.reward / rules.trials:.2f} over {rules.trials} of {ruled.mechanism}, which the rules choose",
        )
