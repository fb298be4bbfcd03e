"""All results of a folder as one report: means over the seeds, verdicts, the chosen shape, the published figures."""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from agentmem.simulation.study.configuration import Configuration, Corpus, Shape
from agentmem.simulation.study.model import COMPONENTS
from agentmem.simulation.study.published import CLAIMS, Claim, judged
from agentmem.simulation.study.statistics import TARGETS, verdict

Line = Mapping[str, Any]
Report = dict[str, Any]

FIGURES: dict[str, tuple[tuple[str, ...], float]] = {
    "recall_before": (("recall@10", "before"), 1),
    "recall_after": (("recall@10", "after"), 1),
    "recall_change": (("recall@10", "change"), 1),
    "ndcg_before": (("ndcg@10", "before"), 1),
    "ndcg_after": (("ndcg@10", "after"), 1),
    "ndcg_change": (("ndcg@10", "change"), 1),
    "equal_weights_ndcg_change": (("equal_weights", "change"), 1),
    "cosine_before": (("cosine", "before"), 1),
    "cosine_after": (("cosine", "after"), 1),
    "cosine_change": (("cosine", "change"), 1),
    **{name: (("weights", name), 1) for name in TARGETS},
    **{f"{name}_at_birth": (("weights_at_birth", name), 1) for name in TARGETS},
    "convergence_epochs": (("convergence_epochs",), 1),
    "final_loss": (("final_loss",), 1),
    "sample_efficiency": (("sample_efficiency", "ratio"), 1),
    "generalisation": (("generalisation",), 1),
    "transfer_recall_change": (("transfer", "recall@10", "change"), 1),
    "transfer_ndcg_change": (("transfer", "ndcg@10", "change"), 1),
    "dev_ndcg": (("dev", "ndcg@10", "after"), 1),
    **{f"{name}_ms": (("latency_us", name), 1e-3) for name in COMPONENTS},
    "latency_ms": (("latency_us", "total"), 1e-3),
    "projections_mb": (("memory", "projections"), 1e-6),
    "matrices_mb": (("memory", "weights"), 1e-6),
    "output_mb": (("memory", "output"), 1e-6),
    "memory_mb": (("memory", "total"), 1e-6),
    "bytes_a_vector": (("memory", "bytes_a_vector"), 1),
    "distractors": (("distractors",), 1),
    "seconds": (("seconds",), 1),
}
"""Figure -> where it stands in a line, and what it is multiplied by."""
CHANGES = ("recall_change", "ndcg_change", "latency_ms")
"""Of which the coherence over the seeds is published."""


def value_of(line: Line, figure: str) -> float | None:
    """Return a figure of one line, None where it has none."""
    path, scale = FIGURES[figure]
    value: Any = line
    for name in path:
        if value is None:
            return None
        value = value.get(name)
    return None if value is None else float(value) * scale


def spread(values: Iterable[float | None]) -> dict[str, float | None]:
    """Return mean, standard deviation (n − 1) and coefficient of variation of the numbers among values.

    The deviation is None of fewer than two, the coefficient too where the mean is 0.
    """
    known = np.array([value for value in values if value is not None])
    if not len(known):
        return {"mean": None, "sd": None, "cv": None}
    mean = float(known.mean())
    deviation = None
    if len(known) > 1:
        deviation = float(known.std(ddof=1)) if np.ptp(known) else 0.0  # the mean of equal numbers is not always exact
    return {"mean": mean, "sd": deviation, "cv": deviation / abs(mean) if deviation is not None and mean else None}


def summary(head: Mapping[str, Any], lines: Sequence[Line]) -> Report:
    """Return the report of a folder.

    ======================  =================================================================================
    ``dataset, transfer``   what was measured on, and carried over to
    ``machine``             processor count, system, versions
    ``configurations``      one a shape and corpus: its numbers, ``seeds``, ``figures``: name -> mean, sd, cv
    …                       ``verdicts``: statistic of the weights -> "met" or "missed"
    …                       ``dev_losses``, ``dev_ndcgs``, ``categories`` (where queries have them): of the first seed
    ``chosen``              shape and corpus: the best dev NDCG@10, by the first seed, where most were run
    ``published``           one a published figure: what it is, its value, the measured one, and which it is
    ======================  =================================================================================

    Args:
        head: of the folder.
        lines: its results; one or more.
    """
    groups: dict[tuple[Corpus, Shape], list[Line]] = defaultdict(list)
    for line in lines:
        configuration = Configuration.from_json(line)
        groups[configuration.corpus, configuration.shape].append(line)
    configurations = [_configuration(corpus, shape, groups[corpus, shape]) for corpus, shape in sorted(groups)]
    return {
        "dataset": head["dataset"],
        "transfer": head["transfer"],
        "machine": {
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
        "configurations": configurations,
        "chosen": chosen(configurations),
        "published": [_compared(claim, configurations, head["dataset"]["dimension"]) for claim in CLAIMS],
    }


def _configuration(corpus: Corpus, shape: Shape, lines: list[Line]) -> dict[str, Any]:
    lines = sorted(lines, key=lambda line: line["seed"])
    figures = {name: spread(value_of(line, name) for line in lines) for name in FIGURES}
    return {
        "shape": str(shape),
        "corpus": str(corpus),
        **{name: lines[0][name] for name in ("heads", "hidden", "layers", "dropout", "vectors", "dimension")},
        "seeds": len(lines),
        "figures": figures,
        "verdicts": {name: verdict(name, figures[name]["mean"]) for name in TARGETS},
        "dev_losses": lines[0]["dev_losses"],
        "dev_ndcgs": lines[0]["dev_ndcgs"],
        "categories": lines[0]["categories"],
    }


def chosen(configurations: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the names of shape and corpus with the best dev NDCG@10, in the corpus with the most shapes.

    By the first seed, which every shape has: the best of many single runs would beat a mean of several.
    """
    by_corpus: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for each in configurations:
        by_corpus[each["corpus"]].append(each)
    most = max(by_corpus.values(), key=len)
    best = max(most, key=lambda each: max(each["dev_ndcgs"]))
    return {"shape": best["shape"], "corpus": best["corpus"]}


def _compared(claim: Claim, configurations: Sequence[Mapping[str, Any]], own: int) -> dict[str, Any]:
    """Hold a published figure against that of the same shape in the corpus of the nearest size, at the same width."""
    width = 2 * own if claim.wide else own
    there = [each for each in configurations if (each["shape"], each["dimension"]) == (str(claim.shape), width)]
    nearest = min(there, key=lambda each: abs(each["vectors"] - claim.size)) if there else None
    kind, _, name = claim.figure.rpartition(":")
    measured = None if nearest is None else nearest["figures"][name][kind or "mean"]
    return {
        "figure": claim.figure,
        "shape": str(claim.shape),
        "corpus": f"{claim.size}x{768 if claim.wide else 384}",
        "published": claim.value,
        "measured": measured,
        "measured_on": None if nearest is None else nearest["corpus"],
        "verdict": judged(measured, claim.value),
    }
