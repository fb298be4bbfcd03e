"""The report of a study as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from agentmem.simulation.study.model import COMPONENTS
from agentmem.simulation.study.plots import PLOTS
from agentmem.simulation.study.published import NEAR
from agentmem.simulation.study.statistics import TARGETS
from agentmem.simulation.study.summary import CHANGES

Report = Mapping[str, Any]
Configurations = Sequence[Mapping[str, Any]]
AXES = ("heads", "hidden", "layers", "dropout")
TARGET_WORDS = {"entropy": "> 3 nats", "gini": "< 0.5", "sparsity": "15–20%", "diversity": "> 0.7 bits"}
CORPORA = {
    "recall_before": "recall@10 of vectors",
    "recall_change": "change",
    "ndcg_before": "NDCG@10 of vectors",
    "ndcg_change": "change",
    "equal_weights_ndcg_change": "with equal weights",
    "cosine_change": "cosine",
    "transfer_ndcg_change": "transfer NDCG@10",
}
PERCENT = ("change", "sparsity", "cv", "distractors")

DEFINITIONS = """## How each figure is made

* **Reranker.** The query attends to the 50 best candidates of the store's own search (`mechanism="dense"`), by several
  heads in one to three layers, each added to the query and made a unit vector; candidates are ranked by their
  similarity to what came out. W_O begins at zero: untrained, it ranks as the vectors do. Dropout leaves out attention
  weights.
* **Training.** Adam on the train split, listwise softmax loss; stopped when NDCG@10 on dev has not risen for four
  epochs, and the best epoch kept: *convergence epochs* is its number, *final loss* its training loss, in nats a query.
* **Choice** by NDCG@10 on the dev split, first seed. The test split is read once a run, after training; all figures are
  of test queries unless they say otherwise. Queries without any candidate count as 0.
* **Change**: relative, of the mean over queries, against the same candidates in the order of the vectors.
* **With equal weights**: the change in NDCG@10 where, after training, every candidate is given the same weight: what
  the learned projections make of the mean of the candidates, without any attention.
* **Cosine**: mean similarity of a query and its relevant candidates, before and after attention.
* **Entropy** (nats), **Gini**, **sparsity** (share of weights below 0.01): of each head's weights over the candidates,
  mean over queries, layers, heads. **Diversity**: Jensen-Shannon divergence of pairs of heads, in bits, mean.
* **Sample efficiency**: gain in NDCG@10 with a quarter of the training queries, as a share of that with all; none where
  all gain nothing. **Generalisation**: NDCG@10 on test over that on train. **Transfer**: change on another set's test
  queries, without training there.
* **Latency**: median of the forward pass of one query, one thread, NumPy, other processes at work beside it. The
  candidates are not projected: W_K and W_V are applied to one vector a head instead, which gives the same numbers.
* **Memory**: parameters, and one query's attention weights; *bytes a vector* spreads them over the corpus.
* **Corpora** are enlarged with vectors drawn from the normal distribution with the mean and the covariance of the
  documents'. The wider ones have as many dimensions again, in which each text's words by TF-IDF are hashed.
