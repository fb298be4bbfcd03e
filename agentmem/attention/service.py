"""``AttentionService``: a default and a fallback mechanism, a cache, batches over threads, and metrics."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import repeat
from time import monotonic, perf_counter
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from agentmem.attention import registry
from agentmem.attention.attend import AttentionResult, attend
from agentmem.attention.buffers import BufferPool, deliver, room
from agentmem.attention.cache import content_key
from agentmem.attention.call import Weights
from agentmem.attention.engine import CHOICES
from agentmem.attention.mechanism import Mechanism
from agentmem.attention.metrics import AttentionMetrics, MechanismMetrics
from agentmem.attention.precision import Precision
from agentmem.attention.profiling import measured
from agentmem.attention.score import Ranked, rank
from agentmem.attention.selector import MechanismSelector, Recommendation
from agentmem.attention.status import cores
from agentmem.attention.workers import WorkerPool
from agentmem.cache import ResultCache
from agentmem.errors import InvalidInput
from agentmem.validation import check_choice, check_count, check_flag, check_number

T = TypeVar("T")


class ServiceResult(NamedTuple):
    """What a call of the service gives.

    Attributes:
        output: in the service's precision: (n_queries, value_dim), with n_heads, or batch and n_heads, in front where
            the query had them; ``out`` where the caller gave it.  Read-only where the service has a cache.
        weights: where asked for, as ``attend`` returns them; None otherwise.
        backend: what ran.
        mechanism: what was computed.
        reason: why: "asked for", "default", or that the sequence is long.
        cached: whether it was taken from the cache.
        seconds: that the call took.
        scratch_bytes: memory of arrays that the call needed beyond its result, where the service profiles; else None.
            The kernels' own scratch is not among it.
    """

    output: NDArray[Any]
    weights: NDArray[Any] | None
    backend: str
    mechanism: str
    reason: str
    cached: bool
    seconds: float
    scratch_bytes: int | None


class AttentionService:
    """Attention for a program that calls it often.  Thread-safe; nothing is loaded or started before it is needed.

    Args:
        default_mechanism: what runs where a call names none.
        fallback_mechanism: what runs in its place over more than ``long_sequence_threshold`` keys, where the call names
            no mechanism and gives neither parameters nor weights; None for never.
        long_sequence_threshold: keys.
        precision: "float32" or "float64", in which is computed and answered.  Rows stored as float16 or bfloat16
            (ml_dtypes) are taken, and converted to it.
        backend: "auto", "native", "numpy" or "torch".
        cache_size: results kept; 0 switches the cache off.
        cache_ttl: seconds for which a result is kept.
        worker_threads: threads of a batch at most; the cores of this process where None.
        max_concurrency: calls of a batch under way, or done and not yet fetched, at most.
        enable_profiling: also measure the memory of each call; slower, and one call at a time.
        selector: what ``recommend`` asks; ``MechanismSelector()`` where None.

    Raises:
        InvalidInput: an argument out of range; UnknownMechanism for a mechanism that does not exist.
    """

    def __init__(
        self,
        *,
        default_mechanism: str = "flash-attention-v2",
        fallback_mechanism: str | None = "linear-attention",
        long_sequence_threshold: int = 4096,
        precision: str = "float32",
        backend: str = "auto",
        cache_size: int = 0,
        cache_ttl: float = 3600.0,
        worker_threads: int | None = None,
        max_concurrency: int = 64,
        enable_profiling: bool = False,
        selector: MechanismSelector | None = None,
    ) -> None:
        for name in (default_mechanism, fallback_mechanism):
            if name is not None:
                registry.get(name)
        check_choice(backend, "backend", CHOICES)
        self.default_mechanism = default_mechanism
        self.fallback_mechanism = fallback_mechanism
        self.long_sequence_threshold = check_count(
            long_sequence_threshold, "long_sequence_threshold", low=1, high=1 << 40
        )
        self.backend = backend
        self.selector = MechanismSelector() if selector is None else selector
        self.metrics = AttentionMetrics()
        self.buffers = BufferPool()
        self.max_concurrency = check_count(max_concurrency, "max_concurrency", low=1, high=1_000_000)
        self._profiling = check_flag(enable_profiling, "enable_profiling")
        threads = cores() if worker_threads is None else worker_threads
        self.workers = WorkerPool(check_count(threads, "worker_threads", low=1, high=1_024))
        self._precision = Precision(precision, self.buffers)
        self._cache: ResultCache[Any] = ResultCache(
            check_count(cache_size, "cache_size", low=0, high=1_000_000), check_number(cache_ttl, "cache_ttl", low=0.0)
        )

    def forward(
        self,
        query: object,
        key: object,
        value: object = None,
        *,
        mechanism: str | None = None,
        params: Mapping[str, object] | None = None,
        mask: object = None,
        positions: object = None,
        segment_ids: object = None,
        edges: object = None,
        context: tuple[object, object] | None = None,
        weights: Weights = None,
        return_weights: bool = False,
        out: NDArray[Any] | None = None,
    ) -> ServiceResult:
        """Attend from queries to keys; see ``attend`` for the arguments that are not told here.

        Args:
            query: (n_queries, dim), (n_heads, n_queries, head_dim), or (batch, n_heads, n_queries, head_dim).
            key: (n_keys, dim), with as many axes in front.
            value: as key; key where None.
            mechanism: a name of the registry; the service's default or fallback where None.
            params: of the mechanism.
            mask: as for ``attend``, the same for the whole of a batch; so are the inputs that follow.
            positions: as for ``attend``.
            segment_ids: as for ``attend``.
            edges: as for ``attend``.
            context: as for ``attend``.
            weights: as for ``attend``.
            return_weights: also return the attention weights.
            out: an array of the output's shape in the service's precision, to hold the output: written to as by
                ``attend``, or from the cache's own copy where the service has a cache.

        Raises:
            UnknownMechanism, InvalidInput, InvalidVector, BackendUnavailable: as ``attend``.
        """
        started = perf_counter()
        place = None if self._cache.size else out
        declared, reason = self._choose(mechanism, key, specific=params is not None or weights is not None)
        given = {"params": params, "mask": mask, "positions": positions, "segment_ids": segment_ids, "edges": edges}
        given |= {"context": context, "weights": weights, "return_weights": return_weights}

        def run() -> tuple[AttentionResult, int | None]:
            if self._profiling:
                return measured(lambda: self._attend(declared, query, key, value, given, place))
            return self._attend(declared, query, key, value, given, place), None

        (result, scratch), cached = self._called(declared.name, ("forward", query, key, value, given), run)
        if not cached and result.backend == "native" and declared.form == "softmax" and result.weights is None:
            self.metrics.saved(declared.name, _score_bytes(declared, result.output, key, params))
        output = deliver(result.output, out)
        seconds = perf_counter() - started
        return ServiceResult(output, result.weights, result.backend, declared.name, reason, cached, seconds, scratch)

    def forward_batch(self, inputs: Iterable[object], **shared: Any) -> list[ServiceResult]:
        """Return ``forward`` of each of the inputs, in their order, computed by the pool's threads.

        Args:
            inputs: mappings of ``forward``'s arguments, or tuples (query, key) or (query, key, value).  Stacked arrays
                (batch, n, dim) are such inputs once they are zipped: ``zip(queries, keys, values)``.
            shared: arguments of every call.

        Raises:
            InvalidInput: something else among the inputs; and what ``forward`` raises.
        """
        return list(self.stream(inputs, **shared))

    def stream(self, inputs: Iterable[object], **shared: Any) -> Iterator[ServiceResult]:
        """Yield what ``forward_batch`` returns, each result as soon as it and those before it are there.

        At most ``max_concurrency`` results are held, and the inputs are read no further ahead than that.
        """
        waiting: deque[Any] = deque()
        try:
            for each in inputs:
                arguments = _arguments(each) | shared
                waiting.append(self.workers.submit(partial(self.forward, **arguments)))
                if len(waiting) >= self.max_concurrency:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def rerank(
        self, query: object, candidates: object, *, mechanism: str | None = None, k: int | None = 10, **inputs: Any
    ) -> Ranked:
        """Return the k best candidates, best first, by what the mechanism makes of them; see ``score``.

        Args:
            query: (dim,).
            candidates: (n, dim).
            mechanism: a name of the registry; the service's default or fallback where None.
            k: how many; all where None.
            inputs: params, positions, segment_ids, edges and weights, as for ``score``.

        Raises:
            UnknownMechanism, InvalidInput, InvalidVector, BackendUnavailable: as ``score``.
        """
        if k is not None:
            check_count(k, "k", low=1, high=1 << 40)
        specific = inputs.get("params") is not None or inputs.get("weights") is not None
        declared, _ = self._choose(mechanism, candidates, specific=specific)

        def run() -> Ranked:
            with self._precision.rows(query, candidates) as (q, c):
                return rank(q, c, mechanism=declared.name, k=k, backend=self.backend, **inputs)

        ranked: Ranked = self._called(declared.name, ("rerank", query, candidates, k, inputs), run)[0]
        return ranked

    def recommend(self, sequence_length: int, **features: Any) -> Recommendation:
        """Return a mechanism for calls of that kind, and the reason; see ``MechanismSelector.select``.

        Args:
            sequence_length: keys that a query sees at most.
            features: batch_size, hierarchical, graph, moe, task.
        """
        return self.selector.select(sequence_length, **features)

    def get_metrics(self, mechanism: str) -> MechanismMetrics:
        """Return the metrics of one mechanism; zeros where it was never called.

        Raises:
            UnknownMechanism: no such mechanism.
        """
        return self.metrics.all().get(registry.get(mechanism).name, MechanismMetrics())

    def get_all_metrics(self) -> dict[str, MechanismMetrics]:
        """Return the metrics of every mechanism that was called."""
        return self.metrics.all()

    def cache_summary(self) -> dict[str, int]:
        """Return the cache's size, entries, hits and misses."""
        return self._cache.summary()

    def close(self) -> None:
        """Let the threads of the pool end; the service can still be used."""
        self.workers.close()

    def __enter__(self) -> AttentionService:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _choose(self, mechanism: str | None, rows: Any, *, specific: bool) -> tuple[Mechanism, str]:
        if mechanism is not None:
            return registry.get(mechanism), "asked for"
        count = np.shape(rows)[-2] if np.ndim(rows) > 1 else 0
        if count > self.long_sequence_threshold and self.fallback_mechanism is not None and not specific:
            why = f"fallback: {count} keys are more than {self.long_sequence_threshold}"
            return registry.get(self.fallback_mechanism), why
        return registry.get(self.default_mechanism), "default"

    def _called(self, mechanism: str, content: tuple[object, ...], run: Callable[[], T]) -> tuple[T, bool]:
        """Return what the cache has or ``run`` gives, and whether it was the cache; keep the records."""
        key = content_key(mechanism, *content) if self._cache.size else None
        if key is not None and (kept := self._cache.get(key, 0, monotonic())) is not None:
            self.metrics.hit(mechanism)
            return kept, True
        started = perf_counter()
        try:
            result = run()
        except Exception:
            self.metrics.failed(mechanism)
            raise
        self.metrics.ran(mechanism, perf_counter() - started)
        if key is not None:
            _freeze(result)
            self._cache.put(key, result, 0, monotonic(), None)
        return result, False

    def _attend(
        self, declared: Mechanism, query: object, key: object, value: object, given: dict[str, Any], out: Any
    ) -> AttentionResult:
        arrays = (query, key) if value is None else (query, key, value)
        context = given["context"]
        near = tuple(context) if isinstance(context, (tuple, list)) else ()
        with self._precision.rows(*near) as local, self._precision.rows(*arrays) as rows:
            if near:
                given = given | {"context": local}
            if rows[0].ndim == 4:
                result = _stacked(rows, out, mechanism=declared.name, backend=self.backend, **given)
            else:
                result = attend(*rows, mechanism=declared.name, backend=self.backend, out=out, **given)
            if out is None and any(np.may_share_memory(result.output, array) for array in rows):
                result = result._replace(output=result.output.copy())
            return result


