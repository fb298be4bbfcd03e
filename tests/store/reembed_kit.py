"""A model that is a function of its name: what any text's vector must be is known without asking the store."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np


class Model:
    """An embedder that tells of every call.

    Args:
        name: of the model, on which all vectors depend.
        dimension: of the vectors.
        meanwhile: called with the texts before they are embedded.
    """

    metric = "cosine"

    def __init__(
        self, name: str, dimension: int, meanwhile: Callable[[Sequence[str]], object] = lambda texts: None
    ) -> None:
        self.name = name
        self.dimension = dimension
        self.meanwhile = meanwhile
        self.seen: list[str] = []

    def vector(self, text: str) -> np.ndarray:
        """Return the vector of a text, float32 (dimension,)."""
        seed = zlib.crc32(f"{self.name} {text}".encode())
        return np.random.default_rng(seed).standard_normal(self.dimension).astype(np.float32)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.meanwhile(texts)
        self.seen += texts
        return np.stack([self.vector(text) for text in texts])


def wrong_vectors(store, model: Model) -> list[str]:
    """Return the ids of the records whose vector is not the model's for their text."""
    records = list(store.iterate())
    return [each.id for each in records if not np.array_equal(store.vector(each.id), model.vector(each.text))]
