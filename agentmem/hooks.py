"""Hooks: functions that see a search on its way, and may change it, at three points.

=================  =====================================================================================
pre-retrieval      before candidates are fetched: measure or rewrite the query, set breadth and ``ef``
intelligence       after candidates are there: choose the mechanism (``ctx.attention_config``), say why
post-retrieval     after ranking: reorder or drop ``ctx.hits``
=================  =====================================================================================

A hook takes the ``SearchContext`` and returns it (or None for "the same one").  It may be a function or a coroutine
function.  The default hooks run first, the others in the order in which they were registered.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeVar, cast

from agentmem.errors import HookFailed, InvalidInput
from agentmem.records import Float32, Hit, Query
from agentmem.rerank.query import QueryProfile, TaskType, analyze_query_complexity, detect_task_type
from agentmem.validation import check_choice
from agentmem.waiting import wait

log = logging.getLogger("agentmem.hooks")

Point = Literal["pre-retrieval", "intelligence", "post-retrieval"]
POINTS: tuple[Point, ...] = ("pre-retrieval", "intelligence", "post-retrieval")
NO_CHOICES: Mapping[str, str] = MappingProxyType({})


@dataclass(slots=True)
class AttentionConfig:
    """What ranks the candidates: a mechanism, its parameters and learned weights, factors for heads of memory-heads."""

    mechanism: str
    heads: dict[str, float] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    weights: Mapping[str, object] | None = None


@dataclass(slots=True)
class SearchContext:
    """One search on its way; hooks read and write it.

    Attributes:
        query: what was asked, validated; frozen.
        text: the text searched for; a pre-retrieval hook may rewrite it.
        embedding: the query vector given by the caller, or by a pre-retrieval hook; None has the text embedded.
        candidates: how many candidates each source is asked for.
        ef: breadth of the graph search; None for the index's default.
        hierarchy: the kinds of links that lead up a hierarchy of the store's records, from the intelligence hooks on;
            none where they carry none.
        choices: task -> the mechanism that the store's feedback chose for it, there for the intelligence hooks of a
            search by "auto"; tasks not in it have the default.
        task_type: "memory-retrieval", "code-analysis", "long-context", "swarm-coordination" or "default".
        attention_config: what will rank the candidates.
        recommended_attention: the mechanism that the intelligence hooks chose.
        reason: why.
        hits: the ranked hits, before the offset and k are applied; there for post-retrieval hooks only.
        profile: what the text that was asked for looks like, measured when it is first looked at; None for a search by
            vector alone.
    """

    query: Query
    text: str | None
    embedding: Float32 | None
    candidates: int
    ef: int | None
    hierarchy: tuple[str, ...] = ()
    choices: Mapping[str, str] = field(default_factory=lambda: NO_CHOICES)
    task_type: TaskType = "default"
    attention_config: AttentionConfig = field(default_factory=lambda: AttentionConfig("auto"))
    recommended_attention: str | None = None
    reason: str = ""
    hits: list[Hit] = field(default_factory=list)
    _profile: QueryProfile | None = None

    @property
    def profile(self) -> QueryProfile | None:
        """What the text that was asked for looks like."""
        if self._profile is None and self.query.text is not None:
            self._profile = analyze_query_complexity(self.query.text)
        return self._profile


Hook = Callable[[SearchContext], "SearchContext | Awaitable[SearchContext | None] | None"]
H = TypeVar("H", bound=Hook)


def profile_query(ctx: SearchContext) -> SearchContext:
    """Tell the task by the query's text; the default pre-retrieval hook."""
    if ctx.text is not None:
        ctx.task_type = detect_task_type(ctx.text)
    ctx.attention_config.mechanism = ctx.query.mechanism
    return ctx


