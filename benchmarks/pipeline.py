"""How long does the default search take from text to records, beside a search by vectors alone, and where does it go?

The two take turns; each asks queries that were not asked before.

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
    texts = [" ".join(text.split()[:9]) for text in talk(3 * QUERIES, seed=11)]
    results: list[dict[str, Any]] = []
    for rows in arguments.rows:
        with talk_store(folder, rows) as store:
            for text in talk(WARM_UP, seed=12):
                store.search(" ".join(text.split()[:9]))
            times: dict[str, list[float]] = {"auto": [], "dense": []}
            for place, text in enumerate(texts[: 2 * QUERIES]):
                mechanism = ("auto", "dense")[place % 2]
                started = time.perf_counter()
                store.search(text, mechanism=mechanism)
                times[mechanism].append((time.perf_counter() - started) * 1e3)
            store.metrics.clear()
            for text in texts[2 * QUERIES :]:
                store.search(text)
            stages = store.stats()["latency"]
        row = {
            "rows": rows,
            "p50_ms": statistics.median(times["auto"]),
            "p95_ms": sorted(times["auto"])[int(0.95 * QUERIES)],
            "dense_p50_ms": statistics.median(times["dense"]),
            "stages": stages,
        }
        results.append(row)
        print(rows, {key: round(row[key], 3) for key in ("p50_ms", "p95_ms", "dense_p50_ms")}, flush=True)
        for name, stage in stages.items():
            print(f"  {name:32} n {stage['count']:6.0f}  p50 {stage['p50_us']:8.0f} µs  p95 {stage['p95_us']:8.0f} µs")
    print(write("pipeline", {"queries": QUERIES, "by_rows": results}))


if __name__ == "__main__":
    main()
