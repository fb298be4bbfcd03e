"""How fast are bulk and durable single adds, and what do they take on disk and in memory?

    python benchmarks/ingest.py [--rows 50000] [--threads 1]

Bulk: raw ``hnswlib.add_items`` beside ``add_many`` and ``optimize`` over the same vectors, with and without texts.
Single: one ``add`` a commit, normal and full durability, beside the same rows written by bare SQL statements, and the
disk's own rate of syncs, of 8 kB and of as many bytes as a commit appends to SQLite's log.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np
from data import realistic_vectors, talk
from machine import write
from numpy.typing import NDArray

import agentmem
from agentmem import maintenance

DIMENSION = 384
ROUNDS = 3
WARM_UP = 5_000
"""Records that are there before single adds are timed: a process that has run for a while knows common words."""


def raw_build(vectors: NDArray[np.float32], threads: int) -> float:
    """Return the seconds of a raw hnswlib build."""
    started = time.perf_counter()
    rival = hnswlib.Index("cosine", DIMENSION)
    rival.init_index(len(vectors), M=16, ef_construction=200, random_seed=1)
    rival.add_items(vectors, num_threads=threads)
    return time.perf_counter() - started


def store_build(path: Path, texts: list[str] | None, vectors: NDArray[np.float32], threads: int) -> float:
    """Return the seconds of a store that is filled, and its graph built."""
    started = time.perf_counter()
    with agentmem.MemoryStore(path, embedder=None, dimension=DIMENSION, merge="manual") as store:
        store.add_many(texts, embeddings=vectors)
        maintenance.merge(store.database, store.identity, full=True, threads=threads)
    return time.perf_counter() - started


def bulk(folder: Path, rows: int, threads: int) -> dict[str, Any]:
    """Time a raw hnswlib build, and stores filled and optimised, over the same vectors, turn by turn."""
    vectors = realistic_vectors(rows, DIMENSION, seed=1)
    words = {"vectors": None, "vectors and texts": talk(rows, seed=2)}
    seconds: dict[str, list[float]] = {"hnswlib": [], **{name: [] for name in words}}
    for turn in range(ROUNDS):
        seconds["hnswlib"].append(raw_build(vectors, threads))
        for name, texts in words.items():
            seconds[name].append(store_build(folder / f"{name}-{turn}.db", texts, vectors, threads))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    result: dict[str, Any] = {"rows": rows, "threads": threads, "median_s": medians, "raw_s": seconds}
    for name, texts in words.items():
        path = folder / f"{name}-0.db"
        files = [path, *Path(f"{path}-index").glob("*")]
        result[name] = {
            "share_of_hnswlib_speed": medians["hnswlib"] / medians[name],
            "disk_bytes": sum(file.stat().st_size for file in files),
            "raw_vector_bytes": vectors.nbytes,
            "text_bytes": sum(len(text.encode()) for text in texts or ()),
        }
        print(name, result[name], flush=True)
    return result


def warm_store(path: Path, durability: str) -> agentmem.MemoryStore:
    """Open a new store that has seen common words already."""
    store = agentmem.MemoryStore(path, embedder=None, dimension=DIMENSION, durability=durability, merge="manual")
    store.add_many(talk(WARM_UP, seed=9), embeddings=realistic_vectors(WARM_UP, DIMENSION, seed=10))
    return store


def bare_statements(
    store: agentmem.MemoryStore, texts: list[str], vectors: NDArray[np.float32]
) -> Callable[[int], None]:
    """Return a call that does no more than SQLite has to: the rows of one record, ready made, in one commit."""
    connection = sqlite3.connect(store.path, isolation_level=None)
    connection.execute(f"PRAGMA synchronous = {store.database._connection.first('PRAGMA synchronous')}")
    ready = [(text, vector.tobytes(), store.analyzer.encode(text)) for text, vector in zip(texts, vectors, strict=True)]
    columns = "id, namespace, scope, created_at, updated_at, importance, seq, metadata, text"

    def add(number: int) -> None:
        text, vector, terms = ready[number]
        name = f"{number:032x}"
        connection.execute("BEGIN IMMEDIATE")
        label = connection.execute(
            f"INSERT INTO records({columns}) VALUES (?, '', 'ns', 0.0, 0.0, 0.5, 0, '{{}}', ?)", (name, text)
        ).lastrowid
        connection.execute("INSERT INTO embeddings VALUES (?, ?, ?, ?)", (label, vector, terms[:40], terms))
        connection.execute("INSERT INTO changes VALUES (NULL, 'put', ?, ?, NULL, 0.0)", (name, label))
        connection.execute("COMMIT")

    return add


def singles(folder: Path, durability: str, count: int) -> dict[str, Any]:
    """Time single adds, each of which returns after its commit, beside SQLite's bare statements on a store of its own.

    The two take turns of a tenth of the records each.
    """
    vectors = realistic_vectors(count, DIMENSION, seed=7)
    texts = talk(count, seed=8)
    times: dict[str, list[float]] = {"agentmem": [], "bare": []}
    with (
        warm_store(folder / f"single-{durability}.db", durability) as store,
        warm_store(folder / f"bare-{durability}.db", durability) as other,
    ):
        ways = {
            "agentmem": lambda number: store.add(texts[number], embedding=vectors[number]),
            "bare": bare_statements(other, texts, vectors),
        }
        for turn in np.array_split(np.arange(count), 10):
            for name, add in ways.items():
                for number in turn.tolist():
                    started = time.perf_counter()
                    add(number)
                    times[name].append(time.perf_counter() - started)
    result: dict[str, Any] = {"count": count}
    for name, taken in times.items():
        taken.sort()
        result[name] = {
            "per_second": count / sum(taken),
            "p50_us": statistics.median(taken) * 1e6,
            "p99_us": taken[int(0.99 * count)] * 1e6,
        }
    print(durability, result, flush=True)
    return result


def commit_bytes(folder: Path, count: int = 50) -> int:
    """Return the bytes that a commit of one record appends to the write-ahead log, on average."""
    vectors, texts = realistic_vectors(count, DIMENSION, seed=7), talk(count, seed=8)
    with warm_store(folder / "log.db", "full") as store:
        log = f"{store.path}-wal"
        store.database.checkpoint()
        before = os.path.getsize(log)
        for text, vector in zip(texts, vectors, strict=True):
            store.add(text, embedding=vector)
        return (os.path.getsize(log) - before) // count


def sync_rate(folder: Path, size: int = 8192, count: int = 300) -> float:
    """Return how many appends of ``size`` bytes the disk syncs a second."""
    descriptor = os.open(folder / "sync", os.O_CREAT | os.O_WRONLY)
    started = time.perf_counter()
    for _ in range(count):
        os.write(descriptor, bytes(size))
        os.fdatasync(descriptor)
    rate = count / (time.perf_counter() - started)
    os.close(descriptor)
    return rate


def main() -> None:
    """Run and write results/ingest.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = {
            "bulk": bulk(folder, arguments.rows, arguments.threads),
            "single_normal": singles(folder, "normal", 5_000),
            "single_full": singles(folder, "full", 500),
            "disk_syncs_per_second": sync_rate(folder),
            "commit_bytes": commit_bytes(folder),
        }
        result["disk_syncs_per_second_of_commit_bytes"] = sync_rate(folder, result["commit_bytes"])
    print("syncs a second", result["disk_syncs_per_second"])
    print(write("ingest", result))


if __name__ == "__main__":
    main()
