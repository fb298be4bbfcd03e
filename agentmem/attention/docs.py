"""``python -m agentmem.attention.docs [--check]``: write docs/mechanisms.md from the declarations, or compare it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agentmem.attention import registry
from agentmem.attention.mechanism import Mechanism

PATH = Path("docs/mechanisms.md")
MEASURED = Path("benchmarks/results/mechanisms.json")
HEAD = """# The mechanisms

Written by `python -m agentmem.attention.docs` from the declarations in `agentmem/attention/catalogue`; a test compares
the two. [Attention](attention.md) says how they are called.

*Order* says whether a mechanism can rank candidates otherwise than the dot product does; a ranking that it cannot
change it cannot improve. A weight that is not required is the identity, or left out, where none is given; one that is
required is never made up. The times are of self-attention over n rows of {dim} numbers, float32, one call, medians of
`python benchmarks/mechanisms.py`: {machine}.
"""
INPUTS = {
    "positions": "positions: numbers, each row's place or time",
    "segment_ids": "segment_ids: the group (thread, session, document) of each row",
    "edges": "edges: pairs of query row and key row",
    "context": "context: key and value of a local context",
}
MASKS = {"full": "any", "keys": "over the keys", "none": "none"}


def document(measured: Mapping[str, Any]) -> str:
    """Return the whole page.

    Args:
        measured: what ``benchmarks/mechanisms.py`` wrote.
    """
    machine = measured["machine"]
    blas = machine["blas"]
    told = (
        f"{machine['cpu']}, {machine['cores']} cores, kernels {measured['instruction_set']}, "
        f"NumPy {machine['numpy']} ({blas['name']}, core type {blas['core_type']})"
    )
    parts = [HEAD.format(dim=measured["dim"], machine=told), _contents()]
    for category in registry.categories():
        parts.append(f"\n## {category}\n")
        parts += [_section(each, measured) for each in registry.by_category(category)]
    return "".join(parts)


def _contents() -> str:
    rows = [
        f"| {category} | {', '.join(f'[{each.name}](#{each.name})' for each in registry.by_category(category))} |"
        for category in registry.categories()
    ]
    return "\n| family | mechanisms |\n|---|---|\n" + "\n".join(rows) + "\n"


def _section(declared: Mechanism, measured: Mapping[str, Any]) -> str:
    lines = [f"\n### {declared.name}\n", f"{_sentence(declared.summary)}\n"]
    if declared.formula:
        lines.append(f"```text\n{declared.formula}\n```\n")
    lines += [f"| | |\n|---|---|\n{_rows(_facts(declared, measured))}\n"]
    if declared.parameters:
        rows = ((f"`{p.name}`", f"`{p.default!r}`", p.expected(), p.meaning) for p in declared.parameters)
        lines.append(f"| parameter | default | accepts | meaning |\n|---|---|---|---|\n{_rows(rows)}\n")
    if declared.weights:
        told = (
            (f"`{w.name}`", f"({', '.join(w.shape)})", "yes" if w.required else "no", w.meaning)
            for w in declared.weights
        )
        lines.append(f"| weight | shape | required | meaning |\n|---|---|---|---|\n{_rows(told)}\n")
    return "\n".join(lines)


def _facts(declared: Mechanism, measured: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "source", declared.paper
    if declared.best_for:
        yield "best for", declared.best_for
    yield "complexity", declared.complexity
    yield "order", f"{'can change it' if declared.can_reorder else 'cannot change it'}: {declared.why}"
    inputs = [f"{INPUTS[name]} (required)" for name in declared.needs]
    inputs += [f"{INPUTS[name]} (required to rank)" for name in declared.rerank_needs if name not in declared.needs]
    inputs += [INPUTS[name] for name in declared.takes if name not in declared.rerank_needs]
    if inputs:
        yield "inputs", "; ".join(inputs)
    yield "masks", MASKS[declared.masks]
    yield "ranking", "candidates are a sequence, the query its last row" if declared.sequence else "candidates are keys"
    if declared.reference_only:
        yield "no compiled path", declared.reference_only
    yield "measured", _times(measured["mechanisms"].get(declared.name))


def _times(by_size: Mapping[str, Mapping[str, Any]] | None) -> str:
    if by_size is None:
        return "not yet"
    told = (f"n = {int(size):,}: {_time(each['median_us'])}" for size, each in by_size.items())
    return f"{', '.join(told)} ({next(iter(by_size.values()))['backend']})"


def _time(microseconds: float) -> str:
    return f"{microseconds:,.0f} µs" if microseconds < 10_000 else f"{microseconds / 1e3:,.0f} ms"


def _rows(rows: Iterator[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def run() -> None:
    """Write docs/mechanisms.md, or with --check exit with 1 where it is not what the declarations say."""
    page = document(json.loads(MEASURED.read_text(encoding="utf-8")))
    if "--check" not in sys.argv[1:]:
        PATH.write_text(page, encoding="utf-8")
    elif PATH.read_text(encoding="utf-8") != page:
        sys.exit("docs/mechanisms.md is out of date; run: python -m agentmem.attention.docs")


if __name__ == "__main__":
    run()
