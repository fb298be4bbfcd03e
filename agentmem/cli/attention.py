"""``agentmem attention``: what mechanisms there are, what they cost here, which to take."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from agentmem.cli.common import console, interactive, plain_options, print_facts, print_json
from agentmem.progress import track

if TYPE_CHECKING:
    from agentmem.attention.timing import Timing

LONGEST = 1 << 15
WIDEST = 1 << 13
COLUMNS = ("mechanism", "backend", "median", "p95", "calls a second", "scratch")


@click.group("attention", short_help="List, benchmark and choose attention mechanisms.", no_args_is_help=False)
def attention_command() -> None:
    """List, benchmark, run and choose the mechanisms of the attention library; no store is needed."""


@attention_command.command("list", short_help="List the mechanisms.")
@click.option("--category", help="Only those of a family, such as sparse or linear.")
@click.option("--native-only", is_flag=True, help="Only those with a compiled path.")
@plain_options
def list_command(category: str | None, native_only: bool, as_json: bool) -> None:
    """List the mechanisms: family, complexity, what each is best for."""
    from agentmem.attention import registry

    names = registry.list()
    found = [registry.get(name) for name in names] if category is None else registry.by_category(category)
    found = [each for each in found if not (native_only and each.reference_only)]
    if as_json:
        fields = ("name", "category", "complexity", "best_for", "summary", "can_reorder", "why", "paper")
        print_json([{f: getattr(each, f) for f in fields} | {"native": not each.reference_only} for each in found])
        return
    rows = [(each.name, each.category, each.complexity, each.best_for or each.summary) for each in found]
    _print_table(("mechanism", "family", "complexity", "best for"), rows)


@attention_command.command("benchmark", short_help="Time mechanisms on this machine.")
@click.option("--mechanism", default="flash-attention-v2", show_default=True, help="Which.")
@click.option("--all", "every", is_flag=True, help="All of them.")
@click.option(
    "--size", type=click.IntRange(1, LONGEST), default=512, show_default=True, help="Queries, and as many keys."
)
@click.option("--dim", type=click.IntRange(1, WIDEST), default=64, show_default=True, help="Length of a row.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Also write the figures as JSON.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Also write them as a Markdown table.")
@plain_options
def benchmark_command(
    mechanism: str, every: bool, size: int, dim: int, output: Path | None, report: Path | None, as_json: bool
) -> None:
    """Time self-attention by one mechanism or by all, over seeded rows, and tell the memory that a call needs."""
    from agentmem.attention import registry
    from agentmem.attention.status import backend_status
    from agentmem.attention.timing import time_mechanism

    names = registry.list() if every else [registry.get(mechanism).name]
    timings = []
    with track("timing", len(names), interactive()) as advance:
        for name in names:
            timings.append(time_mechanism(name, size, dim))
            advance(1)
    document: dict[str, Any] = {"machine": backend_status(), "timings": [asdict(each) for each in timings]}
    if output is not None:
        output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if report is not None:
        report.write_text(_markdown(timings, document["machine"], size, dim), encoding="utf-8")
    if as_json:
        print_json(document)
    else:
        _print_table(COLUMNS, [_cells(each) for each in timings])


@attention_command.command("compute", short_help="Run a mechanism once, over seeded rows.")
@click.option("--mechanism", default="flash-attention-v2", show_default=True, help="Which.")
@click.option(
    "--sequence-length",
    type=click.IntRange(1, LONGEST),
    default=1024,
    show_default=True,
    help="Queries, and as many keys.",
)
@click.option("--dim", type=click.IntRange(1, WIDEST), default=64, show_default=True, help="Length of a row.")
@click.option(
    "--backend",
    type=click.Choice(["auto", "native", "numpy", "torch"]),
    default="auto",
    show_default=True,
    help="What runs.",
)
@click.option("--seed", type=click.IntRange(0, 1 << 31), default=0, show_default=True, help="Of the rows.")
@plain_options
def compute_command(mechanism: str, sequence_length: int, dim: int, backend: str, seed: int, as_json: bool) -> None:
    """Run a mechanism once over seeded rows and tell what came out: for looking into it."""
    import numpy as np

    from agentmem.attention.timing import prepared, time_mechanism

    with console(stderr=True).status("computing"):
        result = prepared(mechanism, sequence_length, dim, backend=backend, seed=seed)()
        timing = time_mechanism(mechanism, sequence_length, dim, backend=backend, seed=seed, seconds=0.0)
    facts: dict[str, Any] = {
        "mechanism": mechanism,
        "backend": result.backend,
        "output": " × ".join(map(str, result.output.shape)),
        "mean": float(result.output.mean()),
        "standard deviation": float(result.output.std()),
        "first numbers": [round(float(number), 6) for number in np.ravel(result.output)[:4]],
        "milliseconds": timing.median_us / 1e3,
        "scratch bytes": timing.scratch_bytes,
    }
    if as_json:
        print_json(facts)
    else:
        print_facts(facts.items())


@attention_command.command("recommend", short_help="Choose a mechanism by rules.")
@click.option("--sequence-length", type=click.IntRange(min=0), required=True, help="Keys that a query sees at most.")
@click.option("--batch-size", type=click.IntRange(min=1), default=1, show_default=True, help="Calls at a time.")
@click.option("--hierarchical", is_flag=True, help="The rows form a hierarchy.")
@click.option("--graph", is_flag=True, help="Edges between rows are known.")
@click.option("--moe", is_flag=True, help="Different kinds of queries are to be treated differently.")
@click.option("--task", default="default", show_default=True, help="Such as memory-retrieval or code-analysis.")
@plain_options
def recommend_command(
    sequence_length: int, batch_size: int, hierarchical: bool, graph: bool, moe: bool, task: str, as_json: bool
) -> None:
    """Say which mechanism the rules choose for calls of a kind, and which rule it was."""
    from agentmem.attention.selector import MechanismSelector

    chosen = MechanismSelector().select(
        sequence_length, batch_size=batch_size, hierarchical=hierarchical, graph=graph, moe=moe, task=task
    )
    if as_json:
        print_json(chosen._asdict())
    else:
        click.echo(f"{chosen.mechanism}  ({chosen.reason})")


@attention_command.command("backend-status", short_help="Say what this machine has.")
@plain_options
def backend_status_command(as_json: bool) -> None:
    """Say which backends can run here: kernels and their instruction set, BLAS, threads, PyTorch, CUDA."""
    from agentmem.attention.status import backend_status

    status = backend_status()
    if as_json:
        print_json(status)
        return
    nested = {key: value for key, value in status.items() if isinstance(value, dict)}
    print_facts((key, value) for key, value in status.items() if key not in nested)
    print_facts((f"{key}.{name}", value) for key, values in nested.items() for name, value in values.items())


def _cells(timing: Timing) -> tuple[str, ...]:
    times = (f"{value:,.0f} µs" for value in (timing.median_us, timing.p95_us))
    return (timing.mechanism, timing.backend, *times, f"{timing.per_second:,.0f}", f"{timing.scratch_bytes:,} bytes")


def _markdown(timings: Sequence[Timing], machine: dict[str, Any], size: int, dim: int) -> str:
    """Return the figures as a page."""
    lines = [" | ".join(cells) for cells in (COLUMNS, ("---",) * len(COLUMNS), *map(_cells, timings))]
    blas = machine["blas"]
    told = f"{machine['cores']} cores, kernels {machine['instruction_set']}, NumPy {machine['numpy_version']}"
    table = "\n".join(f"| {line} |" for line in lines)
    return f"# Attention, {size} queries and keys of {dim} numbers\n\n{table}\n\n{told} ({blas['name']}).\n"


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(*head, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*row)
    console().print(table)
