"""How long does each mechanism take?  Self-attention over rows of 64 numbers at three sizes; what the service costs.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/mechanisms.py [--mechanism NAME ...]

Writes benchmarks/results/mechanisms.json, from which docs/mechanisms.md is rendered; with names, only these are
measured again and the others kept.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import timeit
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np
from machine import RESULTS, paired, write

from agentmem.attention import AttentionService, MechanismSelector, attend, registry
from agentmem.attention.status import instruction_set
from agentmem.attention.timing import time_mechanism
from agentmem.progress import track

SIZES = (128, 1024, 4096)
DIM = 64
START = """
import time
import numpy as np
before = time.perf_counter()
from agentmem.attention.service import AttentionService
imported = time.perf_counter()
attention = AttentionService(fallback_mechanism=None)
attention.forward(np.ones((1, 64), np.float32), np.ones((64, 64), np.float32))
print(imported - before, time.perf_counter() - before)
"""


def measure(name: str) -> dict[str, Any]:
    """Return the timings of one mechanism by size."""
    return {str(size): asdict(time_mechanism(name, size, DIM, seconds=0.3)) for size in SIZES}


def starting() -> dict[str, float]:
    """Return the milliseconds from NumPy to the library, and to its first answer: medians over processes.

    The first process, which may have to compile the sources, is left out; bytecode is kept, as pip does.
    """
    keeps = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    runs = [
        subprocess.run(
            [sys.executable, "-c", START], check=True, capture_output=True, text=True, env=keeps
        ).stdout.split()
        for _ in range(10)
    ][1:]
    imported, first = (statistics.median(float(run[at]) for run in runs) * 1e3 for at in (0, 1))
    return {"import_ms": imported, "import_and_first_call_ms": first}


def through_the_service() -> dict[str, Any]:
    """Return the time of a call by itself and through the service, and of a batch over one thread and over two."""
    rng = np.random.default_rng(0)
    query, keys = rng.standard_normal((1, DIM), np.float32), rng.standard_normal((300, DIM), np.float32)
    attn = AttentionService(fallback_mechanism=None)
    call = paired({"attend": lambda: attend(query, keys), "forward": lambda: attn.forward(query, keys)}, 11, 100)
    long = [(rng.standard_normal((256, DIM), np.float32),) * 2 for _ in range(64)]
    batches = {n: AttentionService(fallback_mechanism=None, worker_threads=n) for n in (1, 2)}
    batch = paired({f"{n} threads": partial(each.forward_batch, long) for n, each in batches.items()}, 11)
    return {"call": call, "batch of 64, 256 queries and keys": batch}


def selecting() -> float:
    """Return the microseconds of a selection, over every kind of features."""
    selector = MechanismSelector()
    times = timeit.repeat(lambda: selector.select(100, batch_size=8, task="memory-retrieval"), number=1_000, repeat=9)
    return statistics.median(times) * 1e3


def main() -> None:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mechanism", action="append", help="only this one; may be repeated")
    names = parser.parse_args().mechanism or registry.list()
    path = RESULTS / "mechanisms.json"
    before = json.loads(path.read_text())["mechanisms"] if path.exists() else {}
    measured = {name: before[name] for name in registry.list() if name in before and name not in names}
    with track("timing", len(names), sys.stderr.isatty()) as advance:
        for name in names:
            measured[name] = measure(name)
            print(f"{name:<32}", *(f"{each['median_us']:>12,.0f} µs" for each in measured[name].values()), flush=True)
            advance(1)
    result: dict[str, Any] = {
        "dim": DIM,
        "instruction_set": instruction_set(),
        "start": starting(),
        "select_us": selecting(),
    }
    result["service"] = through_the_service()
    print(result["start"], f"selection {result['select_us']:.1f} µs")
    print({name: each["medians_us"] for name, each in result["service"].items()})
    print(write("mechanisms", result | {"mechanisms": dict(sorted(measured.items()))}))


if __name__ == "__main__":
    main()
