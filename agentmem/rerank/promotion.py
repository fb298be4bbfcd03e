"""Whether learned weights may rank: they must beat the present ones on judged searches that they did not see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agentmem.records import Float32
from agentmem.rerank.learned import parts, project
from agentmem.rerank.training import Judged, Lists, fit
from agentmem.rerank.weights import HEADS, HeadWeights

CHOOSING = 0.2
"""The share of the queries on which the strength of the regularisation and the rank are chosen."""
FOLDS = 3
"""The others are split into so many parts; each is ranked by weights that were fitted without it."""
STRENGTHS = (1.0, 0.1, 0.01)
RANK = 16
MIN_PROJECTED = 100
"""Fewer searches than this say too little about 2 × 16 × dim numbers."""
MIN_HELD_OUT = 10
RESAMPLES = 2_000
CUTOFF = 10
_DISCOUNTS = 1.0 / np.log2(np.arange(2, CUTOFF + 2))

Advance = Callable[[float], object]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The mean NDCG@10 of two rankings over the same searches.

    Attributes:
        queries: how many searches.
        before, after: of the present weights and of those that were learned.
        low, high: the 95% interval of the difference, by paired bootstrap over the searches.
    """

    queries: int
    before: float
    after: float
    low: float
    high: float


class Setting(NamedTuple):
    """How weights are fitted.

    Attributes:
        strength: of the regularisation; infinite for the constants.
        rank: of W_Q and W_K.
        pruned: whether heads that say next to nothing are taken out afterwards.
    """

    strength: float
    rank: int
    pruned: bool = False


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The NDCG@10 of n searches, each ranked by weights that were fitted without it.

    Attributes:
        part: int64 (n,), the part that each was held out in; negative for those that were left out to choose by.
        before, after: float64 (n,), of the present weights and of those that were learned; NaN where it was not held
            out, or where nothing is known to be right.
    """

    part: NDArray[np.intp]
    before: NDArray[np.float64]
    after: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was learned.

    Attributes:
        weights: fitted on all; the constants where nothing beat them.
        strength: of the regularisation; infinite for the constants.
        rank: of W_Q and W_K.
        held_out: how well each search was ranked.
        pruned: the heads that were taken out, by kind of record, such as "time of turns".
        pruning: what pruning did to the held-out searches; None where no head was to be pruned.
    """

    weights: HeadWeights
    strength: float
    rank: int
    held_out: HeldOut
    pruned: tuple[str, ...] = ()
    pruning: Comparison | None = None


def part_of(key: str, seed: int) -> float:
    """Return a query's place in [0, 1), the same at every run with the same seed: the parts are split by it."""
    return int.from_bytes(blake2b(f"{seed}\0{key}".encode("utf-8", "surrogatepass"), digest_size=7).digest(), "big") / (
        1 << 56
    )


def scores(judged: Judged, weights: HeadWeights) -> Float32:
    """Return the scores of a judged search's candidates, float32 (m,)."""
    total: Float32 = parts(judged.table, weights, project(weights, judged.embedding, judged.keys[judged.rows])).sum(
        axis=0
    )
    return total


def ranked(judged: Judged, weights: HeadWeights) -> NDArray[np.intp]:
    """Return a judged search's candidates from best to worst, as a search with these weights ranks them."""
    dense = np.where(np.isnan(judged.dense), -np.inf, judged.dense)
    return np.lexsort((judged.labels, -dense, -scores(judged, weights)))


def ndcg(judged: Judged, order: NDArray[np.intp]) -> float:
    """Return NDCG@10 of an order of the candidates; what is right and no candidate counts as not found."""
    gains = judged.target[order[:CUTOFF]]
    ideal = judged.ideal[:CUTOFF]
    return float(gains @ _DISCOUNTS[: len(gains)] / (ideal @ _DISCOUNTS[: len(ideal)]))


def compare(before: NDArray[np.float64], after: NDArray[np.float64], seed: int) -> Comparison:
    """Compare two rankings by the NDCG@10, (n,) each, of the same searches."""
    if not len(before):
        return Comparison(0, 0.0, 0.0, 0.0, 0.0)
    low, high = interval(after - before, seed)
    return Comparison(len(before), float(before.mean()), float(after.mean()), low, high)


