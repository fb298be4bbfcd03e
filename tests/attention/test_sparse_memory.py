"""Self-attention over 32,768 rows in memory proportional to rows and runs, never to rows squared."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from agentmem.attention import attend, registry

N, DIM = 32_768, 8
ROWS = 4 * N * DIM
PARAMS: dict[str, dict[str, Any]] = {
    "bigbird-attention": {"block": 16, "window": 3, "random": 2},
    "local-attention": {"window": 16},
    "longformer-attention": {"window": 32, "dilation": 2, "global_tokens": 1},
    "random-attention": {"random": 16},
    "sliding-window": {"window": 32},
    "sparse-transformer-attention": {"stride": 181, "summary": 1},
    "star-attention": {},
    "strided-attention": {"stride": 181},
}


def peak(name: str, backend: str, **given: Any) -> int:
    """Most bytes that one call held, its result and what it was given apart."""
    x = np.random.default_rng(0).standard_normal((N, DIM)).astype(np.float32)
    tracemalloc.start()
    try:
        attend(x, x, mechanism=name, backend=backend, **given)
        return tracemalloc.get_traced_memory()[1] - ROWS
    finally:
        tracemalloc.stop()


def test_every_support_has_its_bound() -> None:
    names = {mechanism.name for mechanism in registry.by_category("sparse")}
    assert names == set(PARAMS) | {"blockwise-attention"}


@pytest.mark.parametrize("name", PARAMS)
def test_memory_is_bounded(backend: str, name: str) -> None:
    if backend == "numpy" and name != "local-attention":
        pytest.skip("the reference is one stage for all of them")
    assert peak(name, backend, params=PARAMS[name]) < 64 << 20  # a mask of n² bytes would be 1 GiB


def test_memory_of_a_graph_is_bounded(backend: str) -> None:
    if backend == "numpy":
        pytest.skip("the reference is that of the supports")
    edges = np.random.default_rng(1).integers(0, N, (4 * N, 2))
    weights = {"attention": np.ones(DIM, np.float32)}
    assert peak("graph-attention", backend, edges=edges, weights=weights) < 64 << 20


def test_memory_of_exact_chunks_is_bounded(backend: str) -> None:
    if backend == "numpy":
        pytest.skip("minutes of float64: the chunks are those of the kernel")
    assert peak("blockwise-attention", backend, params={"chunk_size": 64}) < 16 << 20
