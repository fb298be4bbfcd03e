"""Whose memories: user, agent and session as namespaces, and back.

A scope is the namespace ``<root>/<user>/<agent>/<session>``.  A name stands as "=" and itself, with "%" and "/" written
as "%25" and "%2F"; "-" stands for one that is not given.  Different scopes are therefore different namespaces, whatever
the names are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentmem.errors import InvalidInput
from agentmem.validation import check_string

if TYPE_CHECKING:
    from agentmem.store import MemoryStore

LIVE = "memory"
"""The root of what is recalled."""
PAST = "memory-past"
"""The root of what was replaced."""
_ANY = "-"


@dataclass(frozen=True, slots=True)
class Scope:
    """A user, an agent and a session; None stands for all of them when reading, for none in particular when writing.

    Raises:
        InvalidInput: a name that is empty or no string.
    """

    user: str | None = None
    agent: str | None = None
    session: str | None = None

    def __post_init__(self) -> None:
        for name in ("user", "agent", "session"):
            value = getattr(self, name)
            if value is not None and not check_string(value, name):
                raise InvalidInput(f"{name} is empty; give a name, or None for every {name}")

    def namespace(self, root: str = LIVE) -> str:
        """Return the namespace that is written to."""
        return "/".join((root, *self._steps()))

    def covers(self, namespace: str, root: str = LIVE) -> bool:
        """Say whether a namespace is that of this scope or of a narrower one."""
        steps = namespace.split("/")
        if len(steps) != 4 or steps[0] != root:
            return False
        return all(mine in (_ANY, other) for mine, other in zip(self._steps(), steps[1:], strict=True))

    def where(self, store: MemoryStore, root: str = LIVE) -> tuple[str, dict[str, Any] | None]:
        """Return the namespace and the filter that read this scope and all narrower ones."""
        steps = self._steps()
        given = [step for step in steps if step != _ANY]
        if len(given) == len(steps):
            return self.namespace(root), None
        prefix = "/".join((root, *steps[: steps.index(_ANY)])) + "/"
        if steps[: len(given)] == tuple(given):
            return prefix, None
        names = [name for name in store.namespaces(prefix) if self.covers(name, root)]
        return prefix, {"@namespace": {"$in": names}}

    def _steps(self) -> tuple[str, ...]:
        return tuple(_ANY if name is None else "=" + _escaped(name) for name in (self.user, self.agent, self.session))


def _escaped(name: str) -> str:
    return name.replace("%", "%25").replace("/", "%2F")
