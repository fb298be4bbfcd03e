"""What the journals of processes on one store say: which merges there were, and what must not have happened."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

LONG_MERGE_S = 0.5
"""While a merge of this length goes on, at least one search must begin and end."""

Span = tuple[float, float]
"""When something began and ended, by the clock that all processes share."""


@dataclass(frozen=True)
class Merge:
    """One merge: asked for, begun under the lock, ended, answered; of one that was killed, when it was surely over."""

    asked: float
    began: float
    ended: float
    answered: float
    killed: bool


def problems_of_merges(merges: list[Merge], refused: list[Span]) -> list[str]:
    """Return what contradicts one lock that one process holds at a time and that dies with its holder.

    Args:
        merges: of all processes.
        refused: the calls that reported "busy".
    """
    ended = sorted((each for each in merges if not each.killed), key=lambda each: each.began)
    problems = [f"at once: {one}, {two}" for one, two in pairwise(ended) if two.began < one.ended]
    problems += [
        f"refused from {start:.4f} to {end:.4f}, when nobody merged"
        for start, end in refused
        if not any(each.asked <= end and start <= each.answered for each in merges)
    ]
    return problems


def merges_of(lines: Iterable[dict[str, Any]], deaths: list[float]) -> tuple[list[Merge], list[Span]]:
    """Return one merger's merges, and its calls that were refused; ``deaths`` are when its processes were reaped."""
    merges: list[Merge] = []
    refused: list[Span] = []
    for line in lines:
        if "began" in line:
            over = min((death for death in deaths if death > line["began"]), default=float("inf"))
            merges.append(Merge(line["asked"], line["began"], over, over, killed=True))
        elif "ended" in line:
            merges[-1] = replace(merges[-1], ended=line["ended"], killed=False)
        elif line.get("busy"):
            refused.append((line["asked"], line["answered"]))
        elif "answered" in line:
            merges[-1] = replace(merges[-1], answered=line["answered"])
    return merges, refused


def milliseconds(searches: list[Span]) -> dict[str, float]:
    """Return count, median, 99th percentile and maximum of how long searches took."""
    if not searches:
        return {"count": 0}
    took = [(end - start) * 1e3 for start, end in searches]
    p50, p99, most = np.percentile(took, [50, 99, 100]).round(2).tolist()
    return {"count": len(took), "p50": p50, "p99": p99, "max": most}


def during(searches: list[Span], spans: Iterable[Span]) -> list[bool]:
    """Return for each search whether it overlaps a span."""
    starts = np.array([start for start, _ in searches])
    ends = np.array([end for _, end in searches])
    result = np.zeros(len(searches), bool)
    for begin, end in spans:
        result |= (starts < end) & (ends > begin)
    return result.tolist()


def unanswered(searches: list[Span], spans: Iterable[Span]) -> list[str]:
    """Return the long spans, from the first search to the last, within which no search began and ended."""
    first, last = min(searches)[0], max(end for _, end in searches)
    return [
        f"no search was answered in a merge of {end - begin:.2f} s"
        for begin, end in spans
        if end - begin > LONG_MERGE_S
        and first < begin
        and end < last
        and not any(begin <= start and done <= end for start, done in searches)
    ]