def interval(differences: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """Return the 95% interval of the mean, by a bootstrap of ``RESAMPLES`` resamples (Efron 1979)."""
    rng = np.random.default_rng(seed)
    count = len(differences)
    means = [differences[rng.integers(0, count, count)].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def _gains(searches: Sequence[Judged], weights: HeadWeights) -> NDArray[np.float64]:
    """Return the NDCG@10 of searches of which something is known to be right."""
    return np.array([ndcg(each, ranked(each, weights)) for each in searches], np.float64)


def _fit(
    searches: Iterable[Judged], origin: HeadWeights, strength: float, rank: int
) -> tuple[HeadWeights, HeadWeights]:
    """Return weights fitted on searches, and the same without heads that say next to nothing."""
    taught = [each for each in searches if each.teaches]
    if not taught or not np.isfinite(strength):
        return origin, origin
    lists = Lists(taught, origin, strength, rank)
    weights = fit(lists)
    return weights, lists.pruned(weights)


def _names(weights: HeadWeights, pruned: HeadWeights) -> tuple[str, ...]:
    gone = np.argwhere((weights.table() != 0) & (pruned.table() == 0)).tolist()
    return tuple(f"{HEADS[head]} of {('turns', 'plain records')[kind]}" for head, kind in gone)


def _worth_projecting(searches: Sequence[Judged]) -> bool:
    """Say whether W_Q and W_K are tried: for enough searches, of plain records rather than turns.

    What a turn means stands beside it as much as in its own vector: on conversations they overfitted.
    """
    plain = sum(float(each.table.plain.mean()) for each in searches if len(each.labels))
    return len(searches) >= MIN_PROJECTED and plain > len(searches) / 2


def choose(taught: Sequence[Judged], choosing: Sequence[Judged], origin: HeadWeights, advance: Advance) -> Setting:
    """Return what is best on queries left out; an infinite strength for the constants.

    Heads are pruned where that costs these queries nothing.
    """
    best, found = float(np.mean(_gains(choosing, origin))) if choosing else 1.0, Setting(float("inf"), 0)
    for strength in (*STRENGTHS, None):
        rank = RANK if strength is None else 0
        if rank and not _worth_projecting(taught):
            break
        setting = (min(found.strength, max(STRENGTHS)) if strength is None else strength, rank)
        if choosing:
            weights, pruned = _fit(taught, origin, *setting)
            reached = float(np.mean(_gains(choosing, weights)))
            if reached > best:
                best, found = reached, Setting(*setting, float(np.mean(_gains(choosing, pruned))) >= reached)
        advance(0.05)
    return found


def verdict(compared: Comparison, fitted: Fitted) -> str | None:
    """Return why weights may not rank; None where they may."""
    if not np.isfinite(fitted.strength):
        return "nothing that was tried beat the constants on the queries left out to choose by"
    if compared.queries < MIN_HELD_OUT:
        return f"only {compared.queries} held-out queries know something right; at least {MIN_HELD_OUT} are needed"
    if compared.low <= 0:
        return (
            f"on {compared.queries} held-out queries NDCG@10 goes from {compared.before:.3f} to {compared.after:.3f}; "
            f"the 95% interval of the difference, {compared.low:+.3f} to {compared.high:+.3f}, is not above 0"
        )
    return None


def learn(
    searches: Sequence[Judged],
    keys: Sequence[str],
    present: HeadWeights | None,
    origin: HeadWeights,
    seed: int,
    advance: Advance,
) -> tuple[Fitted, Comparison, str | None]:
    """Learn from judged searches, and say why the weights may not rank, or None.

    Strength, rank and whether heads are pruned are chosen on a part of the queries.  The others decide, each ranked by
    weights that were fitted without it (cross-fitting), against the present weights; a pruning that may cost them
    something, by the lower end of its interval, is undone.  What may rank then is fitted on all of them.

    Args:
        searches: to learn from, one a query.
        keys: of the queries; they are split by it.
        present: the weights that are to be beaten; None for the constants.
        origin: the constants for the embedder, see ``weights.start``.
        seed: of the split.
        advance: called with the share of the work that was done, up to 0.5.
    """
    places = np.array([part_of(key, seed) for key in keys])
    part = np.floor((places - CHOOSING) / (1 - CHOOSING) * FOLDS).astype(np.intp)
    known = np.array([bool(len(each.ideal)) for each in searches], np.bool_)
    aside = [searches[row] for row in np.flatnonzero(known & (part < 0)).tolist()]
    rest = [searches[row] for row in np.flatnonzero(part >= 0).tolist()]
    setting = choose(rest, aside, origin, advance)
    before, after, bare = (np.full(len(searches), np.nan) for _ in range(3))
    held = [np.flatnonzero(known & (part == number)) for number in range(FOLDS)]
    for number, rows in enumerate(held):
        tests = [searches[row] for row in rows.tolist()]
        weights, pruned = _fit(
            (each for each, mine in zip(searches, part, strict=True) if mine != number), origin, *setting[:2]
        )
        before[rows] = _gains(tests, present or origin)
        after[rows] = _gains(tests, weights)
        if setting.pruned:
            bare[rows] = _gains(tests, pruned)
        advance(0.05)
    weights, pruned = _fit(searches, origin, *setting[:2])
    decided, names, pruning = np.concatenate(held), _names(weights, pruned), None
    if setting.pruned and names and len(decided):
        pruning = compare(after[decided], bare[decided], seed)
        if pruning.low >= 0:
            weights, after = pruned, bare
        else:
            names = ()
    compared = compare(before[decided], after[decided], seed)
    held_out = HeldOut(part, before, after)
    fitted = Fitted(weights, setting.strength, setting.rank, held_out, names if pruning else (), pruning)
    return fitted, compared, verdict(compared, fitted)
