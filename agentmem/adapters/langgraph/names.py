"""Namespaces of LangGraph, tuples of labels, as paths of a store: different tuples have different paths."""

from __future__ import annotations

from collections.abc import Sequence

from agentmem.errors import InvalidInput
from agentmem.validation import shown

EMPTY = "%"
"""Stands for an empty label; no other label becomes this, since in others a "%" is followed by two digits."""


def escape(label: str) -> str:
    """Return a label without "/" and never empty, from which ``unescape`` makes the label again.

    Raises:
        InvalidInput: not a string.
    """
    if not isinstance(label, str):
        raise InvalidInput(f"labels and keys are strings, got {shown(label)} ({type(label).__name__})")
    return label.replace("%", "%25").replace("/", "%2F") or EMPTY


def unescape(label: str) -> str:
    """Return the label that ``escape`` was given."""
    return "" if label == EMPTY else label.replace("%2F", "/").replace("%25", "%")


def branch_of(root: str, labels: Sequence[str]) -> str:
    """Return the path of a namespace: it ends in "/", so it is a branch that holds all namespaces below, and itself."""
    return "".join(f"{escape(label)}/" for label in (root, *labels))


def labels_of(path: str) -> tuple[str, ...]:
    """Return the labels of a namespace's path, without the root."""
    return tuple(unescape(label) for label in path.split("/")[1:-1])


def matches(namespace: tuple[str, ...], kind: str, pattern: Sequence[str]) -> bool:
    """Say whether a namespace begins ("prefix") or ends ("suffix") with a pattern, in which "*" is any label.

    Raises:
        InvalidInput: another kind.
    """
    if kind not in ("prefix", "suffix"):
        raise InvalidInput(f"a match condition is of type 'prefix' or 'suffix', got {shown(kind)}")
    if len(pattern) > len(namespace):
        return False
    part = namespace[: len(pattern)] if kind == "prefix" else namespace[len(namespace) - len(pattern) :]
    return all(wanted in ("*", label) for wanted, label in zip(pattern, part, strict=True))
