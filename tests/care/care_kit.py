"""Vectors and stores for the tests of care."""

from __future__ import annotations

import numpy as np

DIMENSION = 8


def vector(seed):
    """Return a vector that follows from a number."""
    return np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)


def fill(store, count, start=0, words="memory"):
    """Add numbered records, each with text, metadata, a thread and its own vector."""
    numbers = range(start, start + count)
    store.add_many(
        [f"{words} number {n} of a long day" for n in numbers],
        embeddings=[vector(n) for n in numbers],
        ids=[f"id-{n}" for n in numbers],
        metadatas=[{"n": n, "tag": f"t{n % 7}"} for n in numbers],
        threads=[f"thread {n // 50}" for n in numbers],
        positions=[float(n) for n in numbers],
        created_at=[1_000.0 + n for n in numbers],
    )


def content(store):
    """Return all that a store holds of its records, but their labels."""
    return {
        record.id: (
            record._replace(label=0),
            None if (kept := store.vector(record.id)) is None else kept.tobytes(),
            tuple(store.links(record.id)),
        )
        for record in store.iterate()
    }
