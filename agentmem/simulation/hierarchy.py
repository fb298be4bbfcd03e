"""Hierarchies of labelled sets: ``edges.tsv`` (a header, then child id and parent id), as links and as a size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from agentmem.errors import InvalidInput
from agentmem.simulation.datasets import Document
from agentmem.simulation.lines import rows_of

PARENT = "parent"

Parents = Mapping[str, Sequence[str]]


def read_edges(path: Path) -> Parents:
    """Return child id -> parent ids, in file order.

    Raises:
        InvalidInput: the file is missing or malformed; the message names the line.
    """
    parents: dict[str, list[str]] = {}
    for number, fields in rows_of(path):
        if len(fields) != 2:
            raise InvalidInput(f"{path}, line {number}: expected child id and parent id, separated by a tab")
        parents.setdefault(fields[0], []).append(fields[1])
    return parents


def linked(documents: Sequence[Document], parents: Parents) -> tuple[Document, ...]:
    """Return the documents, each with a ("parent", id) link to each of its parents that is a document too."""
    known = {document.id for document in documents}
    return tuple(
        replace(document, links=tuple((PARENT, each) for each in parents.get(document.id, ()) if each in known))
        for document in documents
    )


def descendants(parents: Parents) -> Counter[str]:
    """Return how many distinct descendants each node has; a node without any is left out."""
    counts: Counter[str] = Counter()
    for node in parents:
        above: set[str] = set()
        frontier = list(parents[node])
        while frontier:
            each = frontier.pop()
            if each not in above and each != node:
                above.add(each)
                frontier.extend(parents.get(each, ()))
        counts.update(above)
    return counts


def targets_first(documents: Sequence[Document]) -> list[int]:
    """Return the rows of ``documents`` such that what a document links to stands before it; file order without links.

    Raises:
        InvalidInput: the links go in a circle.
    """
    if not any(document.links for document in documents):
        return list(range(len(documents)))
    rows = {document.id: row for row, document in enumerate(documents)}
    graph = {row: [rows[target] for _, target in document.links] for row, document in enumerate(documents)}
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = ", ".join(documents[row].id for row in error.args[1])
        raise InvalidInput(f"the links of the documents go in a circle: {circle}") from error
