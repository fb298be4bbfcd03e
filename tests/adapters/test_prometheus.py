"""The text format, read by Prometheus' own client library."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import agentmem
from agentmem.cli import main
from agentmem.prometheus import family, page

parser = pytest.importorskip("prometheus_client.parser", reason='pip install "agentmem[integrations]"')


def read(text):
    """Return {metric: (type, {labels: value} by name of the sample)}."""
    found = {}
    for metric in parser.text_string_to_metric_families(text):
        assert metric.name not in found
        samples = {}
        for sample in metric.samples:
            samples.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
        found[metric.name] = (metric.type, samples)
        assert metric.documentation.endswith(".")
    return found


@pytest.fixture
def path(tmp_path):
    with agentmem.MemoryStore(tmp_path / "m.db", merge="manual", cache_size=3) as store:
        store.add_many(["a book", "a train", "a garden"], namespace="users/1")
        store.merge()
    return tmp_path / "m.db"


def test_a_store_tells_what_its_stats_say(path):
    with agentmem.MemoryStore(path, merge="manual", cache_size=3) as store:
        store.add("a harbour")
        store.delete(store.add("a violin"))
        for mechanism in ("auto", "auto", "dense"):
            store.search("a book", mechanism=mechanism)
        stats = store.stats()
        found = read(store.metrics_text())
    assert found["agentmem_records"] == ("gauge", {"agentmem_records": {(): 4}})
    assert found["agentmem_changes"] == ("counter", {"agentmem_changes_total": {(): stats["seq"]}})
    assert found["agentmem_cache_hits"] == ("counter", {"agentmem_cache_hits_total": {(): 1}})
    rows = found["agentmem_index_rows"][1]["agentmem_index_rows"]
    assert rows == {
        (("kind", "segment"), ("part", "1")): 3,
        (("kind", "tail"), ("part", "2")): stats["index"]["parts"][1]["rows"],
    }
    kind, searches = found["agentmem_search_seconds"]
    assert kind == "summary"
    assert searches["agentmem_search_seconds_count"] == {
        (("mechanism", "dense"),): 1,
        (("mechanism", "memory-heads"),): 1,
    }
    latency = stats["latency"]["search.total.dense"]
    median = searches["agentmem_search_seconds"][("mechanism", "dense"), ("quantile", "0.5")]
    assert median == pytest.approx(latency["p50_us"] / 1e6)
    stages = found["agentmem_search_stage_seconds"][1]["agentmem_search_stage_seconds_count"]
    assert stages[(("stage", "candidates"),)] == 2
    assert stages[(("stage", "cached"),)] == 1
    writes = found["agentmem_write_seconds"][1]["agentmem_write_seconds_count"]
    assert writes == {(("operation", "add"),): 2, (("operation", "delete"),): 1}
    assert "users" not in str(found)


def test_attention_tells_in_the_same_format():
    attention = agentmem.attention.AttentionService()
    chance = np.random.default_rng(0)
    attention.forward(*chance.normal(size=(2, 5, 8)).astype(np.float32))
    found = read(attention.metrics.prometheus())
    assert set(found) == {
        "agentmem_attention_seconds",
        "agentmem_attention_failures",
        "agentmem_attention_cache_hits",
        "agentmem_attention_saved_bytes",
        "agentmem_attention_peak_seconds",
    }
    (count,) = found["agentmem_attention_seconds"][1]["agentmem_attention_seconds_count"].values()
    assert count == 1


def test_the_command_prints_it(path):
    result = CliRunner().invoke(main, ["stats", "--db", str(path), "--prometheus"])
    assert result.exit_code == 0, result.output
    assert read(result.output)["agentmem_records"][1] == {"agentmem_records": {(): 3}}
    plain = CliRunner().invoke(main, ["stats", "--db", str(path), "--json"])
    assert json.loads(plain.output)["records"] == 3
    both = CliRunner().invoke(main, ["stats", "--db", str(path), "--json", "--prometheus"])
    assert both.exit_code == 2


def test_labels_are_escaped():
    text = page(family("odd", "gauge", "Odd.", [("", {"name": 'a "quoted" \\ and\nmore'}, 1.5)]))
    assert read(text)["odd"][1] == {"odd": {(("name", 'a "quoted" \\ and\nmore'),): 1.5}}
