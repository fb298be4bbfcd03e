"""What an embedder is: the protocols, and the check that what an embedder gave back is an embedding."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from agentmem.errors import AgentMemError, EmbeddingFailed
from agentmem.records import Float32, Metric
from agentmem.waiting import wait

TokenIds = NDArray[np.unsignedinteger[Any]]


class Embedder(Protocol):
    """Turns texts into vectors.

    Attributes:
        name: the model and its version; stamped into the store, which refuses another one.
        dimension: the length of each vector.
        metric: the metric that the vectors are made for.
    """

    @property
    def name(self) -> str: ...

    @property
    def dimension(self) -> int: ...

    @property
    def metric(self) -> Metric: ...

    def embed(self, texts: Sequence[str]) -> Float32:
        """Return a float32 array of shape (len(texts), dimension); a zero row says that the text has no embedding."""
        ...


class TokenEmbedder(Embedder, Protocol):
    """An embedder that also offers static token vectors, for late interaction.

    Attributes:
        tokenizer_hash: SHA-256 of the tokenizer; token ids mean nothing under another one.
    """

    @property
    def tokenizer_hash(self) -> str: ...

    def token_ids(self, texts: Sequence[str]) -> list[TokenIds]:
        """Return each text's token ids: uint16 arrays of shape (n_tokens,), uint32 past 65,536 tokens of vocabulary."""
        ...

    def token_table(self) -> tuple[NDArray[np.int8], Float32]:
        """Return int8 codes (V, d) and float32 scales (V,): ``scales[t] * codes[t]`` is token t's vector, length 1."""
        ...

    def embed_with_tokens(self, texts: Sequence[str]) -> tuple[Float32, list[TokenIds]]:
        """Return ``embed(texts)`` and ``token_ids(texts)``, tokenising once."""
        ...


def has_tokens(embedder: Embedder) -> TypeGuard[TokenEmbedder]:
    """Say whether the embedder is a ``TokenEmbedder`` too."""
    return all(hasattr(embedder, part) for part in ("token_ids", "token_table", "embed_with_tokens", "tokenizer_hash"))


def called(fn: Callable[[list[str]], Any], texts: Sequence[str], dimension: int | None, name: str) -> Float32:
    """Return what a function makes of texts, as a C-contiguous float32 array of shape (len(texts), dimension).

    A coroutine function is waited for; see ``agentmem.waiting``.

    Raises:
        EmbeddingFailed: it raised, or returned something else than that; see ``checked``.
        AgentMemError: it raised one, which says by itself what to do.
    """
    try:
        vectors = fn(list(texts))
        if inspect.isawaitable(vectors):
            vectors = wait(vectors)
    except AgentMemError:
        raise
    except Exception as error:
        raise EmbeddingFailed(f"embedder {name!r} raised {type(error).__name__}: {error}") from error
    return checked(vectors, len(texts), dimension, name)


def checked(vectors: Any, count: int, dimension: int | None, name: str) -> Float32:
    """Return an embedder's output as a C-contiguous float32 array of shape (count, dimension).

    Args:
        vectors: anything that NumPy reads as an array of real numbers.
        count: how many texts were embedded.
        dimension: the expected dimension, or None for whatever came (at least 1).
        name: the embedder's name, for the message.

    Raises:
        EmbeddingFailed: another shape, not numbers, or values that are not finite in float32.
    """
    expected = f"embedder {name!r}: expected real numbers of shape ({count}, {dimension or 'dimension'})"
    try:
        array = np.asarray(vectors)
    except Exception as error:
        raise EmbeddingFailed(f"{expected}, got {type(vectors).__name__} that is no array: {error}") from error
    if array.dtype.kind not in "fiu":
        raise EmbeddingFailed(f"{expected}, got dtype {array.dtype}")
    if array.ndim != 2 or len(array) != count or array.shape[1] == 0 or dimension not in (None, array.shape[1]):
        raise EmbeddingFailed(f"{expected}, got shape {array.shape}")
    with np.errstate(over="ignore"):
        result: Float32 = np.ascontiguousarray(array, np.float32)
    finite = np.isfinite(result).all(axis=1)
    if not finite.all():
        raise EmbeddingFailed(f"{expected}, got NaN or infinity for text {int(np.argmin(finite))} of {count}")
    return result
