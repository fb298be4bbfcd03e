"""What a store tells OpenTelemetry, and that it tells no more than it should."""

import asyncio
import logging
import subprocess
import sys

import pytest

import agentmem
from agentmem import AsyncMemoryStore, MemoryStore, telemetry

REASON = 'pip install "agentmem[integrations]"'
export = pytest.importorskip("opentelemetry.sdk.trace.export", reason=REASON)
from opentelemetry import trace  # noqa: E402
from opentelemetry.sdk.metrics import MeterProvider  # noqa: E402
from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: E402
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402
from opentelemetry.semconv.attributes import db_attributes, error_attributes  # noqa: E402

SECRET = "Ada's doctor"
SECOND = 1_000_000_000


class Told:
    """What was told: spans, and the points of histograms."""

    def __init__(self):
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(export.SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)

    def spans(self, name=None):
        """Return the spans that have ended, in that order; of one name."""
        return [span for span in self.exporter.get_finished_spans() if name in (None, span.name)]

    def points(self, name):
        """Return the points of a histogram."""
        data = self.reader.get_metrics_data()
        every = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics]
        return [point for metric in every if metric.name == name for point in metric.data.data_points]

    def everything(self):
        """Return all that was told as one text."""
        metrics = self.reader.get_metrics_data()
        return "".join(span.to_json() for span in self.spans()) + (metrics.to_json() if metrics else "")


@pytest.fixture
def told(request):
    told = Told()
    options = getattr(request, "param", {})
    telemetry.configure(tracer_provider=told.tracers, meter_provider=told.meters, **options)
    yield told
    telemetry.configure()
    told.tracers.shutdown()
    told.meters.shutdown()


@pytest.fixture
def store(tmp_path):
    with MemoryStore(tmp_path / "m.db", merge="manual", cache_size=4) as store:
        yield store


def test_the_names_are_those_of_the_conventions():
    for name, ours in {
        "DB_SYSTEM_NAME": "db.system.name",
        "DB_OPERATION_NAME": "db.operation.name",
        "DB_OPERATION_BATCH_SIZE": telemetry.BATCH,
        "DB_NAMESPACE": "db.namespace",
        "DB_QUERY_TEXT": "db.query.text",
    }.items():
        assert getattr(db_attributes, name) == ours
    assert error_attributes.ERROR_TYPE == "error.type"


def test_a_search_is_a_span_with_its_stages_below_it(told, store):
    store.add_many(["a book", "a train", "a garden"])
    told.exporter.clear()
    assert len(store.search("a book", k=2)) == 2
    *stages, search = told.spans()
    assert search.name == "search"
    assert search.kind is trace.SpanKind.INTERNAL
    assert dict(search.attributes) == {
        "db.system.name": "agentmem",
        "db.operation.name": "search",
        "agentmem.mechanism": "memory-heads",
        "agentmem.cached": False,
        "db.response.returned_rows": 2,
    }
    assert [stage.name for stage in stages[:3]] == ["search.pre-retrieval", "search.embed", "search.scope"]
    assert stages[-1].name == "search.fetch"
    for before, stage in zip([None, *stages], stages, strict=False):
        assert stage.parent.span_id == search.context.span_id
        assert search.start_time - SECOND <= stage.start_time <= stage.end_time <= search.end_time + SECOND
        assert before is None or stage.start_time == before.end_time
    store.search("a book", k=2)
    assert told.spans("search")[-1].attributes["agentmem.cached"] is True


def test_durations_are_told_by_operation_mechanism_and_stage(told, store):
    store.add("a book")
    store.search("a book", mechanism="lexical")
    store.search("a train")
    calls = {
        (point.attributes["db.operation.name"], point.attributes.get("agentmem.mechanism")): point
        for point in told.points("db.client.operation.duration")
    }
    assert calls.keys() == {("add", None), ("search", "lexical"), ("search", "memory-heads")}
    assert all(point.count == 1 and point.sum > 0 for point in calls.values())
    assert calls["add", None].explicit_bounds == telemetry.BUCKETS
    stages = told.points("agentmem.search.stage.duration")
    assert {("search.rerank", "lexical"), ("search.embed", "memory-heads")} <= {
        (point.attributes["agentmem.stage"], point.attributes["agentmem.mechanism"]) for point in stages
    }


def test_writes_merges_and_transactions_are_told(told, store):
    with store.transaction():
        store.add("a book", id="a")
    store.add_many(["b", "c", "d"])
    store.upsert("e", id="a")
    store.delete("a")
    store.merge()
    store.check()
    named = {span.name: span for span in told.spans()}
    assert named.keys() == {"add", "transaction", "add_many", "upsert", "delete", "merge", "check"}
    assert named["add_many"].attributes["db.operation.batch.size"] == 3
    assert named["add"].parent.span_id == named["transaction"].context.span_id
    assert named["upsert"].parent is None


