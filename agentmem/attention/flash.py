"""``FlashAttention``: attention over blocks with its time and backend, and the runner that measures it.

The baseline is the textbook in NumPy, float32: all scores, a softmax over them, one product with the values.  Every
figure is the median of rounds in which both take turns, so that a drift of the machine falls on both alike.  The
targets are goals, not results.
"""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agentmem.attention.attend import attend
from agentmem.attention.direct import attention, scratch_bytes
from agentmem.attention.engine import native
from agentmem.attention.inputs import Floats
from agentmem.errors import InvalidInput
from agentmem.extras import need
from agentmem.progress import track

DIMENSIONS = (128, 256, 512, 768, 1024)
KEY_COUNTS = (100, 1000, 10_000)
LEAST_SPEEDUP, MOST_SPEEDUP, MEMORY_SAVED = 2.49, 7.47, 0.5
"""The targets: the speed-up of the slowest and of the fastest case, and the share of the baseline's scratch saved."""


class Optimised(NamedTuple):
    """One attention.

    Attributes:
        output: (n_queries, value_dim), or (value_dim,) for a query of one dimension.
        seconds: what it took.
        backend: "native" or "numpy".
    """

    output: Floats
    seconds: float
    backend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One case, measured against the baseline.

    Attributes:
        dim: numbers of a row.
        n_keys: keys, which are the values too.
        n_queries: queries.
        iterations: calls of each.
        backend: what ran.
        flash_us: median of a call, in microseconds.
        naive_us: the baseline's.
        flash_ops: calls a second.
        naive_ops: the baseline's.
        flash_scratch: bytes at the most, besides inputs and output.
        naive_scratch: the baseline's.
    """

    dim: int
    n_keys: int
    n_queries: int
    iterations: int
    backend: str
    flash_us: float
    naive_us: float
    flash_ops: float
    naive_ops: float
    flash_scratch: int
    naive_scratch: int

    @property
    def speedup(self) -> float:
        """How many times faster than the baseline."""
        return self.naive_us / self.flash_us

    @property
    def memory_saved(self) -> float:
        """The share of the baseline's scratch that is not taken."""
        return 1 - self.flash_scratch / self.naive_scratch


class Target(NamedTuple):
    """One goal and what was measured.

    Attributes:
        name: what is compared.
        goal: the number to reach.
        measured: what the cases gave.
        reached: whether ``measured`` is at least ``goal``.
    """

    name: str
    goal: float
    measured: float
    reached: bool


@dataclass(frozen=True, slots=True)
class Suite:
    """The cases of one run."""

    cases: tuple[Comparison, ...]

    def targets(self) -> tuple[Target, ...]:
        """Return the three targets as measured over these cases."""
        speedups = [case.speedup for case in self.cases]
        measured = (
            ("least speed-up over the baseline", LEAST_SPEEDUP, min(speedups)),
            ("greatest speed-up over the baseline", MOST_SPEEDUP, max(speedups)),
            ("scratch saved, least of all cases", MEMORY_SAVED, min(case.memory_saved for case in self.cases)),
        )
        return tuple(Target(name, goal, value, value >= goal) for name, goal, value in measured)

    def to_dict(self) -> dict[str, Any]:
        """Return cases and targets, ready for JSON."""
        cases = [asdict(c) | {"speedup": c.speedup, "memory_saved": c.memory_saved} for c in self.cases]
        return {"cases": cases, "targets": [target._asdict() for target in self.targets()]}

    def to_markdown(self) -> str:
        """Return two tables: the cases, and which targets were reached."""
        lines = [
            "| dim | keys | queries | flash µs | naive µs | speed-up | calls/s | scratch | naive scratch | backend |",
            "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|",
        ]
        for c in self.cases:
            lines.append(
                f"| {c.dim} | {c.n_keys:,} | {c.n_queries} | {c.flash_us:,.1f} | {c.naive_us:,.1f} | {c.speedup:.2f}× "
                f"| {c.flash_ops:,.0f} | {_kib(c.flash_scratch)} | {_kib(c.naive_scratch)} | {c.backend} |"
            )
        lines += ["", "| target | goal | measured | reached |", "|---|---:|---:|---|"]
        for t in self.targets():
            lines.append(f"| {t.name} | {t.goal:.2f} | {t.measured:.2f} | {'yes' if t.reached else 'no'} |")
        return "\n".join(lines) + "\n"

    def plot(self, path: str | Path) -> None:
        """Draw the speed-up by keys, one line a dimension and number of queries, into a file.

        Raises:
            MissingExtra: matplotlib is not installed.
        """
        figure = need("matplotlib.figure", "plot", "a plot").Figure(figsize=(7, 4.5), layout="constrained")
        axes = figure.subplots()
        for dim, queries in sorted({(c.dim, c.n_queries) for c in self.cases}):
            line = sorted((c.n_keys, c.speedup) for c in self.cases if (c.dim, c.n_queries) == (dim, queries))
            axes.plot(*zip(*line, strict=True), marker="o", label=f"dim {dim}, {queries} queries")
        for goal in (LEAST_SPEEDUP, MOST_SPEEDUP):
            axes.axhline(goal, linestyle=":", color="grey")
        axes.set(xscale="log", yscale="log", xlabel="keys", ylabel="times the speed of the NumPy baseline")
        axes.legend(fontsize="x-small")
        figure.savefig(path)


