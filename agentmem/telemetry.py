"""OpenTelemetry: a span and a duration for each call of a store, and for each stage of a search.

Nothing needs to be switched on: where the application has imported ``opentelemetry`` and set a provider of traces or
metrics, calls are told to it.  agentmem itself never imports it, and without it a call costs one look into
``sys.modules``.  Names are those of OpenTelemetry's semantic conventions for databases:

==================================  ==================================================================================
span                                the verb's name, of kind INTERNAL; stages of a search are spans below it, named
                                    "search.embed", "search.candidates" and so on
``db.system.name``                  "agentmem"
``db.operation.name``               the verb's name
``db.operation.batch.size``         records of a call that writes several
``db.response.returned_rows``       hits, or records
``error.type``                      the exception's class, where a call raised; the span's status is then ERROR
``agentmem.mechanism``              what ranked a search
``agentmem.cached``                 true where a search was answered from the cache
``db.client.operation.duration``    a histogram in seconds with these attributes but the numbers
``agentmem.search.stage.duration``  a histogram in seconds, by ``agentmem.stage``
==================================  ==================================================================================

Told are ``search``, ``search_many``, ``knn``, ``get_many`` (``get`` is one of them), every verb that changes the store
or looks after it, ``transaction``, and as "merge" a merge in the background.

By default no text, no id, no namespace, no path and no message of an exception, which may quote them, leaves the
process in this way; ``configure(content=True)`` adds ``db.query.text``, ``agentmem.namespace``, ``db.namespace`` (the
path) and the exception.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import update_wrapper
from time import perf_counter
from typing import Any, ParamSpec, TypeVar

from agentmem.extras import need
from agentmem.metrics import StopWatch

P = ParamSpec("P")
R = TypeVar("R")
Attributes = dict[str, Any]

SYSTEM = "agentmem"
BUCKETS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
"""Bounds of the histograms in seconds: the conventions' begin at a millisecond, where most searches here have ended."""
RETURNED, BATCH = "db.response.returned_rows", "db.operation.batch.size"

_attributes: ContextVar[Attributes] = ContextVar("agentmem.telemetry")
"""Of the duration of the call under way."""


class Telemetry:
    """Tells calls to OpenTelemetry.

    Args:
        tracer: of OpenTelemetry.
        meter: of OpenTelemetry.
        content: tell texts, namespaces, paths and exceptions, too.
    """

    def __init__(self, tracer: Any, meter: Any, *, content: bool) -> None:
        from opentelemetry import trace

        self._trace = trace
        self._tracer = tracer
        self._content = content
        self._calls, self._stages = (
            meter.create_histogram(name, unit="s", description=meaning, explicit_bucket_boundaries_advisory=BUCKETS)
            for name, meaning in (
                ("db.client.operation.duration", "Duration of database client operations."),
                ("agentmem.search.stage.duration", "Duration of a stage of a search."),
            )
        )

    @contextmanager
    def call(self, operation: str, path: str) -> Iterator[Any]:
        """Tell of what is done in the block; gives the span."""
        attributes: Attributes = {"db.system.name": SYSTEM, "db.operation.name": operation}
        span_attributes = attributes | {"db.namespace": path} if self._content else attributes
        token = _attributes.set(attributes)
        began = perf_counter()
        try:
            with self._tracer.start_as_current_span(
                operation,
                attributes=span_attributes,
                record_exception=self._content,
                set_status_on_exception=False,
            ) as span:
                try:
                    yield span
                except BaseException as error:
                    attributes["error.type"] = type(error).__qualname__
                    span.set_attribute("error.type", attributes["error.type"])
                    span.set_status(self._trace.StatusCode.ERROR)
                    raise
        finally:
            _attributes.reset(token)
            self._calls.record(perf_counter() - began, attributes)

    def searched(self, watch: StopWatch, text: str | None, namespace: str | None, mechanism: str, cached: bool) -> None:
        """Tell of the stages of the search under way, and what ranked it."""
        span = self._trace.get_current_span()
        told: Attributes = {"agentmem.mechanism": mechanism, "agentmem.cached": cached}
        _attributes.get({}).update(told)
        span.set_attributes(told)
        if self._content:
            known: Attributes = {"db.query.text": text, "agentmem.namespace": namespace}
            span.set_attributes({name: value for name, value in known.items() if value is not None})
        at = time.time_ns() - int((perf_counter() - watch.start) * 1e9)
        for stage, seconds in watch.laps[:-1]:  # the last is the whole
            until = at + int(seconds * 1e9)
            self._tracer.start_span(stage, start_time=at, attributes={"agentmem.stage": stage}).end(until)
            self._stages.record(seconds, {"agentmem.stage": stage, "agentmem.mechanism": mechanism})
            at = until