def _stacked(rows: tuple[NDArray[Any], ...], out: Any, **given: Any) -> AttentionResult:
    """Attend batch by batch and stack the results, in ``out`` where it is given."""
    if {(array.ndim, len(array)) for array in rows} != {(4, len(rows[0]))} or not len(rows[0]):
        shapes = ", ".join(str(array.shape) for array in rows)
        raise InvalidInput(f"expected query, key and value with the same batch and n_heads in front, came {shapes}")
    place = room(out, rows[0].dtype, *rows)
    if place is not None and (place.ndim != 4 or len(place) != len(rows[0])):
        place = None
    outs = repeat(None) if place is None else place
    parts = [attend(*each, out=into, **given) for *each, into in zip(*rows, outs, strict=False)]
    weights = [part.weights for part in parts if part.weights is not None]
    output = np.stack([part.output for part in parts]) if place is None else place
    return AttentionResult(output, np.stack(weights) if weights else None, parts[0].backend)


def _freeze(result: object) -> None:
    """Make every array read-only: it is shared by all whom the cache gives it to."""
    if isinstance(result, np.ndarray):
        result.setflags(write=False)
    elif isinstance(result, tuple):
        for part in result:
            _freeze(part)


def _arguments(given: object) -> dict[str, Any]:
    """Return one of a batch's inputs as arguments of ``forward``."""
    if isinstance(given, Mapping):
        return dict(given)
    if isinstance(given, tuple) and 2 <= len(given) <= 3:
        return dict(zip(("query", "key", "value"), given, strict=False))
    raise InvalidInput(
        "inputs: expected mappings of forward's arguments, or tuples (query, key) or (query, key, value), "
        f"came {type(given).__name__}"
    )


def _score_bytes(declared: Mechanism, output: NDArray[Any], key: Any, params: Mapping[str, object] | None) -> int:
    """Return the bytes of the matrix of scores that a textbook computation would hold."""
    heads = math.prod(output.shape[:-2]) if output.ndim > 2 else int(declared.resolve(params).get("heads") or 1)
    return heads * int(output.shape[-2]) * int(np.shape(key)[-2]) * output.itemsize
