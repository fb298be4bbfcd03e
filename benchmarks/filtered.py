"""How fast is a filtered vector search beside hnswlib's Python filter at equal recall?

    python benchmarks/filtered.py [--rows 100000] [--folder DIR]

Filters that pass 10% and 1% of the rows; "first" computes the bitmap from the database, "cached" has it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import hnswlib
import numpy as np
from data import realistic_vectors, vector_store
from machine import write

K = 10
QUERIES = 60


def main() -> None:
    """Run and write results/filtered.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, default=None, help="keep the store there, for the next run")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    vectors = realistic_vectors(arguments.rows, 384, seed=1)
    queries = realistic_vectors(QUERIES, 384, seed=5)
    buckets = np.random.default_rng(3).integers(0, 100, size=arguments.rows)
    rival = hnswlib.Index("cosine", 384)
    saved = folder / f"hnswlib-{arguments.rows}.bin"
    if saved.exists():
        rival.load_index(str(saved))
    else:
        rival.init_index(arguments.rows, M=16, ef_construction=200, random_seed=1)
        rival.add_items(vectors)
        rival.save_index(str(saved))
    rival.set_num_threads(1)
    results = []
    with vector_store(folder, arguments.rows) as store:
        for percent in (10, 1):
            passing = buckets < percent
            allowed = np.flatnonzero(passing)
            truth = [set(allowed[np.argsort(-(vectors[allowed] @ query))[:K]].tolist()) for query in queries]
            condition = {"bucket": {"$lt": percent}}
            started = time.perf_counter()
            store.search(embedding=queries[0], k=K, filter=condition)
            first = (time.perf_counter() - started) * 1e6
            with store.snapshot() as (reader, view):
                scope = view.scope(None, 0.0, reader.labels_where(condition, None, None))
            keep = passing.tolist()
            rival.set_ef(80)
            timings: dict[str, list[float]] = {"hnswlib": [], "agentmem": [], "agentmem index only": []}
            hits: dict[str, list[float]] = {"hnswlib": [], "agentmem": []}
            for query, true in zip(queries, truth, strict=True):
                started = time.perf_counter()
                labels, _ = rival.knn_query(query, k=K, filter=keep.__getitem__)
                timings["hnswlib"].append((time.perf_counter() - started) * 1e6)
                hits["hnswlib"].append(len(set(labels[0].tolist()) & true) / K)
                started = time.perf_counter()
                found = store.search(embedding=query, k=K, filter=condition)
                timings["agentmem"].append((time.perf_counter() - started) * 1e6)
                hits["agentmem"].append(len({int(hit.id[1:]) for hit in found} & true) / K)
                started = time.perf_counter()
                view.nearest(query, K, scope)
                timings["agentmem index only"].append((time.perf_counter() - started) * 1e6)
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
    print(write("filtered", {"rows": arguments.rows, "k": K, "hnswlib_ef": 80, "by_share": results}))


if __name__ == "__main__":
    main()
