"""Does the time of the linear family grow with n, and from where does it beat exact attention?

Self-attention over n rows, one head, from 2,048 to 32,768 rows: CPU time of one thread, the slope of its logarithm
against that of n, the peak of the memory allocated on the way, and exact flash attention beside them.

Run: ``OPENBLAS_NUM_THREADS=1 python benchmarks/linear.py``; writes benchmarks/results/linear.json.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any

import machine
import numpy as np

from agentmem.attention import AttentionWeights, attend
from agentmem.progress import track

SIZES = (2048, 4096, 8192, 16384, 32768)
EXACT = "flash-attention-v2"
CASES: dict[str, dict[str, Any]] = {
    "linear-attention": {},
    "linear-attention, causal": {"causal": True},
    "performer-attention, 256 features": {},
    "performer-attention, 256 features, causal": {"causal": True},
    "cosformer-attention": {},
    "cosformer-attention, causal": {"causal": True},
    "rfa-attention, 256 features": {},
    "rfa-attention, 256 features, causal": {"causal": True},
    "nystrom-attention, 64 landmarks": {},
    "linformer-attention, rank 256": {},
}


def calls(n: int, dim: int) -> dict[str, Callable[[], object]]:
    """Return every case, and exact attention, over the same n rows."""
    rng = np.random.default_rng(n)
    rows = [rng.standard_normal((n, dim), np.float32) for _ in range(3)]
    result: dict[str, Callable[[], object]] = {}
    for case, params in CASES.items():
        name, inputs = case.split(",")[0], {}
        if name == "cosformer-attention":
            inputs["positions"] = np.arange(n)
        if name == "linformer-attention":
            inputs["weights"] = AttentionWeights.init(name, dim=dim, n_keys=n)
        result[case] = partial(attend, *rows, mechanism=name, params=params, **inputs)
    result[EXACT] = partial(attend, *rows, mechanism=EXACT)
    return result


def peak_mib(call: Callable[[], object]) -> float:
    """Return the most memory that one call held at a time, its output counted."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def slope(times: dict[int, float]) -> float:
    """Return the exponent of growth, fitted by least squares to the logarithms."""
    return float(np.polyfit(np.log(list(times)), np.log(list(times.values())), 1)[0])


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    raw: dict[int, dict[str, Any]] = {}
    with track("measuring", len(SIZES), True) as step:
        for n in SIZES:
            rivals = calls(n, options.dim)
            raw[n] = machine.paired(rivals, options.repeats, clock=time.process_time_ns)
            step(1)
    peaks = {case: peak_mib(call) for case, call in rivals.items()}
    exact, results = raw[SIZES[-1]]["medians_us"][EXACT], {}
    print(f"{'case':<44}" + "".join(f"{n:>11,}" for n in SIZES) + f"{'slope':>8}{'x exact':>9}{'MiB':>8}")
    for case in raw[SIZES[0]]["medians_us"]:
        times = {n: raw[n]["medians_us"][case] for n in SIZES}
        last = times[SIZES[-1]]
        results[case] = {
            "medians_us": times,
            "slope": slope(times),
            "times_faster_than_exact": exact / last,
            "peak_mib": peaks[case],
        }
        cells = "".join(f"{us / 1e3:>8.1f} ms" for us in times.values())
        print(f"{case:<44}{cells}{slope(times):>8.2f}{exact / last:>8.1f}x{peaks[case]:>8.1f}")
    content = {
        "clock": "CPU time",
        "dim": options.dim,
        "cases": results,
        "raw_us": {n: r["raw_us"] for n, r in raw.items()},
    }
    print(machine.write("linear", content))


if __name__ == "__main__":
    main()
