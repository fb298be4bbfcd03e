"""How fast is a filtered vector search beside hnswlib's Python filter at equal recall?

    python benchmarks/filtered.py [--rows 100000] [--folder DIR]

Filters that pass 10% and 1% of the rows, on a metadata path with an index.  "first" is a filter that the
store has not seen, so that the bitmap is made from the database; the others have it.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
from data import folder_of, hnswlib_index, realistic_vectors, rows_and_folder, vector_store
from machine import write
from numpy.typing import NDArray

import agentmem

K = 10
QUERIES = 60
REPEATS = 7
EF = 80
NAMES = ("hnswlib", "agentmem", "agentmem index only")


def first_call(store: agentmem.MemoryStore, query: NDArray[np.float32], percent: int, turn: int) -> float:
    """Return the microseconds of a search behind a filter that the store has not seen."""
    condition = {"bucket": {"$lt": percent, "$gte": -1 - turn}}
    started = time.perf_counter()
    store.search(embedding=query, k=K, filter=condition)
    return (time.perf_counter() - started) * 1e6


def main() -> None:
    """Run and write results/filtered.json."""
    arguments = rows_and_folder(__doc__)
    folder = folder_of(arguments)
    vectors = realistic_vectors(arguments.rows, 384, seed=1)
    queries = realistic_vectors(QUERIES, 384, seed=5)
    buckets = np.random.default_rng(3).integers(0, 100, size=arguments.rows)
    rival = hnswlib_index(folder, vectors)
    results = []
    with vector_store(folder, arguments.rows) as store:
        store.create_metadata_index("bucket")
        for percent in (10, 1):
            passing = buckets < percent
            allowed = np.flatnonzero(passing)
            truth = [set(allowed[np.argsort(-(vectors[allowed] @ query))[:K]].tolist()) for query in queries]
            condition = {"bucket": {"$lt": percent}}
            for query in queries:
                store.search(embedding=query, k=K, filter=condition)
            first = statistics.median(first_call(store, queries[turn], percent, turn) for turn in range(REPEATS))
            with store.snapshot() as (reader, view):
                scope = view.scope(None, 0.0, reader.labels_where(condition, None, None))
            keep = passing.tolist()
            rival.set_ef(EF)
            calls = (
                lambda query, keep=keep: rival.knn_query(query, k=K, filter=keep.__getitem__),
                lambda query, condition=condition: store.search(embedding=query, k=K, filter=condition, ef=EF),
                lambda query, view=view, scope=scope: view.nearest(query, K, scope, ef=EF),
            )
            timings: dict[str, list[float]] = {name: [] for name in NAMES}
            for _ in range(REPEATS):
                for name, call in zip(NAMES, calls, strict=True):
                    started = time.perf_counter()
                    for query in queries:
                        call(query)
                    timings[name].append((time.perf_counter() - started) / QUERIES * 1e6)
            hits: dict[str, list[float]] = {"hnswlib": [], "agentmem": []}
            for query, true in zip(queries, truth, strict=True):
                hits["hnswlib"].append(len(set(calls[0](query)[0][0].tolist()) & true) / K)
                hits["agentmem"].append(len({int(hit.id[1:]) for hit in calls[1](query)} & true) / K)
            medians = {name: statistics.median(values) for name, values in timings.items()}
            row = {
                "percent": percent,
                "recall": {name: statistics.mean(values) for name, values in hits.items()},
                "median_us": medians,
                "first_us": first,
                "times_faster": {
                    "index only": medians["hnswlib"] / medians["agentmem index only"],
                    "whole call": medians["hnswlib"] / medians["agentmem"],
                    "first call": medians["hnswlib"] / first,
                },
                "raw_us": timings,
            }
            results.append(row)
            print(percent, row["recall"], medians, round(first), row["times_faster"], flush=True)
    print(write("filtered", {"rows": arguments.rows, "k": K, "ef": EF, "by_share": results}))


if __name__ == "__main__":
    main()
