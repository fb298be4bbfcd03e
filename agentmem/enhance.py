"""Query enhancement, where feedback shows that it helps: by what a query attends to, or by what others accepted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agentmem import attention
from agentmem.progress import track
from agentmem.records import Feedback, Float32, Record
from agentmem.rerank.learned import unit
from agentmem.rerank.promotion import MIN_HELD_OUT, Comparison, compare
from agentmem.terms import query_terms
from agentmem.validation import wall_clock

if TYPE_CHECKING:
    from agentmem.core import StoreCore
    from agentmem.hooks import SearchContext
    from agentmem.store import MemoryStore

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
            vector = _embedded(store, ctx)
            if vector is not None:
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


def _embedded(store: StoreCore, ctx: SearchContext) -> Float32 | None:
    """Return the vector that a search goes by; None where there is none."""
    vector = ctx.embedding
    if vector is None and ctx.text is not None and store.embedder is not None:
        vector = store.ingest.embed([ctx.text])[0]
    return vector if vector is not None and vector.any() else None


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


NEAR = 3
"""Queries that memories were accepted for, at most, that a later one learns from."""
SETTINGS = tuple(
    (similar, share, words)
    for similar in (0.5, 0.7)
    for share, words in ((0.1, 0), (0.3, 0), (0.0, 2), (0.0, 5), (0.3, 2))
)
"""What is tried: from which cosine on queries are similar, the share of the vector, how many words."""
MAX_JUDGED = 300
"""Judged searches that are asked anew to choose and to decide, drawn at random where there are more."""


class AcceptedMemories:
    """Which memories were accepted for which queries, as a store's feedback tells; later feedback is not in it.

    Attributes:
        events: n judged searches with accepted memories and a vector.
        vectors: float32 (n, dim), the queries' vectors, of length one.
    """

    def __init__(self, store: StoreCore) -> None:
        judged = [(vector, each) for each in _log(store) if (vector := _vector(store, each)) is not None]
        self.events = [each for _, each in judged]
        none = np.zeros((0, store.identity.dimension), np.float32)
        self.vectors = unit(np.stack([vector for vector, _ in judged])) if judged else none
        with store.database.read() as reader:
            firsts = reader.get([each.accepted[0] for each in self.events])
        spaces = [None if record is None else record.namespace for record in firsts]
        self._spaces = list(dict.fromkeys(spaces))
        self._space = np.array([self._spaces.index(space) for space in spaces], np.intp)

    def namespace(self, event: int) -> str | None:
        """Return where the memories of an event are; None where they are gone."""
        return self._spaces[int(self._space[event])]

    def near(
        self, vector: Float32, namespace: str | None, similar: float, but: NDArray[np.bool_] | None = None
    ) -> list[tuple[float, tuple[str, ...]]]:
        """Return (cosine, ids of what was accepted) of the most similar queries within a namespace.

        Args:
            vector: float32 (dim,), of the query.
            namespace: as for a search.
            similar: the least cosine.
            but: bool (n,), events that are not to be looked at.
        """
        cosines = self.vectors @ unit(vector)
        hidden = np.array([not _within(space, namespace) for space in self._spaces], np.bool_)[self._space]
        cosines[hidden if but is None else but | hidden] = -1.0
        best = np.argsort(-cosines, kind="stable")[:NEAR].tolist()
        return [(float(cosines[row]), self.events[row].accepted) for row in best if cosines[row] > similar]


def _within(space: str | None, namespace: str | None) -> bool:
    if space is None or namespace is None:
        return space is not None
    return space == namespace or (namespace.endswith("/") and space.startswith(namespace))


@dataclass(frozen=True, slots=True)
class Expansion:
    """What was accepted for similar queries, added to a query: part of its vectors, and its rarest words.

    Relevance feedback (Rocchio 1971) from earlier searches instead of this one's.

    Attributes:
        similar: the cosine of two queries from which on one learns from the other.
        share: how much of the mean vector of what was accepted is added to the query's.
        words: how many words of it are added to the text: those that stand for most, by idf.
        compared: NDCG@10 of accepted records without it and with it, on judged searches that did not choose it; None
            where there were too few.
    """

    similar: float = 1.0
    share: float = 0.0
    words: int = 0
    compared: Comparison | None = None

    @property
    def active(self) -> bool:
        """Whether it changes anything."""
        return self.share > 0 or self.words > 0

    def expand(
        self,
        store: StoreCore,
        accepted: AcceptedMemories,
        text: str | None,
        vector: Float32,
        namespace: str | None = None,
        but: NDArray[np.bool_] | None = None,
    ) -> tuple[str | None, Float32]:
        """Return the text and the vector, float32 (dim,), with what similar queries add to them.

        Args:
            store: that the memories are in; what was deleted, has expired or is not in the namespace adds nothing.
            accepted: of the store.
            text: of the query; None for a vector alone, which gets no words.
            vector: of the query.
            namespace: as for a search.
            but: bool (n,), events that are not to be looked at.
        """
        near = accepted.near(vector, namespace, self.similar, but) if self.active else []
        credit: dict[str, float] = defaultdict(float)
        for cosine, ids in near:
            for id in ids:
                credit[id] += cosine / len(ids) / sum(each for each, _ in near)
        if not credit:
            return text, vector
        with store.snapshot() as (reader, view):
            scope = view.scope(namespace, wall_clock())
            records = [record for record in reader.get(list(credit)) if record is not None]
            rows = view.rows_of(np.array([record.label for record in records], np.int64))
            there = rows >= 0
            there[there] = view.in_scope(scope, rows[there])
            records = [record for record, here in zip(records, there.tolist(), strict=True) if here]
            shares = np.array([credit[record.id] for record in records], np.float32)
            if self.share > 0 and len(records):
                added = shares @ view.vectors(rows[there])
                vector = vector + np.float32(self.share * np.linalg.norm(vector)) * added
            if self.words and text is not None:
                told = _told(store, text, records, shares.tolist())
                idf = view.lexical(np.array(list(told), np.uint32), 1, scope).idf.tolist() if told else []
                rated = sorted((-value * told[id][0], told[id][1]) for id, value in zip(told, idf, strict=True))
                text = " ".join([text, *(word for _, word in rated[: self.words])])
        return text, vector

    def attach(self, store: StoreCore) -> None:
        """Register it as a pre-retrieval hook of a store; where it changes nothing there is nothing to register.

        A search with a filter is left alone: what was accepted may be what the filter hides.
        """
        if not self.active:
            return
        accepted = AcceptedMemories(store)

        def expand(ctx: SearchContext) -> SearchContext:
            vector = None if ctx.query.filter else _embedded(store, ctx)
            if vector is not None:
                ctx.text, ctx.embedding = self.expand(store, accepted, ctx.text, vector, ctx.query.namespace)
            return ctx

        store.hooks.register("pre-retrieval", expand)


def _told(
    store: StoreCore, text: str, records: Sequence[Record], shares: Sequence[float]
) -> dict[int, tuple[float, str]]:
    """Return stem id -> (credit, a word with that stem) of what records tell beyond a query's own words."""
    own = set(query_terms(text, store.analyzer).ids.tolist())
    told: dict[int, tuple[float, str]] = {}
    for record, share in zip(records, shares, strict=True):
        terms = query_terms(record.text or "", store.analyzer)
        words = dict(zip(terms.word_ids.tolist(), terms.words, strict=True))
        for id in terms.ids.tolist():
            if id not in own:
                told[id] = (told.get(id, (0.0, ""))[0] + share, words[id])
    return told


