"""The figures of the study that this one repeats: RuVector's "Multi-Head Attention Mechanism Analysis", 2025-11-30.

It names neither data nor labels; what it does not say of a figure (the layers, the unit of an entropy) is taken from
the row of its tables that the figure agrees with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agentmem.simulation.study.configuration import Shape

NEAR = 0.2
"""A measured figure within so much of the published one, relatively, agrees with it."""
EIGHT = Shape(8, 256, 3, 0.1)
FOUR = Shape(4, 256, 2, 0.1)
LARGE = 100_000


@dataclass(frozen=True, slots=True)
class Claim:
    """One published figure.

    Attributes:
        figure: the name of what was measured, as in ``summary.FIGURES``; "cv:" before it for its coefficient of
            variation.
        value: in the unit of ``figure``.
        shape: of the reranker.
        size: vectors in the corpus.
        wide: 768 dimensions rather than 384.
    """

    figure: str
    value: float
    shape: Shape
    size: int = LARGE
    wide: bool = False


def _of(shape: Shape, size: int = LARGE, wide: bool = False, **figures: float) -> Iterator[Claim]:
    yield from (Claim(name, value, shape, size, wide) for name, value in figures.items())


CLAIMS: tuple[Claim, ...] = (
    *_of(FOUR, 10_000, recall_change=0.083, ndcg_change=0.061, latency_ms=3.2, memory_mb=12.4),
    *_of(FOUR, 50_000, recall_change=0.087, ndcg_change=0.065, latency_ms=3.8, memory_mb=14.7),
    *_of(FOUR, recall_change=0.091, ndcg_change=0.069, latency_ms=4.1, memory_mb=16.2),
    *_of(FOUR, wide=True, recall_change=0.102, ndcg_change=0.078, latency_ms=5.4, memory_mb=22.8),
    *_of(FOUR, cosine_change=0.083, convergence_epochs=42, sample_efficiency=0.89, generalisation=0.86),
    *_of(FOUR, final_loss=0.048),
    *_of(EIGHT, recall_change=0.124, ndcg_change=0.102, cosine_change=0.124, latency_ms=4.8),
    *_of(EIGHT, wide=True, recall_change=0.138, ndcg_change=0.116, latency_ms=6.2),
    *_of(EIGHT, entropy=3.58, gini=0.34, sparsity=0.162, diversity=0.82),
    *_of(EIGHT, convergence_epochs=35, sample_efficiency=0.92, generalisation=0.91, final_loss=0.041),
    *_of(EIGHT, projection_ms=1.8, weights_ms=1.2, softmax_ms=0.6, aggregation_ms=0.9, concatenation_ms=0.3),
    *_of(EIGHT, projections_mb=9.2, matrices_mb=6.4, output_mb=2.8, memory_mb=18.4, bytes_a_vector=184),
    *(Claim(f"cv:{name}", value, EIGHT) for name, value in (("recall_change", 0.02), ("ndcg_change", 0.025))),
    Claim("cv:latency_ms", 0.021, EIGHT),
    *_of(Shape(1, 256, 3, 0.1), recall_change=0.052, latency_ms=1.2),
    *_of(Shape(16, 256, 3, 0.1), recall_change=0.132, ndcg_change=0.114, cosine_change=0.141, latency_ms=8.6),
    *_of(Shape(16, 256, 3, 0.1), convergence_epochs=38, sample_efficiency=0.91, generalisation=0.89, final_loss=0.043),
    *_of(Shape(8, 128, 3, 0.1), recall_change=0.098, latency_ms=3.2),
    *_of(Shape(8, 512, 3, 0.1), recall_change=0.131, latency_ms=8.4),
    *_of(Shape(8, 256, 3, 0.0), recall_change=0.128, generalisation=0.76),
    *_of(Shape(8, 256, 3, 0.2), recall_change=0.112, generalisation=0.93),
)


def judged(measured: float | None, published: float) -> str:
    """Return "agrees", "higher" or "lower", or "not run" for None."""
    if measured is None:
        return "not run"
    if abs(measured - published) <= NEAR * abs(published):
        return "agrees"
    return "higher" if measured > published else "lower"
