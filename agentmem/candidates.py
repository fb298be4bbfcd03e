"""The candidates of one search: what each source offers, before anything is ranked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agentmem.core import StoreCore
from agentmem.errors import InvalidInput
from agentmem.hooks import SearchContext
from agentmem.index.around import beside, said
from agentmem.index.kernels import distinct_places, union
from agentmem.index.lexical import Lexical
from agentmem.index.scope import Scope
from agentmem.index.scores import similarity
from agentmem.index.view import View
from agentmem.links import NO_HIERARCHY, Hierarchy, LinkedRecords, follow, levels_above, merged
from agentmem.records import Float32, Int64
from agentmem.rerank import evidence as ev
from agentmem.rerank.constants import ANCESTOR_SOURCES, LINK_SOURCES
from agentmem.rerank.evidence import Ancestors, Links, no_links
from agentmem.rerank.kernels import scaled
from agentmem.storage.reader import Reader
from agentmem.terms import QueryTerms, query_terms

EXPANDED = 10
"""The turns beside this many best first-round candidates are candidates too,"""
REACH = 2
"""as far as this many turns away: the relevant turn often stands beside the one that shares the query's words."""
BY_HEADS = ("auto", "memory-heads", "hierarchy-heads")
"""Mechanisms that look at the surroundings of the first-round candidates."""


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
        links: among the candidates, but for those that lead up a hierarchy.
        ancestors: which candidates stand above which in a hierarchy; None where the records carry none.
        hierarchy: the kinds of links that lead up a hierarchy; none where the records carry none.
        frame: what the same search finds without its filter, by which heads judge; those of it that pass are among the
            rows.  None where there is no filter, no head to judge, or where records have links, for what a filter
            hides must lead nowhere.
        inside: bool (m,), the rows that the search without the filter finds, as in ``Evidence``; None for all.
    """

    rows: Int64
    labels: Int64
    sources: NDArray[np.uint8]
    first_round: NDArray[np.bool_]
    dense: Float32 | None
    terms: QueryTerms | None
    bm25: Lexical | None
    links: Links = field(default_factory=no_links)
    ancestors: Ancestors | None = None
    hierarchy: tuple[str, ...] = ()
    frame: Candidates | None = None
    inside: NDArray[np.bool_] | None = None


def gather(
    ctx: SearchContext, reader: Reader, view: View, scope: Scope, core: StoreCore, links: LinkedRecords
) -> Candidates:
    """Ask the sources that the mechanism needs: ``ctx.candidates`` rows of each, and their surroundings.

    Raises:
        InvalidInput: the mechanism needs a query vector and there is none.
    """
    mechanism = ctx.attention_config.mechanism
    if ctx.embedding is None and (ctx.text is None or mechanism not in (*BY_HEADS, "lexical")):
        raise InvalidInput(
            f"mechanism {mechanism!r} needs a query vector and there is none: give embedding=..., or open the store "
            "with an embedder that knows a word of the query"
        )
    frame, by_heads = None, mechanism in BY_HEADS and ctx.text is not None
    if ctx.query.filter and by_heads and scope.count and not links.any(reader, view):
        frame = _gather(ctx, reader, view, view.scope(ctx.query.namespace, ctx.query.now), core, links)
    return _gather(ctx, reader, view, scope, core, links, frame)


def joined(found: Candidates) -> Candidates:
    """Return the candidates of a filtered search and of its frame as one; what the frame says of its own stands."""
    frame = found.frame
    if frame is None:
        return found
    rows, places = distinct_places(np.concatenate([frame.rows, found.rows]))
    own, others = places[: len(frame.rows)], places[len(frame.rows) :]
    sources, first_round = np.zeros(len(rows), np.uint8), np.zeros(len(rows), np.bool_)
    labels, inside = np.empty(len(rows), np.int64), np.zeros(len(rows), np.bool_)
    sources[others], labels[others] = found.sources, found.labels
    sources[own], labels[own] = frame.sources, frame.labels
    first_round[own], inside[own] = frame.first_round, True
    return replace(
        found,
        rows=rows,
        labels=labels,
        sources=sources,
        first_round=first_round,
        inside=inside,
    )


def _gather(
    ctx: SearchContext,
    reader: Reader,
    view: View,
    scope: Scope,
    core: StoreCore,
    links: LinkedRecords,
    frame: Candidates | None = None,
) -> Candidates:
    mechanism = ctx.attention_config.mechanism
    sources: list[tuple[int, Int64]] = []
    terms, bm25 = None, None
    if ctx.text is not None and mechanism != "dense":
        terms = frame.terms if frame is not None and frame.terms is not None else query_terms(ctx.text, core.analyzer)
        bm25 = view.lexical(terms.ids, ctx.candidates, scope)
        sources.append((ev.LEXICAL, bm25.rows))
    linked = mechanism in BY_HEADS and links.any(reader, view)
    hierarchy = links.hierarchy(reader, view) if linked and mechanism != "memory-heads" else NO_HIERARCHY
    if ctx.embedding is not None and mechanism != "lexical":
        rows, scores = view.nearest(ctx.embedding, ctx.candidates, scope, ctx.ef, ctx.query.exact)
        if not sources and not hierarchy.kinds:
            return _dense_only(view, rows, scores)
        sources.append((ev.DENSE, rows))
    near = _NOTHING
    offered = None
    if mechanism in BY_HEADS:
        if not linked:
            offered = beside(view, sources, ctx.embedding, bm25, scope, EXPANDED, REACH, ev.NEIGHBOURS)
        if offered is None:
            near = _surroundings(ctx, reader if linked else None, view, scope, bm25, union(sources)[0], hierarchy)
            offered = union(sources + near.sources)
    rows, marks = union(sources) if offered is None else offered
    if frame is not None:
        passing = view.in_scope(scope, frame.rows)
        rows, marks = union([*_by_marks(rows, marks), *_by_marks(frame.rows[passing], frame.sources[passing])])
    lacking = min(ctx.query.k + ctx.query.offset, scope.count) - len(rows)
    if lacking > 0 and mechanism in BY_HEADS:
        rows, marks = union([*_by_marks(rows, marks), (0, _newest(view, scope, rows, lacking))])
    labels, chains, ancestors = view.labels(rows), _NO_LINKS, None
    if linked:
        chains = Links(*_places(rows, near.chains))
    if hierarchy.kinds:
        owner, source, climbed = _places(rows, (*near.climbs, near.climbed))
        ancestors = Ancestors(owner, source, climbed, hierarchy.rarity(labels))
    return Candidates(
        rows=rows,
        labels=labels,
        sources=marks,
        first_round=(marks & (ev.DENSE | ev.LEXICAL)) != 0,
        dense=None,
        terms=terms,
        bm25=bm25,
        links=chains,
        ancestors=ancestors,
        hierarchy=hierarchy.kinds,
        frame=frame,
    )


class _Near(NamedTuple):
    """What stands around the first-round candidates.

    Attributes:
        sources: bits of ``agentmem.rerank.evidence`` and the rows that each offers.
        chains: (rows reached, rows that reach them) by links that lead up no hierarchy.
        climbs: the same by those that do.
        climbed: the rows from which a hierarchy was climbed.
    """

    sources: list[tuple[int, Int64]]
    chains: tuple[Int64, Int64]
    climbs: tuple[Int64, Int64]
    climbed: Int64


_NONE = np.empty(0, np.int64)
_NO_LINKS = no_links()
_NOTHING = _Near([], (_NONE, _NONE), (_NONE, _NONE), _NONE)


def _surroundings(
    ctx: SearchContext,
    reader: Reader | None,
    view: View,
    scope: Scope,
    bm25: Lexical | None,
    first: Int64,
    hierarchy: Hierarchy,
) -> _Near:
    """Return the turns beside the best first-round candidates, and what links reach; no links without a reader."""
    dense, lexical = said(view, ctx.embedding, bm25, first)
    both = scaled(dense) + scaled(lexical)
    best = first[np.argsort(-both, kind="stable")]
    sources = [(ev.NEIGHBOURS, view.neighbours(best[:EXPANDED], REACH, scope)[2])]
    chains, climbs, climbed = _NOTHING.chains, _NOTHING.climbs, _NONE
    if reader is not None:
        similar = _most_similar(first, dense)
        climbed = best[:ANCESTOR_SOURCES] if hierarchy.kinds else _NONE
        edges = follow(reader, view, view.labels(union([(0, similar), (0, climbed)])[0]), scope)
        chains = _reached(view, merged(edges, sorted(edges.keys() - set(hierarchy.kinds))), similar)
        climbs = _reached(view, merged(edges, hierarchy.kinds), climbed)
        sources.append((ev.LINKS, np.concatenate([chains[0], climbs[0]])))
    return _Near(sources, chains, climbs, climbed)


def _by_marks(rows: Int64, marks: NDArray[np.uint8]) -> list[tuple[int, Int64]]:
    """Return rows by what offered them, as ``union`` takes them."""
    return [(mark, rows[marks == mark]) for mark in np.unique(marks).tolist()]


def _dense_only(view: View, rows: Int64, scores: Float32) -> Candidates:
    sources = np.empty(len(rows), np.uint8)
    sources.fill(ev.DENSE)
    return Candidates(
        rows=rows,
        labels=view.labels(rows),
        sources=sources,
        first_round=sources != 0,
        dense=similarity(scores, view.metric),
        terms=None,
        bm25=None,
        links=_NO_LINKS,
    )


def _most_similar(first: Int64, dense: Float32) -> Int64:
    """Return the best ``LINK_SOURCES`` dense candidates of the first round; the first ones where none is dense."""
    known = np.flatnonzero(~np.isnan(dense))
    return first[known[np.argsort(-dense[known], kind="stable")[:LINK_SOURCES]]] if len(known) else first[:LINK_SOURCES]


def _reached(view: View, edges: Mapping[int, Sequence[int]], sources: Int64) -> tuple[Int64, Int64]:
    """Return, for each chain of links from a source to another record, the row reached and the source's row."""
    reached, origins = [], []
    for label, row in zip(view.labels(sources).tolist(), sources.tolist(), strict=True):
        above = [other for other in levels_above(edges, label) if other != label]
        reached += above
        origins += [row] * len(above)
    return view.rows_of(np.array(reached, np.int64)), np.array(origins, np.int64)


def _places(rows: Int64, wanted: Iterable[Int64]) -> Iterator[NDArray[np.int32]]:
    """Return where in ``rows``, which are ascending, others stand."""
    return (np.searchsorted(rows, each).astype(np.int32) for each in wanted)


def _newest(view: View, scope: Scope, found: Int64, count: int) -> Int64:
    """Return the newest other rows in scope: they match too, if by nothing else."""
    others = np.setdiff1d(view.rows_in(scope), found, assume_unique=True)
    return others[np.argsort(-view.labels(others))[:count]]