def fit_expansion(store: MemoryStore, *, seed: int = 0, progress: bool = False) -> Expansion:
    """Choose an expansion by a store's own feedback: half of the judged searches choose, the other half decide.

    Each is asked anew through the store's own search, with what was accepted for the others, those of the same text or
    vector left out.  As for learned weights, the lower end of the 95% interval of the gain in NDCG@10 must be above 0.

    Args:
        store: whose feedback it is.
        seed: of the halves and of the bootstrap.
        progress: show a progress bar on standard error.

    Returns:
        The expansion, or one that changes nothing; ``compared`` says what the best one would have done.
    """
    accepted = AcceptedMemories(store)
    rows = np.random.default_rng(seed).permutation(len(accepted.events))[:MAX_JUDGED]
    halves = [half.tolist() for half in np.array_split(rows, 2)]
    if len(halves[1]) < MIN_HELD_OUT:
        return Expansion()
    tried = [Expansion(), *(Expansion(*setting) for setting in SETTINGS)]
    with track("expanding queries", len(tried) + 2, progress) as advance:
        means = []
        for each in tried:
            means.append(_reached(store, accepted, each, halves[0]).mean())
            advance(1)
        best = tried[int(np.argmax(means))]
        before, after = (_reached(store, accepted, each, halves[1]) for each in (Expansion(), best))
    compared = compare(before, after, seed)
    return replace(best if compared.low > 0 else Expansion(), compared=compared)


def _reached(
    store: MemoryStore, accepted: AcceptedMemories, each: Expansion, rows: Sequence[int]
) -> NDArray[np.float64]:
    """Return NDCG@10 of the accepted records of judged searches, float64 (n,)."""
    discounts = 1.0 / np.log2(np.arange(2, DEPTH + 2))
    values = []
    for row in rows:
        event, vector = accepted.events[row], accepted.vectors[row]
        same = np.array([event.query is not None and other.query == event.query for other in accepted.events])
        same |= accepted.vectors @ vector > 1 - 1e-5
        space = accepted.namespace(row)
        text, moved = each.expand(store, accepted, event.query, vector, space, same)
        hits = store.search(text, embedding=moved, namespace=space, k=DEPTH)
        right = np.array([hit.id in event.accepted for hit in hits], np.float64)
        values.append(right @ discounts[: len(right)] / discounts[: len(event.accepted)].sum())
    return np.array(values)