def test_a_merge_in_the_background_is_told(told, tmp_path, monkeypatch):
    monkeypatch.setattr("agentmem.maintenance.TAIL_ROWS", 10)
    with MemoryStore(tmp_path / "m.db") as store:
        store.add_many([f"note {number}" for number in range(20)])
        store.search("note")
        assert store.wait_for_merge()
    merge = told.spans("merge")[0]
    assert merge.parent is None
    assert "error.type" not in merge.attributes


def test_an_error_is_told_by_its_class_alone(told, store):
    with pytest.raises(agentmem.NotFound, match="doctor"):
        store.update(SECRET, text="a")
    span = told.spans("update")[0]
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.status.description is None
    assert span.attributes["error.type"] == "NotFound"
    assert span.events == ()
    assert told.points("db.client.operation.duration")[0].attributes["error.type"] == "NotFound"


def use_everything(store):
    """Do what could let slip what it should not."""
    store.add(SECRET, id=SECRET, namespace=SECRET, metadata={"who": SECRET}, thread=SECRET, speaker=SECRET)
    store.search(SECRET, namespace=SECRET, filter={"who": SECRET})
    store.search_many([SECRET])
    store.get_many([SECRET])
    store.feedback(SECRET, accepted=[SECRET])
    with pytest.raises(agentmem.DuplicateId):
        store.add(SECRET, id=SECRET)
    with pytest.raises(agentmem.EmbeddingFailed):
        store.reembed(refuse)
    store.delete(SECRET)


def refuse(texts):
    raise ValueError(texts)


def test_no_text_no_id_no_namespace_and_no_path_is_told(told, store):
    use_everything(store)
    everything = told.everything()
    assert "returned_rows" in everything
    for secret in (SECRET, "doctor", store.path, "m.db"):
        assert secret not in everything


@pytest.mark.parametrize("told", [{"content": True}], indirect=True)
def test_unless_it_is_asked_for(told, store):
    use_everything(store)
    search = told.spans("search")[0].attributes
    assert (search["db.query.text"], search["agentmem.namespace"]) == (SECRET, SECRET)
    assert search["db.namespace"] == store.path
    assert told.spans("add")[-1].events[0].name == "exception"
    metrics = told.reader.get_metrics_data().to_json()
    assert "doctor" not in metrics
    assert store.path not in metrics


def test_spans_of_the_async_store_stand_below_those_of_the_task(told, tmp_path):
    tracer = told.tracers.get_tracer("application")

    async def ask(store, name):
        with tracer.start_as_current_span(name):
            await store.search(name)

    async def main():
        async with AsyncMemoryStore(tmp_path / "m.db", merge="manual") as store:
            await store.add("a book")

            @store.hooks.on("post-retrieval")
            async def within(ctx):
                with tracer.start_as_current_span(f"hook of {ctx.text}"):
                    await store.count()

            await asyncio.gather(*(ask(store, f"task {number}") for number in range(8)))

    asyncio.run(main())
    by_id = {span.context.span_id: span for span in told.spans()}
    tasks = {span.name: span for span in told.spans() if span.name.startswith("task")}
    assert len(tasks) == 8
    searches = told.spans("search")
    assert {by_id[span.parent.span_id].name for span in searches} == set(tasks)
    for span in told.spans():
        if span.name.startswith("hook of"):
            search = by_id[span.parent.span_id]
            assert by_id[search.parent.span_id].name == span.name.removeprefix("hook of ")


def test_the_providers_of_the_application_are_found_and_nothing_is_imported_without():
    code = """
import sys, agentmem
with agentmem.MemoryStore(":memory:") as store:
    store.add("a book")
    assert not [name for name in sys.modules if name.startswith("opentelemetry")]
    from opentelemetry import trace
    from agentmem import telemetry
    store.search("a book")
    assert telemetry.active() is None
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    store.search("a book")
    assert exporter.get_finished_spans()[-1].name == "search"
    assert exporter.get_finished_spans()[-1].instrumentation_scope.name == "agentmem"
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_package_one_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    with pytest.raises(agentmem.AgentMemError, match=r"agentmem\[opentelemetry\]"):
        telemetry.configure()


def test_every_logger_is_below_agentmem():
    loggers = [name for name in logging.root.manager.loggerDict if "agentmem" in name]
    assert "agentmem.maintenance" in loggers
    assert all(name.split(".")[0] == "agentmem" for name in loggers)
