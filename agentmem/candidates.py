"""The candidates of one search: what each source offers, before anything is ranked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agentmem.core import StoreCore
from agentmem.errors import InvalidInput
from agentmem.hooks import SearchContext
from agentmem.index.lexical import Lexical
from agentmem.index.ragged import distinct
from agentmem.index.scope import Scope
from agentmem.index.view import View
from agentmem.records import Float32, Int64
from agentmem.rerank import evidence as ev
from agentmem.rerank.constants import LINK_SOURCES
from agentmem.rerank.evidence import Links, no_links
from agentmem.rerank.fusion import scaled
from agentmem.storage.reader import Reader
from agentmem.terms import QueryTerms, query_terms

EXPANDED = 10
"""The turns beside this many best first-round candidates are candidates too,"""
REACH = 2
"""as far as this many turns away: the relevant turn often stands beside the one that shares the query's words."""
LINK_DEPTH = 16
"""Links are followed in chains of at most this length,"""
LINKED_ROWS = 256
"""to at most this many records."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """m rows of a view that are to be ranked.

    Attributes:
        rows: int64 (m,), numbers in the view.
        labels: int64 (m,).
        sources: uint8 (m,), bits of ``agentmem.rerank.evidence``.
        first_round: bool (m,), offered by the dense or the lexical source.
        dense: float32 (m,), similarity, where it is known already: the only source was dense, and its order stands.
        terms: what of the query's text is scored, or None.
        bm25: the lexical source's result, which scores any row, or None.
        links: among the candidates.
    """

    rows: Int64
    labels: Int64
    sources: NDArray[np.uint8]
    first_round: NDArray[np.bool_]
    dense: Float32 | None
    terms: QueryTerms | None
    bm25: Lexical | None
    links: Links


def gather(ctx: SearchContext, reader: Reader, view: View, scope: Scope, core: StoreCore) -> Candidates:
    """Ask the sources that the mechanism needs: ``ctx.candidates`` rows of each, and their surroundings.

    Raises:
        InvalidInput: the mechanism needs a query vector and there is none.
    """
    mechanism = ctx.attention_config.mechanism
    if ctx.embedding is None and (ctx.text is None or mechanism not in ("auto", "memory-heads", "lexical")):
        raise InvalidInput(
            f"mechanism {mechanism!r} needs a query vector and there is none: give embedding=..., or open the store "
            "with an embedder that knows a word of the query"
        )
    sources: list[tuple[int, Int64]] = []
    terms, bm25 = None, None
    if ctx.text is not None and mechanism != "dense":
        terms = query_terms(ctx.text, core.analyzer)
        bm25 = view.lexical(terms.ids, ctx.candidates, scope)
        sources.append((ev.LEXICAL, bm25.rows))
    if ctx.embedding is not None and mechanism != "lexical":
        rows, scores = view.nearest(ctx.embedding, ctx.candidates, scope, ctx.ef, ctx.query.exact)
        if not sources:
            return _dense_only(view, rows, scores)
        sources.append((ev.DENSE, rows))
    first = _union(sources)
    if ctx.text is not None and mechanism in ("auto", "memory-heads"):
        dense, lexical = evidence_of(ctx, view, bm25, first)
        both = scaled(dense, slice(None)) + scaled(lexical, slice(None))
        best = first[np.argsort(-both, kind="stable")[:EXPANDED]]
        sources.append((ev.NEIGHBOURS, distinct(view.neighbours(best, REACH, scope)[2])))
        chains = _follow_links(reader, view, scope, first, dense) if reader.has_links() else []
        sources.append((ev.LINKS, distinct(np.array([row for row, _ in chains], np.int64))))
        sources.append((0, _missing(view, scope, _union(sources), ctx.query.k + ctx.query.offset)))
    else:
        chains = []
    rows = _union(sources)
    marks = np.zeros(len(rows), np.uint8)
    for bit, offered in sources:
        marks[np.searchsorted(rows, offered)] |= np.uint8(bit)
    return Candidates(
        rows=rows,
        labels=view.labels(rows),
        sources=marks,
        first_round=(marks & (ev.DENSE | ev.LEXICAL)) != 0,
        dense=None,
        terms=terms,
        bm25=bm25,
        links=_linked(rows, chains),
    )


def similarity(view: View, scores: Float32) -> Float32:
    """Return the index's scores as similarities: the same, but minus the distance rather than its square under l2."""
    return -np.sqrt(np.maximum(-scores, 0.0)) if view.metric == "l2" else scores


