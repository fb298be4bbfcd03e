"""Which keys a query may see, as data: per query a few runs of keys, never an n x n mask.

An *atom* is a rule that gives pieces of a support for all queries at once; a declaration joins atoms, as in
"dilated | global".  ``build`` takes their union: memory is proportional to queries times runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agentmem.errors import InvalidInput

Ints = NDArray[np.int64]
ROWS_AT_ONCE = 1024  # queries whose support is built together, which bounds the memory of building


@dataclass(frozen=True, slots=True)
class Support:
    """The keys that each query sees.

    Attributes:
        offsets: int64 (n_queries + 1,): query i has runs[offsets[i]:offsets[i + 1]].
        runs: int64 (n_runs, 3), C-contiguous: start, count and step of each run; a key in two runs counts twice.
    """

    offsets: Ints
    runs: Ints

    @property
    def sizes(self) -> Ints:
        """How many keys each query sees, (n_queries,)."""
        ends = np.concatenate([[0], np.cumsum(self.runs[:, 1])])[self.offsets]
        sizes: Ints = np.diff(ends)
        return sizes

    def keys(self, query: int) -> Ints:
        """Return the keys that a query sees, in the order of its runs."""
        runs = self.runs[self.offsets[query] : self.offsets[query + 1]].tolist()
        parts = [np.arange(start, start + count * step, step) for start, count, step in runs]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)


class Pieces(NamedTuple):
    """Flat arrays, one entry a run: the query, and start, length and step among the keys; unordered, unclipped."""

    query: Ints
    start: Ints
    length: Ints
    step: Ints


def pieces(query: Any, start: Any, length: Any, step: Any = 1) -> Pieces:
    """Return the pieces of arrays that broadcast against one another."""
    flat = (np.ravel(x).astype(np.int64) for x in np.broadcast_arrays(query, start, length, step))
    return Pieces(*flat)


def joined(parts: list[Pieces]) -> Pieces:
    """Return all pieces of several."""
    return Pieces(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def packed(given: Pieces, n_queries: int) -> Support:
    """Return the pieces as a support, ordered by query and start; they are taken as they are, overlaps and all."""
    order = np.argsort(given.query * (given.start.max(initial=0) + 1) + given.start, kind="stable")
    runs = np.stack([given.start, given.length, given.step], axis=1)[order]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(given.query, minlength=n_queries))])
    return Support(offsets.astype(np.int64), np.ascontiguousarray(runs))


def _within(given: Pieces, low: Any, high: Any) -> Pieces:
    """Cut every piece down to the keys from ``low`` to below ``high``; empty ones go."""
    skip = np.maximum(0, -((given.start - low) // given.step))
    start = given.start + skip * given.step
    length = np.minimum(given.length - skip, -((start - high) // given.step))
    left = length > 0
    return Pieces(*(x[left] for x in (given.query, start, length, given.step)))


def _merged(given: Pieces, n_keys: int) -> Pieces:
    """Union of pieces of step 1 within 0 and n_keys: per query in order, apart from one another."""
    width = n_keys + 1  # one line of numbers for all queries, with a gap between them
    starts = given.query * width + given.start
    order = np.argsort(starts, kind="stable")
    starts, stops = starts[order], np.maximum.accumulate((starts + given.length)[order])
    first = np.flatnonzero(np.concatenate([[True], starts[1:] > stops[:-1]])[: len(starts)])
    last = np.append(first[1:], len(starts))[: len(first)] - 1
    return pieces(starts[first] // width, starts[first] % width, stops[last] - starts[first])


def _without(given: Pieces, taken: Pieces, n_queries: int, n_keys: int) -> Pieces:
    """Return what is left of the pieces outside merged pieces of step 1: each is cut by every gap of its query."""
    every = np.arange(n_queries)
    low_of = np.concatenate([every, taken.query])
    high_of = np.concatenate([taken.query, every])
    low = np.concatenate([np.zeros(n_queries, np.int64), taken.start + taken.length])
    high = np.concatenate([taken.start, np.full(n_queries, n_keys)])
    low, high = low[np.lexsort((low, low_of))], high[np.lexsort((high, high_of))]
    gaps = np.bincount(low_of, minlength=n_queries)
    each = gaps[given.query]
    nth = np.arange(each.sum()) - np.repeat(np.cumsum(each) - each, each)
    gap = np.repeat((np.cumsum(gaps) - gaps)[given.query], each) + nth
    return _within(Pieces(*(np.repeat(x, each) for x in given)), low[gap], high[gap])


def _union(parts: list[Pieces], at: Ints, n_keys: int, causal: bool) -> Pieces:
    """Return the union of pieces among the keys, each key of a query in one piece.

    Pieces of a step above 1 must not overlap one another, whatever else they overlap.
    """
    given = joined(parts)
    given = _within(given, 0, np.minimum(at[given.query] + 1, n_keys) if causal else n_keys)
    long = given.step > 1
    near = _merged(Pieces(*(x[~long] for x in given)), n_keys)
    if not long.any():
        return near
    return joined([near, _without(Pieces(*(x[long] for x in given)), near, len(at), n_keys)])


def hashed(seed: Any, *counters: Any) -> NDArray[np.uint64]:
    """Return 64 random bits for each tuple of seed and counters, which broadcast; they depend on nothing else.

    Source: the mixing function of SplitMix64, Steele 2014, doi:10.1145/2660193.2660195.
    """
    state = np.asarray(seed, np.uint64)
    with np.errstate(over="ignore"):
        for counter in counters:
            state = state + (np.asarray(counter).astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
            for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
                state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
            state = state ^ (state >> np.uint64(31))
    return state


def draw(seed: int, rows: Ints, among: Ints, k: int) -> Ints:
    """Return up to k distinct numbers below ``among``, uniform, by each row's own number; −1 where there are no more.

    Args:
        seed: the same seed, row and ``among``, the same numbers, whatever the other rows.
        rows: int64 (n,): the counter of each.
        among: int64 (n,): how many numbers there are to choose from.
        k: how many to draw.

    Returns:
        int64 (n, k), or narrower where no row has k to choose from.

    Source: Floyd's sampling without replacement, Bentley 1987, doi:10.1145/30401.315746.
    """
    k = min(k, int(among.max(initial=0)))
    newest = among - np.minimum(among, k) + np.arange(k)[:, None]
    bits = hashed(hashed(seed, rows), np.arange(k)[:, None])
    chosen = (bits % np.maximum(newest + 1, 1).astype(np.uint64)).astype(np.int64)
    for turn in range(1, k):
        twice = (chosen[:turn] == chosen[turn]).any(0)
        chosen[turn, twice] = newest[turn, twice]
    return np.where(newest < among, chosen, -1).T


Params = Mapping[str, Any]
Atom = Callable[[Ints, int, Params], list[Pieces]]


def _numbers(at: Ints) -> Ints:
    return np.arange(len(at))


def _window(at: Ints, _n_keys: int, params: Params) -> list[Pieces]:
    """|i − j| <= window."""
    return [pieces(_numbers(at), at - params["window"], 2 * params["window"] + 1)]


def _past(at: Ints, _n_keys: int, params: Params) -> list[Pieces]:
    """Keys i − window < j <= i."""
    return [pieces(_numbers(at), at - params["window"] + 1, params["window"])]


def _dilated(at: Ints, _n_keys: int, params: Params) -> list[Pieces]:
    """Keys j = i + dilation · t, |t| <= window / 2."""
    half, step = params["window"] // 2, params["dilation"]
    return [pieces(_numbers(at), at - half * step, 2 * half + 1, step)]


def _global(at: Ints, n_keys: int, params: Params) -> list[Pieces]:
    """The first ``global_tokens`` rows see all and are seen by all."""
    return _everywhere(at, n_keys, [(0, params["global_tokens"])])


def _everywhere(at: Ints, n_keys: int, spans: list[tuple[int, int]]) -> list[Pieces]:
    rows = _numbers(at)
    seen = [pieces(rows, start, count) for start, count in spans]
    seeing = [rows[(at >= start) & (at < start + count)] for start, count in spans]
    return seen + [pieces(each, 0, n_keys) for each in seeing]


def _all(at: Ints, n_keys: int, _params: Params) -> list[Pieces]:
    """Every key."""
    return [pieces(_numbers(at), 0, n_keys)]


def _reach(at: Ints, _n_keys: int, params: Params) -> list[Pieces]:
    """|i − j| <= stride."""
    return [pieces(_numbers(at), at - params["stride"], 2 * params["stride"] + 1)]


def _stride(at: Ints, n_keys: int, params: Params) -> list[Pieces]:
    """(i − j) mod stride = 0."""
    return [pieces(_numbers(at), at % params["stride"], n_keys, params["stride"])]


def _chunk(at: Ints, _n_keys: int, params: Params) -> list[Pieces]:
    """⌊j / stride⌋ = ⌊i / stride⌋."""
    return [pieces(_numbers(at), at // params["stride"] * params["stride"], params["stride"])]


def _summary(at: Ints, n_keys: int, params: Params) -> list[Pieces]:
    """Keys j mod stride >= stride − summary."""
    stride, c = params["stride"], min(params["summary"], params["stride"])
    return [pieces(_numbers(at)[:, None], np.arange(stride - c, min(stride, n_keys)), n_keys, stride)]


def _random(at: Ints, n_keys: int, params: Params) -> list[Pieces]:
    """``random`` distinct keys, uniform, by the seed and the row."""
    chosen = draw(params["seed"], at, np.full(len(at), n_keys), params["random"])
    return [pieces(_numbers(at)[:, None], chosen, chosen >= 0)]


def _ring(at: Ints, n_keys: int, _params: Params) -> list[Pieces]:
    """The neighbours and itself, the last row being next to the first."""
    rows, size = _numbers(at), max(n_keys, 1)
    return [pieces(rows, (at + shift) % size, 1) for shift in (-1, 0, 1)]


def _block_window(at: Ints, _n_keys: int, params: Params) -> list[Pieces]:
    """Blocks up to (window − 1) / 2 away."""
    size, half = params["block"], params["window"] // 2
    return [pieces(_numbers(at), (at // size - half) * size, (2 * half + 1) * size)]


def _block_global(at: Ints, n_keys: int, params: Params) -> list[Pieces]:
    """The first and the last blocks see all and are seen by all."""
    size = params["block"]
    head, tail = params["global_first"] * size, (-(-n_keys // size) - params["global_last"]) * size
    return _everywhere(at, n_keys, [(0, head), (max(tail, 0), n_keys)])


def _block_random(at: Ints, n_keys: int, params: Params) -> list[Pieces]:
    """``random`` blocks a block of queries, neither global nor in its window, by the seed and the block."""
    size, half, first = params["block"], params["window"] // 2, params["global_first"]
    block, last = at // size, max(-(-n_keys // size) - params["global_last"], first)
    low, high = (np.clip(edge, first, last) for edge in (block - half, block + half + 1))
    chosen = draw(params["seed"], block, last - first - (high - low), params["random"])
    there = chosen >= 0
    chosen = chosen + first
    chosen = chosen + np.where(chosen >= low[:, None], (high - low)[:, None], 0)
    return [pieces(_numbers(at)[:, None], chosen * size, there * size)]


ATOMS: Mapping[str, Atom] = {
    "all": _all,
    "window": _window,
    "past": _past,
    "dilated": _dilated,
    "global": _global,
    "reach": _reach,
    "stride": _stride,
    "chunk": _chunk,
    "summary": _summary,
    "random": _random,
    "ring": _ring,
    "block-window": _block_window,
    "block-global": _block_global,
    "block-random": _block_random,
}


def _atoms(support: str) -> list[Atom]:
    names = support.split(" | ")
    if unknown := [name for name in names if name not in ATOMS]:
        raise InvalidInput(f"support {support!r}: no atom {unknown[0]!r}; there are {', '.join(ATOMS)}")
    return [ATOMS[name] for name in names]


def build(support: str, at: Ints, n_keys: int, params: Params) -> Support:
    """Return the support of atoms joined by " | ".

    Args:
        support: atoms, as in a declaration.
        at: int64 (n_queries,): the row among the keys where each query stands; may lie outside.
        n_keys: number of keys.
        params: what the atoms read; ``causal`` cuts all of them, and is False where absent.

    Raises:
        InvalidInput: no such atom.
    """
    causal = bool(params.get("causal", False))
    parts = []
    for first in range(0, max(len(at), 1), ROWS_AT_ONCE):
        some = at[first : first + ROWS_AT_ONCE]
        given = [part for atom in _atoms(support) for part in atom(some, n_keys, params)]
        parts.append(packed(_union(given, some, n_keys, causal), len(some)))
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    return Support(np.concatenate([[0], np.cumsum(counts)]), np.concatenate([part.runs for part in parts]))


def star(at: Ints, n_keys: int) -> Support:
    """Return the support of Star-Transformer's satellites: ring, itself once more, and relay, row ``n_keys``."""
    rows = _numbers(at)
    ring = _union(_ring(at, n_keys, {}), at, n_keys, False)
    return packed(joined([ring, pieces(rows, at % max(n_keys, 1), 1), pieces(rows, n_keys, 1)]), len(at))
