"""Namespaces as a tree: one level at a time, from a sorted list of names."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Node:
    """One name at one level of the tree.

    Attributes:
        name: the part that this level adds; empty for a namespace that ends where the level begins.
        namespace: the whole name where there are records of exactly this namespace, or None.
        own: how many.
        branch: the whole name with a "/" behind it where there is more below, or None.
        below: how many records.
    """

    name: str
    namespace: str | None
    own: int
    branch: str | None
    below: int


class NamespaceTree:
    """The namespaces of a store at one moment; a level costs a few bisections a node, however many lie below."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._names = sorted(counts)
        self._counts = [counts[name] for name in self._names]
        self._before = [0, *accumulate(self._counts)]

    def __len__(self) -> int:
        """Return the number of namespaces."""
        return len(self._names)

    def level(self, branch: str = "", after: str | None = None, limit: int = 200) -> tuple[list[Node], str | None]:
        """Return the nodes right below a branch, by name, and what to pass as ``after`` for those that follow.

        Args:
            branch: "" for the roots, or a name that ends in "/".
            after: as the call before returned it; None for the first nodes.
            limit: how many at most.
        """
        names = self._names
        at = bisect_left(names, branch) if after is None else self._beyond(branch, after)
        end = self._end(branch)
        nodes: list[Node] = []
        last = None
        while at < end:
            name, slash, _ = names[at][len(branch) :].partition("/")
            whole = branch + name
            if slash and self._has(whole):  # shown with the namespace of that name, which came before
                at = self._end(f"{whole}/")
                continue
            if len(nodes) == limit:
                return nodes, last
            last = f"{whole}/" if slash else whole
            nodes.append(self._node(name, whole, exact=not slash))
            at = self._end(last) if slash else at + 1
        return nodes, None

    def _node(self, name: str, whole: str, *, exact: bool) -> Node:
        own = self._counts[bisect_left(self._names, whole)] if exact else 0
        branch = f"{whole}/"
        first, end = bisect_left(self._names, branch), self._end(branch)
        below = self._before[end] - self._before[first]
        return Node(name, whole if exact else None, own, branch if below else None, below)

    def _beyond(self, branch: str, after: str) -> int:
        return self._end(after) if after.endswith("/") and after != branch else bisect_right(self._names, after)

    def _end(self, branch: str) -> int:
        """Return where the names of a branch end; "0" is what follows "/"."""
        return bisect_left(self._names, f"{branch[:-1]}0") if branch else len(self._names)

    def _has(self, name: str) -> bool:
        at = bisect_left(self._names, name)
        return at < len(self._names) and self._names[at] == name
