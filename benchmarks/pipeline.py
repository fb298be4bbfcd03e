"""How long does the default search take from text to records, and where does the time go?

python benchmarks/pipeline.py [--rows 10000 100000] [--folder DIR]
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from data import folder_of, rows_and_folder, talk, talk_store
from machine import write

QUERIES = 300
WARM_UP = 1_000
"""Other searches come first: a process that has run for a while knows the stems and pieces of common words."""


def main() -> None:
    """Run and write results/pipeline.json."""
    arguments = rows_and_folder(__doc__, rows=[10_000, 100_000])
    folder = folder_of(arguments)
    queries = [" ".join(text.split()[:9]) for text in talk(QUERIES, seed=11)]
    results: list[dict[str, Any]] = []
    for rows in arguments.rows:
        with talk_store(folder, rows) as store:
            for text in talk(WARM_UP, seed=12):
                store.search(" ".join(text.split()[:9]))
            store.metrics.clear()
            times = []
            for query in queries:
                started = time.perf_counter()
                store.search(query)
                times.append((time.perf_counter() - started) * 1e3)
            stages = store.stats()["latency"]
            dense = []
            for query in queries:
                started = time.perf_counter()
                store.search(query, mechanism="dense")
                dense.append((time.perf_counter() - started) * 1e3)
            times.sort()
        total = sum(times) * 1e3
        row = {
            "rows": rows,
            "p50_ms": statistics.median(times),
            "p95_ms": times[int(0.95 * QUERIES)],
            "dense_p50_ms": statistics.median(dense),
            "stages": stages,
            "total_us": total,
        }
        results.append(row)
        print(rows, {key: round(row[key], 3) for key in ("p50_ms", "p95_ms", "dense_p50_ms")}, flush=True)
        for name, stage in stages.items():
            print(f"  {name:32} n {stage['count']:6.0f}  p50 {stage['p50_us']:8.0f} µs  p95 {stage['p95_us']:8.0f} µs")
    print(write("pipeline", {"queries": QUERIES, "by_rows": results}))


if __name__ == "__main__":
    main()
