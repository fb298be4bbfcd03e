"""Which mechanism ranks the queries of a task: chosen by feedback, and only where it wins on feedback it did not see.

Every mechanism of ``CHOICES`` can rank the candidates of any judged search afterwards, so that each search tells what
all of them would have been worth: nothing has to be tried on users, and a choice is never a matter of chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agentmem.records import Int64
from agentmem.rerank.evidence import Evidence, QueryFeatures
from agentmem.rerank.fusion import rank
from agentmem.rerank.promotion import CUTOFF, FOLDS, MIN_HELD_OUT, Comparison, HeldOut, compare, ndcg
from agentmem.rerank.training import Judged
from agentmem.rerank.weights import CHOICES

RIVALS = CHOICES[1:]
"""What the heads are compared with."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A mechanism that promised more for a task than the present one.

    Attributes:
        task: of the queries.
        mechanism: what was best on all of them.
        instead: of this one, the present one.
        compared: on held-out queries, each ranked by the mechanism that was best on the others.
        promoted: whether it may rank: as for weights, the lower end of the interval must be above 0.
    """

    task: str
    mechanism: str
    instead: str
    compared: Comparison
    promoted: bool


def best_by_rivals(evidence: Evidence, query: QueryFeatures) -> Int64:
    """Return the best candidates by each of ``RIVALS``, int64 (n_rivals, at most 10)."""
    return np.stack([rank(name, evidence, query).order[:CUTOFF] for name in RIVALS])


def choose_mechanisms(
    searches: Sequence[Judged], held_out: HeldOut, promoted: bool, present: Mapping[str, str], seed: int
) -> list[Choice]:
    """Return, for each task, a mechanism that promised more than the present one; nothing where none did.

    Args:
        searches: n, judged.
        held_out: of the same searches: how well the heads rank them.
        promoted: whether the learned weights of the heads rank now.
        present: task -> mechanism, where it is not memory-heads.
        seed: of the bootstrap.
    """
    heads = held_out.after if promoted else held_out.before
    rows = np.array([row for row, each in enumerate(searches) if len(each.rivals) and not np.isnan(heads[row])], int)
    rewards = np.array([[heads[row], *(ndcg(searches[row], order) for order in searches[row].rivals)] for row in rows])
    tasks = np.array([searches[row].task for row in rows])
    choices = []
    for task in sorted(set(tasks.tolist())):
        mine = tasks == task
        choice = _choice(task, rewards[mine], held_out.part[rows[mine]], present.get(task, CHOICES[0]), seed)
        if choice.mechanism != choice.instead:
            choices.append(choice)
    return choices


def _choice(task: str, rewards: NDArray[np.float64], part: NDArray[np.intp], instead: str, seed: int) -> Choice:
    """Return the best mechanism for a task by rewards, float64 (n, n_choices), and how it did on held-out queries."""
    present = CHOICES.index(instead)
    after = np.empty(len(rewards))
    for number in range(FOLDS):
        tests = part == number
        after[tests] = rewards[tests, _best(rewards[~tests], present)]
    compared = compare(rewards[:, present], after, seed)
    promoted = compared.queries >= MIN_HELD_OUT and compared.low > 0
    return Choice(task, CHOICES[_best(rewards, present)], instead, compared, promoted)


def _best(rewards: NDArray[np.float64], present: int) -> int:
    """Return the mechanism with the largest mean reward; the present one where none has a larger one."""
    if not len(rewards):
        return present
    means = rewards.mean(axis=0)
    best = int(means.argmax())
    return best if means[best] > means[present] else present
