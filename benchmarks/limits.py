"""Which goals of speed this machine allows: each goal, its measured ratio, and the least time that the work can take.

Run, with one thread of BLAS and torch, and a C compiler (``CC``, else ``cc``):

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/limits.py [--one-thread]

writes benchmarks/results/limits.json, without two threads against one where the other cores have work of their own.
One core's multiply-adds a second, its bytes read a second from as much memory as the work touches, the start of a
thread, and an empty call through the public function are measured by the probe limits.c in the same run as agentmem and
its rivals.  The least time of a call is the longer of operations over peak and of bytes over bandwidth, and the empty
call: exponentials, sums across lanes and the order of work come free, so that no code gets there.  A goal is "out of
reach here" only where even that time misses it.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np
from attention import DIM, TARGETS, batch, load_torch, long_self_attention, low_precision, one_query, threads

from agentmem.attention import direct, flash

KIB = 1024
SIZES = {"16 KiB": 16 * KIB, "512 KiB": 512 * KIB, "8 MiB": 8 * KIB**2, "256 MiB": 256 * KIB**2}
"""Buffers that common first-level, second-level and third-level caches hold, and one that none does."""
THREADS_GOAL, CODES_GOAL = 1.6, 1.5


class Goal(NamedTuple):
    """One goal: ``goal`` times the rival's speed; microseconds as measured, and the least that the work can take."""

    name: str
    goal: float
    rival: str
    rival_us: float
    us: float
    least_us: float
    bound: str

    def to_dict(self) -> dict[str, Any]:
        """Return it with its ratios and verdict, ready for JSON."""
        ratio, best = self.rival_us / self.us, self.rival_us / self.least_us
        verdict = "reached" if ratio >= self.goal else "missed" if best >= self.goal else "out of reach here"
        return self._asdict() | {
            "ratio": ratio,
            "best_ratio": best,
            "share_of_limit": self.least_us / self.us,
            "verdict": verdict,
        }


def compiled() -> Any:
    """Return limits.c, compiled for this machine."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "limits.so"
        source = Path(__file__).with_suffix(".c")
        compiler = shlex.split(os.environ.get("CC", "cc"))
        subprocess.run(
            [*compiler, "-O3", "-march=native", "-shared", "-fPIC", "-pthread", "-o", library, source], check=True
        )
        probe: Any = ctypes.CDLL(str(library))
    probe.multiply_adds.restype = probe.start_threads.restype = ctypes.c_int64
    probe.multiply_adds.argtypes = [ctypes.c_int64, ctypes.c_float, ctypes.POINTER(ctypes.c_float)]
    probe.read_bytes.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.POINTER(ctypes.c_int32)]
    probe.start_threads.argtypes = [ctypes.c_int64]
    return probe


def least_seconds(function: Callable[[], object], repeats: int = 15) -> float:
    """Return the shortest of some runs: a limit is what the machine does at its best."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


