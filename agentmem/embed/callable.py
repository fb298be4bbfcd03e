"""Embedders made of what the caller has: a function, an object with ``encode``, or one with the protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from agentmem.embed import sentence
from agentmem.embed.protocol import Embedder, called
from agentmem.embed.static import StaticEmbedder
from agentmem.errors import InvalidInput
from agentmem.records import Float32, Metric
from agentmem.validation import shown

BUNDLED: dict[str, Callable[[], Embedder]] = {"static": StaticEmbedder}
PROBE = "dimension"


class CallableEmbedder:
    """Wraps any ``fn(list[str]) -> array-like`` of shape (n, dimension) and checks what it returns."""

    metric: Metric = "cosine"

    def __init__(self, fn: Callable[[list[str]], Any], name: str, dimension: int | None = None) -> None:
        """Wrap ``fn``.

        Args:
            fn: called with a list of texts, never an empty one; may be a coroutine function.
            name: the model and its version; the store is stamped with it and refuses another one.
            dimension: the length of each vector; None embeds one word, once, when it is first asked for.

        Raises:
            InvalidInput: ``fn`` is not callable, ``name`` is empty or ``dimension`` is below 1.
        """
        if not callable(fn):
            raise InvalidInput(f"an embedder's function must be callable, got {type(fn).__name__}")
        if not isinstance(name, str) or not name:
            raise InvalidInput(
                "an embedder needs a name: a store is stamped with it and refuses another model's vectors"
            )
        if dimension is not None and dimension < 1:
            raise InvalidInput(f"dimension must be at least 1, got {dimension}")
        self._fn = fn
        self._name = name
        self._dimension = dimension

    @property
    def name(self) -> str:
        """The name given."""
        return self._name

    @property
    def dimension(self) -> int:
        """The length of each vector.

        Raises:
            EmbeddingFailed: it was not given, and the word embedded to find it gave no embedding.
        """
        if self._dimension is None:
            self._dimension = self._call([PROBE]).shape[1]
        return self._dimension

    def embed(self, texts: Sequence[str]) -> Float32:
        """Return a float32 array of shape (len(texts), dimension).

        Raises:
            InvalidInput: a single string was given.
            EmbeddingFailed: the function raised, or returned something that is not such an array.
        """
        if isinstance(texts, str):
            raise InvalidInput("expected a sequence of texts, got one string; put it into a list")
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        vectors = self._call(texts)
        self._dimension = vectors.shape[1]
        return vectors

    def _call(self, texts: Sequence[str]) -> Float32:
        return called(self._fn, texts, self._dimension, self._name)


def _function_name(fn: Any) -> str:
    while isinstance(fn, partial):
        fn = fn.func
    owner = fn if hasattr(fn, "__qualname__") else type(fn)
    return f"{owner.__module__}.{owner.__qualname__}"


def _model_name(model: Any) -> str:
    """Return the name under which an object with ``encode`` knows its model (sentence-transformers, model2vec)."""
    card = getattr(model, "model_card_data", None)
    candidates = (
        getattr(model, "name", None),
        getattr(card, "model_id", None),
        getattr(card, "base_model", None),
        getattr(getattr(model, "transformers_model", None), "name_or_path", None),
        getattr(model, "base_model_name", None),
    )
    for name in candidates:
        if isinstance(name, str) and name:
            return name
    raise InvalidInput(
        f"{type(model).__name__} does not tell its model's name, which a store is stamped with; "
        'give it one: CallableEmbedder(model.encode, name="...")'
    )


def _by_name(embedder: str, dimension: int | None) -> Embedder:
    if embedder in BUNDLED:
        return BUNDLED[embedder]()
    model = embedder.removeprefix(sentence.PREFIX)
    if model and model != embedder:
        return CallableEmbedder(sentence.Encoder(model), embedder, dimension)
    raise _unknown(embedder)


def _unknown(embedder: object) -> InvalidInput:
    names = ", ".join(map(repr, (*BUNDLED, f"{sentence.PREFIX}NAME")))
    return InvalidInput(
        f"embedder is {shown(embedder)}; expected {names}, None (vectors are given), "
        "a callable(list of texts), or an object with embed or encode"
    )


def _from_object(embedder: Any, dimension: int | None) -> Embedder:
    if isinstance(embedder, type):
        raise InvalidInput(f"embedder is the class {embedder.__name__}; pass an instance of it")
    if hasattr(embedder, "embed"):
        missing = [part for part in ("name", "dimension", "metric") if not hasattr(embedder, part)]
        if missing:
            raise InvalidInput(f"{type(embedder).__name__} has embed, but an embedder needs also: {', '.join(missing)}")
        given: Embedder = embedder
        return given
    if hasattr(embedder, "encode"):
        return CallableEmbedder(embedder.encode, _model_name(embedder), dimension)
    if callable(embedder):
        return CallableEmbedder(embedder, _function_name(embedder), dimension)
    raise _unknown(embedder)


def resolve(embedder: Any, dimension: int | None = None) -> Embedder | None:
    """Return the embedder that the caller means, or None where the caller brings the vectors.

    Args:
        embedder: "static" (the bundled model), "sentence-transformers:" and the name or folder of a model, which is
            loaded when it is first needed, None, a callable from a list of texts to an array-like, an ``Embedder``,
            or an object with ``encode`` and a model name, as sentence-transformers has.
        dimension: the dimension that it must have, or None for its own.

    Raises:
        InvalidInput: nothing of that name, nothing that can embed, or another dimension than asked for.
        EmbeddingFailed: an embedder that had to be tried to know its dimension failed.
    """
    if embedder is None:
        return None
    found = _by_name(embedder, dimension) if isinstance(embedder, str) else _from_object(embedder, dimension)
    if dimension is not None and found.dimension != dimension:
        raise InvalidInput(
            f"embedder {found.name!r} has dimension {found.dimension}, not {dimension}; leave dimension out"
        )
    return found
