"""Ranks candidates by the mechanism that the hooks chose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from agentmem import attention
from agentmem.calibration import measured_background
from agentmem.candidates import Candidates, joined
from agentmem.core import StoreCore
from agentmem.depth import DepthMap
from agentmem.errors import InvalidInput, UnknownMechanism
from agentmem.hooks import NO_CHOICES, SearchContext
from agentmem.index.around import around, said
from agentmem.index.scope import Scope
from agentmem.index.segment import Segment
from agentmem.index.view import Columns, View
from agentmem.records import Float32, Int64
from agentmem.rerank import fusion, kernels, learned
from agentmem.rerank.evidence import (
    Background,
    Evidence,
    Neighbours,
    QueryFeatures,
    query_features,
)
from agentmem.rerank.weights import HeadWeights
from agentmem.storage.reader import Reader
from agentmem.terms import TIME_IDS, WordPieces
from agentmem.validation import shown
from agentmem.weights import ActiveWeights

OTHERS = ("auto", "prf")
"""What ``mechanism`` may be besides a fusion and a mechanism of the catalogue."""
PRF_SCALE = 20.0
"""Sharpness of the softmax over candidates in "prf": a cosine lower by 0.05 weighs e times less."""
RADIUS = 3
"""A turn is judged with this many turns on either side of it."""
BACKGROUND_ROWS = 512
BACKGROUND_DRIFT = 1.25
"""The background is measured anew when the store has grown or shrunk by this factor, and from new segments."""


def mechanisms() -> tuple[str, ...]:
    """Return the names that ``search(mechanism=...)`` takes."""
    return (*OTHERS, *fusion.FUSIONS, *attention.registry.list())


def check_mechanism(name: str) -> str:
    """Return the name of a mechanism that ``rank`` knows, or "auto".

    Raises:
        UnknownMechanism: the message lists those that exist.
    """
    if not isinstance(name, str) or not (name in OTHERS or name in fusion.FUSIONS or attention.registry.has(name)):
        raise UnknownMechanism(f"no mechanism is called {shown(name)}; there are {', '.join(mechanisms())}")
    return name


class Ranker:
    """Ranks for one store; keeps the store's background similarity, which changes slowly."""

    def __init__(self, core: StoreCore) -> None:
        self._core = core
        self._weights = ActiveWeights(core)
        self._background: tuple[int, tuple[Segment, ...], Background] | None = None
        self._pieces = WordPieces(core.tokenizer)

    def rank(self, ctx: SearchContext, reader: Reader, view: View, scope: Scope, found: Candidates) -> fusion.Ranking:
        """Return the ranking of the candidates by ``ctx.attention_config``.

        Raises:
            UnknownMechanism: a hook chose one that does not exist.
            InvalidInput: a factor for a head that does not exist.
        """
        config = ctx.attention_config
        name = check_mechanism(config.mechanism)
        if name == "dense" and found.dense is not None:
            order = np.arange(len(found.rows))
            return fusion.Ranking(found.dense, found.dense[None], ("dense",), order, found.dense)
        if name in ("memory-heads", "hierarchy-heads"):
            active = self._weights.at(reader, view.seq)
            if active.weights is not None:
                ctx.reason += f"; learned weights {active.number}"
            ranking = self._judged(ctx, view, scope, found, active.weights)
            self._core.diversity.record(ranking.parts)
            return ranking
        if name in fusion.FUSIONS:
            features, evidence = query_features(None, ctx.query.now), _plain(ctx, view, found)
            return _weighted(fusion.rank(name, evidence, features), config.heads, evidence)
        return self._attended(ctx, view, found)

    def choices(self, reader: Reader, view: View) -> Mapping[str, str]:
        """Return the mechanisms that feedback chose, by task; none where no learned weights are active."""
        active = self._weights.at(reader, view.seq).weights
        return NO_CHOICES if active is None else active.choices

    def observe(
        self, ctx: SearchContext, view: View, scope: Scope, found: Candidates
    ) -> tuple[Evidence, QueryFeatures]:
        """Return what the heads look at."""
        idf_sum = 0.0 if found.bm25 is None else float(found.bm25.idf.sum())
        features = query_features(ctx.text, ctx.query.now, self._measured(view), idf_sum)
        return self._evidence(ctx, view, scope, found, features), features

    def _judged(
        self, ctx: SearchContext, view: View, scope: Scope, found: Candidates, weights: HeadWeights | None
    ) -> fusion.Ranking:
        """Rank by the heads, with learned weights or the constants.

        Under a filter that passes what comes first without it, candidates are judged by those of the search without it.
        """
        every = joined(found)
        evidence, features = self.observe(ctx, view, scope, every)
        ranking = self._by_heads(ctx, view, every, evidence, features, weights)
        ranking = _weighted(ranking, ctx.attention_config.heads, evidence)
        if evidence.inside is None:
            return ranking
        places, first = np.searchsorted(every.rows, found.rows), ranking.order[evidence.inside[ranking.order]][0]
        if first not in places:
            return self._judged(ctx, view, scope, replace(found, frame=None), weights)
        return fusion.passing(ranking, evidence, places, first)

    def _by_heads(
        self,
        ctx: SearchContext,
        view: View,
        found: Candidates,
        evidence: Evidence,
        features: QueryFeatures,
        weights: HeadWeights | None,
    ) -> fusion.Ranking:
        if weights is None:
            return fusion.memory_heads(evidence, features)
        projected = np.zeros(len(found.rows), np.float32)
        if len(weights.query):
            projected = learned.project(weights, ctx.embedding, learned.unit(view.vectors(found.rows)))
        return learned.rank(evidence, features, weights, projected)

    def _attended(self, ctx: SearchContext, view: View, found: Candidates) -> fusion.Ranking:
        """Rank by a mechanism of the catalogue alone: late interaction by the texts' tokens, any other by vectors."""
        name = ctx.attention_config.mechanism
        if ctx.embedding is None:
            raise InvalidInput(f"mechanism {name!r} needs a query vector and there is none")
        depth = ctx.attention_config.params.get("depth")
        if name == "prf":
            params = {"scale": PRF_SCALE} | ctx.attention_config.params
            scores = attention.prf(ctx.embedding, view.vectors(found.rows), params=params)
        elif name == "late-interaction":
            scores = np.nan_to_num(self._late(view, found, found.rows), nan=-np.inf)
        elif isinstance(depth, DepthMap):
            scores = depth.score(ctx.embedding, view.vectors(found.rows))
        else:
            columns = view.columns(found.rows)
            declared = attention.registry.get(name)
            taken = declared.inputs()
            scores = attention.score(
                ctx.embedding,
                view.vectors(found.rows),
                mechanism=name,
                params=ctx.attention_config.params or None,
                weights=ctx.attention_config.weights,
                positions=_places(columns, declared) if "positions" in taken else None,
                segment_ids=_numbered(columns.thread_key) if "segment_ids" in taken else None,
                edges=_from_query(len(found.rows)) if "edges" in taken else None,
            )
        return fusion.ranking_of(_plain(ctx, view, found), scores[None], (name,))

    def _evidence(
        self, ctx: SearchContext, view: View, scope: Scope, found: Candidates, features: QueryFeatures
    ) -> Evidence:
        """Gather what every head looks at."""
        count = len(found.rows)
        columns = view.columns(found.rows)
        # What stands around a turn says what it is about whether a filter passes it or not.
        everywhere = view.scope(ctx.query.namespace, ctx.query.now) if ctx.query.filter else scope
        near = around(view, found.rows, RADIUS, everywhere, ctx.embedding, found.bm25)
        dense, lexical, late = near.dense, near.lexical, self._late(view, found, near.distinct)[near.places]
        plain = not columns.thread_key.all()
        phrase, lead, asks, tells_time = self._words(view, found, features, lexical[:count], plain)
        return Evidence(
            labels=found.labels,
            dense=dense[:count],
            lexical=lexical[:count],
            phrase=phrase,
            lead=lead,
            late=late[:count],
            first_round=found.first_round,
            sources=found.sources,
            thread_key=columns.thread_key,
            session_key=columns.session_key,
            speaker_key=columns.speaker_key,
            created_at=columns.created_at,
            importance=columns.importance,
            asks=asks,
            tells_time=tells_time,
            feedback=np.zeros(count, np.float32),
            peers=_peers(view, found) if plain else None,
            neighbours=Neighbours(near.owner, near.offset, dense[count:], lexical[count:], late[count:]),
            links=found.links,
            ancestors=found.ancestors if ctx.attention_config.mechanism == "hierarchy-heads" else None,
            inside=found.inside,
        )

    def _late(self, view: View, found: Candidates, rows: Int64) -> Float32:
        """Return MaxSim of rows; NaN for rows without tokens, and where the query has none."""
        scores = np.full(len(rows), np.nan, np.float32)
        if found.terms is None or found.bm25 is None:
            return scores
        vectors, weights = self._pieces.weighted(found.terms, found.bm25.idf)
        if not len(weights):
            return scores
        codes, scales = self._core.tokenizer.token_table()
        for places, part, local in view.parts_of(rows):
            scores[places] = attention.maxsim(
                vectors, weights, codes, part.token_offsets, part.tokens, scales=scales, rows=local
            )
        return scores

    def _words(
        self, view: View, found: Candidates, features: QueryFeatures, lexical: Float32, plain: bool
    ) -> tuple[Float32, Float32, NDArray[np.bool_], NDArray[np.bool_]]:
        """Return phrase and lead scores, NaN without a text; which candidates ask; which tell a time, if asked.

        A row without BM25 holds no term of the query, but where a filter leaves out parts of the index unscored.  Leads
        count where a record is ``plain``, without a thread: they are 0 where none is.
        """
        count = len(found.rows)
        (phrase, lead), asks, tells = np.zeros((2, count), np.float32), *np.zeros((2, count), np.bool_)
        for places, part, local in view.parts_of(found.rows):
            asks[places] = kernels.holding(part.token_offsets, part.tokens, local, self._pieces.question_mark)
            if features.asks_when:
                tells[places] = kernels.holding(part.term_offsets, part.terms, local, TIME_IDS)
            if found.terms is not None and found.bm25 is not None:
                words = (part.term_offsets, part.terms, local, found.terms.ids, found.bm25.idf)
                if plain:
                    lead[places] = kernels.lead_scores(*words)
                if len(found.terms.ids) > 1:
                    phrase[places] = kernels.phrase_scores(*words, lexical[places] if found.inside is None else None)
        if found.terms is None:
            phrase.fill(np.nan)
            lead.fill(np.nan)
        return phrase, lead, asks, tells

    def _measured(self, view: View) -> Background:
        calibrated = self._core.calibrated.get(self._core.identity.generation)
        if calibrated is not None:
            return calibrated
        live, segments, kept = view.n_live, view.segments, self._background
        near = kept is not None and kept[0] / BACKGROUND_DRIFT <= live <= kept[0] * BACKGROUND_DRIFT
        if kept is None or not near or kept[1] != segments:
            kept = self._background = (live, segments, measured_background(view, BACKGROUND_ROWS))
        return kept[2]


