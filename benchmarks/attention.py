"""Attention against NumPy and torch: one query, batches, a long self-attention, threads, keys of few bits, and targets.

Run, with one thread of BLAS and torch:

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/attention.py [--clock cpu] [--suite | --threads]

writes benchmarks/results/attention.json, and with ``--suite`` also flash.json, flash.md and flash.png.  Without torch
its columns are left out, and the JSON says so.  A build limited to AVX2 (``AGENTMEM_ISA=3 pip install .``) gives its
figures with ``--out attention_avx2``.  ``--clock cpu`` counts the process's own time, for a machine that has other work
to do; two threads against one are always by the wall's clock, and ``--threads`` measures these alone, into the results
that there are, at a moment when no core is busy.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import machine
import numpy as np
from numpy.typing import NDArray
from rerank import heads_numpy, poincare_numpy, softmax_numpy

from agentmem.attention import MechanismSelector, attend, direct, flash
from agentmem.attention.engine import native
from agentmem.attention.quantise import quantise_keys
from agentmem.attention.threads import set_num_threads

Array = NDArray[Any]
Rivals = dict[str, Callable[[], object]]
DIM = 384
TARGETS = {  # name -> least ratio against NumPy, against torch
    "one query, n = 30": (6, 5),
    "one query, n = 300": (1.8, 2),
    "one query, n = 1000": (1.5, 1.8),
    "one query of 8 heads, n = 30": (6, None),
    "one query of 8 heads, n = 300": (4, None),
    "one query of 8 heads, n = 1000": (3, None),
    "Poincaré scores, n = 30": (10, None),
    "Poincaré scores, n = 300": (10, None),
    "64 queries × 1000 keys": (None, 2),
    "self-attention, 8 heads, n = 4096, d = 64": (None, 2),
}
"""The goals; with AVX2 alone that of 64 queries × 1000 keys is 1.15."""
CLOCKS = {"wall": time.perf_counter_ns, "cpu": time.process_time_ns}


def load_torch() -> Any:
    """Return torch with one thread, or None where it is not installed."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return None
    torch.set_num_threads(1)
    return torch


def sdpa(torch: Any, query: Array, key: Array, value: Array) -> Callable[[], object]:
    """Return a call of torch's attention over (heads, n, d) arrays, converted beforehand."""
    q, k, v = (torch.from_numpy(x)[None] for x in (query, key, value))

    def run() -> object:
        with torch.no_grad():
            return torch.nn.functional.scaled_dot_product_attention(q, k, v)

    return run


def heads_textbook(query: Array, key: Array, value: Array) -> Array:
    """(heads, n, d), head by head, with every score in memory."""
    out = np.empty_like(query)
    for at, (q, k, v) in enumerate(zip(query, key, value, strict=True)):
        scores = q @ k.T * np.float32(q.shape[1] ** -0.5)
        weights = np.exp(scores - scores.max(1, keepdims=True))
        weights /= weights.sum(1, keepdims=True)
        out[at] = weights @ v
    return out


