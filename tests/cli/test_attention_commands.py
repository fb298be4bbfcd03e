"""``agentmem attention``: lists, figures, recommendations, and what the machine has."""

import json

import pytest

from agentmem.attention import registry
from agentmem.attention.engine import native


def test_list(agentmem):
    done = agentmem("attention", "list")
    assert done.code == 0
    assert all(name in done.out for name in registry.list())
    listed = agentmem("attention", "list", "--json").json
    assert [each["name"] for each in listed] == registry.list()
    first = registry.get(listed[0]["name"])
    assert {key: listed[0][key] for key in ("category", "complexity", "can_reorder", "why", "paper")} == {
        key: getattr(first, key) for key in ("category", "complexity", "can_reorder", "why", "paper")
    }


def test_list_by_family_and_by_compiled_path(agentmem):
    names = [each["name"] for each in agentmem("attention", "list", "--category", "cross", "--json").json]
    assert names == [each.name for each in registry.by_category("cross")]
    compiled = [each["name"] for each in agentmem("attention", "list", "--native-only", "--json").json]
    assert compiled == [name for name in registry.list() if not registry.get(name).reference_only]
    done = agentmem("attention", "list", "--category", "dense")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("agentmem: no category 'dense'; there are cross, ")


def test_benchmark_writes_what_it_measured(agentmem, tmp_path):
    arguments = ["--size", 33, "--dim", 16, "--output", "report.json", "--report", "report.md"]
    done = agentmem("attention", "benchmark", "--all", *arguments, "--json")
    assert done.code == 0
    assert done.json == json.loads((tmp_path / "report.json").read_text())
    timings = done.json["timings"]
    assert [each["mechanism"] for each in timings] == registry.list()
    for each in timings:
        assert (each["size"], each["dim"]) == (33, 16)
        assert 0 < each["median_us"] <= each["p95_us"]
        assert each["per_second"] == pytest.approx(1e6 / each["median_us"])
    page = (tmp_path / "report.md").read_text()
    assert page.startswith("# Attention, 33 queries and keys of 16 numbers\n")
    assert all(f"| {name} |" in page for name in registry.list())
    one = agentmem("attention", "benchmark", "--mechanism", "scaled-dot", "--size", 5)
    assert "scaled-dot" in one.out
    assert "standard-mha" not in one.out


def test_compute(agentmem):
    facts = agentmem("attention", "compute", "--mechanism", "standard-mha", "--sequence-length", 33, "--json").json
    assert facts["output"] == "33 × 64"
    assert facts["backend"] == ("native" if native() else "numpy")
    again = agentmem("attention", "compute", "--mechanism", "standard-mha", "--sequence-length", 33, "--json").json
    assert again["first numbers"] == facts["first numbers"]
    other = agentmem("attention", "compute", "--mechanism", "standard-mha", "--sequence-length", 33, "--seed", 1)
    assert str(facts["first numbers"]) not in other.out
    portable = agentmem("attention", "compute", "--backend", "numpy", "--sequence-length", 5, "--json").json
    assert portable["backend"] == "numpy"
    done = agentmem("attention", "compute", "--mechanism", "standard-mha", "--dim", 12)
    assert done.code == 2
    assert "8 heads do not divide 12 dimensions" in done.err


def test_recommend(agentmem):
    done = agentmem("attention", "recommend", "--sequence-length", 32_000)
    assert done.out == "linear-attention  (rule: seq_len > 8192 -> linear-attention)\n"
    arguments = ["--sequence-length", 100, "--task", "memory-retrieval", "--batch-size", 8, "--json"]
    assert agentmem("attention", "recommend", *arguments).json["mechanism"] == "memory-attention"
    assert "graph-attention" in agentmem("attention", "recommend", "--sequence-length", 100, "--graph").out
    done = agentmem("attention", "recommend", "--sequence-length", 100, "--task", "cooking")
    assert done.code == 2
    assert "task: expected one of code-analysis" in done.err


def test_backend_status(agentmem):
    done = agentmem("attention", "backend-status", "--json")
    assert done.json["native"] is (native() is not None)
    assert "numpy_version" in agentmem("attention", "backend-status").out


def test_no_command_is_told_in_one_line(agentmem):
    done = agentmem("attention")
    assert done.code == 2
    assert done.err == "agentmem: Missing command. (see: agentmem attention --help)\n"
