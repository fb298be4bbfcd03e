"""Following links: from the best candidates to what they point at, and up a hierarchy to what they have in common."""

from __future__ import annotations

import weakref
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from agentmem.index.scope import Scope
from agentmem.index.view import View
from agentmem.records import Float32, Int64
from agentmem.storage.reader import Reader

LINK_DEPTH = 16
"""Links are followed in chains of at most this length,"""
LINKED_ROWS = 256
"""to at most about this many records,"""
LINKS_A_RECORD = 32
"""by at most this many links a record, on average over the records of one step."""

SAMPLE = 512
"""A hierarchy is looked for among the links of this many records, drawn at random,"""
SAMPLE_ROWS = 8_192
"""which lead to at most about this many others."""
MIN_SAMPLE = 32
"""Fewer records than this make no hierarchy that could be told from a few links."""
DRIFT = 1.25
"""It is looked for anew when the number of changes has grown by this factor."""

MIN_COVERAGE = 0.25
"""In a hierarchy this share of all records, at least, has a record above it,"""
MIN_LEVELS = 2.0
"""on average so many levels,"""
MAX_PARENTS = 2.0
"""by so few links that it is a tree in the main: citations and mentions are many,"""
MIN_CHILDREN = 1.1
"""which branches: what follows one another in a chain does not,"""
MAX_TOPS = 0.125
"""and ends at few records: as a share of the records that have one above them.  Threads of replies end at many."""

Edges = Mapping[str, Mapping[int, Sequence[int]]]
"""Kind of link -> label of a record -> labels of the records that it points at."""


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Which kinds of links lead up a hierarchy, and how rare it is to stand below each of its records.

    Attributes:
        kinds: the kinds, sorted; none where the records carry no hierarchy.
        below: label -> how many of the sampled records stand below it.
        sampled: how many records were sampled.
    """

    kinds: tuple[str, ...] = ()
    below: Mapping[int, int] = field(default_factory=dict)
    sampled: int = 0

    def rarity(self, labels: Int64) -> Float32:
        """Return −ln of the share of all records that stand below each, float32 (m,): what being above one tells."""
        counts = np.array([self.below.get(label, 0) for label in labels.tolist()], np.float32)
        rarity: Float32 = -np.log((counts + np.float32(0.5)) / np.float32(self.sampled + 1))
        return rarity


NO_HIERARCHY = Hierarchy()


def follow(reader: Reader, view: View, start: Int64, scope: Scope | None, most: int = LINKED_ROWS) -> Edges:
    """Return the links that lead out of records, and out of those that they reach, within ``LINK_DEPTH`` steps.

    Args:
        reader: of the view's moment.
        view: of the store.
        start: int64 labels.
        scope: records outside it are neither reached nor passed through; None for all that are alive.
        most: go no further when so many records are reached.
    """
    edges: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    seen = set(start.tolist())
    frontier = sorted(seen)
    for _ in range(LINK_DEPTH):
        if not frontier or len(seen) - len(start) >= most:
            break
        sources, kinds, targets = reader.links_from(frontier, LINKS_A_RECORD * len(frontier))
        rows = view.rows_of(targets)
        inside = rows >= 0
        if scope is not None:
            inside[inside] = view.in_scope(scope, rows[inside])
        reached = set()
        for source, kind, target, kept in zip(sources, kinds, targets.tolist(), inside.tolist(), strict=True):
            if kept:
                edges[kind][source].append(target)
                reached.add(target)
        frontier = sorted(reached - seen)
        seen |= reached
    return edges


def merged(edges: Edges, kinds: Collection[str]) -> dict[int, list[int]]:
    """Return the links of several kinds as one: label -> labels."""
    result: dict[int, list[int]] = defaultdict(list)
    for kind in kinds:
        for source, targets in edges.get(kind, {}).items():
            result[source] += targets
    return result


def levels_above(edges: Mapping[int, Sequence[int]], start: int) -> dict[int, int]:
    """Return what chains of links reach from a record: label -> length of the shortest; the start only on a cycle."""
    levels: dict[int, int] = {}
    frontier: Sequence[int] = (start,)
    for level in range(1, LINK_DEPTH + 1):
        frontier = [target for source in frontier for target in edges.get(source, ()) if target not in levels]
        if not frontier:
            break
        levels.update(dict.fromkeys(frontier, level))
    return levels


def measure(edges: Edges, sample: Int64) -> Hierarchy:
    """Find the kinds of links that lead up a hierarchy.

    Args:
        edges: from ``follow``, from the sample and through all records.
        sample: int64 labels, drawn at random.
    """
    if len(sample) < MIN_SAMPLE:
        return NO_HIERARCHY
    drawn = sample.tolist()
    kinds = tuple(sorted(kind for kind, links in edges.items() if _is_hierarchy(links, drawn)))
    links, below = merged(edges, kinds), Counter[int]()
    for label in drawn:
        below.update(levels_above(links, label).keys())
    return Hierarchy(kinds, below, len(drawn)) if kinds else NO_HIERARCHY


def _is_hierarchy(links: Mapping[int, Sequence[int]], drawn: Sequence[int]) -> bool:
    """Say whether links of one kind lead up a tree, in the main."""
    children = [label for label in drawn if label in links]
    if len(children) < MIN_COVERAGE * len(drawn) or not children:
        return False
    above = {label: levels_above(links, label) for label in children}
    n_links = sum(map(len, links.values()))
    parents = {target for targets in links.values() for target in targets}
    tops = {label for levels in above.values() for label in levels if label not in links}
    heights = [max(levels.values()) for levels in above.values()]
    return (
        sum(heights) >= MIN_LEVELS * len(heights)
        and n_links <= MAX_PARENTS * len(links)
        and n_links >= MIN_CHILDREN * len(parents)
        and 1 <= len(tops) <= max(1.0, MAX_TOPS * len(children))
        and not any(label in levels for label, levels in above.items())
    )


class LinkedRecords:
    """Knows of one store whether its records carry a hierarchy; that is looked for seldom and kept."""

    def __init__(self) -> None:
        self._kept: tuple[int, Hierarchy] | None = None
        self._any: tuple[weakref.ref[View], bool] | None = None

    def any(self, reader: Reader, view: View) -> bool:
        """Return whether any record has a link; asked once a view, which is of one moment and is not kept alive."""
        known = self._any
        if known is None or known[0]() is not view:
            known = self._any = (weakref.ref(view), reader.has_links())
        return known[1]

    def hierarchy(self, reader: Reader, view: View) -> Hierarchy:
        """Return the hierarchy that the records carry, as it was when it was last looked for."""
        kept = self._kept
        if kept is None or not kept[0] / DRIFT <= view.seq <= kept[0] * DRIFT:
            sample = view.labels(view.sample(SAMPLE, seed=0))
            edges = follow(reader, view, sample, None, SAMPLE_ROWS)
            kept = self._kept = (view.seq, measure(edges, sample))
        return kept[1]
