"""What stands around a search costs: figures of hits, telemetry, the way over an event loop.

    python benchmarks/overheads.py [--rows 10000] [--folder DIR]

Searches by a vector alone (the fastest there are) and by a text, each as it is and without one of the parts, turn by
turn.  OpenTelemetry is measured absent, imported without a provider, and with the SDK's span processor and metric
reader in memory, where opentelemetry-sdk is installed; that comes last, since it cannot be taken back.  Writes
results/overheads.json.
"""

from __future__ import annotations

import asyncio
import importlib.util
import time
import timeit
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from data import folder_of, rows_and_folder, talk, talk_store
from machine import paired, write

import agentmem
from agentmem import AsyncMemoryStore, search, telemetry

REPEATS, INNER = 61, 40


def plain_cosines(embedding: Any, view: Any, rows: Sequence[int], dense: Any) -> list[None]:
    """Stand in for the similarity."""
    return [None] * len(rows)


def plain_relevances(mechanism: str, metric: str, scores: Sequence[float]) -> list[None]:
    """Stand in for the relevance."""
    return [None] * len(scores)


def without_figures(call: Callable[[], object]) -> Callable[[], object]:
    """Return the call with hits that have neither similarity nor relevance."""
    own = search._cosines, search.relevances

    def run() -> None:
        search._cosines, search.relevances = plain_cosines, plain_relevances  # type: ignore[assignment]
        try:
            call()
        finally:
            search._cosines, search.relevances = own

    return run


def untold(store: agentmem.MemoryStore, *arguments: Any, **options: Any) -> object:
    """Search without the decorator that looks for telemetry."""
    return agentmem.MemoryStore.search.__wrapped__(store, *arguments, **options)  # type: ignore[attr-defined]


def measured(calls: dict[str, Callable[[], object]], clock: Callable[[], int] = time.process_time_ns) -> dict[str, Any]:
    """Return medians in microseconds and each against the first; of the processor's time unless said otherwise."""
    result = paired(calls, repeats=REPEATS, inner=INNER, clock=clock)
    medians: dict[str, float] = result["medians_us"]
    first = next(iter(medians.values()))
    for name, median in medians.items():
        print(f"  {name:<34} {median:8.1f} µs  {median - first:+7.1f} µs  {median / first - 1:+.1%}", flush=True)
    return {"medians_us": medians, "ratio": {name: median / first for name, median in medians.items()}}


def main() -> None:
    """Run and write results/overheads.json."""
    arguments = rows_and_folder(__doc__, rows=10_000)
    results: dict[str, Any] = {}
    query = " ".join(talk(1, seed=11)[0].split()[:9])
    with talk_store(folder_of(arguments), arguments.rows) as store:
        vector = store.ingest.embed([query])[0]
        kinds: dict[str, dict[str, Any]] = {
            "vector": {"embedding": vector, "mechanism": "dense"},
            "text": {"text": query},
        }
        for kind, options in kinds.items():
            print(kind)

            def call(options: dict[str, Any] = options) -> object:
                return store.search(**options)

            results[kind] = measured(
                {
                    "without figures of hits": without_figures(call),
                    "as it is": call,
                    "without a look for telemetry": lambda options=options: untold(store, **options),
                }
            )
        print("by themselves")
        results["parts_us"] = parts(store, kinds["vector"])
        print("event loop")
        results["async"] = over_a_loop(store, kinds["vector"])
        if importlib.util.find_spec("opentelemetry.sdk") is not None:
            print("OpenTelemetry, vector")
            results["telemetry"] = with_telemetry(store, kinds["vector"])
    print(write("overheads", {"rows": arguments.rows, **results}))


def parts(store: agentmem.MemoryStore, options: dict[str, Any]) -> dict[str, float]:
    """Return what the parts cost by themselves in microseconds: the least of many rounds, on a busy machine too."""
    with store.snapshot() as (_, view):
        rows, scores = view.nearest(options["embedding"], 10, view.scope(None, 0.0))
        values: list[float] = scores.tolist()
        other: Any = SimpleNamespace(metric="ip", has_vector=view.has_vector, vectors=view.vectors)
        alone: dict[str, Callable[[], object]] = {
            "similarity of ten hits": lambda: search._cosines(options["embedding"], view, rows, scores),
            "the same under another metric": lambda: search._cosines(options["embedding"], other, rows, scores),
            "relevance of ten hits": lambda: search.relevances("dense", "cosine", values),
            "a call that is told": telemetry.told()(_nothing),
            "a call that is not": _nothing,
        }
        costs = {}
        for name, call in alone.items():
            costs[name] = min(timeit.repeat(call, number=1_000, repeat=200)) * 1e3
            print(f"  {name:<34} {costs[name]:8.2f} µs", flush=True)
    return costs


def _nothing() -> None:
    return None


def over_a_loop(store: agentmem.MemoryStore, options: dict[str, Any]) -> dict[str, Any]:
    """Return the time of a search and of one that is awaited."""
    loop = asyncio.new_event_loop()
    shared = AsyncMemoryStore(store)
    try:
        return measured(
            {
                "search": lambda: store.search(**options),
                "await search": lambda: loop.run_until_complete(shared.search(**options)),
            },
            time.perf_counter_ns,
        )
    finally:
        loop.run_until_complete(shared.close())
        loop.close()


def with_telemetry(store: agentmem.MemoryStore, options: dict[str, Any]) -> dict[str, Any]:
    """Return the time of a search with OpenTelemetry imported, and with the SDK told."""
    from opentelemetry import trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    assert trace.get_tracer_provider() is not None
    tracers, meters = TracerProvider(), MeterProvider([InMemoryMetricReader()])
    tracers.add_span_processor(BatchSpanProcessor(Nowhere()))

    def told() -> None:
        telemetry.configure(tracer_provider=tracers, meter_provider=meters)
        try:
            for _ in range(INNER):
                store.search(**options)
        finally:
            telemetry.configure()

    def imported() -> None:
        for _ in range(INNER):
            store.search(**options)

    def plain() -> None:
        for _ in range(INNER):
            untold(store, **options)

    result = paired(
        {"plain": plain, "imported": imported, "told to the SDK": told}, repeats=REPEATS, clock=time.process_time_ns
    )
    medians = {name: median / INNER for name, median in result["medians_us"].items()}
    for name, median in medians.items():
        print(f"  {name:<34} {median:8.1f} µs", flush=True)
    return {"medians_us": medians, "ratio": {name: median / medians["plain"] for name, median in medians.items()}}


if __name__ == "__main__":
    main()