_telemetry: Telemetry | None = None
_content = False


def configure(*, content: bool = False, tracer_provider: Any = None, meter_provider: Any = None) -> None:
    """Choose what is told, and to whom; for the whole process.

    Args:
        content: tell texts that are searched for, namespaces, paths of stores, and exceptions, too.
        tracer_provider: where spans go; the application's own when None.
        meter_provider: where durations go; the application's own when None.

    Raises:
        MissingExtra: OpenTelemetry is not installed.
    """
    global _telemetry, _content
    need("opentelemetry.trace", "opentelemetry", "agentmem.telemetry.configure")
    _content = content
    given = tracer_provider is not None or meter_provider is not None
    _telemetry = _made(tracer_provider, meter_provider) if given else None


def active() -> Telemetry | None:
    """Return what calls are told to; None where the application has set no provider."""
    if _telemetry is None and "opentelemetry.trace" in sys.modules:
        _look()
    return _telemetry


def _look() -> None:
    """Take up the application's providers, once one of them is more than OpenTelemetry's own stand-in."""
    global _telemetry
    from opentelemetry import metrics, trace

    providers = (trace.get_tracer_provider(), metrics.get_meter_provider())
    if not all(
        type(each).__module__.startswith(("opentelemetry.trace", "opentelemetry.metrics")) for each in providers
    ):
        _telemetry = _made(None, None)


def _made(tracer_provider: Any, meter_provider: Any) -> Telemetry:
    from opentelemetry import metrics, trace

    tracer = trace.get_tracer(SYSTEM, tracer_provider=tracer_provider)
    return Telemetry(tracer, metrics.get_meter(SYSTEM, meter_provider=meter_provider), content=_content)


def operation(name: str, path: str) -> AbstractContextManager[Any]:
    """Return a context manager that tells of what is done in its block."""
    telemetry = active()
    return nullcontext() if telemetry is None else telemetry.call(name, path)


def told(rows: str | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a verb that is told of.

    Args:
        rows: the attribute that holds the number of what it returns, ``RETURNED`` or ``BATCH``.
    """

    def decorate(verb: Callable[P, R]) -> Callable[P, R]:
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            telemetry = active()
            if telemetry is None:
                return verb(*args, **kwargs)
            store: Any = args[0]
            with telemetry.call(verb.__name__, store.path) as span:
                result: Any = verb(*args, **kwargs)
                if rows is not None and (rows == RETURNED or len(result) > 1):
                    span.set_attribute(rows, sum(each is not None for each in result))
            returned: R = result
            return returned

        return update_wrapper(call, verb)

    return decorate


def timed(rows: str | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a verb that changes the store: it is told of, and its time is in ``store.stats()``."""

    def decorate(verb: Callable[P, R]) -> Callable[P, R]:
        name = f"write.{verb.__name__}"
        within = told(rows)(verb)

        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            began = perf_counter()
            result = within(*args, **kwargs)
            store: Any = args[0]
            store.metrics.record(((name, perf_counter() - began),))
            return result

        return update_wrapper(call, verb)

    return decorate
