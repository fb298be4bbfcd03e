"""What the monitor of head diversity costs a search.

    python benchmarks/diversity.py

Times the recording of a ranking's parts where it is looked at, and the mean over all, most of which are passed by, on
parts like those of a search for ten hits: fifteen heads, eleven of which say something, and seventy candidates.
Processor time, since other processes may run beside it.  Writes results/diversity.json.
"""

from __future__ import annotations

import time

import machine
import numpy as np

from agentmem.rerank.diversity import EVERY, HeadDiversity, divergence

HEADS, SILENT, CANDIDATES = 15, 4, 70


def main() -> None:
    """Measure and write."""
    parts = np.random.default_rng(0).gamma(1.0, size=(HEADS, CANDIDATES)).astype(np.float32)
    parts[:SILENT] = 0
    monitor = HeadDiversity()

    def passed_by() -> None:
        monitor.record(parts)

    def looked_at() -> None:
        HeadDiversity().record(parts)

    timed = machine.paired(
        {"looked at": looked_at, "mean of all": passed_by}, repeats=201, inner=EVERY, clock=time.process_time_ns
    )
    shares = parts[SILENT:] / parts[SILENT:].sum(axis=1, keepdims=True)
    print(timed["medians_us"], "divergence", float(divergence(shares)))
    machine.write("diversity", {"every": EVERY, "heads": HEADS, "silent": SILENT, "candidates": CANDIDATES, **timed})


if __name__ == "__main__":
    main()
