"""What a service measures of itself, by mechanism; as a dict, as alerts, and in Prometheus' text format."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import NamedTuple

from agentmem.metrics import Metrics
from agentmem.prometheus import family, page, timings


@dataclass(frozen=True, slots=True)
class MechanismMetrics:
    """The calls of one mechanism.

    Attributes:
        count: calls that ran to their end; those answered from the cache are not among them.
        mean_us: their mean time in microseconds; percentiles are over the newest 4,096.
        p50_us: the median.
        p95_us: of 100 calls, 95 took no longer.
        p99_us: of 100 calls, 99 took no longer.
        peak_us: the longest.
        per_second: throughput of one busy thread: calls over the time spent in them.
        failures: calls that raised.
        success_rate: of all that ran, 0 to 1; 1 where none did.
        cache_hits: calls answered from the cache.
        bytes_saved: of score matrices that a textbook computation would have held and the kernels did not.
    """

    count: int = 0
    mean_us: float = 0.0
    p50_us: float = 0.0
    p95_us: float = 0.0
    p99_us: float = 0.0
    peak_us: float = 0.0
    per_second: float = 0.0
    failures: int = 0
    success_rate: float = 1.0
    cache_hits: int = 0
    bytes_saved: int = 0

    def to_dict(self) -> dict[str, float]:
        """Return the numbers by name."""
        return asdict(self)


class Alert(NamedTuple):
    """A figure past its threshold."""

    mechanism: str
    figure: str
    value: float
    threshold: float

    def __str__(self) -> str:
        word = "above" if self.value > self.threshold else "below"
        return f"{self.mechanism}: {self.figure} is {self.value:,.1f}, {word} {self.threshold:,.1f}"


@dataclass(slots=True)
class _Counts:
    failures: int = 0
    cache_hits: int = 0
    bytes_saved: int = 0
    peak: float = 0.0


class AttentionMetrics:
    """Thread-safe records of calls, by mechanism."""

    def __init__(self) -> None:
        self._times = Metrics()
        self._lock = threading.Lock()
        self._counts: defaultdict[str, _Counts] = defaultdict(_Counts)

    def ran(self, mechanism: str, seconds: float) -> None:
        """Record a call that ran to its end."""
        self._times.record(((mechanism, seconds),))
        with self._lock:
            counts = self._counts[mechanism]
            counts.peak = max(counts.peak, seconds)

    def saved(self, mechanism: str, count: int) -> None:
        """Record bytes that were not needed."""
        with self._lock:
            self._counts[mechanism].bytes_saved += count

    def failed(self, mechanism: str) -> None:
        """Record a call that raised."""
        with self._lock:
            self._counts[mechanism].failures += 1

    def hit(self, mechanism: str) -> None:
        """Record a call that was answered from the cache."""
        with self._lock:
            self._counts[mechanism].cache_hits += 1

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._counts.clear()
        self._times.clear()

    def all(self) -> dict[str, MechanismMetrics]:
        """Return the metrics of every mechanism that was called, sorted by name."""
        times = self._times.summary()
        with self._lock:
            counted = {name: (c.failures, c.cache_hits, c.bytes_saved, c.peak) for name, c in self._counts.items()}
        result = {}
        for name, (failures, hits, saved, peak) in sorted(counted.items()):
            timed = times.get(name, {})
            count = int(timed.get("count", 0))
            result[name] = MechanismMetrics(
                count=count,
                **{key: value for key, value in timed.items() if key != "count"},
                peak_us=peak * 1e6,
                failures=failures,
                success_rate=count / (count + failures) if count + failures else 1.0,
                cache_hits=hits,
                bytes_saved=saved,
            )
        return result

    def alerts(self, p95_us: float = 100.0, per_second: float = 1_000.0) -> list[Alert]:
        """Return what is slower than it should be.

        Args:
            p95_us: highest 95th percentile, in microseconds.
            per_second: lowest throughput.
        """
        found = []
        for name, metrics in self.all().items():
            if metrics.p95_us > p95_us:
                found.append(Alert(name, "p95_us", metrics.p95_us, p95_us))
            if metrics.count and metrics.per_second < per_second:
                found.append(Alert(name, "per_second", metrics.per_second, per_second))
        return found

    def prometheus(self) -> str:
        """Return the metrics in Prometheus' text format, version 0.0.4."""
        every = {name: metrics.to_dict() for name, metrics in self.all().items()}
        counters = (
            ("failures", "Calls that raised.", "failures"),
            ("cache_hits", "Calls answered from the cache.", "cache_hits"),
            ("saved_bytes", "Bytes of score matrices that were not held.", "bytes_saved"),
        )
        return page(
            timings("agentmem_attention_seconds", "Time of a call.", "mechanism", every),
            *(
                family(
                    f"agentmem_attention_{name}_total",
                    "counter",
                    meaning,
                    [("", {"mechanism": mechanism}, each[figure]) for mechanism, each in every.items()],
                )
                for name, meaning, figure in counters
            ),
            family(
                "agentmem_attention_peak_seconds",
                "gauge",
                "Longest call.",
                [("", {"mechanism": mechanism}, each["peak_us"] / 1e6) for mechanism, each in every.items()],
            ),
        )