def evidence_of(ctx: SearchContext, view: View, bm25: Lexical | None, rows: Int64) -> tuple[Float32, Float32]:
    """Return what the two sources say of any rows, float32 (m,) each: similarity to the query vector, and BM25.

    NaN for rows without a vector, for all where the query has none, and for all where it has no text.
    """
    lexical = np.full(len(rows), np.nan, np.float32) if bm25 is None else bm25.scores_of(rows)
    return _similarities(ctx, view, rows), lexical


def _similarities(ctx: SearchContext, view: View, rows: Int64) -> Float32:
    if ctx.embedding is None:
        return np.full(len(rows), np.nan, np.float32)
    scores = similarity(view, view.dense_scores(ctx.embedding, rows))
    known: Float32 = np.where(view.has_vector(rows), scores, np.float32(np.nan))
    return known


_NO_LINKS = no_links()


def _dense_only(view: View, rows: Int64, scores: Float32) -> Candidates:
    sources = np.empty(len(rows), np.uint8)
    sources.fill(ev.DENSE)
    return Candidates(
        rows=rows,
        labels=view.labels(rows),
        sources=sources,
        first_round=sources != 0,
        dense=similarity(view, scores),
        terms=None,
        bm25=None,
        links=_NO_LINKS,
    )


def _union(sources: list[tuple[int, Int64]]) -> Int64:
    return distinct(np.concatenate([np.empty(0, np.int64), *(rows for _, rows in sources)]))


def _follow_links(reader: Reader, view: View, scope: Scope, first: Int64, dense: Float32) -> list[tuple[int, int]]:
    """Return (row reached, row whose links reach it), from the best dense candidates along chains of links."""
    known = np.flatnonzero(~np.isnan(dense))
    best = first[known[np.argsort(-dense[known], kind="stable")[:LINK_SOURCES]]] if len(known) else first[:LINK_SOURCES]
    origins: dict[int, set[int]] = {row: {row} for row in best.tolist()}
    frontier = set(origins)
    for _ in range(LINK_DEPTH):
        if not frontier or len(origins) > LINKED_ROWS:
            break
        rows = np.array(sorted(frontier), np.int64)
        start, _, target = reader.links_of(view.labels(rows).tolist())
        sources, targets = view.rows_of(start), view.rows_of(target)
        inside = (sources >= 0) & (targets >= 0)
        inside[inside] = view.in_scope(scope, targets[inside])
        previous, frontier = frontier, set()
        for source, row in zip(sources[inside].tolist(), targets[inside].tolist(), strict=True):
            if source not in previous:
                continue
            reached = origins.setdefault(row, set())
            if not origins[source] <= reached:
                reached |= origins[source]
                frontier.add(row)
    return [(row, source) for row, sources_ in origins.items() for source in sources_ if source != row]


def _linked(rows: Int64, chains: list[tuple[int, int]]) -> Links:
    if not chains:
        return _NO_LINKS
    pairs = np.array(sorted(set(chains)), np.int64)
    places = np.searchsorted(rows, pairs).astype(np.int32)
    return Links(places[:, 0], places[:, 1])


def _missing(view: View, scope: Scope, found: Int64, wanted: int) -> Int64:
    """Return the newest other rows in scope, where fewer were found than are wanted: they match, if by nothing else."""
    lacking = min(wanted, scope.count) - len(found)
    if lacking <= 0:
        return np.empty(0, np.int64)
    others = np.setdiff1d(view.rows_in(scope), found, assume_unique=True)
    return others[np.argsort(-view.labels(others))[:lacking]]
