"""The three metrics as scores, higher is better: "cosine" and "ip" are dot products, "l2" is minus squared distance."""

from __future__ import annotations

import numpy as np

from agentmem.records import Float32, Metric


def normalised(vectors: Float32) -> Float32:
    """Return rows scaled to length one, float32; rows of zeros stay zeros."""
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))[:, None]
    scaled = np.zeros(vectors.shape, np.float32)
    np.divide(vectors, norms, out=scaled, where=norms > 0, casting="same_kind")
    return scaled


def prepared(queries: Float32, metric: Metric) -> Float32:
    """Return queries, float32 (m, dim), as the parts' vectors are compared with: of length one under cosine."""
    queries = np.ascontiguousarray(queries, np.float32)
    return normalised(queries) if metric == "cosine" else queries


def similarity(scores: Float32, metric: Metric) -> Float32:
    """Return scores as similarities: the same, but minus the distance rather than its square under l2."""
    return -np.sqrt(np.maximum(-scores, 0.0)) if metric == "l2" else scores