class FlashAttention:
    """Exact attention over blocks of keys, timed, and compared with the textbook.

    Args:
        dim: numbers of a row.
        block_size: keys a block; 0: by the size of the cache.

    Raises:
        InvalidInput: dim below 1 or block_size below 0.
    """

    def __init__(self, dim: int = 512, block_size: int = 0) -> None:
        if dim < 1 or block_size < 0:
            raise InvalidInput(f"expected dim of at least 1 and block_size of at least 0, came {dim} and {block_size}")
        self.dim = dim
        self.block_size = block_size
        self._cases: list[Comparison] = []

    def optimize(self, query: Floats, keys: Floats, values: Floats | None = None) -> Optimised:
        """Attend, and tell how long it took and what ran.

        Args:
            query: float32 or float64 (dim,) or (n_queries, dim).
            keys: (n_keys, dim).
            values: (n_keys, value_dim); keys where None.

        Raises:
            InvalidInput: arrays that do not fit; InvalidVector for dimensions, NaN and infinity.
        """
        if np.shape(query)[-1:] != (self.dim,):
            raise InvalidInput(f"query: expected rows of {self.dim} numbers, came shape {np.shape(query)}")
        started = time.perf_counter()
        if self.block_size == 0:
            output = attention(query, keys, values)
            backend = "numpy" if native() is None or output.dtype != np.float32 else "native"
            return Optimised(output, time.perf_counter() - started, backend)
        params = {"block_size": self.block_size}
        result = attend(np.atleast_2d(query), keys, values, mechanism="flash-attention-v2", params=params)
        seconds = time.perf_counter() - started
        return Optimised(result.output[0] if np.ndim(query) == 1 else result.output, seconds, result.backend)

    def compare(self, n_keys: int = 1000, *, n_queries: int = 1, iterations: int = 30, seed: int = 0) -> Comparison:
        """Measure one case on seeded normal rows, and add it to ``metrics``.

        Args:
            n_keys: keys, which are the values too.
            n_queries: queries.
            iterations: calls of each; both take turns.
            seed: of the rows.

        Raises:
            InvalidInput: a number below 1.
        """
        for name, number in (("n_keys", n_keys), ("n_queries", n_queries), ("iterations", iterations)):
            if number < 1:
                raise InvalidInput(f"{name}: expected at least 1, came {number}")
        rng = np.random.default_rng(seed)
        query = rng.standard_normal((n_queries, self.dim), np.float32)
        keys = rng.standard_normal((n_keys, self.dim), np.float32)
        flash, naive = _by_turns(lambda: self.optimize(query, keys), lambda: textbook(query, keys), iterations)
        case = Comparison(
            dim=self.dim,
            n_keys=n_keys,
            n_queries=n_queries,
            iterations=iterations,
            backend=self.optimize(query, keys).backend,
            flash_us=flash,
            naive_us=naive,
            flash_ops=1e6 / flash,
            naive_ops=1e6 / naive,
            flash_scratch=scratch_bytes(n_queries, n_keys, self.dim),
            naive_scratch=_peak_bytes(lambda: textbook(query, keys)) - query.nbytes,
        )
        self._cases.append(case)
        return case

    def memory_profile(
        self, n_keys: Sequence[int] = KEY_COUNTS, *, n_queries: int = 64
    ) -> dict[int, tuple[int, int, float]]:
        """Return, by number of keys, scratch bytes, the baseline's, and the share saved; one call each, untimed."""
        profile = {}
        for n in n_keys:
            case = self.compare(n, n_queries=n_queries, iterations=1)
            self._cases.pop()
            profile[n] = case.flash_scratch, case.naive_scratch, case.memory_saved
        return profile

    def validate_targets(self) -> tuple[Target, ...]:
        """Return the targets as measured over every case compared so far.

        Raises:
            InvalidInput: nothing was compared.
        """
        if not self._cases:
            raise InvalidInput("nothing was compared yet; call compare() or suite() first")
        return Suite(tuple(self._cases)).targets()

    def metrics(self) -> dict[str, float]:
        """Return, of every case compared so far: how many, mean and peak speed-up, and the scratch bytes saved."""
        speedups = [case.speedup for case in self._cases]
        return {
            "comparisons": len(speedups),
            "average_speedup": statistics.fmean(speedups) if speedups else 0.0,
            "peak_speedup": max(speedups, default=0.0),
            "bytes_saved": sum(case.naive_scratch - case.flash_scratch for case in self._cases),
        }


