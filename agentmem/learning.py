"""Learning from use: the feedback log becomes weights, which rank once they won on feedback that they did not see."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from agentmem import faults
from agentmem import validation as check
from agentmem.core import StoreCore
from agentmem.errors import EmbedderMismatch
from agentmem.progress import track
from agentmem.records import Feedback, Float32, Query
from agentmem.rerank.promotion import Comparison, Fitted, learn
from agentmem.rerank.selection import Choice, choose_mechanisms
from agentmem.rerank.training import Judged
from agentmem.rerank.weights import HeadWeights, start
from agentmem.search import Observation, Searcher
from agentmem.telemetry import timed
from agentmem.weights import MECHANISM, StoreWeights, active_weights

USED = 0.3
"""What a used memory counts against an accepted one: it was useful to somebody, who did not say for what."""
OBSERVING = 0.5
"""The share of the progress bar that the searches have; fitting has the rest."""

Progress = Callable[[float], object]


@dataclass(slots=True)
class Case:
    """All that is known of one query: the later judgement of a record counts.

    Attributes:
        query: its text.
        vector: float32 (dim,), where the caller gave one.
        namespace: where it was asked, None for everywhere.
        values: record id -> 1 for accepted, ``USED`` for used, 0 for rejected.
    """

    query: str
    vector: Float32 | None = None
    namespace: str | None = None
    values: dict[str, float] = field(default_factory=dict)

    @property
    def weight(self) -> float:
        """What the case counts among the others: less where nobody judged."""
        return 1.0 if any(value in (0.0, 1.0) for value in self.values.values()) else USED

    @property
    def key(self) -> str:
        """What tells the query from others; the parts to fit and to test on are split by it."""
        return f"{self.namespace or ''}\0{self.query}"


@dataclass(frozen=True, slots=True)
class LearnReport:
    """What one attempt to learn came to.

    Attributes:
        promoted: whether searches rank by what was learned now: by the weights, or by a choice of mechanism.
        reason: why, or why not.
        number: of the weights in ``store.weights.history()``; None where they were kept in no store.
        events: judged searches in the log.
        skipped: how many of them say nothing that can be learned from: a vector without a text.
        queries: distinct ones.
        held_out: how many of them decided on promotion, each ranked by weights that were fitted without it.
        found: the share of what is right that is among the candidates; nothing else can be ranked.
        before, after: mean NDCG@10 on the held-out queries, of the present weights and of the learned ones; a query
            whose right answers are no candidates counts as 0.
        low, high: the 95% interval of the difference, by paired bootstrap; it must lie above 0.
        strength: of the regularisation that was chosen; None where nothing beat the constants.
        rank: of the learned W_Q and W_K; 0 for none.
        pruned: heads that were taken out since they said next to nothing, such as "recency of turns".
        pruning: what that did to the NDCG@10 of the held-out queries; None where no head was to be pruned. Where it
            may have cost something it was undone, and ``pruned`` is empty.
        choices: mechanisms that promised more for queries of a task than the present one, and whether they rank now.
        seed: of the split.
        seconds: that it took.
    """

    promoted: bool
    reason: str
    number: int | None
    events: int
    skipped: int
    queries: int
    held_out: int
    found: float
    before: float
    after: float
    low: float
    high: float
    strength: float | None
    rank: int
    pruned: tuple[str, ...]
    pruning: float | None
    choices: tuple[Choice, ...]
    seed: int
    seconds: float


def cases_of(log: Iterable[Feedback], namespaces: Mapping[str, str]) -> list[Case]:
    """Return what a log says of each query, in the order in which they came up.

    A search is taken to have been made in the namespace that all of its records share; everywhere, where they share
    none.

    Args:
        log: oldest first; events without a text are passed over.
        namespaces: record id -> namespace.
    """
    cases: dict[tuple[str, bytes | None, str | None], Case] = {}
    for event in log:
        if event.query is None:
            continue
        named = {namespaces.get(id) for id in (*event.shown, *event.accepted, *event.rejected, *event.used)} - {None}
        namespace = named.pop() if len(named) == 1 else None
        key = (event.query, None if event.vector is None else event.vector.tobytes(), namespace)
        case = cases.setdefault(key, Case(event.query, event.vector, namespace))
        for id in event.used:
            case.values.setdefault(id, USED)
        case.values |= dict.fromkeys(event.accepted, 1.0) | dict.fromkeys(event.rejected, 0.0)
    return list(cases.values())


def judge(observer: Searcher, cases: Sequence[Case], now: float, advance: Progress) -> list[Judged]:
    """Look once at the candidates of each case, in a read transaction of its own; the vectors are shared.

    Args:
        observer: of the store that the records are in.
        cases: what is known.
        now: epoch seconds, of the searches.
        advance: called with 1 for each case.
    """
    rows: dict[int, int] = {}
    vectors: list[Float32] = []
    seen: list[Observation] = []
    for case in cases:
        query = Query(case.query, case.vector, namespace=case.namespace, mechanism=MECHANISM, now=now)
        looked = observer.observe(query)
        for label, vector in zip(looked.labels.tolist(), looked.vectors, strict=True):
            if label not in rows:
                rows[label] = len(vectors)
                vectors.append(vector.copy())
        seen.append(looked._replace(vectors=looked.vectors[:0]))
        advance(1)
    keys = np.stack(vectors) if vectors else np.zeros((0, 0), np.float32)
    return [_judged(case, looked, rows, keys) for case, looked in zip(cases, seen, strict=True)]


def _judged(case: Case, looked: Observation, rows: Mapping[int, int], keys: Float32) -> Judged:
    ideal = np.array(sorted((value for value in case.values.values() if value > 0), reverse=True), np.float32)
    return Judged(
        table=looked.table,
        target=np.array([case.values.get(id, 0.0) for id in looked.ids], np.float32),
        rejected=np.array([case.values.get(id) == 0.0 for id in looked.ids], np.bool_),
        ideal=ideal,
        weight=case.weight,
        embedding=looked.embedding,
        keys=keys,
        rows=np.array([rows[label] for label in looked.labels.tolist()], np.int64),
        labels=looked.labels,
        dense=looked.dense,
        task=looked.task,
        rivals=looked.rivals,
    )


def found_share(searches: Sequence[Judged]) -> float:
    """Return the share of what is right that is among the candidates."""
    right = sum(len(each.ideal) for each in searches)
    return sum(int((each.target > 0).sum()) for each in searches) / right if right else 0.0


def report_of(
    fitted: Fitted,
    compared: Comparison,
    why: str | None,
    choices: Sequence[Choice],
    searches: Sequence[Judged],
    seed: int,
) -> LearnReport:
    """Return the report of an attempt, without what only its caller knows."""
    gain = f"NDCG@10 on {compared.queries} held-out queries: {compared.before:.3f} before, {compared.after:.3f} after"
    chosen = [
        f"{each.mechanism} for {each.task} queries: NDCG@10 {each.compared.before:.3f} before, "
        f"{each.compared.after:.3f} after"
        for each in choices
        if each.promoted
    ]
    return LearnReport(
        promoted=why is None or bool(chosen),
        reason="; ".join([why or gain, *chosen]),
        number=None,
        events=len(searches),
        skipped=0,
        queries=len(searches),
        held_out=compared.queries,
        found=found_share(searches),
        before=compared.before,
        after=compared.after,
        low=compared.low,
        high=compared.high,
        strength=fitted.strength if np.isfinite(fitted.strength) else None,
        rank=fitted.rank,
        pruned=fitted.pruned,
        pruning=None if fitted.pruning is None else fitted.pruning.after - fitted.pruning.before,
        choices=tuple(choices),
        seed=seed,
        seconds=0.0,
    )


def learn_from(
    observer: Searcher,
    cases: Sequence[Case],
    origin: HeadWeights,
    present: HeadWeights | None = None,
    *,
    seed: int = 0,
    progress: bool = False,
) -> tuple[HeadWeights, LearnReport]:
    """Learn from judged queries; writes nothing.

    Args:
        observer: of the store that the records are in.
        cases: what is known.
        origin: the constants for the store's embedder.
        present: the weights that are to be beaten; None for the constants.
        seed: of the split.
        progress: show a bar.
    """
    begun = time.perf_counter()
    keys = [case.key for case in cases]
    with track("learning", 1.0, progress) as advance:
        share = OBSERVING / max(1, len(cases))
        searches = judge(observer, cases, check.wall_clock(), lambda count: advance(count * share))
        fitted, compared, why = learn(searches, keys, present, origin, seed, advance)
        chosen = {} if present is None else present.choices
        choices = choose_mechanisms(searches, fitted.held_out, why is None, chosen, seed)
    report = report_of(fitted, compared, why, choices, searches, seed)
    won = {each.task: each.mechanism for each in choices if each.promoted}
    heads = fitted.weights if why is None or not won else present or origin
    return replace(heads, choices={**chosen, **won}), replace(report, seconds=time.perf_counter() - begun)


def judged_searches(store: LearningVerbs, cases: Sequence[Case], advance: Progress) -> list[Judged]:
    """Look once at the candidates of each case in a store; ``advance`` is called with 1 for each."""
    return judge(store._searcher, cases, check.wall_clock(), advance)


class LearningVerbs(StoreCore):
    """learn, and the property ``weights``."""

    _searcher: Searcher

    @property
    def weights(self) -> StoreWeights:
        """The learned weights: ``history()``, ``active()``, ``get()``, ``install()`` and ``rollback()``."""
        return StoreWeights(self)

    @timed()
    def learn(self, *, seed: int = 0, progress: bool = False) -> LearnReport:
        """Learn from the feedback how to rank; the new weights rank only if they win on feedback that they did not see.

        Heads, gate and, given a hundred queries, W_Q and W_K are fitted.  Strength, rank and whether heads that say
        next to nothing are pruned are chosen on a fifth of the queries; the others decide, each ranked by weights that
        were fitted without it: the lower end of the 95% interval of the gain in NDCG@10 over the present weights must
        be above 0.  A mechanism that ranks the queries of a task better than memory-heads is chosen for them under the
        same condition.  Every attempt is kept in the store.  Searches go on meanwhile; the one write is short and comes
        last.

        Args:
            seed: of the split of the queries.
            progress: show a progress bar on standard error.

        Returns:
            What came of it; ``reason`` says why the weights were promoted or kept aside.

        Raises:
            StoreReadOnly: the store was opened read-only.
            EmbedderMismatch: the store was re-embedded meanwhile.
        """
        seed = check.check_count(seed, "seed", low=0, high=check.MAX_INTEGER)
        progress = check.check_flag(progress, "progress")
        commit, identity = self.database.transaction(), self.identity
        with self.database.read() as reader:
            log = reader.feedback()
            ids = sorted({id for event in log for id in (*event.shown, *event.accepted, *event.rejected, *event.used)})
            namespaces = {record.id: record.namespace for record in reader.get(ids) if record is not None}
            present = active_weights(reader, identity)
        cases = cases_of(log, namespaces)
        weights, report = learn_from(
            self._searcher,
            cases,
            start(identity.embedder, identity.dimension),
            present.weights,
            seed=seed,
            progress=progress,
        )
        report = replace(report, events=len(log), skipped=sum(event.query is None for event in log))
        faults.point("learn:fitted")
        at, value = check.wall_clock(), weights.to_bytes()
        with commit as writer, self.database.read() as reader:
            if identity is not self.identity:
                raise EmbedderMismatch("the store was re-embedded while it learned; call learn() again")
            previous = reader.active_weights()
            if report.promoted and previous != present.number:
                report = replace(
                    report, promoted=False, reason="other weights were promoted meanwhile; call learn() again"
                )
            number = writer.add_weights(at, MECHANISM, value, json.dumps(asdict(report) | {"previous": previous}))
            faults.point("learn:kept")
            if report.promoted:
                writer.activate_weights(number, at)
        faults.point("learn:committed")
        return replace(report, number=number)
