"""How long from a new process to the first answer, and what does a record take in memory?

    python benchmarks/startup.py [--rows 100000] [--folder DIR] [--cold]

Each run is a process of its own; the clock starts after ``import agentmem``.  ``--cold`` drops the page cache first
(needs root).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from data import folder_of, vector_store
from machine import write

CHILD = """
import json, sys, time
import numpy as np
import agentmem
import agentmem.store
query = np.random.default_rng(0).normal(size=384).astype(np.float32)
def private_kb():
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))
before = private_kb()
started = time.perf_counter()
store = agentmem.MemoryStore(sys.argv[1], embedder=None, dimension=384, merge="manual")
opened = time.perf_counter()
store.search(embedding=query, k=10)
searched = time.perf_counter()
for _ in range(200):
    store.search(embedding=np.random.default_rng(_).normal(size=384).astype(np.float32), k=10)
after = private_kb()
print(json.dumps({"open_ms": (opened - started) * 1e3, "first_search_ms": (searched - opened) * 1e3,
                  "together_ms": (searched - started) * 1e3, "private_growth_kb": after - before}))
"""


def drop_caches() -> None:
    """Have the kernel forget every cached page."""
    subprocess.run(["sync"], check=True)
    Path("/proc/sys/vm/drop_caches").write_text("3")


def main() -> None:
    """Run and write results/startup.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, default=None, help="keep the store there, for the next run")
    parser.add_argument("--cold", action="store_true", help="also measure with an empty page cache")
    arguments = parser.parse_args()
    folder = folder_of(arguments)
    with vector_store(folder, arguments.rows) as store:
        path = store.path
    result: dict[str, object] = {"rows": arguments.rows}
    for name in ("warm", "cold") if arguments.cold else ("warm",):
        runs = []
        for _ in range(9 if name == "warm" else 5):
            if name == "cold":
                drop_caches()
            output = subprocess.run([sys.executable, "-c", CHILD, path], check=True, capture_output=True, text=True)
            runs.append(json.loads(output.stdout))
        result[name] = {key: statistics.median(run[key] for run in runs) for key in runs[0]} | {"raw": runs}
        print(name, {key: round(value, 2) for key, value in result[name].items() if key != "raw"}, flush=True)
    print(write("startup", result))


if __name__ == "__main__":
    main()