def one_query(torch: Any, n: int) -> list[tuple[str, int, Rivals]]:
    """One query over n keys that are the values: one head, eight heads, and distances in the ball."""
    rng = np.random.default_rng(n)
    key, query = rng.standard_normal((n, DIM), np.float32), rng.standard_normal(DIM, np.float32)
    unit, unit_query = key / np.linalg.norm(key, axis=1, keepdims=True), query / np.linalg.norm(query)
    scale, out, scores = np.float32(DIM**-0.5), np.empty(DIM, np.float32), np.empty(n, np.float32)
    inner = max(1, 9000 // n)
    one: Rivals = {
        "numpy": lambda: softmax_numpy(query, key, scale),
        "agentmem": lambda: direct.attention(query, key),
        "agentmem out=": lambda: direct.attention(query, key, out=out),
    }
    eight: Rivals = {
        "numpy": lambda: heads_numpy(query, key, 8),
        "agentmem": lambda: direct.attention(query, key, heads=8),
    }
    if torch:
        one["torch"] = sdpa(torch, query[None, None], key[None], key[None])
        by_head = np.ascontiguousarray(key.reshape(n, 8, DIM // 8).transpose(1, 0, 2))
        eight["torch"] = sdpa(torch, query.reshape(8, 1, DIM // 8), by_head, by_head)
    ball: Rivals = {
        "numpy": lambda: poincare_numpy(unit_query, unit),
        "agentmem": lambda: direct.poincare_scores(unit_query, unit, out=scores),
    }
    return [
        (f"one query, n = {n}", inner, one),
        (f"one query of 8 heads, n = {n}", inner, eight),
        (f"Poincaré scores, n = {n}", inner, ball),
    ]


def batch(torch: Any) -> Rivals:
    """64 queries over 1,000 keys that are the values."""
    rng = np.random.default_rng(0)
    query, key = rng.standard_normal((64, DIM), np.float32), rng.standard_normal((1000, DIM), np.float32)
    rivals: Rivals = {
        "numpy": lambda: flash.textbook(query, key),
        "agentmem": lambda: direct.attention(query, key),
    }
    if torch:
        rivals["torch"] = sdpa(torch, query[None], key[None], key[None])
    return rivals


def long_self_attention(torch: Any, n: int) -> Rivals:
    """Self-attention of 8 heads of 64 numbers over n rows."""
    rows = np.random.default_rng(1).standard_normal((3, 8, n, 64), np.float32)
    rivals: Rivals = {
        "numpy": lambda: heads_textbook(*rows),
        "agentmem": lambda: direct.attention(*rows),
    }
    if torch:
        rivals["torch"] = sdpa(torch, *rows)
    return rivals


def with_threads(n: int, function: Callable[[], object]) -> Callable[[], object]:
    """Return the same call with up to n threads."""

    def run() -> object:
        set_num_threads(n)
        try:
            return function()
        finally:
            set_num_threads(None)

    return run


def threads() -> dict[str, Any]:
    """Return the speed of two threads against one: a batch, the long self-attention, and one query in parts."""
    rng = np.random.default_rng(2)
    one, key = rng.standard_normal((1, DIM), np.float32), rng.standard_normal((50_000, DIM), np.float32)
    decoding: dict[str, Any] = {"mechanism": "flash-decoding", "params": {"parts": 8}}
    cases: dict[str, tuple[Callable[[], object], int, int]] = {
        "64 queries × 1000 keys": (batch(None)["agentmem"], 21, 3),
        "self-attention, 8 heads, n = 4096, d = 64": (long_self_attention(None, 4096)["agentmem"], 5, 1),
        "flash-decoding, one query, n = 50,000": (lambda: attend(one, key, **decoding), 11, 1),
    }
    results = {}
    for name, (function, repeats, inner) in cases.items():
        timed = machine.paired({str(n): with_threads(n, function) for n in (1, 2)}, repeats, inner)
        results[name] = timed | {"ratio": timed["medians_us"]["1"] / timed["medians_us"]["2"]}
    return results


def low_precision(n: int, clock: Callable[[], int]) -> dict[str, Any]:
    """Return the time of coded keys against float32 for one query, and their relative error, by kind of rows."""
    rng = np.random.default_rng(3)
    results = {}
    for kind in ("keys and values, unit variance", "keys that are the values, unit rows"):
        query, key = rng.standard_normal(DIM, np.float32), rng.standard_normal((n, DIM), np.float32)
        value = rng.standard_normal((n, DIM), np.float32) if "and" in kind else None
        if value is None:
            query, key = query / np.linalg.norm(query), key / np.linalg.norm(key, axis=1, keepdims=True)
        coded = {precision: quantise_keys(key, value, precision=precision) for precision in ("int8", "bf16", "int4")}
        rivals: Rivals = {"float32": lambda k=key, v=value, q=query: direct.attention(q, k, v)}
        for name, codes in coded.items():
            rivals[name] = lambda c=codes, q=query: c.attend(q)
        timed = machine.paired(rivals, 15, 2, clock)
        medians = timed["medians_us"]
        wide = (x.astype(np.float64) for x in (query, key, key if value is None else value))
        exact = direct.attention(*wide)
        error = {p: float(np.linalg.norm(c.attend(query) - exact) / np.linalg.norm(exact)) for p, c in coded.items()}
        ratios = {p: medians["float32"] / medians[p] for p in coded}
        held = {p: c.nbytes for p, c in coded.items()} | {"float32": key.nbytes * (1 if value is None else 2)}
        results[kind] = timed | {"times_faster": ratios, "relative_error": error, "bytes": held}
    return results


def seed_sizes(torch: Any, clock: Callable[[], int]) -> dict[str, Any]:
    """Return the times of the sizes of the usual table: self-attention of one head and of eight, 64 numbers a head."""
    results = {}
    for name, mechanism, n, heads in (
        ("scaled-dot, 128", "scaled-dot", 128, 1),
        ("scaled-dot, 512", "scaled-dot", 512, 1),
        ("multi-head, 512 × 8 heads", "standard-mha", 512, 8),
        ("flash, 512 × 8 heads", "flash-attention-v2", 512, 8),
        ("flash, 2048 × 8 heads", "flash-attention-v2", 2048, 8),
    ):
        rows = np.random.default_rng(n).standard_normal((heads, n, 64), np.float32)
        arrays = (rows[0],) * 3 if mechanism == "scaled-dot" else (rows,) * 3
        rivals: Rivals = {
            "numpy": lambda r=rows: heads_textbook(r, r, r),
            "agentmem": lambda a=arrays, m=mechanism: attend(*a, mechanism=m),
        }
        if torch:
            rivals["torch"] = sdpa(torch, rows, rows, rows)
        scratch = direct.scratch_bytes(n, n, 64 * heads, heads=heads)
        results[name] = machine.paired(rivals, 7, max(1, 1000 // n), clock) | {"scratch_bytes": scratch}
    return results


def named_targets() -> dict[str, dict[str, Any]]:
    """Return goal and figure, in milliseconds, of each named target."""
    rng = np.random.default_rng(4)
    query, keys = rng.standard_normal((1, DIM), np.float32), rng.standard_normal((1000, DIM), np.float32)

    def timed(function: Callable[[], object]) -> float:
        return machine.paired({"x": function}, 21, 3)["medians_us"]["x"] / 1e3

    flash_v2: dict[str, Any] = {"mechanism": "flash-attention-v2"}
    linear: dict[str, Any] = {"mechanism": "linear-attention"}
    rows = {
        "flash attention, one query × 1,000 keys": (1, timed(lambda: attend(query, keys, **flash_v2))),
        "linear attention, one query × 1,000 keys": (0.5, timed(lambda: attend(query, keys, **linear))),
        "choice of a mechanism": (0.1, selection()),
        "portable fallback (NumPy), flash": (50, timed(lambda: attend(query, keys, backend="numpy", **flash_v2))),
        "HNSW and rerank, 20,000 records": (10, search()),
    }
    return {name: {"goal_ms": goal, "ms": ms, "reached": ms < goal} for name, (goal, ms) in rows.items()}


def selection() -> float:
    """Return the milliseconds of one choice by the selector."""
    selector = MechanismSelector()
    timed = machine.paired({"x": lambda: selector.select(32_000, task="memory-retrieval")}, 21, 20)
    return timed["medians_us"]["x"] / 1e3


def search() -> float:
    """Return the median milliseconds of a vector search with rerank in a store of 20,000 records."""
    import agentmem

    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((20_000, DIM), np.float32)
    with agentmem.MemoryStore(":memory:", dimension=DIM, embedder=None) as store:
        store.add_many([f"note {i}" for i in range(len(vectors))], embeddings=vectors)
        times = []
        for query in vectors[:30]:
            started = time.perf_counter()
            store.search(embedding=query, k=10)
            times.append((time.perf_counter() - started) * 1e3)
    return sorted(times)[len(times) // 2]


def show(name: str, result: dict[str, Any]) -> None:
    """Print one line: medians, and how many times faster than each rival."""
    medians = result["medians_us"]
    ours = medians["agentmem"]
    ratios = [
        f"{rival} {medians[rival]:>11.2f} ({medians[rival] / ours:>5.2f}×)"
        for rival in ("numpy", "torch")
        if rival in medians
    ]
    print(f"{name:<46}{ours:>12.2f} µs   {'   '.join(ratios)}", flush=True)


def main() -> None:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="attention")
    parser.add_argument("--suite", action="store_true", help="also run the flash runner over dimensions and keys")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--threads", action="store_true", help="only two threads against one, into the results")
    options = parser.parse_args()
    if options.threads:
        measure_threads(options.out)
        return
    clock = CLOCKS[options.clock]
    kernels = native()
    if kernels is None:
        sys.exit("the kernels are not built: there is nothing to compare")
    torch = load_torch()
    if torch is None:
        print("torch is not installed: its columns are left out")
    cases: dict[str, Any] = {}
    plan = [case for n in (30, 300, 1000) for case in one_query(torch, n)]
    plan.append(("64 queries × 1000 keys", 3, batch(torch)))
    for name, inner, rivals in plan:
        cases[name] = machine.paired(rivals, 31, inner, clock)
        show(name, cases[name])
    name = "self-attention, 8 heads, n = 4096, d = 64"
    cases[name] = machine.paired(long_self_attention(torch, 4096), 3, 1, clock)
    cases[name]["scratch_bytes"] = direct.scratch_bytes(4096, 4096, 512, heads=8)
    show(name, cases[name])
    for name, case in cases.items():
        ours = case["medians_us"]["agentmem"]
        case["times_faster"] = {rival: us / ours for rival, us in case["medians_us"].items() if "agentmem" not in rival}
        case["goal"] = dict(zip(("numpy", "torch"), TARGETS.get(name, (None, None)), strict=True))
    result = {
        "clock": options.clock,
        "isa": kernels.direct.isa(),
        "torch": None if torch is None else f"{torch.__version__}, {torch.backends.cpu.get_cpu_capability()}",
        "cases": cases,
        "threads": threads(),
        "low_precision": low_precision(10_000, clock),
        "sizes": seed_sizes(torch, clock),
        "targets": named_targets(),
    }
    for part in ("threads", "low_precision", "sizes", "targets"):
        print(f"\n{part}")
        for name, row in result[part].items():
            print(
                f"  {name}: { {key: value for key, value in row.items() if key not in ('raw_us', 'repeats', 'inner')} }"
            )
    print(machine.write(options.out, result))
    if options.suite:
        run_suite()


def measure_threads(out: str) -> None:
    """Measure two threads against one, and put it in place of what the results have."""
    path = machine.RESULTS / f"{out}.json"
    result = json.loads(path.read_text()) | {"threads": threads(), "threads_of": "a run of their own"}
    path.write_text(json.dumps(result, indent=1) + "\n")


def run_suite() -> None:
    """Run the flash runner, and write its cases, tables and plot."""
    ran = flash.suite(iterations=10, progress=True)
    machine.write("flash", ran.to_dict())
    (machine.RESULTS / "flash.md").write_text(
        "# Attention over blocks against the textbook in NumPy\n\n" + ran.to_markdown()
    )
    ran.plot(machine.RESULTS / "flash.png")
    print(ran.to_markdown())


if __name__ == "__main__":
    main()
