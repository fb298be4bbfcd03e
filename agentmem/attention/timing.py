"""How long a mechanism takes on this machine, over seeded inputs that fit it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from agentmem.attention import registry
from agentmem.attention.attend import AttentionResult, attend
from agentmem.attention.forms import SCORED
from agentmem.attention.profiling import measured
from agentmem.attention.samples import sample
from agentmem.attention.score import score

SECONDS = 0.1
"""For which a mechanism is called again and again, but for a call that takes longer."""
RUNS = 25
"""Calls at most."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What was measured.

    Attributes:
        mechanism: which.
        backend: what ran.
        size: queries, and as many keys.
        dim: length of a row.
        runs: calls that were timed, after one that was not.
        median_us: the median of their times, in microseconds.
        p95_us: of 100 calls, 95 took no longer.
        per_second: calls a second, by the median.
        scratch_bytes: memory of arrays that a call needed beyond its result.
    """

    mechanism: str
    backend: str
    size: int
    dim: int
    runs: int
    median_us: float
    p95_us: float
    per_second: float
    scratch_bytes: int


def time_mechanism(
    name: str, size: int, dim: int, *, backend: str = "auto", seed: int = 0, seconds: float = SECONDS
) -> Timing:
    """Time self-attention over ``size`` rows; for late interaction, ``score`` of one query against as many.

    Args:
        name: of the mechanism.
        size: queries, and as many keys.
        dim: length of a row.
        backend: as for ``attend``.
        seed: of the inputs.
        seconds: for which it is called again and again; once at least, and ``RUNS`` times at most.

    Raises:
        UnknownMechanism, InvalidInput, BackendUnavailable: as ``attend``.
    """
    run = prepared(name, size, dim, backend=backend, seed=seed)
    result, scratch = measured(run)
    times: list[float] = []
    while not times or (len(times) < RUNS and sum(times) < seconds):
        started = perf_counter()
        run()
        times.append(perf_counter() - started)
    median, p95 = (float(value) * 1e6 for value in np.percentile(times, (50, 95)))
    return Timing(name, result.backend, size, dim, len(times), median, p95, 1e6 / median, scratch)


def prepared(name: str, size: int, dim: int, *, backend: str = "auto", seed: int = 0) -> Callable[[], AttentionResult]:
    """Return a call of a mechanism over seeded inputs."""
    declared = registry.get(name)
    arguments: dict[str, Any] = sample(declared, size, size, dim, seed=seed)
    if declared.form != SCORED:
        return lambda: attend(**arguments, backend=backend)
    query, key = arguments["query"][0], arguments["key"]
    chosen = attend(key[:1], key[:1], backend=backend).backend
    return lambda: AttentionResult(score(query, key, mechanism=name, backend=backend), None, chosen)
