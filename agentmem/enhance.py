"""Query enhancement: a vector moved towards what it attends to in memory, where feedback shows that it helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agentmem import attention
from agentmem.records import Feedback, Float32
from agentmem.validation import wall_clock

if TYPE_CHECKING:
    from agentmem.core import StoreCore
    from agentmem.hooks import SearchContext

ATTENDED = 10
"""The nearest records that a query attends to,"""
SHARPNESS = 20.0
"""with softmax weights of their cosine times this: a twentieth of cosine takes a factor e."""
SHARES = (0.0, 0.1, 0.2, 0.4, 0.8)
"""How much of what was attended to is added to the query; 0 leaves it as it is."""
MIN_JUDGED = 20
"""Fewer judged searches than this decide nothing."""
DEPTH = 10


@dataclass(frozen=True, slots=True)
class QueryAttention:
    """A residual on the query's vector: q + share · Σ softmax(q·v) v over the nearest records.

    Softmax attention over memory, blended into the query, is pseudo-relevance feedback by another name.

    Attributes:
        share: how much is added; 0, as it is born, changes nothing.
        gain: recall@10 of accepted records, with it less without it, on judged searches that did not choose it; NaN
            where there were too few.
    """

    share: float = 0.0
    gain: float = float("nan")

    def moved(self, store: StoreCore, vector: Float32, namespace: str | None = None) -> Float32:
        """Return the moved vector, float32 (dim,)."""
        if self.share == 0:
            return vector
        with store.snapshot() as (_, view):
            rows, _ = view.nearest(vector, ATTENDED, view.scope(namespace, wall_clock()))
            if not len(rows):
                return vector
            near = view.vectors(rows)
        length = np.float32(np.linalg.norm(vector))
        query = (vector / length)[None]
        attended = attention.attend(query, near, mechanism="scaled-dot", params={"scale": SHARPNESS}).output[0]
        moved: Float32 = vector + np.float32(self.share) * length * attended.astype(np.float32)
        return moved

    def attach(self, store: StoreCore) -> None:
        """Register it as a pre-retrieval hook of a store; with a share of 0 there is nothing to register."""
        if self.share == 0:
            return

        def attend(ctx: SearchContext) -> SearchContext:
            vector = ctx.embedding
            if vector is None and ctx.text is not None and store.embedder is not None:
                vector = store.ingest.embed([ctx.text])[0]
            if vector is not None and vector.any():
                ctx.embedding = self.moved(store, vector, ctx.query.namespace)
            return ctx

        store.hooks.register("pre-retrieval", attend)


def fit_query_attention(store: StoreCore) -> QueryAttention:
    """Choose the share by a store's own feedback: half of the judged searches choose, the other half must agree.

    Returns:
        One with a share above 0 only where that finds more of the accepted records of the searches held out; else the
        identity, with the gain that it would have had.
    """
    judged = [(vector, set(each.accepted)) for each in _log(store) if (vector := _vector(store, each)) is not None]
    if len(judged) < MIN_JUDGED:
        return QueryAttention()
    order = np.random.default_rng(0).permutation(len(judged))
    choosing, held = ([judged[row] for row in half.tolist()] for half in np.array_split(order, 2))
    best = max((QueryAttention(share) for share in SHARES), key=lambda each: _found(store, each, choosing))
    gain = _found(store, best, held) - _found(store, QueryAttention(), held)
    return QueryAttention(best.share if gain > 0 else 0.0, gain)


def _log(store: StoreCore) -> list[Feedback]:
    with store.database.read() as reader:
        return [each for each in reader.feedback(None) if each.accepted]


def _vector(store: StoreCore, judged: Feedback) -> Float32 | None:
    """Return the vector that was searched for; None where there is none."""
    if judged.vector is not None:
        return judged.vector
    if judged.query is None or store.embedder is None:
        return None
    vector: Float32 = store.ingest.embed([judged.query])[0]
    return vector if vector.any() else None


def _found(store: StoreCore, each: QueryAttention, judged: Sequence[tuple[Float32, set[str]]]) -> float:
    """Return recall@10 of the accepted records among the nearest."""
    total = 0.0
    with store.snapshot() as (reader, view):
        scope = view.scope(None, wall_clock())
        for vector, accepted in judged:
            rows, _ = view.nearest(each.moved(store, vector), DEPTH, scope)
            ids = reader.ids_of(view.labels(rows)).values()
            total += len(accepted.intersection(ids)) / len(accepted)
    return total / len(judged)