def choose_mechanism(ctx: SearchContext) -> SearchContext:
    """Turn "auto" into the mechanism that is best on average for what is there; the default intelligence hook.

    Attention over dense candidates alone lowers quality, so a search by vector alone keeps the dense order; with a
    text, the heads over memory structure rank, unless another mechanism won on the store's feedback on such queries
    (``ctx.choices``).  Where links make the records a hierarchy, what the best candidates have in common comes first.
    """
    if ctx.attention_config.mechanism != "auto":
        ctx.reason = "asked for"
    elif ctx.hierarchy:
        ctx.attention_config.mechanism = "hierarchy-heads"
        ctx.reason = f"links lead up a hierarchy: {', '.join(ctx.hierarchy)}"
    elif ctx.text is None:
        ctx.attention_config.mechanism = "dense"
        ctx.reason = "a vector alone gives the heads nothing to weigh"
    elif ctx.task_type in ctx.choices and ctx.embedding is not None:
        ctx.attention_config.mechanism = ctx.choices[ctx.task_type]
        ctx.reason = f"won on the feedback on {ctx.task_type} queries"
    else:
        ctx.attention_config.mechanism = "memory-heads"
        ctx.reason = f"{ctx.task_type} query with text"
    ctx.recommended_attention = ctx.attention_config.mechanism
    return ctx


BY_DEFAULT: tuple[Hook, ...] = (choose_mechanism,)
"""The intelligence hooks of a store where nobody has registered or taken away any."""


class HookRegistry:
    """The hooks of one store.

    Args:
        errors: "report" logs a hook that raises and goes on without it, "raise" raises HookFailed.

    Attributes:
        version: grows with every hook that comes or goes.
    """

    def __init__(self, errors: Literal["report", "raise"] = "report") -> None:
        check_choice(errors, "hook_errors", ("report", "raise"))
        self.errors = errors
        self.version = 0
        self._hooks: dict[Point, tuple[Hook, ...]] = {
            "pre-retrieval": (profile_query,),
            "intelligence": BY_DEFAULT,
            "post-retrieval": (),
        }

    def register(self, point: str, hook: H) -> H:
        """Add a hook behind those that are there, and return it.

        Raises:
            InvalidInput: no such point, or not callable.
        """
        known = self._point(point)
        if not callable(hook):
            raise InvalidInput(f"a hook must be callable, got {type(hook).__name__}")
        self._hooks[known] = (*self._hooks[known], hook)
        self.version += 1
        return hook

    def on(self, point: str) -> Callable[[H], H]:
        """Decorate a function to register it: ``@store.hooks.on("post-retrieval")``."""
        known = self._point(point)
        return lambda hook: self.register(known, hook)

    def unregister(self, point: str, hook: Hook) -> None:
        """Take a hook away, a default one too.

        Raises:
            InvalidInput: it is not registered there.
        """
        known = self._point(point)
        if hook not in self._hooks[known]:
            raise InvalidInput(f"{getattr(hook, '__name__', hook)!r} is not registered at {point}")
        self._hooks[known] = tuple(other for other in self._hooks[known] if other is not hook)
        self.version += 1

    def registered(self, point: str) -> tuple[Hook, ...]:
        """Return the hooks of a point in the order in which they run."""
        known = self._hooks.get(cast(Point, point))
        return self._hooks[self._point(point)] if known is None else known

    def run(self, point: Point, ctx: SearchContext) -> SearchContext:
        """Send a context through the hooks of a point.

        Raises:
            HookFailed: a hook raised, or returned something else than a context, and ``errors`` is "raise".
        """
        for hook in self._hooks[point]:
            try:
                result = hook(ctx)
                ctx = result if type(result) is SearchContext else _context_of(result, ctx)
            except Exception as error:
                name = getattr(hook, "__qualname__", repr(hook))
                if self.errors == "raise":
                    raise HookFailed(f"{point} hook {name} raised {type(error).__name__}: {error}") from error
                log.exception("%s hook %s raised and was skipped", point, name)
        return ctx

    @staticmethod
    def _point(point: str) -> Point:
        if point not in POINTS:
            raise InvalidInput(f"no hook point {point!r}; there are {', '.join(POINTS)}")
        return point


def _context_of(result: SearchContext | Awaitable[SearchContext | None] | None, ctx: SearchContext) -> SearchContext:
    """Return the context that a hook's result stands for, waiting for it where it is a coroutine."""
    if inspect.isawaitable(result):
        result = wait(result)
    if result is None:
        return ctx
    if not isinstance(result, SearchContext):
        raise TypeError(f"a hook returns the SearchContext or None, got {type(result).__name__}")
    return result
