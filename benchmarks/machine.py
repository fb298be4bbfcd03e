"""What every benchmark shares: the machine it ran on, and timings of rivals taken turn by turn."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_CORETYPE")
FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "asimd", "asimddp")


def _processor() -> tuple[str, list[str]]:
    """Return the processor's name and those of ``FLAGS`` that it has, as /proc/cpuinfo tells them."""
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor() or platform.machine(), []
    facts: dict[str, str] = {}
    for line in cpuinfo.read_text().splitlines():
        name, _, value = line.partition(":")
        facts.setdefault(name.strip(), value.strip())
    has = set((facts.get("flags") or facts.get("Features") or "").split())
    return facts.get("model name", platform.machine()), [flag for flag in FLAGS if flag in has]


def _blas() -> dict[str, Any]:
    """Return NumPy's BLAS: name, version, core type and threads as far as they can be known."""
    try:
        threadpoolctl = importlib.import_module("threadpoolctl")
    except ImportError:
        built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return {key: built.get(key) for key in ("name", "version", "openblas configuration")} | {"core_type": None}
    pools = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    if not pools:
        return {"name": None, "core_type": None}
    pool = pools[0]
    return {
        "name": pool["internal_api"],
        "version": pool.get("version"),
        "core_type": pool.get("architecture"),
        "threads": pool["num_threads"],
    }


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def describe() -> dict[str, Any]:
    """Return what a reader needs to judge a figure: machine, versions, threads and BLAS, ready for JSON."""
    model, flags = _processor()
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "flags": flags,
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "blas": _blas(),
        "hnswlib": _version("hnswlib"),
        "sqlite": sqlite3.sqlite_version,
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "threads": {name: os.environ.get(name) for name in THREAD_VARIABLES},
        "agentmem": _version("agentmem"),
        "agentmem_backend": os.environ.get("AGENTMEM_BACKEND", "auto"),
    }


def paired(
    functions: Mapping[str, Callable[[], object]],
    repeats: int = 11,
    inner: int = 1,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> dict[str, Any]:
    """Time rivals turn by turn, so that a drift of the machine falls on all of them alike.

    Args:
        functions: name -> a call without arguments.
        repeats: rounds; in each, every function runs ``inner`` times in a row, in rotating order.
        inner: calls per timing; take enough of them that one timing lasts a millisecond.
        clock: nanoseconds; ``time.process_time_ns`` leaves out what other processes take of a busy machine.

    Returns:
        ``{"medians_us": {name: µs per call}, "raw_us": {name: [one figure a round]}, "repeats", "inner"}``.
    """
    raw: dict[str, list[float]] = {name: [] for name in functions}
    names = list(functions)
    for function in functions.values():
        function()
    for turn in range(repeats):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            function = functions[name]
            started = clock()
            for _ in range(inner):
                function()
            raw[name].append((clock() - started) / inner / 1e3)
    return {
        "medians_us": {name: statistics.median(times) for name, times in raw.items()},
        "raw_us": raw,
        "repeats": repeats,
        "inner": inner,
    }


def write(name: str, result: Mapping[str, Any]) -> Path:
    """Write ``result`` with the machine's description to ``benchmarks/results/<name>.json`` and return the path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": describe(), **result}, indent=1) + "\n")
    return path