def _plain(ctx: SearchContext, view: View, found: Candidates) -> Evidence:
    """Return the evidence of the fusions: what the sources said, and nothing else."""
    count = len(found.rows)
    zeros = np.zeros(count, np.float32)
    dense, lexical = said(view, ctx.embedding, found.bm25, found.rows)
    nothing = np.zeros(count, np.int64)
    return Evidence(
        labels=found.labels,
        dense=dense,
        lexical=lexical,
        phrase=zeros,
        lead=zeros,
        late=np.full(count, np.nan, np.float32),
        first_round=found.first_round,
        sources=found.sources,
        thread_key=nothing,
        session_key=nothing,
        speaker_key=nothing,
        created_at=np.full(count, np.nan),
        importance=zeros,
        asks=np.zeros(count, np.bool_),
        tells_time=np.zeros(count, np.bool_),
        feedback=zeros,
    )


def _numbered(keys: Int64) -> Int64:
    """Return small numbers in the place of keys, -1 for none."""
    numbers = np.unique(keys, return_inverse=True)[1].astype(np.int64)
    return np.where(keys == 0, np.int64(-1), numbers)


def _from_query(count: int) -> Int64:
    """Return the edges from the query, the row behind the candidates, to each of them."""
    return np.stack([np.full(count, count, np.int64), np.arange(count)], axis=1)


