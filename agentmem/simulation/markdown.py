"""A report as Markdown: the figures that a person compares, in tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agentmem.simulation.report import headlines

LATENCIES = ("p50_us", "p95_us")
Pipelines = Mapping[str, Mapping[str, Any]]


def markdown(report: Mapping[str, Any]) -> str:
    """Return what ``agentmem evaluate`` prints of a report made by ``agentmem.simulation.report``."""
    pipelines: Pipelines = report["pipelines"]
    measures = list(next(iter(pipelines.values()))["ci95"])
    compared = headlines(measures, report["k"])
    parts = [
        _head(report),
        *_means(pipelines, measures),
        *_against(pipelines, compared),
        *_by(pipelines, "categories", "category", compared[:2]),
        *_by(pipelines, "namespaces", "namespace", compared[:2]),
        "### Latency by stage, p50 / p95 µs",
        _stages(pipelines),
        *_notes(pipelines),
    ]
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in (header, rule, *rows)
    )


def _head(report: Mapping[str, Any]) -> str:
    folds = ", leave one namespace out" if report["folds"] else ""
    return (
        f"## {report['dataset']}\n\n{report['documents']:,} documents, {report['queries']:,} queries of the split "
        f"{report['split']}{folds}; vectors: {report['vectors']}; k = {report['k']}, seed {report['seed']}"
    )


def _means(pipelines: Pipelines, measures: Sequence[str]) -> Iterator[str]:
    """Yield the recalls, and the other measures with the latencies: two tables that fit a terminal."""
    recalls = [measure for measure in measures if measure.startswith("recall")]
    others = [measure for measure in measures if measure not in recalls]
    first, second = [], []
    for name, figures in pipelines.items():
        times = ["–" if figures[each] is None else f"{figures[each] / 1e3:.2f}" for each in LATENCIES]
        first.append([name, *(f"{figures[measure]:.3f}" for measure in recalls)])
        second.append([name, *(f"{figures[measure]:.3f}" for measure in others), *times])
    yield _table(["", *recalls], first)
    yield _table(["", *others, "p50 ms", "p95 ms"], second)


def _against(pipelines: Pipelines, compared: Sequence[str]) -> Iterator[str]:
    """Yield the comparison with the first pipeline, where there is another."""
    first, *others = pipelines
    if not others:
        return
    spaces = "namespaces" in pipelines[others[0]]["against"][compared[0]]
    yield f"### Against {first}: relative change, 95% intervals by queries{' (by namespaces)' if spaces else ''}"
    header = ["", *compared, f"{compared[-2]}: win / tie / loss"]
    rows = []
    for name in others:
        against = pipelines[name]["against"]
        judged = against[compared[-2]]
        counts = f"{judged['win']} / {judged['tie']} / {judged['loss']}"
        rows.append([name, *(_change(against[measure]) for measure in compared), counts])
    yield _table(header, rows)


def _change(change: Mapping[str, Any]) -> str:
    if change["relative"] is None:
        return f"{change['difference']:+.3f}"
    by_namespace = change.get("namespaces", {}).get("relative_ci95")
    whole = f"{change['relative']:+.1%} {_interval(change['relative_ci95'])}"
    return f"{whole} ({_interval(by_namespace)})" if by_namespace else whole


def _interval(ends: Sequence[float]) -> str:
    return f"[{ends[0]:+.1%}, {ends[1]:+.1%}]"


def _by(pipelines: Pipelines, key: str, word: str, measures: Sequence[str]) -> Iterator[str]:
    """Yield two measures by category or by namespace, where queries have one."""
    groups: Mapping[str, Mapping[str, Any]] = next(iter(pipelines.values()))[key]
    if not groups:
        return
    yield f"### {' / '.join(measures)} by {word}"
    rows = []
    for name, group in groups.items():
        cells = [" / ".join(f"{each[key][name][measure]:.3f}" for measure in measures) for each in pipelines.values()]
        rows.append([name, str(group["queries"]), *cells])
    yield _table([word, "queries", *pipelines], rows)


def _stages(pipelines: Pipelines) -> str:
    stages = list(dict.fromkeys(stage for figures in pipelines.values() for stage in figures["stages"]))
    rows = []
    for name, figures in pipelines.items():
        times = [figures["stages"].get(stage) for stage in stages]
        rows.append(
            [name, *("–" if each is None else f"{each['p50_us']:.0f} / {each['p95_us']:.0f}" for each in times)]
        )
    return _table(["", *stages], rows)


def _notes(pipelines: Pipelines) -> Iterator[str]:
    """Yield what an approximate search lost, and which queries could not be asked."""
    for name, figures in pipelines.items():
        if "exact" in figures:
            walks, overlap, *rest = figures["exact"].items()
            changes = ", ".join(f"{measure} {difference:+.4f}" for measure, difference in rest)
            yield (
                f"{name} against an exact scan: {walks[1]} searches walked a graph, the others scanned; "
                f"{overlap[0]} {overlap[1]:.4f}; {changes}"
            )
        if figures["unanswered"]:
            yield f"{name}: {figures['unanswered']} queries hold no word that the embedder knows, and count as 0"
