"""How differently heads look at the same candidates: the Jensen-Shannon divergence of their distributions."""

from __future__ import annotations

from collections import deque
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.records import Float32

EVERY = 32
"""One ranking in so many is looked at."""
WINDOW = 256
"""So many of those looked at are remembered."""


def entropy(weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the Shannon entropy of distributions over the last axis, in nats; 0 · ln 0 counts as 0."""
    logarithms = np.log(weights, where=weights > 0, out=np.zeros(weights.shape))
    result: NDArray[np.float64] = -(weights * logarithms).sum(axis=-1)
    return result


def divergence(weights: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the mean Jensen-Shannon divergence of all pairs of heads, in bits.

    0 where all heads weigh alike, 1 where no two weigh the same candidate (Lin, "Divergence measures based on the
    Shannon entropy", IEEE Transactions on Information Theory 37(1), 1991).

    Args:
        weights: (..., heads, m), each row adds up to 1; two heads or more.

    Returns:
        float64 (...).
    """
    left, right = np.triu_indices(weights.shape[-2], 1)
    alone = entropy(weights)
    middle = entropy((weights[..., left, :] + weights[..., right, :]) / 2)
    pairs = middle - (alone[..., left] + alone[..., right]) / 2
    result: NDArray[np.float64] = np.maximum(pairs.mean(axis=-1), 0) / np.log(2)
    return result


class HeadDiversity:
    """Watches the rankings of a store: how differently its heads judged the candidates of recent searches.

    A head's distribution is what it gives each candidate above the least it gives to any, as shares: 1 / m for each
    where nothing else is said.  A head that gives all the same tells no candidate from another and is left out.
    """

    def __init__(self) -> None:
        self._numbers = count()
        self._recent: deque[float] = deque(maxlen=WINDOW)

    def record(self, parts: Float32) -> None:
        """Look at one ranking in ``EVERY``, the first among them.

        Args:
            parts: float32 (heads, m), finite, as in ``Ranking``; one with fewer than two heads that say anything is
                passed by.
        """
        if next(self._numbers) % EVERY or not parts.size:
            return
        above = parts - parts.min(axis=1, keepdims=True)
        total = above.sum(axis=1, keepdims=True)
        says = total[:, 0] > 0
        if says.sum() > 1:
            self._recent.append(float(divergence(above[says] / total[says])))

    def summary(self) -> dict[str, Any]:
        """Return ``diversity``, the mean over the recent rankings in bits or None, and how many those are."""
        recent = list(self._recent)
        return {"diversity": sum(recent) / len(recent) if recent else None, "sampled": len(recent), "every": EVERY}
