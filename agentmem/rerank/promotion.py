"""Whether learned weights may rank: they must beat the present ones on judged searches that they did not see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from agentmem.records import Float32
from agentmem.rerank.learned import parts, project
from agentmem.rerank.training import Judged, Lists, fit
from agentmem.rerank.weights import HeadWeights

HELD_OUT, VALIDATION = 0.3, 0.2
"""The shares of all queries that decide on promotion, and of those left, on the strength of the regularisation."""
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


@dataclass(frozen=True, slots=True)
class Fitted:
    """What was learned.

    Attributes:
        weights: the best on the validation part; the constants where nothing beat them.
        strength: of the regularisation; infinite for the constants.
        rank: of W_Q and W_K.
    """

    weights: HeadWeights
    strength: float
    rank: int


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


def compare(searches: Sequence[Judged], before: HeadWeights, after: HeadWeights, seed: int) -> Comparison:
    """Compare two rankings; searches of which nothing is known to be right are left out."""
    known = [each for each in searches if len(each.ideal)]
    if not known:
        return Comparison(0, 0.0, 0.0, 0.0, 0.0)
    old, new = (np.array([ndcg(each, ranked(each, weights)) for each in known]) for weights in (before, after))
    low, high = interval(new - old, seed)
    return Comparison(len(known), float(old.mean()), float(new.mean()), low, high)


def interval(differences: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """Return the 95% interval of the mean, by a bootstrap of ``RESAMPLES`` resamples (Efron 1979)."""
    rng = np.random.default_rng(seed)
    count = len(differences)
    means = [differences[rng.integers(0, count, count)].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def fit_best(
    searches: Sequence[Judged], keys: Sequence[str], origin: HeadWeights, seed: int, advance: Advance
) -> Fitted:
    """Fit with several strengths, keep the one that is best on a part left out, and fit all with that.

    Args:
        searches: to learn from.
        keys: of their queries; a query's searches are all in one part.
        origin: the constants for the embedder, see ``weights.start``.
        seed: of the split.
        advance: called with the share of the work that was done.
    """
    places = [part_of(key, seed + 1) for key in keys]
    chosen = [each for each, place in zip(searches, places, strict=True) if place < VALIDATION and len(each.ideal)]
    taught = [each for each, place in zip(searches, places, strict=True) if place >= VALIDATION and each.teaches]
    whole = [each for each in searches if each.teaches]
    best, found = (
        float(np.mean([ndcg(each, ranked(each, origin)) for each in chosen] or [0.0])),
        Fitted(origin, float("inf"), 0),
    )
    if not taught or not chosen:
        return found
    tried: list[tuple[float, int]] = [(strength, 0) for strength in STRENGTHS]
    while tried:
        strength, rank = tried.pop(0)
        weights = fit(Lists(taught, origin, strength, rank))
        reached = float(np.mean([ndcg(each, ranked(each, weights)) for each in chosen]))
        if reached > best:
            best, found = reached, Fitted(weights, strength, rank)
        advance(0.1)
        if not tried and not rank and len(taught) >= MIN_PROJECTED:
            tried.append((min(found.strength, max(STRENGTHS)), RANK))
    if found.weights is not origin:
        found = Fitted(fit(Lists(whole, origin, found.strength, found.rank)), found.strength, found.rank)
    return found


def verdict(compared: Comparison, fitted: Fitted) -> str | None:
    """Return why weights may not rank; None where they may."""
    if not np.isfinite(fitted.strength):
        return "nothing that was tried beat the constants on the part left out for choosing"
    if compared.queries < MIN_HELD_OUT:
        return f"only {compared.queries} held-out queries know something right; at least {MIN_HELD_OUT} are needed"
    if compared.low <= 0:
        return (
            f"on {compared.queries} held-out queries NDCG@10 goes from {compared.before:.3f} to {compared.after:.3f}; "
            f"the 95% interval of the difference, {compared.low:+.3f} to {compared.high:+.3f}, is not above 0"
        )
    return None


def split(keys: Sequence[str], seed: int) -> NDArray[np.bool_]:
    """Return which searches are held out, bool (n,): by query, the same at every run with the same seed."""
    return np.array([part_of(key, seed) < HELD_OUT for key in keys], bool)


def learn(
    searches: Sequence[Judged],
    keys: Sequence[str],
    present: HeadWeights | None,
    origin: HeadWeights,
    seed: int,
    advance: Advance,
) -> tuple[Fitted, Comparison, str | None]:
    """Fit on a part, compare with the present weights on the part held out; return also why not to promote, or None."""
    held = split(keys, seed)
    train = [(each, key) for each, key, out in zip(searches, keys, held, strict=True) if not out]
    fitted = fit_best([each for each, _ in train], [key for _, key in train], origin, seed, advance)
    tests = [each for each, out in zip(searches, held, strict=True) if out]
    compared = compare(tests, present or origin, fitted.weights, seed)
    return fitted, compared, verdict(compared, fitted)
