"""Learning the weights of ``memory-heads`` from judged searches: a listwise softmax loss, its gradient, and Adam.

One search is one list.  With z the candidates' scores (a fixed number of points is one nat), t the share of each
candidate in what was accepted and ω how far a candidate counts as seen::

    loss = −Σ t z + ln Σ ω e^z          (ListNet: Cao et al., ICML 2007)

where only wrong ones were named, t is the softmax over all others.  Deviations from the constants cost their square, in
standard deviations of what each head says; W_Q begins at zero, so that the projections begin at the identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from agentmem.records import Float32, Int64
from agentmem.rerank.learned import GATED_ROWS, PROJECTION, HeadTable
from agentmem.rerank.query import TaskType
from agentmem.rerank.weights import HEADS, HeadWeights

POINTS_PER_NAT = 8.0
"""About what a good hit has more than a bad one."""
UNJUDGED = 0.5
"""How far a candidate counts that nobody judged: perhaps nobody saw it."""
STEPS, RATE, PROJECTION_RATE = 60, 0.1, 0.01
GATE_STRENGTH = 0.02
"""Times the strength of the points' regularisation, for the gate's slope and offset."""
LEAST_SPREAD = 1e-3
"""A head that says (nearly) the same of all candidates of each search is left alone."""
PRUNED_SHARE = 0.01
"""A head is pruned that adds less than this share of what all heads add to the deviations of scores within a search."""

Array = NDArray[np.floating]
Parameters = list[Array]


@dataclass(frozen=True, slots=True)
class Judged:
    """One judged search: its candidates, what every head says of them, and what was right.

    Attributes:
        table: what the heads say of the m candidates.
        target: float32 (m,), 1 for accepted candidates, less for those that were only used, 0 for others.
        rejected: bool (m,).
        ideal: the targets of all that is right, candidates or not, best first.
        weight: of this search among the others.
        embedding: float32 (dim,), the query's vector, of any length; None where it has none.
        keys: float32 (n, dim), unit vectors of the candidates of all searches, shared; zeros where there is none.
        rows: int64 (m,), those of this search's candidates.
        labels: int64 (m,); ``dense``: float32 (m,), as in ``Evidence``: they settle ties.
        task: the kind of task that the query's words point to, see ``detect_task_type``.
        rivals: int64 (n_rivals, at most 10), the best candidates by each of ``selection.RIVALS``, best first.
    """

    table: HeadTable
    target: Float32
    rejected: NDArray[np.bool_]
    ideal: Float32
    weight: float
    embedding: Float32 | None
    keys: Float32
    rows: Int64
    labels: Int64
    dense: Float32
    task: TaskType = "default"
    rivals: Int64 = field(default_factory=lambda: np.zeros((0, 0), np.int64))

    @property
    def teaches(self) -> bool:
        """Whether there is something to be moved: a right candidate beside others, or a wrong one."""
        return bool((self.target > 0).any() or (self.rejected.any() and not self.rejected.all()))


class Lists:
    """Judged searches as matrices: loss and gradient are a few products.

    Args:
        searches: each ``teaches``.
        start: the weights at which learning starts.
        strength: of the regularisation of the points, in nats a squared standard deviation.
        rank: of W_Q and W_K; 0 for none.
        projection_strength: of the regularisation of W_Q.
        dtype: float64 where gradients are compared with differences.
    """

    def __init__(
        self,
        searches: Sequence[Judged],
        start: HeadWeights,
        strength: float,
        rank: int = 0,
        projection_strength: float = 1e-3,
        dtype: type[np.floating] = np.float32,
    ) -> None:
        self._start, self._strength, self._projection_strength = start, strength, projection_strength
        sizes = [len(each.labels) for each in searches]
        self._first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        self._list = np.repeat(np.arange(len(searches)), sizes)
        values = np.concatenate([each.table.values for each in searches], axis=1)
        plain = np.concatenate([each.table.plain for each in searches])
        self._kind = plain.astype(np.intp)
        self._weight = np.array([each.weight for each in searches], dtype)
        self._weight /= self._weight.sum()
        self._targets(searches, dtype)
        heights = np.array([each.table.height for each in searches])
        self._known = ~np.isnan(heights)
        self._height = np.nan_to_num(heights).astype(dtype)
        self._columns(values, dtype)
        self.parameters: Parameters = [self._begin.copy(), start.gate.astype(dtype)]
        if rank:
            self._project(searches, rank, dtype)

    def _targets(self, searches: Sequence[Judged], dtype: type[np.floating]) -> None:
        target = np.concatenate([each.target for each in searches]).astype(dtype)
        rejected = np.concatenate([each.rejected for each in searches])
        seen = np.where((target > 0) | rejected, 1.0, UNJUDGED)
        total = self._sum(target)
        self._taught = total > 0
        self._target = target / np.where(self._taught, total, 1)[self._list]
        with np.errstate(divide="ignore"):
            self._seen = np.log(seen).astype(dtype)
            self._allowed = np.log(np.where(rejected, 0.0, seen)).astype(dtype)

    def _columns(self, values: Float32, dtype: type[np.floating]) -> None:
        """Lay out one row for each head and kind of record that varies within the lists, scaled to deviation 1."""
        means = np.add.reduceat(values, self._first, axis=1) / np.bincount(self._list)
        centred = values - means[:, self._list]
        columns, cells = [], []
        for kind in (0, 1):
            mine = self._kind == kind
            if not mine.any():
                continue
            spread = np.sqrt((centred[:, mine].astype(np.float64) ** 2).mean(axis=1))
            for head in np.flatnonzero(spread > LEAST_SPREAD).tolist():
                columns.append(np.where(mine, values[head], 0) / spread[head])
                cells.append((head, kind, spread[head]))
        self._cells = cells
        matrix = np.stack(columns).astype(dtype) if columns else np.zeros((0, len(self._list)), dtype)
        self._gated = np.array([head in GATED_ROWS for head, _, _ in cells], bool)
        self._words, self._others = matrix[self._gated], matrix[~self._gated]
        shipped = self._start.table()
        self._begin = np.array([shipped[h, k] * spread / POINTS_PER_NAT for h, k, spread in cells], dtype)
        fixed = np.ones((len(HEADS), 2), bool)
        for head, kind, _ in cells:
            fixed[head, kind] = False
        rest = np.where(fixed, shipped, 0)[:, self._kind] * values
        self._rest = (np.delete(rest, GATED_ROWS, axis=0).sum(axis=0) / POINTS_PER_NAT).astype(dtype)
        self._gated_rest = (rest[GATED_ROWS].sum(axis=0) / POINTS_PER_NAT).astype(dtype)

    def _project(self, searches: Sequence[Judged], rank: int, dtype: type[np.floating]) -> None:
        used, self._row = np.unique(np.concatenate([each.rows for each in searches]), return_inverse=True)
        self._keys = searches[0].keys[used].astype(dtype)
        none = np.zeros(self._keys.shape[1], np.float32)
        given = np.stack([none if each.embedding is None else each.embedding for each in searches])
        lengths = np.linalg.norm(given, axis=1, keepdims=True)
        self._queries = (given / np.where(lengths > 0, lengths, 1)).astype(dtype)
        self._by_row = np.argsort(self._row, kind="stable")
        self._row_starts = np.searchsorted(self._row[self._by_row], np.arange(len(self._keys)))
        rng = np.random.default_rng(rank)
        size = self._keys.shape[1]
        key = np.linalg.qr(rng.normal(size=(size, min(rank, size))))[0].T
        self.parameters += [np.zeros(key.shape, dtype), np.ascontiguousarray(key, dtype)]

    def loss(self, parameters: Parameters) -> tuple[float, Parameters]:
        """Return the loss and its gradient for points, gate and, where there is a rank, W_Q and W_K."""
        points, gate = parameters[:2]
        exponent = np.clip(self._height[:, None] * gate[:, 0] + gate[:, 1], -1, 1)
        inside = (np.abs(self._height[:, None] * gate[:, 0] + gate[:, 1]) < 1) & self._known[:, None]
        factors = np.where(self._known[:, None], np.exp2(exponent), 1).astype(points.dtype)
        factor = factors[self._list, self._kind]
        words = points[self._gated] @ self._words + self._gated_rest
        scores = points[~self._gated] @ self._others + self._rest + factor * words
        if len(parameters) > 2:
            queries, keys = self._queries @ parameters[2].T, self._keys @ parameters[3].T
            left, right = queries[self._list], keys[self._row]
            scores = scores + np.einsum("ij,ij->i", left, right) * scores.dtype.type(PROJECTION / POINTS_PER_NAT)
        value, slope = self._listwise(scores)
        by_points = np.empty_like(points)
        by_points[~self._gated] = self._others @ slope
        by_points[self._gated] = self._words @ (slope * factor)
        away, turned = points - self._begin, gate - self._start.gate
        value += 0.5 * self._strength * float(away @ away + GATE_STRENGTH * (turned * turned).sum())
        cells, moved = 2 * self._list + self._kind, slope * factor * words * np.log(2)
        by_exponent = np.bincount(cells, moved, minlength=exponent.size).reshape(exponent.shape) * inside
        by_gate = np.stack([self._height @ by_exponent, by_exponent.sum(axis=0)], axis=1)
        gradient = [
            by_points + self._strength * away,
            (by_gate + GATE_STRENGTH * self._strength * turned).astype(gate.dtype),
        ]
        if len(parameters) > 2:
            slope = slope * slope.dtype.type(PROJECTION / POINTS_PER_NAT)
            by_query = np.add.reduceat(slope[:, None] * right, self._first).T @ self._queries
            by_key = np.add.reduceat((slope[:, None] * left)[self._by_row], self._row_starts).T @ self._keys
            value += 0.5 * self._projection_strength * float((parameters[2] ** 2).sum())
            gradient += [by_query + self._projection_strength * parameters[2], by_key]
        return value, gradient

    def weights(self, parameters: Parameters) -> HeadWeights:
        """Return the weights that parameters stand for."""
        points = self._start.table()
        for (head, kind, spread), value in zip(self._cells, parameters[0].tolist(), strict=True):
            points[head, kind] = value * POINTS_PER_NAT / spread
        none = np.zeros((0, self._start.dimension), np.float32)
        gate, query, key = (np.asarray(each, np.float32) for each in (parameters[1], *(parameters[2:] or (none, none))))
        return HeadWeights(self._start.embedder, self._start.dimension, HEADS, points, gate, query, key)

    def pruned(self, weights: HeadWeights) -> HeadWeights:
        """Return weights without the heads that say next to nothing of the candidates of these searches."""
        points = weights.table()
        heads, kinds, spreads = (np.array(column) for column in zip(*self._cells, strict=True))
        loud = np.abs(points[heads, kinds]) * spreads
        quiet = loud < PRUNED_SHARE * np.bincount(kinds, loud, minlength=2)[kinds]
        points[heads[quiet], kinds[quiet]] = 0
        return replace(weights, heads=HEADS, points=points)

    def _sum(self, values: Array) -> Array:
        total: Array = np.add.reduceat(values, self._first)
        return total

    def _softmax(self, logits: Array) -> tuple[Array, Array]:
        """Return the softmax within each list, and the logarithm of its denominator."""
        top = np.maximum.reduceat(logits, self._first)
        top = np.where(np.isfinite(top), top, 0).astype(logits.dtype)
        shares = np.exp(logits - top[self._list])
        total = self._sum(shares)
        return shares / total[self._list], np.log(total) + top

    def _listwise(self, scores: Array) -> tuple[float, Array]:
        shares, normaliser = self._softmax(scores + self._seen)
        target, right = self._target, self._sum(self._target * scores)
        if not self._taught.all():
            others, remaining = self._softmax(np.where(self._taught[self._list], 0, scores + self._allowed))
            right = np.where(self._taught, right, remaining)
            target = np.where(self._taught[self._list], target, others)
        slope: Array = (shares - target) * self._weight[self._list]
        return float(self._weight @ (normaliser - right)), slope


def fit(lists: Lists) -> HeadWeights:
    """Return the weights at which the loss is (nearly) least: Adam (Kingma and Ba, ICLR 2015) over all lists at once.

    The number of steps is fixed, which holds the projections near the identity as well as their penalty does.
    """
    parameters = [each.copy() for each in lists.parameters]
    rates = [RATE, RATE, PROJECTION_RATE, PROJECTION_RATE]
    first, second = ([np.zeros_like(each) for each in parameters] for _ in range(2))
    for step in range(1, STEPS + 1):
        gradient = lists.loss(parameters)[1]
        for number, (slope, rate) in enumerate(zip(gradient, rates, strict=False)):
            first[number] += 0.1 * (slope - first[number])
            second[number] += 0.001 * (slope * slope - second[number])
            mean, square = first[number] / (1 - 0.9**step), second[number] / (1 - 0.999**step)
            parameters[number] -= (rate * (1 - 0.9 * step / STEPS) * mean / (np.sqrt(square) + 1e-8)).astype(mean.dtype)
    return lists.weights(parameters)