def textbook(query: Floats, keys: Floats) -> Floats:
    """softmax(q·kᵀ/√d) k with every score in memory, as NumPy users write it."""
    scores = query @ keys.T * np.float32(query.shape[1] ** -0.5)
    weights = np.exp(scores - scores.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    output: Floats = weights @ keys
    return output


def suite(
    dimensions: Iterable[int] = DIMENSIONS,
    key_counts: Iterable[int] = KEY_COUNTS,
    *,
    queries: Iterable[int] = (1, 64),
    iterations: int = 30,
    block_size: int = 0,
    progress: bool = False,
) -> Suite:
    """Compare every dimension with every number of keys and queries.

    Args:
        dimensions: numbers of a row.
        key_counts: numbers of keys.
        queries: numbers of queries.
        iterations: calls of each a case.
        block_size: keys a block; 0: by the size of the cache.
        progress: show a bar on standard error.
    """
    plan = [(dim, n, q) for dim in dimensions for n in key_counts for q in queries]
    if not plan:
        raise InvalidInput("the suite has no case: give dimensions, key_counts and queries")
    cases = []
    with track("attention", len(plan), progress) as advance:
        for dim, n, q in plan:
            cases.append(FlashAttention(dim, block_size).compare(n, n_queries=q, iterations=iterations))
            advance(1)
    return Suite(tuple(cases))


def quick_benchmark(dim: int = 512) -> Comparison:
    """Compare one query with 1,000 keys of that dimension."""
    return FlashAttention(dim).compare(1000, iterations=100)


def quick_validation() -> tuple[Target, ...]:
    """Return the targets as measured over a few cases, in about a second."""
    return suite((128, 512), (100, 1000), iterations=20).targets()


def _by_turns(first: Callable[[], object], second: Callable[[], object], iterations: int) -> tuple[float, float]:
    """Return the median microseconds of both."""
    raw: tuple[list[float], list[float]] = ([], [])
    first()
    second()
    for turn in range(iterations):
        for at in (turn % 2, 1 - turn % 2):
            started = time.perf_counter_ns()
            (first, second)[at]()
            raw[at].append((time.perf_counter_ns() - started) / 1e3)
    return statistics.median(raw[0]), statistics.median(raw[1])


def _peak_bytes(function: Callable[[], object]) -> int:
    """Return the most bytes that the call has allocated through Python at one time, its result included."""
    running = tracemalloc.is_tracing()
    if not running:
        tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        function()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        if not running:
            tracemalloc.stop()


def _kib(count: int) -> str:
    return f"{count / 1024:,.1f} KiB"