"""

IMPOSSIBLE = """The published Gini (0.34) and diversity (0.82) of the eight heads exclude each other, if both are of the
same weights: the total variation distance of two distributions is at most the sum of their distances from the uniform
one, each at most its Gini; and the Jensen-Shannon divergence in bits is at most the total variation distance (Lin
1991). So the mean diversity is at most twice the mean Gini: 0.68."""


def markdown(report: Report) -> str:
    """Return the report of ``summary.summary`` as a page that shows the plots beside it."""
    configurations: Configurations = report["configurations"]
    best = _find(configurations, report["chosen"])
    parts = [
        *_head(report, configurations, best),
        _picture("quality"),
        "## The chosen shape on every corpus",
        _corpora(configurations, best["shape"]),
        _picture("corpora"),
        "## All shapes on every corpus",
        _grids(configurations),
        "## What each choice does",
        f"Means over all other choices at {best['corpus']}.",
        _axes([each for each in configurations if each["corpus"] == best["corpus"]]),
        "## Attention weights against the targets",
        _weights([each for each in configurations if each["corpus"] == best["corpus"]], best),
        _picture("weights"),
        "## Learning",
        _learning(configurations, best),
        _picture("learning"),
        "## Latency and memory",
        *_costs(best),
        _picture("latency"),
        "## Coherence over the seeds",
        _coherence([each for each in configurations if each["seeds"] > 1], best["shape"]),
        *_categories(best),
        "## Against the published figures",
        *_published(report),
        "## All configurations",
        _all(configurations),
        DEFINITIONS.rstrip(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table, numbers to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def shown(name: str, value: float | None) -> str:
    """Return a figure as people read it: a percentage, or three digits."""
    if value is None:
        return "–"
    if any(name.endswith(word) or name.startswith(f"{word}:") for word in PERCENT):
        return f"{value:+.1%}" if name.endswith("change") and not name.startswith("cv:") else f"{value:.1%}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _mean(each: Mapping[str, Any], name: str) -> float | None:
    value: float | None = each["figures"][name]["mean"]
    return value


def _cell(each: Mapping[str, Any], name: str) -> str:
    """Return a mean, with its deviation over the seeds where there are some."""
    deviation = each["figures"][name]["sd"]
    mean = shown(name, _mean(each, name))
    return mean if deviation is None else f"{mean} ± {shown(name, deviation).lstrip('+')}"


def _find(configurations: Configurations, names: Mapping[str, str]) -> Mapping[str, Any]:
    return next(each for each in configurations if all(each[key] == name for key, name in names.items()))


def _picture(name: str) -> str:
    return f"![{PLOTS[name]}]({name}.png)"


def _head(report: Report, configurations: Configurations, best: Mapping[str, Any]) -> Iterator[str]:
    data, machine = report["dataset"], report["machine"]
    runs = sum(each["seeds"] for each in configurations)
    queries = ", ".join(f"{count} {split}" for split, count in data["queries"].items())
    yield f"# Multi-head attention on {data['name']}"
    shapes, corpora = ({each[name] for each in configurations} for name in ("shape", "corpus"))
    yield (
        f"{data['documents']:,} documents, {data['dimension']} dimensions; queries: {queries}. {runs} runs of "
        f"{len(shapes)} shapes on {len(corpora)} corpora. Python {machine['python']}, NumPy {machine['numpy']}, "
        f"{machine['cores']} cores, {machine['system']}."
    )
    agree = sum(each["verdict"] == "agrees" for each in report["published"])
    held = sum(each["verdict"] != "not run" for each in report["published"])
    met = [name for name, verdict in best["verdicts"].items() if verdict == "met"]
    yield (
        f"**Chosen** by NDCG@10 on dev: `{best['shape']}` at {best['corpus']}: recall@10 "
        f"{_cell(best, 'recall_change')}, NDCG@10 {_cell(best, 'ndcg_change')} on test, in "
        f"{_cell(best, 'latency_ms')} ms a query. Targets of the weights met: {', '.join(met) or 'none'}. Of {held} "
        f"published figures that could be held against measured ones, {agree} agree within {NEAR:.0%}."
    )


def _corpora(configurations: Configurations, shape: str) -> str:
    rows = [
        [
            each["corpus"],
            str(each["seeds"]),
            *(_cell(each, name) for name in CORPORA),
            shown("ms", _mean(each, "latency_ms")),
            shown("distractors", _mean(each, "distractors")),
        ]
        for each in configurations
        if each["shape"] == shape
    ]
    return table(["corpus", "seeds", *CORPORA.values(), "ms", "distractors among candidates"], rows)


def _by_corpus(configurations: Configurations) -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for each in configurations:
        groups.setdefault(each["corpus"], []).append(each)
    return groups


def _grids(configurations: Configurations) -> str:
    """Return how many runs there are of each corpus, and what the shapes' means over the seeds spread over."""
    rows = []
    for corpus, mine in _by_corpus(configurations).items():
        gains = [value for each in mine if (value := _mean(each, "ndcg_change")) is not None]
        level = [
            abs(value - each["figures"]["ndcg_change"]["mean"])
            for each in mine
            if (value := _mean(each, "equal_weights_ndcg_change")) is not None
        ]
        rows.append(
            [
                corpus,
                str(len(mine)),
                str(sum(each["seeds"] for each in mine)),
                shown("change", _average(mine, "recall_change")),
                shown("change", _average(mine, "ndcg_change")),
                f"{min(gains):+.1%} to {max(gains):+.1%}" if gains else "–",
                shown("sparsity", stdev(gains)) if len(gains) > 1 else "–",
                shown("change", _average(mine, "equal_weights_ndcg_change")),
                f"{100 * max(level):.1f}" if level else "–",
                shown("change", _average(mine, "cosine_change")),
                shown("change", _average(mine, "transfer_ndcg_change")),
            ]
        )
    header = ["corpus", "shapes", "runs", "recall@10", "NDCG@10", "lowest to highest", "deviation"]
    return table([*header, "with equal weights", "farthest from it, points", "cosine", "transfer NDCG@10"], rows)