def _places(columns: Columns, declared: attention.Mechanism) -> NDArray[np.float64]:
    """Return the place in the thread, NaN for none; for a mechanism over a sequence the place in time, then thread."""
    if not declared.sequence:
        return columns.position
    places = np.empty(len(columns.position))
    places[np.lexsort((columns.position, columns.created_at))] = np.arange(len(places))
    return places


def _weighted(ranking: fusion.Ranking, factors: dict[str, float], evidence: Evidence) -> fusion.Ranking:
    if not factors:
        return ranking
    unknown = sorted(set(factors) - set(ranking.head_names))
    if unknown:
        raise InvalidInput(f"no head is called {unknown[0]!r}; there are {', '.join(ranking.head_names)}")
    scale = np.array([factors.get(name, 1.0) for name in ranking.head_names], np.float32)
    return fusion.ranking_of(evidence, ranking.parts * scale[:, None], ranking.head_names)


def _peers(view: View, found: Candidates) -> Float32:
    """Return the similarities of all candidates with those inside; NaN with the others, which vouch for nobody."""
    count = len(found.rows)
    vouching = np.arange(count) if found.inside is None else np.flatnonzero(found.inside)
    vectors, there = view.vectors(found.rows), view.has_vector(found.rows)
    others = vectors[vouching]
    scores = vectors @ others.T
    if view.metric == "l2":
        squares, theirs = (np.einsum("ij,ij->i", each, each) for each in (vectors, others))
        scores = -np.sqrt(np.maximum(squares[:, None] + theirs - 2 * scores, 0.0))
    peers = np.full((count, count), np.nan, np.float32)
    peers[:, vouching] = scores
    peers[~there] = np.nan
    peers[:, ~there] = np.nan
    return peers
