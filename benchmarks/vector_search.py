"""How fast is a vector-only search, records returned, beside raw ``hnswlib.knn_query`` at equal recall?

    python benchmarks/vector_search.py [--rows 100000] [--folder DIR] [--vectors FILE.npy]

One thread.  Ratios below 1 mean that agentmem, text and metadata included, is faster than the bare graph search.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
from data import folder_of, hnswlib_index, realistic_vectors, rows_and_folder, vector_store
from machine import write
from numpy.typing import NDArray

K = 10
QUERIES = 400
REPEATS = 11
NAMES = ("hnswlib", "agentmem", "agentmem index only")
EFS = (40, 60, 80, 100, 120, 160, 200, 320)


def exact(vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> list[set[int]]:
    """Return the true neighbours of each query."""
    return [set(np.argpartition(-(vectors @ query), K)[:K].tolist()) for query in queries]


def recall(found: list[set[int]], truth: list[set[int]]) -> float:
    """Return the mean share of true neighbours found."""
    return statistics.mean(len(a & b) / K for a, b in zip(found, truth, strict=True))


def microseconds(call: Any, queries: NDArray[np.float32]) -> float:
    """Return the mean time of one call over all queries."""
    started = time.perf_counter_ns()
    for query in queries:
        call(query)
    return (time.perf_counter_ns() - started) / len(queries) / 1e3


def main() -> None:
    """Run and write results/vector_search.json."""
    arguments = rows_and_folder(__doc__)
    folder = folder_of(arguments)
    vectors = realistic_vectors(arguments.rows, 384, seed=1)
    queries = realistic_vectors(QUERIES, 384, seed=5)
    truth = exact(vectors, queries)
    rival = hnswlib_index(folder, vectors)
    with vector_store(folder, arguments.rows) as store:
        with store.snapshot() as (_, view):
            scope = view.scope(None, 0.0)
        raw: dict[int, dict[str, list[float]]] = {ef: {name: [] for name in NAMES} for ef in EFS}
        for _ in range(REPEATS):
            for ef in EFS:
                rival.set_ef(ef)
                calls = (
                    lambda query: rival.knn_query(query, k=K),
                    lambda query, ef=ef: store.search(embedding=query, k=K, ef=ef),
                    lambda query, ef=ef: view.nearest(query, K, scope, ef=ef),
                )
                for name, call in zip(NAMES, calls, strict=True):
                    raw[ef][name].append(microseconds(call, queries))
        rows = []
        for ef in EFS:
            rival.set_ef(ef)
            found = [{int(label) for label in rival.knn_query(query, k=K)[0][0]} for query in queries]
            ours = [{int(hit.id[1:]) for hit in store.search(embedding=query, k=K, ef=ef)} for query in queries]
            medians = {name: statistics.median(times) for name, times in raw[ef].items()}
            rows.append(
                {
                    "ef": ef,
                    "recall": {"hnswlib": recall(found, truth), "agentmem": recall(ours, truth)},
                    "median_us": medians,
                    "glue_us": medians["agentmem"] - medians["agentmem index only"],
                    "raw_us": raw[ef],
                }
            )
            print(ef, rows[-1]["recall"], {name: round(value, 1) for name, value in medians.items()}, flush=True)
    pairs = []
    for row in rows:
        if row["ef"] < 80:
            continue
        enough = [other for other in rows if other["recall"]["agentmem"] >= row["recall"]["hnswlib"]]
        if enough:
            best = min(enough, key=lambda other: other["ef"])
            ratio = best["median_us"]["agentmem"] / row["median_us"]["hnswlib"]
            pairs.append({"hnswlib_ef": row["ef"], "agentmem_ef": best["ef"], "ratio": ratio})
            print(f"hnswlib ef {row['ef']} against agentmem ef {best['ef']}: {ratio:.2f}x")
    print(
        write(
            "vector_search", {"rows": arguments.rows, "k": K, "queries": QUERIES, "by_ef": rows, "equal_recall": pairs}
        )
    )


if __name__ == "__main__":
    main()
