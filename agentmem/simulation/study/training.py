"""Fitting the reranker: Adam on the training queries, stopped by NDCG@10 on the dev queries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from agentmem.errors import InvalidInput
from agentmem.records import Float32, Int64
from agentmem.simulation.datasets import TEST
from agentmem.simulation.study.configuration import Shape
from agentmem.simulation.study.model import Array, Parameters, forward, initial, loss, scores, softmax
from agentmem.simulation.study.pools import Pools
from agentmem.simulation.study.quality import ndcg

RATE = 3e-4
BATCH = 32
PATIENCE = 4
"""So many epochs without a higher NDCG@10 on dev end the training."""
MOST_EPOCHS = 60
BLOCK = 64
PIECE = 1 << 16
"""So many parameters are moved at a time, which stay in the processor's cache while they are."""


@dataclass(frozen=True, slots=True)
class Trained:
    """The reranker at the epoch with the highest NDCG@10 on dev, the first of equals.

    Attributes:
        parameters: see ``model.initial``.
        epoch: which one that was; 0 where training never raised it.
        train_losses: mean over each epoch's batches, dropout on, nats a query.
        dev_losses: before training and after each epoch.
        dev_ndcgs: the same of NDCG@10.
    """

    parameters: Parameters
    epoch: int
    train_losses: tuple[float, ...]
    dev_losses: tuple[float, ...]
    dev_ndcgs: tuple[float, ...]


class Adam:
    """Adam (Kingma & Ba, ICLR 2015) with its usual constants."""

    def __init__(self, parameters: Parameters) -> None:
        self._mean = {name: np.zeros_like(each) for name, each in parameters.items()}
        self._square = {name: np.zeros_like(each) for name, each in parameters.items()}
        self._steps = 0
        self._room, self._wide = np.empty(PIECE, np.float32), np.empty(PIECE)

    def step(self, parameters: Parameters, gradient: Parameters) -> None:
        """Move the parameters, in place."""
        self._steps += 1
        rate = RATE * np.sqrt(1 - 0.999**self._steps) / (1 - 0.9**self._steps)
        for name in gradient:
            whole = [each[name].reshape(-1) for each in (parameters, gradient, self._mean, self._square)]
            for start in range(0, len(whole[0]), PIECE):
                self._move(rate, *(each[start : start + PIECE] for each in whole))

    def _move(self, rate: float, values: Array, slope: Array, mean: Array, square: Array) -> None:
        room, wide = self._room[: len(values)], self._wide[: len(values)]
        np.subtract(slope, mean, out=room)
        room *= 0.1
        mean += room
        np.multiply(slope, slope, out=room)
        room -= square
        room *= 0.001
        square += room
        np.sqrt(square, out=room)
        room += 1e-8
        np.multiply(mean, rate, out=wide)
        wide /= room
        values -= wide.astype(values.dtype)


def train(shape: Shape, train: Pools, dev: Pools, seed: int, share: float = 1.0) -> Trained:
    """Fit a reranker.

    Args:
        shape: of the reranker.
        train: queries to fit on; those without a relevant candidate teach nothing.
        dev: queries to stop by.
        seed: of the projections at birth, the order of the queries and what is dropped.
        share: of the training queries to fit on, the first of a seeded order.

    Raises:
        InvalidInput: test queries, or nothing to learn from.
    """
    if TEST in (train.split, dev.split):
        raise InvalidInput("test queries are never trained on, nor is training stopped by them")
    if not len(train.taught) or not len(dev.taught):
        raise InvalidInput("no training query, or no dev query, has a relevant document among its candidates")
    rng = np.random.default_rng(seed)
    places = rng.permutation(train.taught)
    places = places[: max(1, round(share * len(places)))]
    parameters = initial(shape, train.x.shape[1], seed)
    adam = Adam(parameters)
    best, best_epoch = _copied(parameters), 0
    train_losses: list[float] = []
    dev_losses, dev_ndcgs = ([value] for value in _judged(parameters, dev))
    while len(train_losses) < MOST_EPOCHS and len(train_losses) - best_epoch < PATIENCE:
        train_losses.append(_epoch(shape, parameters, adam, train, rng.permutation(places), rng))
        dev_loss, dev_ndcg = _judged(parameters, dev)
        dev_losses.append(dev_loss)
        dev_ndcgs.append(dev_ndcg)
        if dev_ndcg > dev_ndcgs[best_epoch]:
            best, best_epoch = _copied(parameters), len(train_losses)
    return Trained(best, best_epoch, tuple(train_losses), tuple(dev_losses), tuple(dev_ndcgs))


def _copied(parameters: Parameters) -> Parameters:
    return {name: each.copy() for name, each in parameters.items()}


def _epoch(
    shape: Shape, parameters: Parameters, adam: Adam, pools: Pools, places: Int64, rng: np.random.Generator
) -> float:
    total = 0.0
    for part in np.array_split(places, -(-len(places) // BATCH)):
        x, keys, missing, target = pools.batch(part)
        keep = None
        if shape.dropout:
            size = (shape.layers, len(part), shape.heads, keys.shape[1])
            keep = (rng.random(size, np.float32) >= shape.dropout) / np.float32(1 - shape.dropout)
        value, gradient = loss(parameters, x, keys, missing, target, keep)
        adam.step(parameters, gradient)
        total += value * len(part)
    return total / len(places)


def blocks(pools: Pools, places: Int64) -> Iterator[Int64]:
    """Yield places, some at a time."""
    yield from (places[start : start + BLOCK] for start in range(0, len(places), BLOCK))


def _judged(parameters: Parameters, pools: Pools) -> tuple[float, float]:
    """Return the loss of queries with a relevant candidate, nothing dropped, in nats a query; and NDCG@10 of all."""
    found = ask(parameters, pools).scores
    taught = pools.taught
    target = pools.grades[taught] / pools.grades[taught].sum(axis=1, keepdims=True)
    losses = -(target * np.log(np.where(target > 0, softmax(found[taught]), 1))).sum(axis=1)
    return float(losses.mean()), ndcg(pools, found)


@dataclass(frozen=True, slots=True)
class Asked:
    """A split's queries, asked of a reranker.

    Attributes:
        scores: float32 (b, m).
        before: float32 (b,), mean cosine of each query's vector and its relevant candidates; NaN where there is none.
        after: the same of the vector that has attended.
        weights: of each block of queries, float32 (layers, b, heads, m), the attention weights.
    """

    scores: Float32
    before: Float32
    after: Float32
    weights: list[Float32]


def ask(parameters: Parameters, pools: Pools) -> Asked:
    """Rank the candidates of every query."""
    found: list[Float32] = []
    before: list[Float32] = []
    after: list[Float32] = []
    weights: list[Float32] = []
    for part in blocks(pools, np.arange(len(pools))):
        x, keys, missing, target = pools.batch(part)
        layers = forward(parameters, x, keys, missing)
        found.append(scores(parameters, layers[-1].out, keys, missing))
        right = target > 0
        for kept, vectors in ((before, x), (after, layers[-1].out)):
            cosines = np.where(right, (keys @ vectors[:, :, None])[:, :, 0], 0).sum(axis=1)
            count = right.sum(axis=1)
            kept.append(np.where(count > 0, cosines / np.maximum(count, 1), np.nan))
        weights.append(np.stack([layer.weights for layer in layers]))
    return Asked(np.concatenate(found), np.concatenate(before), np.concatenate(after), weights)