class Limits:
    """What one core of this machine can do."""

    def __init__(self) -> None:
        self._probe = compiled()
        kept, rounds = ctypes.c_float(), 1_000_000
        operations = self._probe.multiply_adds(rounds, 0.5, kept)
        self.flops = operations / least_seconds(lambda: self._probe.multiply_adds(rounds, 0.5, kept))
        self.thread_us = least_seconds(lambda: self._probe.start_threads(200)) / 200 * 1e6
        query = np.ones(8, np.float32)
        keys, out = np.ones((1, 8), np.float32), np.empty(8, np.float32)
        empty: Callable[[], object] = lambda: [direct.attention(query, keys, out=out) for _ in range(2000)]  # noqa: E731
        self.call_us = least_seconds(empty) / 2000 * 1e6
        self.bandwidth = cache(self._bandwidth)

    def _bandwidth(self, size: int) -> float:
        """Return the bytes a second that are read over and over from ``size`` bytes."""
        size = max(size // 512, 1) * 512
        room, kept, rounds = np.ones(size + 64, np.uint8), ctypes.c_int32(), max(1, (64 << 20) // size)
        start = room.ctypes.data + -room.ctypes.data % 64
        return rounds * size / least_seconds(lambda: self._probe.read_bytes(start, size, rounds, kept))

    def of(self, operations: float, size: int, reads: float) -> tuple[float, str]:
        """Return the least microseconds of a call, and what bounds it.

        Args:
            operations: floating-point, of the products alone.
            size: bytes of the rows that are read.
            reads: how many times they go through a register at least.
        """
        bounds = {
            "multiply-adds": operations / self.flops,
            "reads": max(size / self.bandwidth(size), reads * size / self.bandwidth(SIZES["16 KiB"])),
        }
        bound = max(bounds, key=bounds.__getitem__)
        return bounds[bound] * 1e6 + self.call_us, f"{bound} and call"

    def to_dict(self) -> dict[str, Any]:
        """Return the measured limits, ready for JSON."""
        return {
            "multiply_adds_gflops": self.flops / 1e9,
            "read_gb_a_second": {name: self.bandwidth(size) / 1e9 for name, size in SIZES.items()},
            "empty_call_us": self.call_us,
            "thread_us": self.thread_us,
        }


def work(name: str) -> tuple[float, int, float]:
    """Return the operations, the bytes of keys and values, and how often they are read, of a case of attention.py."""
    if name.startswith("64 queries"):
        return 4.0 * 64 * 1000 * DIM, 4 * 1000 * DIM, 0
    if name.startswith("self-attention"):
        return 4.0 * 8 * 4096**2 * 64, 2 * 4 * 8 * 4096 * 64, 0
    n = int(name.rsplit(" ", 1)[1])
    if name.startswith("Poincaré"):
        return 4.0 * n * DIM, 4 * n * DIM, 1  # a product and a norm of each key
    return 4.0 * n * DIM, 4 * n * DIM, 2  # keys that are the values: once for the scores, once for their mixture


def calls(limits: Limits, torch: Any) -> Iterator[Goal]:
    """Measure every call that has a goal."""
    plan = [case for n in (30, 300, 1000) for case in one_query(torch, n)]
    plan.append(("64 queries × 1000 keys", 3, batch(torch)))
    for name, inner, rivals in plan:
        yield from goals(limits, name, machine.paired(rivals, 21, inner)["medians_us"])
    name = "self-attention, 8 heads, n = 4096, d = 64"
    yield from goals(limits, name, machine.paired(long_self_attention(torch, 4096), 3)["medians_us"])


def goals(limits: Limits, name: str, medians: dict[str, float]) -> Iterator[Goal]:
    """Yield the goals of one case against the rivals that were measured."""
    for rival, goal in zip(("numpy", "torch"), TARGETS.get(name, (None, None)), strict=True):
        if goal is not None and rival in medians:
            yield Goal(name, goal, rival, medians[rival], medians["agentmem"], *limits.of(*work(name)))


def two_threads(limits: Limits) -> Iterator[Goal]:
    """Measure two threads against one; both work at best, but for the start of the second."""
    for name, case in threads().items():
        one, two = case["medians_us"]["1"], case["medians_us"]["2"]
        least = (one + limits.thread_us) / 2
        yield Goal(
            f"two threads: {name}", THREADS_GOAL, "one thread", one, two, least, "half the work, a thread's start"
        )


def coded_keys(limits: Limits) -> Iterator[Goal]:
    """Measure keys of few bits against float32."""
    for kind, case in low_precision(10_000, time.perf_counter_ns).items():
        for code in ("int8", "bf16"):
            least, bound = limits.of(4.0 * 10_000 * DIM, case["bytes"][code], 1)
            us = case["medians_us"]
            yield Goal(f"10,000 keys in {code}: {kind}", CODES_GOAL, "float32", us["float32"], us[code], least, bound)


def runner(limits: Limits) -> Iterator[Goal]:
    """Measure the flash runner: its case with the least room, and that with the most."""
    cases = flash.suite(iterations=7).cases
    bounds = {}
    for case in cases:
        operations, size = 4.0 * case.n_queries * case.n_keys * case.dim, 4 * case.n_keys * case.dim
        bounds[case] = limits.of(operations, size, 2 if case.n_queries == 1 else 0)
    room = {case: case.naive_us / bounds[case][0] for case in cases}
    tightest, widest = min(cases, key=room.__getitem__), max(cases, key=room.__getitem__)
    fastest = max(cases, key=lambda case: case.speedup)
    if fastest.speedup >= flash.MOST_SPEEDUP:
        widest = fastest
    for case, goal, which in (
        (tightest, flash.LEAST_SPEEDUP, "every case"),
        (widest, flash.MOST_SPEEDUP, "some case"),
    ):
        queries = "one query" if case.n_queries == 1 else f"{case.n_queries} queries"
        name = f"flash runner, {which}: {queries} × {case.n_keys:,} keys × {case.dim}"
        yield Goal(name, goal, "numpy", case.naive_us, case.flash_us, *bounds[case])


def main() -> None:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one-thread", action="store_true", help="leave out two threads against one")
    one_thread = parser.parse_args().one_thread
    limits, torch = Limits(), load_torch()
    if torch is None:
        print("torch is not installed: the goals against it are left out")
    measured = limits.to_dict()
    print(measured)
    rows = []
    both = [] if one_thread else two_threads(limits)
    for part in (calls(limits, torch), both, coded_keys(limits), runner(limits)):
        for goal in part:
            row = goal.to_dict()
            rows.append(row)
            print(
                f"{row['name']:<62}{row['us']:>12.2f} µs, least {row['least_us']:>11.2f} ({row['bound']}); "
                f"{row['ratio']:.2f}× {row['rival']}, at most {row['best_ratio']:.2f}×, goal {row['goal']}×: "
                f"{row['verdict']}",
                flush=True,
            )
    told = None if torch is None else f"{torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"
    print(machine.write("limits", {"torch": told, "limits": measured, "goals": rows}))


if __name__ == "__main__":
    main()
