"""What ``memory-heads`` may learn: points for each head, the gate on words, and low-rank W_Q and W_K.

The constants are where learning starts (``start``): with them the ranking is the one that nobody taught.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from agentmem.errors import InvalidInput
from agentmem.records import Float32
from agentmem.rerank.constants import GATE_CENTRE, GATE_SLOPE, WEIGHTS, Row
from agentmem.rerank.fusion import HEAD_NAMES
from agentmem.rerank.heads import SIDE_NAMES
from agentmem.rerank.query import TaskType

HEADS = (*HEAD_NAMES, *SIDE_NAMES)
"""The heads whose points are learned; those of one side of a turn start at 0."""
START: Mapping[str, Row] = MappingProxyType({name: WEIGHTS.get(name, Row(0.0, 0.0)) for name in HEADS})
CHOICES = ("memory-heads", "dense", "lexical", "rrf", "convex")
"""The mechanisms that a store may learn to choose from for queries with a text and a vector, by their task."""
MAX_BYTES = 64 << 20
_FORMAT = 1
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, EOFError, OSError, NotImplementedError)
_ARRAYS = ("points", "gate", "query", "key")


@dataclass(frozen=True, slots=True, eq=False)
class HeadWeights:
    """Learned weights of ``memory-heads``.

    Attributes:
        embedder: name of the embedder whose vectors they were fitted with, "given" for vectors from the caller.
        dimension: of those vectors.
        heads: n names; a head that is not among them keeps its constants.
        points: float32 (n, 2), each head's points for threaded and for plain records.
        gate: float32 (2, 2), for threaded and for plain records: slope and offset of the exponent of 2, within −1 to 1,
            by which the lexical heads are scaled, over the standing of the dense first hit.
        query, key: float32 (rank, dimension), W_Q and W_K beside the identity: with unit vectors q and k,
            (W_Q q)·(W_K k) is added to their similarity; rank 0 for none.
        choices: task -> the mechanism, of ``CHOICES``, that ranks its queries; memory-heads for tasks not in it.

    Raises:
        InvalidInput: shapes that do not fit each other, a number that is not finite, or a head, a task or a mechanism
            that does not exist.
    """

    embedder: str
    dimension: int
    heads: tuple[str, ...]
    points: Float32
    gate: Float32
    query: Float32
    key: Float32
    choices: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the parts fit each other."""
        rank = len(self.query)
        shapes = {
            "points": (len(self.heads), 2),
            "gate": (2, 2),
            "query": (rank, self.dimension),
            "key": (rank, self.dimension),
        }
        for name, shape in shapes.items():
            array: NDArray[np.float32] = getattr(self, name)
            if array.dtype != np.float32 or array.shape != shape or not np.isfinite(array).all():
                raise InvalidInput(
                    f"weights: {name} must be finite float32 of shape {shape}, got {array.dtype} {array.shape}"
                )
        unknown = sorted(set(self.heads) - set(HEADS))
        if unknown or len(set(self.heads)) < len(self.heads):
            raise InvalidInput(
                f"weights: heads must be distinct names of {', '.join(HEADS)}; got {', '.join(self.heads)}"
            )

        if not set(self.choices) <= set(get_args(TaskType)) or not set(self.choices.values()) <= set(CHOICES):
            raise InvalidInput(
                f"weights: choices must name mechanisms of {', '.join(CHOICES)} for tasks of "
                f"{', '.join(get_args(TaskType))}; got {dict(self.choices)}"
            )

    def table(self) -> Float32:
        """Return the points of all ``HEADS``, float32 (n_heads, 2); the constants for those that were not learned."""
        own = dict(zip(self.heads, self.points, strict=True))
        return np.array([own.get(name, START[name]) for name in HEADS], np.float32)

    def fits(self, embedder: str, dimension: int) -> str | None:
        """Return None where vectors of an embedder may be ranked with these weights, else why they may not."""
        if (self.embedder, self.dimension) == (embedder, dimension):
            return None
        return (
            f"fitted with embedder {self.embedder!r} of dimension {self.dimension}, the store has {embedder!r} of "
            f"dimension {dimension}"
        )

    def to_bytes(self) -> bytes:
        """Return the weights as an .npz archive (NumPy's own format, no pickle in it)."""
        about = {
            "format": _FORMAT,
            "embedder": self.embedder,
            "dimension": self.dimension,
            "heads": self.heads,
            "choices": dict(self.choices),
        }
        header = np.frombuffer(json.dumps(about).encode(), np.uint8)
        file = io.BytesIO()
        np.savez(file, about=header, **{name: getattr(self, name) for name in _ARRAYS})
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> HeadWeights:
        """Return the weights that ``to_bytes`` wrote.

        Raises:
            InvalidInput: it did not write these.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if sum(part.file_size for part in archive.infolist()) > MAX_BYTES:
                    raise InvalidInput(f"weights of more than {MAX_BYTES} bytes are not read")
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                about = json.loads(arrays["about"].tobytes())
                parts = {name: np.ascontiguousarray(arrays[name]) for name in _ARRAYS}
            if about["format"] != _FORMAT:
                raise InvalidInput(f"weights of format {about['format']!r}; this agentmem reads {_FORMAT}")
            choices = {str(task): str(name) for task, name in about.get("choices", {}).items()}
            return cls(str(about["embedder"]), int(about["dimension"]), tuple(about["heads"]), **parts, choices=choices)
        except InvalidInput:
            raise
        except (
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            EOFError,
            OSError,
            zipfile.BadZipFile,
            NotImplementedError,
        ) as error:
            raise InvalidInput(f"these are no weights that agentmem wrote: {error}") from error


def start(embedder: str, dimension: int) -> HeadWeights:
    """Return the constants, as weights: the point at which learning starts."""
    none = np.zeros((0, dimension), np.float32)
    gate = np.array([[0.0, 0.0], [-GATE_SLOPE, GATE_SLOPE * GATE_CENTRE]], np.float32)
    return HeadWeights(embedder, dimension, HEADS, np.array(list(START.values()), np.float32), gate, none, none)
