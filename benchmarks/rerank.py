"""Does the fused gather + attention beat NumPy?  30 random rows of a matrix, and the other kernels at several sizes.

Run: ``OPENBLAS_NUM_THREADS=1 python benchmarks/rerank.py``; writes benchmarks/results/rerank.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import machine
import numpy as np
from numpy.typing import NDArray

from agentmem.attention import attend, attend_rows, maxsim, score
from agentmem.attention.engine import engine

Array = NDArray[Any]
Rivals = dict[str, Callable[[], object]]


def softmax_numpy(query: Array, key: Array, scale: np.float32) -> Array:
    """One query against all rows of key, as a NumPy user writes it."""
    scores = key @ query * scale
    weights = np.exp(scores - scores.max())
    output: Array = (weights / weights.sum()) @ key
    return output


def heads_numpy(query: Array, key: Array, heads: int) -> Array:
    """The same by heads, as one batched product."""
    dim = len(query) // heads
    split = key.reshape(len(key), heads, dim)
    scores = query.reshape(heads, 1, dim) @ split.transpose(1, 2, 0) * np.float32(dim**-0.5)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    output: Array = (weights / weights.sum(-1, keepdims=True)) @ split.transpose(1, 0, 2)
    return output


def poincare_numpy(query: Array, key: Array) -> Array:
    """-distance from the query to each row, through the exponential map."""

    def ball(v: Array) -> Array:
        norm = np.linalg.norm(v, axis=-1, keepdims=True)
        points: Array = np.tanh(norm / 2) * v / norm
        return points

    x, y = ball(query), ball(key)
    room = (1 - (x * x).sum()) * (1 - (y * y).sum(1))
    distances: Array = np.arccosh(1 + 2 * ((x - y) ** 2).sum(1) / room)
    return -distances


def gather(rows: int, dim: int, n: int) -> Rivals:
    """Random rows of a large matrix: other rows at every call, the same ones for both rivals."""
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((rows, dim), np.float32)
    query, scale = rng.standard_normal(dim, np.float32), np.float32(dim**-0.5)
    lists = [rng.integers(0, rows, n) for _ in range(4096)]
    plain, fused = cycle(lists), cycle(lists[2048:] + lists[:2048])

    def numpy_way() -> Array:
        return softmax_numpy(query, matrix[next(plain)], scale)

    def fused_way() -> object:
        return attend_rows(matrix, next(fused), query)

    return {"numpy": numpy_way, "agentmem": fused_way}


def dense(n: int, dim: int) -> Iterator[tuple[str, Rivals]]:
    """One query against n contiguous keys: the kernel itself, and the public calls with all their checks."""
    rng = np.random.default_rng(1)
    key, query = rng.standard_normal((n, dim), np.float32), rng.standard_normal((1, dim), np.float32)
    unit, unit_query = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (key, query))
    scale, native = np.float32(dim**-0.5), engine("native")
    mha: dict[str, Any] = {"mechanism": "standard-mha"}
    hyperbolic: dict[str, Any] = {"mechanism": "hyperbolic-attention"}
    yield (
        f"one head, n = {n}",
        {
            "numpy": lambda: softmax_numpy(query[0], key, scale),
            "agentmem": lambda: native.softmax(query, key, key, scale=float(scale)),
            "attend()": lambda: attend(query, key),
        },
    )
    yield (
        f"8 heads, n = {n}",
        {
            "numpy": lambda: heads_numpy(query[0], key, 8),
            "agentmem": lambda: native.softmax(query, key, key, heads=8),
            "attend()": lambda: attend(query, key, **mha),
        },
    )
    yield (
        f"Poincaré scores, n = {n}",
        {
            "numpy": lambda: poincare_numpy(unit_query[0], unit),
            "agentmem": lambda: score(unit_query[0], unit, **hyperbolic),
        },
    )


def late_interaction(rows: int, length: int, n_query: int, dim: int) -> Rivals:
    """Token ids with a Zipf-like spread over a vocabulary of 30,000."""
    rng = np.random.default_rng(2)
    table = rng.integers(-127, 128, (30_000, dim)).astype(np.int8)
    scales = np.full(30_000, 1e-3, np.float32)
    tokens = np.minimum(rng.pareto(1, rows * length) * 30, 29_999).astype(np.uint16)
    offsets = np.arange(rows + 1) * length
    query, weights = rng.standard_normal((n_query, dim), np.float32), np.ones(n_query, np.float32)

    def numpy_way() -> Array:
        distinct, at = np.unique(tokens, return_inverse=True)
        similar = (table[distinct] * scales[distinct, None]) @ query.T
        best: Array = similar[at].reshape(rows, length, n_query).max(1)
        return best @ weights

    return {"numpy": numpy_way, "agentmem": lambda: maxsim(query, weights, table, offsets, tokens, scales=scales)}


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--repeats", type=int, default=21)
    options = parser.parse_args()
    cases = [(f"gather 30 of {options.rows}", 300, gather(options.rows, options.dim, 30))]
    for n in (30, 300, 1000):
        cases += [(name, max(1, 6000 // n), rivals) for name, rivals in dense(n, options.dim)]
    cases.append(("MaxSim 500 rows x 25 tokens, 10 query tokens", 2, late_interaction(500, 25, 10, 256)))
    results = {}
    print(f"{'case':<46}{'numpy µs':>10}{'agentmem µs':>13}{'ratio':>8}{'attend() µs':>13}")
    for name, inner, rivals in cases:
        result = machine.paired(rivals, options.repeats, inner)
        medians = result["medians_us"]
        result["ratio"] = medians["numpy"] / medians["agentmem"]
        results[name] = result
        public = f"{medians['attend()']:>13.2f}" if "attend()" in medians else ""
        print(f"{name:<46}{medians['numpy']:>10.2f}{medians['agentmem']:>13.2f}{result['ratio']:>7.1f}x{public}")
    print(machine.write("rerank", {"dim": options.dim, "cases": results}))


if __name__ == "__main__":
    main()
