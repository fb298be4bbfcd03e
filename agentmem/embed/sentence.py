"""Models of sentence-transformers, by name or folder; the package and the model are loaded at the first text."""

from __future__ import annotations

import threading
from typing import Any

from agentmem.extras import need

PREFIX = "sentence-transformers:"
"""What an embedder's name begins with that is a model of that package; the model's name or its folder follows."""


class Encoder:
    """Encodes with a model that is loaded when the first text comes; to be called with a list of texts.

    Args:
        model: its name, or the folder that holds it.
    """

    def __init__(self, model: str) -> None:
        self._name = model
        self._lock = threading.Lock()
        self._model: Any = None

    def __call__(self, texts: list[str]) -> Any:
        """Return the model's embeddings, an array of shape (len(texts), dimension).

        Raises:
            MissingExtra: the package sentence-transformers cannot be imported.
        """
        with self._lock:
            if self._model is None:
                self._model = _load(self._name)
        return self._model.encode(texts, convert_to_numpy=True, show_progress_bar=False)


def _load(model: str) -> Any:
    library = need("sentence_transformers", "sentence-transformers", f"embedder '{PREFIX}{model}'")
    return library.SentenceTransformer(model)