def _axes(configurations: Configurations) -> str:
    names = ("recall_change", "ndcg_change", "cosine_change", "generalisation", "transfer_ndcg_change", "latency_ms")
    rows = []
    for axis in AXES:
        for value in sorted({each[axis] for each in configurations}):
            mine = [each for each in configurations if each[axis] == value]
            rows.append([f"{axis} {value:g}", *(shown(name, _average(mine, name)) for name in names)])
    return table(["", "recall@10", "NDCG@10", "cosine", "generalisation", "transfer NDCG@10", "ms"], rows)


def _average(configurations: Configurations, name: str) -> float | None:
    return _known(_mean(each, name) for each in configurations)


def _known(values: Iterable[float | None]) -> float | None:
    """Return the mean of the numbers among values."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _weights(configurations: Configurations, best: Mapping[str, Any]) -> str:
    """Return the statistics at birth and trained: of the chosen shape, and by heads."""
    rows = [["target", *TARGET_WORDS.values()]]
    groups: list[tuple[str, Configurations]] = [(best["shape"], [best])]
    for heads in sorted({each["heads"] for each in configurations}):
        groups.append((f"heads {heads}", [each for each in configurations if each["heads"] == heads]))
    for name, mine in groups:
        rows.append([f"{name}, untrained", *(shown(each, _average(mine, f"{each}_at_birth")) for each in TARGETS)])
        met = [sum(each["verdicts"][target] == "met" for each in mine) for target in TARGETS]
        cells = [shown(target, _average(mine, target)) for target in TARGETS]
        words = [f"{cell} ({count} of {len(mine)} met)" for cell, count in zip(cells, met, strict=True)]
        rows.append(
            [f"{name}, trained", *("–" if cell == "–" else word for cell, word in zip(cells, words, strict=True))]
        )
    return table(["", *TARGETS], rows)


def _learning(configurations: Configurations, best: Mapping[str, Any]) -> str:
    names = (
        "convergence_epochs",
        "final_loss",
        "sample_efficiency",
        "generalisation",
        "transfer_ndcg_change",
        "seconds",
    )
    mine = [each for each in configurations if each["corpus"] == best["corpus"]]
    rows = [[f"{best['shape']}", *(_cell(best, name) for name in names)]]
    for heads in sorted({each["heads"] for each in mine}):
        group = [each for each in mine if each["heads"] == heads]
        rows.append([f"heads {heads}, mean", *(shown(name, _average(group, name)) for name in names)])
    header = ["", "convergence epochs", "final loss", "sample efficiency", "generalisation", "transfer NDCG@10"]
    return table([*header, "seconds a run"], rows)


def _costs(best: Mapping[str, Any]) -> Iterator[str]:
    total = sum(_mean(best, f"{name}_ms") or 0 for name in COMPONENTS)
    rows = [
        [name, f"{1000 * (_mean(best, f'{name}_ms') or 0):.1f}", f"{(_mean(best, f'{name}_ms') or 0) / total:.0%}"]
        for name in COMPONENTS
    ]
    rows.append(["all, with the final scores", f"{1000 * (_mean(best, 'latency_ms') or 0):.1f}", ""])
    yield table([f"`{best['shape']}` at {best['corpus']}", "µs", "share"], rows)
    parts = {
        "Q, K, V projections": "projections_mb",
        "attention weights": "matrices_mb",
        "output projection": "output_mb",
    }
    rows = [[name, shown("mb", _mean(best, figure))] for name, figure in {**parts, "all": "memory_mb"}.items()]
    yield table(["", "MB"], [*rows, ["bytes a vector", shown("bytes", _mean(best, "bytes_a_vector"))]])


def _coherence(configurations: Configurations, shape: str) -> str:
    """Return the deviations over the seeds: of a shape on every corpus, and the means over all shapes there."""
    if not configurations:
        return "No configuration was run with more than one seed."
    rows = []
    for corpus, mine in _by_corpus(configurations).items():
        groups = [(each["shape"], [each]) for each in mine if each["shape"] == shape]
        if len(mine) > 1:
            groups.append((f"{len(mine)} shapes, mean", mine))
        for title, group in groups:
            counts = [each["seeds"] for each in group]
            for name in CHANGES:
                figures = {kind: _known(each["figures"][name][kind] for each in group) for kind in ("mean", "sd", "cv")}
                seeds = sorted({min(counts), max(counts)})
                cells = [shown(name, figures["mean"]), shown(name, figures["sd"]).lstrip("+")]
                told = [f"{title} at {corpus}", name.replace("_", " "), "–".join(map(str, seeds))]
                rows.append([*told, *cells, shown("cv", figures["cv"])])
    return table(["", "figure", "seeds", "mean", "standard deviation", "CV"], rows)


def _categories(best: Mapping[str, Any]) -> Iterator[str]:
    if best["categories"]:
        yield "## By category"
        rows = []
        for name, each in best["categories"].items():
            cells: list[str] = []
            for measure in ("recall@10", "ndcg@10"):
                cells += [f"{each[measure]['before']:.3f}", shown("change", each[measure]["change"])]
            rows.append([name, str(each["queries"]), *cells])
        yield table(["category", "queries", "recall@10 of vectors", "change", "NDCG@10 of vectors", "change"], rows)


def _published(report: Report) -> Iterator[str]:
    held = [each for each in report["published"] if each["verdict"] != "not run"]
    counts = {word: sum(each["verdict"] == word for each in held) for word in ("agrees", "higher", "lower")}
    yield (
        'RuVector\'s "Multi-Head Attention Mechanism Analysis" of 2025-11-30 names neither its data nor its labels, so '
        "that its figures can be held against others only, not repeated. Measured for the same shape on the corpus of "
        f"the nearest size: {counts['agrees']} of its figures agree within {NEAR:.0%}, {counts['higher']} are higher "
        f"here and {counts['lower']} lower; {len(report['published']) - len(held)} are of shapes or widths that were "
        "not run."
    )
    if held:
        rows = []
        for each in held:
            name = each["figure"]
            figures = [shown(name, each["published"]), shown(name, each["measured"])]
            where = [each["measured_on"], each["verdict"]]
            rows.append([name.replace("_", " "), each["shape"], each["corpus"], *figures, *where])
        yield table(["figure", "shape", "its corpus", "published", "measured", "on", ""], rows)
    yield IMPOSSIBLE


def _all(configurations: Configurations) -> str:
    names = ("recall_change", "ndcg_change", "dev_ndcg", *TARGETS, "convergence_epochs", "latency_ms", "memory_mb")
    rows = [
        [each["corpus"], each["shape"], str(each["seeds"]), *(_cell(each, name) for name in names)]
        for each in configurations
    ]
    header = ["corpus", "shape", "seeds", "recall@10", "NDCG@10", "dev NDCG@10", *TARGETS, "epochs", "ms", "MB"]
    return table(header, rows)
