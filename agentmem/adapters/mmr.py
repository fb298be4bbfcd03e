"""Maximal marginal relevance: hits that are like the query and unlike each other (Carbonell and Goldstein, 1998)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.errors import InvalidInput, InvalidVector


def maximal_marginal_relevance(query: Any, embeddings: Any, k: int, lambda_mult: float = 0.5) -> list[int]:
    """Return which candidates to show, in the order they were chosen.

    Each next one has the largest ``lambda_mult * cos(query, candidate) - (1 - lambda_mult) * max cos(chosen,
    candidate)``; the first is the nearest to the query.  Of equals the one that stands first is taken.  A vector of
    length 0 has cosine 0 with everything.

    Args:
        query: float (dim,).
        embeddings: float (n, dim), the candidates' vectors.
        k: how many at most; fewer only where there are fewer candidates.
        lambda_mult: from 0 (diversity alone, after the first) to 1 (likeness alone).

    Returns:
        At most ``k`` different places in ``embeddings``.

    Raises:
        InvalidInput: ``k`` is negative, or ``lambda_mult`` is not from 0 to 1.
        InvalidVector: the shapes do not fit.
    """
    if k < 0:
        raise InvalidInput(f"k must be at least 0, got {k}")
    if not 0.0 <= lambda_mult <= 1.0:
        raise InvalidInput(f"lambda_mult must be from 0 to 1, got {lambda_mult}")
    target = np.asarray(query, np.float64)
    if not len(embeddings):
        return []
    candidates = np.asarray(embeddings, np.float64)
    if target.ndim != 1 or candidates.ndim != 2 or candidates.shape[1] != len(target):
        raise InvalidVector(
            f"expected a query of shape (dim,) and embeddings of shape (n, dim), got {target.shape} and "
            f"{candidates.shape}"
        )
    candidates = _unit(candidates)
    likeness = candidates @ _unit(target[None])[0]
    value = likeness.copy()
    nearest = np.full(len(candidates), -np.inf)
    chosen: list[int] = []
    for _ in range(min(k, len(candidates))):
        best = int(np.argmax(value))
        chosen.append(best)
        np.maximum(nearest, candidates @ candidates[best], out=nearest)
        value = lambda_mult * likeness - (1.0 - lambda_mult) * nearest
        value[chosen] = -np.inf
    return chosen


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rows at length 1; those of length 0 as they are."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths == 0.0, 1.0, lengths)
