"""The plots of a report, by matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agentmem.extras import need
from agentmem.simulation.study.model import COMPONENTS
from agentmem.simulation.study.statistics import TARGETS

PLOTS = {
    "quality": "Change of NDCG@10 by heads, hidden width, layers and dropout",
    "corpora": "Change of recall@10 and NDCG@10 by the size of the corpus",
    "weights": "Entropy, Gini, sparsity and diversity of the attention weights, with their targets",
    "learning": "Loss and NDCG@10 on dev by epoch",
    "latency": "Latency of one query by component",
}
"""File, without its ending -> what it shows."""
COLOURS = ("#3b6ea8", "#e08e2b", "#4f9d69", "#b5485d", "#7a6bb0")
GREY, BAND = "#8a8f98", "#dfead9"
LABELS = {"heads": "heads", "hidden": "hidden width", "layers": "layers", "dropout": "dropout"}
UNITS = {
    "entropy": "entropy, nats",
    "gini": "Gini",
    "sparsity": "share of weights < 0.01",
    "diversity": "diversity, bits",
}
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#ececec",
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "legend.frameon": False,
}

Configurations = Sequence[Mapping[str, Any]]


def draw(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write every plot of a report as PNG and return where they are.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    matplotlib = need("matplotlib", "simulate", "plots")
    need("matplotlib.figure", "simulate", "plots")
    configurations: Configurations = report["configurations"]
    corpus = report["chosen"]["corpus"]
    here = [each for each in configurations if each["corpus"] == corpus]
    best = next(each for each in here if each["shape"] == report["chosen"]["shape"])
    with matplotlib.rc_context(STYLE):
        figures = {
            "quality": _quality(here, f"{report['dataset']['name']}, {corpus}"),
            "corpora": _corpora([each for each in configurations if each["shape"] == best["shape"]], best["shape"]),
            "weights": _weights(here),
            "learning": _learning(here, best),
            "latency": _latency(here, best),
        }
        paths = []
        for name, figure in figures.items():
            paths.append(folder / f"{name}.png")
            figure.savefig(paths[-1], dpi=150)
    return paths


def _figure(width: float, height: float, columns: int, title: str, share: bool = False) -> tuple[Any, Any]:
    figure = need("matplotlib.figure", "simulate", "plots").Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
    return figure, figure.subplots(1, columns, squeeze=False, sharey=share)[0]


def _mean(each: Mapping[str, Any], name: str) -> float:
    value = each["figures"][name]["mean"]
    return np.nan if value is None else float(value)


def _percent(axes: Any) -> None:
    low, high = axes.get_ylim()
    digits = 0 if high - low > 0.06 else 1
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:+.{digits}%}" if abs(value) > 1e-9 else "0%")


def _quality(configurations: Configurations, where: str) -> Any:
    figure, panels = _figure(10, 3.4, 4, f"NDCG@10 against the order of the vectors ({where})", share=True)
    jitter = np.random.default_rng(0)
    for axes, (axis, label) in zip(panels, LABELS.items(), strict=True):
        values = sorted({each[axis] for each in configurations})
        means = []
        for place, value in enumerate(values):
            mine = [_mean(each, "ndcg_change") for each in configurations if each[axis] == value]
            axes.scatter(place + jitter.uniform(-0.15, 0.15, len(mine)), mine, s=12, color=COLOURS[0], alpha=0.4, lw=0)
            means.append(np.mean(mine))
        axes.plot(range(len(values)), means, color=COLOURS[1], marker="o", lw=2, ms=6)
        axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
        axes.set_xlim(-0.5, len(values) - 0.5)
        axes.set_xlabel(label)
        axes.axhline(0, color=GREY, lw=1)
        _percent(axes)
    panels[0].set_ylabel("change on test; line: mean")
    return figure


def _corpora(configurations: Configurations, shape: str) -> Any:
    figure, panels = _figure(8, 3.4, 2, f"{shape} by the size of the corpus", share=True)
    for axes, (name, title) in zip(panels, (("recall_change", "recall@10"), ("ndcg_change", "NDCG@10")), strict=True):
        for colour, dimension in zip(COLOURS, sorted({each["dimension"] for each in configurations}), strict=False):
            mine = [each for each in configurations if each["dimension"] == dimension]
            places = range(len(mine))
            deviations = [each["figures"][name]["sd"] or 0 for each in mine]
            means = [_mean(each, name) for each in mine]
            axes.errorbar(
                places, means, deviations, color=colour, marker="o", lw=2, capsize=3, label=f"{dimension} dim"
            )
            axes.set_xticks(places, [f"{each['vectors']:,}" if each["vectors"] else "the set" for each in mine])
        axes.set_title(title, loc="left")
        axes.set_xlabel("vectors")
        axes.axhline(0, color=GREY, lw=1)
        axes.margins(x=0.2)
        _percent(axes)
    panels[0].set_ylabel("change on test ± deviation over seeds")
    panels[1].legend()
    return figure


def _weights(configurations: Configurations) -> Any:
    figure, panels = _figure(10, 3.4, 4, "Attention weights by heads; green: the target")
    values = sorted({each["heads"] for each in configurations})
    for axes, (name, (low, high)) in zip(panels, TARGETS.items(), strict=True):
        for offset, colour, suffix, label in (
            (-0.18, GREY, "_at_birth", "untrained"),
            (0.18, COLOURS[0], "", "trained"),
        ):
            groups = [
                [
                    known
                    for each in configurations
                    if each["heads"] == value and np.isfinite(known := _mean(each, name + suffix))
                ]
                for value in values
            ]
            for place, group in enumerate(groups):
                if group:
                    axes.scatter([place + offset] * len(group), group, s=10, color=colour, alpha=0.35, lw=0)
                    axes.plot(
                        [place + offset - 0.13, place + offset + 0.13], [np.mean(group)] * 2, color=colour, lw=2.5
                    )
            axes.scatter([], [], s=20, color=colour, label=label)
        bottom, top = axes.get_ylim()
        bottom = min(bottom, 0.0)
        top = max(top, 1.15 * (low if np.isfinite(low) else high))
        axes.axhspan(max(low, bottom), min(high, top), color=BAND, zorder=0, lw=0)
        axes.set_ylim(bottom, top)
        axes.set_xticks(range(len(values)), [str(value) for value in values])
        axes.set_xlim(-0.5, len(values) - 0.5)
        axes.set_title(UNITS[name], loc="left")
        axes.set_xlabel("heads")
    panels[0].legend(loc="lower left")
    return figure


def _learning(configurations: Configurations, best: Mapping[str, Any]) -> Any:
    figure, panels = _figure(9, 3.6, 2, "On dev by epoch, seed 0; dot: the epoch that is kept")
    same = [
        each for each in configurations if all(each[name] == best[name] for name in ("hidden", "layers", "dropout"))
    ]
    for axes, curve, title in zip(panels, ("dev_ndcgs", "dev_losses"), ("NDCG@10", "loss, nats a query"), strict=True):
        for colour, each in zip(COLOURS, same, strict=False):
            kept = int(np.argmax(each["dev_ndcgs"]))
            label = f"{each['heads']} head{'s' if each['heads'] > 1 else ''}"
            axes.plot(each[curve], color=colour, lw=2, label=label)
            axes.plot(kept, each[curve][kept], "o", color=colour, ms=6)
        axes.set_title(title, loc="left")
        axes.set_xlabel("epoch")
    legend = f"hidden {best['hidden']}, layers {best['layers']}, dropout {best['dropout']:g}"
    panels[1].legend(title=legend, alignment="left")
    return figure


def _latency(configurations: Configurations, best: Mapping[str, Any]) -> Any:
    figure, panels = _figure(10, 3.4, 3, "Latency of one query by component, one thread", share=True)
    for axes, axis in zip(panels, ("heads", "hidden", "layers"), strict=True):
        fixed = [name for name in LABELS if name != axis]
        mine = sorted(
            (each for each in configurations if all(each[name] == best[name] for name in fixed)),
            key=lambda each: each[axis],
        )
        bottoms = np.zeros(len(mine))
        for colour, name in zip(COLOURS, COMPONENTS, strict=True):
            heights = np.array([1000 * _mean(each, f"{name}_ms") for each in mine])
            axes.bar(range(len(mine)), heights, 0.6, bottoms, color=colour, label=name)
            bottoms += heights
        axes.set_xticks(range(len(mine)), [f"{each[axis]:g}" for each in mine])
        axes.set_xlim(-0.6, max(len(mine), 2) - 0.4)
        axes.set_xlabel(LABELS[axis])
        others = ", ".join(f"{LABELS[name]} {best[name]:g}" for name in fixed if name != "dropout")
        axes.set_title(others, loc="left", color=GREY)
    panels[0].set_ylabel("µs")
    panels[2].legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure
