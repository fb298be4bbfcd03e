"""Does the cost of sparse attention follow its support?  Against n, against the support, and against exact attention.

Run: ``OPENBLAS_NUM_THREADS=1 python benchmarks/sparse.py``; writes benchmarks/results/sparse.json.  A slope is that of
the time against the number on a log-log scale: 1 is proportional, 2 is quadratic.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import machine
import numpy as np
from rich.progress import track

from agentmem.attention import attend, registry
from agentmem.attention.supports import build

LENGTHS = (4096, 8192, 16_384, 32_768)
WINDOWS = (32, 64, 128, 256, 512, 1024)
FIXED, DIM = 128, 64
EXACT = "flash-attention-v2"


def slope(numbers: Any, times: Any) -> float:
    """Return the slope of the least-squares line through the logarithms."""
    return float(np.polyfit(np.log(numbers), np.log(times), 1)[0])


def call(name: str, n: int, params: dict[str, Any], **inputs: Any) -> Callable[[], object]:
    """Return self-attention over n rows as a call without arguments."""
    x = np.random.default_rng(n).standard_normal((n, DIM)).astype(np.float32)
    return lambda: attend(x, x, mechanism=name, params=params, **inputs)


def rivals(n: int) -> dict[str, Callable[[], object]]:
    """Every mechanism at its defaults, a graph of 16 edges a row, and exact attention."""
    functions = {EXACT: call(EXACT, n, {})}
    for mechanism in registry.by_category("sparse"):
        if mechanism.form != "blockwise":
            functions[mechanism.name] = call(mechanism.name, n, {})
    edges = np.random.default_rng(0).integers(0, n, (16 * n, 2))
    functions["graph-attention"] = call(
        "graph-attention", n, {}, edges=edges, weights={"attention": np.ones(DIM, np.float32)}
    )
    return functions


def keys_a_row(name: str, n: int) -> float | None:
    """Return the mean size of a mechanism's support at its defaults, None where a form makes its own."""
    mechanism = registry.get(name)
    if mechanism.form not in ("support", "longformer"):
        return None
    return float(build(mechanism.support, np.arange(n), n, mechanism.resolve(None)).sizes.mean())


def against_n(repeats: int) -> dict[str, Any]:
    """Time the fixed window at every length, in one set of rounds."""
    functions = {str(n): call("local-attention", n, {"window": FIXED}) for n in (1024, 2048, *LENGTHS)}
    result = machine.paired(functions, repeats)
    return result | {"slope": slope([int(n) for n in functions], list(result["medians_us"].values()))}


def against_support(n: int, repeats: int) -> dict[str, Any]:
    """Time windows of several widths at one length."""
    functions = {str(window): call("local-attention", n, {"window": window}) for window in WINDOWS}
    result = machine.paired(functions, repeats)
    sizes = [float(build("window", np.arange(n), n, {"window": window}).sizes.mean()) for window in WINDOWS]
    return result | {"n": n, "support": sizes, "slope": slope(sizes, list(result["medians_us"].values()))}


def main() -> None:
    """Measure, print tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--exact-repeats", type=int, default=3, help="rounds of the comparison with exact attention")
    options = parser.parse_args()
    by_n, by_support = against_n(options.repeats), against_support(8192, options.repeats)
    print(f"local-attention, {2 * FIXED + 1} keys a row: slope of time against n {by_n['slope']:.3f}")
    print(f"local-attention, n = 8192: slope of time against the support {by_support['slope']:.3f}")
    exact: dict[str, Any] = {}
    for n in track(LENGTHS, "against exact attention", transient=True):
        exact[str(n)] = machine.paired(rivals(n), options.exact_repeats)
    names = list(exact[str(LENGTHS[0])]["medians_us"])
    slopes = {name: slope(LENGTHS, [exact[str(n)]["medians_us"][name] for n in LENGTHS]) for name in names}
    print(f"{'ms (times faster than exact)':<32}" + "".join(f"{n:>18}" for n in LENGTHS) + f"{'slope':>8}")
    for name in names:
        cells = [exact[str(n)]["medians_us"] for n in LENGTHS]
        shown = "".join(f"{cell[name] / 1e3:>10.1f} ({cell[EXACT] / cell[name]:>4.1f}x)" for cell in cells)
        print(f"{name:<32}{shown}{slopes[name]:>8.2f}")
    sizes = {name: {str(n): keys_a_row(name, n) for n in LENGTHS} for name in names}
    result = {"dim": DIM, "by_n": by_n, "by_support": by_support, "exact": exact, "slopes": slopes, "support": sizes}
    print(machine.write("sparse", result))


if __name__ == "__main__":
    main()
