"""Latencies by stage and mechanism: a counter and a window of recent samples each."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from time import perf_counter

import numpy as np

WINDOW = 4096
"""Percentiles are taken over this many most recent samples."""
UNSORTED = 256
"""So many calls' samples wait before they are sorted into series."""


class _Series:
    """The samples of one name: all counted and added up, the newest kept."""

    __slots__ = ("count", "newest", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.newest: deque[float] = deque(maxlen=WINDOW)


class Metrics:
    """Thread-safe latency records, by name.

    Recording the samples of a call costs well under a microsecond: they are sorted into series later, many at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._series: dict[str, _Series] = {}
        self._unsorted: deque[Sequence[tuple[str, float]]] = deque()

    def record(self, samples: Sequence[tuple[str, float]]) -> None:
        """Add samples, each a name and its seconds; the sequence must not change afterwards."""
        self._unsorted.append(samples)
        if len(self._unsorted) > UNSORTED:
            with self._lock:
                self._sort()

    def _sort(self) -> None:
        series = self._series
        for _ in range(len(self._unsorted)):
            for name, seconds in self._unsorted.popleft():
                kept = series.get(name)
                if kept is None:
                    kept = series[name] = _Series()
                kept.count += 1
                kept.total += seconds
                kept.newest.append(seconds)

    def clear(self) -> None:
        """Forget every sample."""
        with self._lock:
            self._unsorted.clear()
            self._series.clear()

    def summary(self) -> dict[str, dict[str, float]]:
        """Return {name: {count, mean_us, p50_us, p95_us, p99_us, per_second}}.

        ``per_second`` is the throughput of one busy thread: samples over the time spent in them.
        """
        with self._lock:
            self._sort()
            snapshot = {name: (kept.count, kept.total, list(kept.newest)) for name, kept in self._series.items()}
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
    """Split times of one call, recorded together when it ends.

    Attributes:
        start: when it was made, by ``time.perf_counter``.
        laps: name and seconds, in their order.
    """

    __slots__ = ("_last", "_metrics", "laps", "start")

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.laps: list[tuple[str, float]] = []
        self.start = self._last = perf_counter()

    def lap(self, name: str) -> None:
        """Take the time since the last lap."""
        now = perf_counter()
        self.laps.append((name, now - self._last))
        self._last = now

    def stop(self, name: str) -> None:
        """Record every lap, and the time since the watch was made under ``name``."""
        self.laps.append((name, perf_counter() - self.start))
        self._metrics.record(self.laps)
