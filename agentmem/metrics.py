"""Latencies by stage and mechanism: a counter and a window of recent samples each."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from time import perf_counter

import numpy as np

WINDOW = 4096
"""Percentiles are taken over this many most recent samples."""


class Metrics:
    """Thread-safe latency records, by name.

    Recording one sample costs well under a microsecond; percentiles are computed when asked for.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples: dict[str, deque[float]] = {}
        self._counts: dict[str, int] = {}
        self._totals: dict[str, float] = {}

    def record(self, samples: Iterable[tuple[str, float]]) -> None:
        """Add samples, each a name and its seconds."""
        with self._lock:
            for name, seconds in samples:
                kept = self._samples.get(name)
                if kept is None:
                    kept = self._samples[name] = deque(maxlen=WINDOW)
                    self._counts[name] = 0
                    self._totals[name] = 0.0
                kept.append(seconds)
                self._counts[name] += 1
                self._totals[name] += seconds

    def clear(self) -> None:
        """Forget every sample."""
        with self._lock:
            self._samples.clear()
            self._counts.clear()
            self._totals.clear()

    def summary(self) -> dict[str, dict[str, float]]:
        """Return {name: {count, mean_us, p50_us, p95_us, p99_us, per_second}}.

        ``per_second`` is the throughput of one busy thread: samples over the time spent in them.
        """
        with self._lock:
            snapshot = {
                name: (self._counts[name], self._totals[name], list(samples)) for name, samples in self._samples.items()
            }
        result = {}
        for name, (count, total, samples) in sorted(snapshot.items()):
            p50, p95, p99 = (float(value) * 1e6 for value in np.percentile(samples, (50, 95, 99)))
            result[name] = {
                "count": count,
                "mean_us": total / count * 1e6,
                "p50_us": p50,
                "p95_us": p95,
                "p99_us": p99,
                "per_second": count / total if total else 0.0,
            }
        return result


class StopWatch:
    """Split times of one call, recorded together when it ends."""

    __slots__ = ("_laps", "_last", "_metrics", "_prefix", "_start")

    def __init__(self, metrics: Metrics, prefix: str) -> None:
        self._metrics = metrics
        self._prefix = prefix
        self._laps: list[tuple[str, float]] = []
        self._start = self._last = perf_counter()

    def lap(self, stage: str) -> None:
        """Take the time since the last lap under ``prefix.stage``."""
        now = perf_counter()
        self._laps.append((f"{self._prefix}.{stage}", now - self._last))
        self._last = now

    def stop(self, name: str) -> None:
        """Record every lap, and the time since the watch was made under ``prefix.name``."""
        self._laps.append((f"{self._prefix}.{name}", perf_counter() - self._start))
        self._metrics.record(self._laps)
