"""Prometheus' text format, version 0.0.4: one writer for all that agentmem measures of itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

Labels = Mapping[str, str]
QUANTILES = {"0.5": "p50_us", "0.95": "p95_us", "0.99": "p99_us"}


def family(
    name: str,
    kind: Literal["counter", "gauge", "summary"],
    meaning: str,
    samples: Iterable[tuple[str, Labels, float]],
) -> list[str]:
    """Return the lines of one metric: what it means, of what type it is, and its samples.

    Args:
        name: with its unit, and with "_total" for a counter.
        kind: the type.
        meaning: one sentence.
        samples: ("", or "_sum" and "_count" of a summary; labels; value) each.
    """
    lines = [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{suffix}{_braced(labels)} {value:.12g}" for suffix, labels, value in samples]
    return lines


def timings(name: str, meaning: str, label: str, series: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return the lines of a summary in seconds of several series.

    Args:
        name: of the metric.
        meaning: one sentence.
        label: what tells the series apart.
        series: its value -> {count, mean_us, p50_us, p95_us, p99_us}, as ``Metrics.summary`` returns them.
    """
    samples: list[tuple[str, Labels, float]] = []
    for each, measured in series.items():
        own = {label: each}
        samples += [("", {**own, "quantile": q}, measured[key] / 1e6) for q, key in QUANTILES.items()]
        samples.append(("_sum", own, measured["mean_us"] * measured["count"] / 1e6))
        samples.append(("_count", own, measured["count"]))
    return family(name, "summary", meaning, samples)


def page(*families: Iterable[str]) -> str:
    """Return the text of several metrics."""
    return "".join(f"{line}\n" for lines in families for line in lines)


def store_page(stats: Mapping[str, Any]) -> str:
    """Return the text for one store: what ``MemoryStore.stats`` says."""
    series: dict[str, dict[str, Any]] = {"search.total": {}, "search": {}, "write": {}}
    for name, measured in stats["latency"].items():
        kind = next(kind for kind in series if name.startswith(f"{kind}."))
        series[kind][name.removeprefix(f"{kind}.")] = measured
    cache, parts = stats["cache"], stats["index"]["parts"]
    named = [({"part": str(number), "kind": part["kind"]}, part) for number, part in enumerate(parts, 1)]
    return page(
        family("agentmem_records", "gauge", "Live records.", [("", {}, stats["records"])]),
        family("agentmem_changes_total", "counter", "Committed changes, all processes'.", [("", {}, stats["seq"])]),
        *(
            family(f"agentmem_index_{key}", "gauge", meaning, [("", labels, part[key]) for labels, part in named])
            for key, meaning in (
                ("rows", "Rows of a part of the index."),
                ("dead", "Those that no record has any more."),
                ("bytes", "Bytes of a part of the index."),
                ("graph", "1 where a part has a graph."),
            )
        ),
        family("agentmem_cache_entries", "gauge", "Results that are kept.", [("", {}, cache["entries"])]),
        family("agentmem_cache_hits_total", "counter", "Searches answered from the cache.", [("", {}, cache["hits"])]),
        family("agentmem_cache_misses_total", "counter", "Searches that were not.", [("", {}, cache["misses"])]),
        timings("agentmem_search_seconds", "Time of a search.", "mechanism", series["search.total"]),
        timings("agentmem_search_stage_seconds", "Time of a stage of searches.", "stage", series["search"]),
        timings("agentmem_write_seconds", "Time of a call that changes the store.", "operation", series["write"]),
    )


def _braced(labels: Labels) -> str:
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inside}}}" if inside else ""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
