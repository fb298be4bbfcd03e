"""What is varied: heads, hidden width, layers and dropout of the reranker, size and width of the corpus, the seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from agentmem.errors import InvalidInput

HEADS = (1, 4, 8, 16)
HIDDEN = (128, 256, 512)
LAYERS = (1, 2, 3)
DROPOUT = (0.0, 0.1, 0.2)


@dataclass(frozen=True, slots=True, order=True)
class Shape:
    """What the reranker is made of.

    Attributes:
        heads: attention heads in each layer.
        hidden: width of all heads together; a multiple of ``heads``.
        layers: how often the query attends.
        dropout: share of the attention weights left out in training, in [0, 1).

    Raises:
        InvalidInput: a number that cannot be used.
    """

    heads: int
    hidden: int
    layers: int
    dropout: float

    def __post_init__(self) -> None:
        if min(self.heads, self.hidden, self.layers) < 1 or self.hidden % self.heads:
            raise InvalidInput(f"hidden must be a multiple of heads, all of them and layers 1 or more; came {self}")
        if not 0 <= self.dropout < 1:
            raise InvalidInput(f"dropout must be at least 0 and less than 1; came {self.dropout}")

    def __str__(self) -> str:
        """Name it: "8h-256d-3L-0.1"."""
        return f"{self.heads}h-{self.hidden}d-{self.layers}L-{self.dropout:g}"


@dataclass(frozen=True, slots=True, order=True)
class Corpus:
    """What is searched: how many vectors, and how wide they are; size 0 stands for the set as it is."""

    size: int
    dimension: int

    def __str__(self) -> str:
        """Name it: "10000x384"."""
        return f"{self.size or 'set'}x{self.dimension}"


@dataclass(frozen=True, slots=True)
class Configuration:
    """One run of the study."""

    shape: Shape
    corpus: Corpus
    seed: int

    @property
    def key(self) -> str:
        """What it is found by among the results of a run that is taken up again."""
        return f"{self.corpus}/{self.shape}/{self.seed}"

    def as_json(self) -> dict[str, Any]:
        """Return its numbers by name."""
        return asdict(self.shape) | {"vectors": self.corpus.size, "dimension": self.corpus.dimension, "seed": self.seed}

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Configuration:
        """Return the configuration that ``as_json`` told."""
        shape = Shape(line["heads"], line["hidden"], line["layers"], line["dropout"])
        return cls(shape, Corpus(line["vectors"], line["dimension"]), line["seed"])


def shapes(
    heads: Iterable[int] = HEADS,
    hidden: Iterable[int] = HIDDEN,
    layers: Iterable[int] = LAYERS,
    dropout: Iterable[float] = DROPOUT,
) -> tuple[Shape, ...]:
    """Return every combination: by default 4 × 3 × 3 × 3 = 108."""
    return tuple(Shape(*each) for each in product(heads, hidden, layers, dropout))


def grid(shapes: Iterable[Shape], corpora: Iterable[Corpus], seeds: int) -> tuple[Configuration, ...]:
    """Return every combination, corpus by corpus, so that one that was made is used before the next one."""
    return tuple(
        Configuration(shape, corpus, seed) for corpus, seed, shape in product(corpora, range(seeds), tuple(shapes))
    )
