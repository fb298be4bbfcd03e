"""How fast is a vector-only search, records returned, beside raw ``hnswlib.knn_query`` at equal recall?

    python benchmarks/vector_search.py [--rows 100000] [--folder DIR]

One thread; the time at the recall of hnswlib is interpolated between settings of ef.  Ratios below 1 mean
that agentmem, text and metadata included, is faster than the bare graph search.  A store keeps records that it read
lately: "agentmem" has forgotten them all before each pass over the queries, "agentmem again" has not.
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
RECALL_QUERIES = 4_000
"""Recall is taken over more queries than are timed: over 400 its standard error is a fifth of a percent."""
REPEATS = 11
NAMES = ("hnswlib", "agentmem", "agentmem again", "agentmem index only")
EFS = (40, 60, 80, 100, 120, 160, 200, 320)


def exact(vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> list[set[int]]:
    """Return the true neighbours of each query."""
    blocks = np.array_split(queries, -(-len(queries) // 100))
    nearest = [np.argpartition(-(block @ vectors.T), K, axis=1)[:, :K] for block in blocks]
    return [set(row) for row in np.concatenate(nearest).tolist()]


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
    judged = realistic_vectors(RECALL_QUERIES, 384, seed=77)
    truth = exact(vectors, judged)
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
                    lambda query, ef=ef: store.search(embedding=query, k=K, ef=ef),
                    lambda query, ef=ef: view.nearest(query, K, scope, ef=ef),
                )
                store.database._kept.clear()
                for name, call in zip(NAMES, calls, strict=True):
                    raw[ef][name].append(microseconds(call, queries))
        rows = []
        for ef in EFS:
            rival.set_ef(ef)
            found = [set(row) for row in rival.knn_query(judged, k=K)[0].tolist()]
            ours = [{int(name[1:]) for name in row} for row in store.knn(judged, K, ef=ef)[0].tolist()]
            medians = {name: statistics.median(times) for name, times in raw[ef].items()}
            rows.append(
                {
                    "ef": ef,
                    "recall": {"hnswlib": recall(found, truth), "agentmem": recall(ours, truth)},
                    "median_us": medians,
                    "glue_us": {
                        name: medians[name] - medians["agentmem index only"] for name in ("agentmem", "agentmem again")
                    },
                    "raw_us": raw[ef],
                }
            )
            print(ef, rows[-1]["recall"], {name: round(value, 1) for name, value in medians.items()}, flush=True)
    pairs = []
    recalls = np.maximum.accumulate([row["recall"]["agentmem"] for row in rows])
    for row in rows:
        wanted = row["recall"]["hnswlib"]
        if row["ef"] < 80 or wanted > recalls[-1]:
            continue
        times = {
            name: float(np.interp(wanted, recalls, [other["median_us"][name] for other in rows])) for name in NAMES[1:]
        }
        ratios = {name: time / row["median_us"]["hnswlib"] for name, time in times.items()}
        pairs.append({"hnswlib_ef": row["ef"], "recall": wanted, "ratio": ratios})
        print(f"hnswlib ef {row['ef']}, recall {wanted:.4f}: {ratios}")
    print(
        write(
            "vector_search", {"rows": arguments.rows, "k": K, "queries": QUERIES, "by_ef": rows, "equal_recall": pairs}
        )
    )


if __name__ == "__main__":
    main()
