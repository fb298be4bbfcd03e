"""AttentionService: which mechanism runs and why, precision, batches, cache, metrics, memory."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from agentmem.attention import attend, rank, service
from agentmem.attention.selector import MechanismSelector
from agentmem.attention.service import AttentionService
from agentmem.errors import InvalidInput, InvalidVector, MissingExtra, UnknownMechanism


def rows(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def make(**options: Any) -> AttentionService:
    return AttentionService(**{"fallback_mechanism": "standard-mha", "long_sequence_threshold": 64} | options)


QUERY, KEY, VALUE = rows(1, 5, 8), rows(2, 33, 8), rows(3, 33, 6)


def test_the_service_as_it_comes() -> None:
    attn = AttentionService()
    assert attn.forward(QUERY, KEY, VALUE).mechanism == "flash-attention-v2"
    long = attn.forward(QUERY, rows(4, 4097, 8))
    assert (long.mechanism, long.reason) == ("linear-attention", "fallback: 4097 keys are more than 4096")
    assert attn.recommend(16_384, batch_size=8).mechanism == "linear-attention"


def test_default_named_and_fallback(backend: str) -> None:
    attn = make(backend=backend)
    default = attn.forward(QUERY, KEY, VALUE, return_weights=True)
    plain = attend(QUERY, KEY, VALUE, mechanism="flash-attention-v2", return_weights=True, backend=backend)
    np.testing.assert_array_equal(default.output, plain.output)
    np.testing.assert_array_equal(default.weights, plain.weights)
    assert (default.mechanism, default.reason, default.backend) == ("flash-attention-v2", "default", backend)
    assert (default.cached, default.scratch_bytes) == (False, None)
    assert default.seconds > 0
    named = attn.forward(QUERY, KEY, mechanism="cross-attention", params={"heads": 2})
    assert (named.mechanism, named.reason) == ("cross-attention", "asked for")
    long = rows(4, 65, 8)
    assert attn.forward(QUERY, long).reason == "fallback: 65 keys are more than 64"
    np.testing.assert_array_equal(
        attn.forward(QUERY, long).output, attend(QUERY, long, mechanism="standard-mha", backend=backend).output
    )
    assert attn.forward(QUERY, long, mechanism="flash-attention-v2").reason == "asked for"
    assert attn.forward(QUERY, long, params={"scale": 1.0}).mechanism == "flash-attention-v2"
    assert make(fallback_mechanism=None).forward(QUERY, long).reason == "default"
    assert attn.forward(QUERY, rows(5, 64, 8)).reason == "default"


def test_the_other_inputs_reach_the_mechanism(backend: str) -> None:
    attn, mask = make(backend=backend), np.arange(33) < 7
    masked = attn.forward(QUERY, KEY, VALUE, mask=mask).output
    np.testing.assert_allclose(masked, attn.forward(QUERY, KEY[:7], VALUE[:7]).output, rtol=1e-5, atol=1e-6)
    with pytest.raises(InvalidInput, match="flash-attention-v2 takes no positions"):
        attn.forward(QUERY, KEY, positions=np.arange(33))
    weights = {"query": 2 * np.eye(8, dtype=np.float32)}
    came = attn.forward(QUERY, KEY, mechanism="standard-mha", weights=weights).output
    np.testing.assert_array_equal(
        came, attend(QUERY, KEY, mechanism="standard-mha", weights=weights, backend=backend).output
    )


@pytest.mark.parametrize("stored", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_precision(stored: Any, precision: str) -> None:
    attn = make(precision=precision)
    query, key = QUERY.astype(stored), KEY.astype(stored)
    came = attn.forward(query, key).output
    assert came.dtype == precision
    np.testing.assert_array_equal(came, attend(query.astype(precision), key.astype(precision)).output)
    np.testing.assert_array_equal(came, attn.forward(query, key).output)


def test_the_local_context_is_converted_too() -> None:
    attn, half = make(), KEY.astype(np.float16)
    came = attn.forward(QUERY, KEY, mechanism="memory-attention", context=(half, half))
    near = half.astype(np.float32)
    wanted = attend(QUERY, KEY, mechanism="memory-attention", context=(near, near)).output
    np.testing.assert_array_equal(came.output, wanted)
    with pytest.raises(InvalidInput, match=r"context: expected a pair \(key, value\)"):
        attn.forward(QUERY, KEY, mechanism="memory-attention", context=(half,))  # type: ignore[arg-type]


def test_bfloat16_is_taken() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16 needs ml_dtypes")
    stored = KEY.astype(ml_dtypes.bfloat16)
    came = make().forward(stored, stored).output
    np.testing.assert_array_equal(came, attend(stored.astype(np.float32), stored.astype(np.float32)).output)


def test_what_is_no_row_of_floats_is_refused() -> None:
    attn = make()
    with pytest.raises(InvalidInput, match="query: expected float32 or float64, came int64"):
        attn.forward(QUERY.astype(np.int64), KEY)
    with pytest.raises(InvalidVector, match="key: expected finite numbers"):
        attn.forward(QUERY, np.full((3, 8), 1e300))  # too large for float32
    with pytest.raises(InvalidInput, match="precision must be one of 'float32', 'float64', got 'float16'"):
        make(precision="float16")


def test_batches_and_streams(backend: str) -> None:
    attn = make(backend=backend, worker_threads=3, max_concurrency=4)
    queries, keys = rows(6, 9, 5, 8), rows(7, 9, 33, 8)
    expected = [attend(q, k, backend=backend).output for q, k in zip(queries, keys, strict=True)]
    for inputs in (
        zip(queries, keys, strict=True),
        [{"query": q, "key": k} for q, k in zip(queries, keys, strict=True)],
        [(q, k, k) for q, k in zip(queries, keys, strict=True)],
    ):
        came = attn.forward_batch(inputs)
        for result, wanted in zip(came, expected, strict=True):
            np.testing.assert_array_equal(result.output, wanted)
    shared = attn.forward_batch([(queries[0], keys[0])], mechanism="cross-attention")
    assert shared[0].mechanism == "cross-attention"
    assert attn.forward_batch([]) == []
    with pytest.raises(InvalidInput, match=r"inputs: expected mappings .* came ndarray"):
        attn.forward_batch(queries)
    with pytest.raises(InvalidVector, match="key: expected rows of 8"):
        attn.forward_batch([(queries[0], keys[0]), (queries[0], keys[0][:, :7])])
    attn.close()
    assert len(attn.forward_batch([(queries[0], keys[0])])) == 1  # a closed pool starts again


def test_a_stream_reads_no_further_ahead_than_it_may() -> None:
    attn, read = make(worker_threads=2, max_concurrency=3), []

    def inputs() -> Iterator[object]:
        for number in range(50):
            read.append(number)
            yield QUERY, KEY

    stream = attn.stream(inputs())
    next(stream)
    assert len(read) == 3
    next(stream)
    assert len(read) == 4
    stream.close()
    assert len(read) == 4


def test_stacked_heads_and_batches(backend: str) -> None:
    attn = make(backend=backend)
    query, key, value = rows(8, 2, 3, 5, 8), rows(9, 2, 3, 33, 8), rows(10, 2, 3, 33, 6)
    came = attn.forward(query, key, value, return_weights=True)
    assert came.output.shape == (2, 3, 5, 6)
    assert came.weights is not None
    for at in range(2):
        alone = attend(query[at], key[at], value[at], return_weights=True, backend=backend)
        np.testing.assert_array_equal(came.output[at], alone.output)
        np.testing.assert_array_equal(came.weights[at], alone.weights)
    with pytest.raises(InvalidInput, match="with the same batch and n_heads in front, came"):
        attn.forward(query, key[:1])


def test_rerank(backend: str) -> None:
    attn = make(backend=backend)
    came = attn.rerank(KEY[4], KEY, k=3, mechanism="hyperbolic-attention")
    wanted = rank(KEY[4], KEY, mechanism="hyperbolic-attention", k=3, backend=backend)
    np.testing.assert_array_equal(came.order, wanted.order)
    assert came.order[0] == 4
    assert len(attn.rerank(KEY[4], KEY).order) == 10
    assert len(attn.rerank(KEY[4], KEY, k=None).order) == 33
    half, keys = KEY[4].astype(np.float16), KEY.astype(np.float16)
    stored = attn.rerank(half, keys, k=33)
    wanted = rank(half.astype(np.float32), keys.astype(np.float32), mechanism="flash-attention-v2", backend=backend)
    np.testing.assert_array_equal(stored.order, wanted.order)
    with pytest.raises(InvalidInput, match="k must be"):
        attn.rerank(KEY[4], KEY, k=0)
    with pytest.raises(InvalidInput, match=r"segment_ids= .* positions="):
        attn.rerank(KEY[4], KEY, mechanism="memory-attention")
    assert attn.get_metrics("memory-attention").failures == 1


def test_recommend_asks_the_selector() -> None:
    attn = make(selector=MechanismSelector(("seq_len > 10 -> cross-attention", "default -> scaled-dot")))
    assert attn.recommend(11).mechanism == "cross-attention"
    assert attn.recommend(sequence_length=10, task="memory-retrieval").reason == "rule: default -> scaled-dot"


def test_cache_by_content_and_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(service, "monotonic", lambda: now[0])
    attn = make(cache_size=2, cache_ttl=10.0)
    first = attn.forward(QUERY, KEY)
    again = attn.forward(QUERY.copy(), KEY.copy())
    assert again.cached
    np.testing.assert_array_equal(again.output, first.output)
    assert not first.output.flags.writeable
    changed = KEY.copy()
    changed[0, 0] += 1
    assert not attn.forward(QUERY, changed).cached
    assert not attn.forward(QUERY, KEY, params={"scale": 2.0}).cached
    assert not attn.forward(QUERY, KEY).cached  # the third drove out the first
    now[0] = 10.0
    assert not attn.forward(QUERY, KEY).cached
    assert attn.cache_summary() == {"size": 2, "entries": 2, "hits": 1, "misses": 5}
    assert attn.get_metrics("flash-attention-v2").cache_hits == 1
    ranked = attn.rerank(KEY[0], KEY)
    assert attn.rerank(KEY[0], KEY).order is ranked.order
    assert len(attn.rerank(KEY[0], KEY, k=3).order) == 3
    with pytest.raises(InvalidInput, match="a call with object cannot be kept in the cache"):
        attn.forward(QUERY, KEY, mask=object())


def test_many_threads_share_a_service() -> None:
    attn, keys = make(cache_size=3, worker_threads=8), [rows(20 + seed, 33, 8) for seed in range(5)]
    wanted = [attend(QUERY, key).output for key in keys]
    numbers = [number % 5 for number in range(400)]
    came = attn.forward_batch([(QUERY, keys[number].copy()) for number in numbers])
    for number, result in zip(numbers, came, strict=True):
        np.testing.assert_array_equal(result.output, wanted[number])
    told, kept = attn.get_metrics("flash-attention-v2"), attn.cache_summary()
    assert told.count + told.cache_hits == 400
    assert (kept["hits"], kept["misses"], kept["entries"]) == (told.cache_hits, told.count, 3)


def test_out_holds_the_output() -> None:
    attn, out = make(cache_size=1), np.zeros((5, 6), np.float32)
    for _ in range(2):
        came = attn.forward(QUERY, KEY, VALUE, out=out)
        assert came.output is out
        np.testing.assert_array_equal(out, attend(QUERY, KEY, VALUE).output)
        out[:] = 0
    frozen = np.zeros((5, 6), np.float32)
    frozen.setflags(write=False)
    for wrong in (np.zeros((5, 6)), np.zeros((5, 5), np.float32), [0.0], frozen):
        with pytest.raises(InvalidInput, match="out: expected"):
            attn.forward(QUERY, KEY, VALUE, out=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mechanism", "params"),
    [
        ("flash-attention-v2", {}),
        ("standard-mha", {"heads": 4}),
        ("alibi-mha", {"heads": 2}),
        ("flash-attention-v3", {}),
        ("flash-decoding", {"parts": 3}),
    ],
)
def test_out_is_written_to_without_a_copy(mechanism: str, params: dict[str, object]) -> None:
    query, key, out = rows(15, 256, 256), rows(16, 40, 256), np.empty((256, 256), np.float32)
    attn, call = make(), {"mechanism": mechanism, "params": params}
    if mechanism == "alibi-mha":
        call["positions"] = (np.arange(256), np.arange(40))
    wanted = attn.forward(query, key, **call).output.copy()
    attn.forward(query, key, out=out, **call)
    out[:] = 0
    tracemalloc.start()
    try:
        came = attn.forward(query, key, out=out, **call)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert came.output is out
    np.testing.assert_array_equal(out, wanted)
    if came.backend == "native" and mechanism != "flash-attention-v3":  # which codes its keys anew at every call
        assert peak < out.nbytes / 8


def test_out_may_be_an_input_a_stack_or_strided() -> None:
    attn, wanted = make(), attend(KEY, KEY).output
    for place in (np.empty((33, 16), np.float32)[:, ::2], np.empty((33, 8), np.float32)):
        assert attn.forward(KEY, KEY, out=place).output is place
        np.testing.assert_array_equal(place, wanted)
    rewritten = KEY.copy()
    assert attn.forward(rewritten, rewritten, out=rewritten).output is rewritten
    np.testing.assert_array_equal(rewritten, wanted)
    batch = rows(17, 3, 2, 20, 8)
    stacked, wanted = np.empty_like(batch), attn.forward(batch, batch).output
    assert attn.forward(batch, batch, out=stacked).output is stacked
    np.testing.assert_array_equal(stacked, wanted)
    assert attn.forward(batch, batch, out=batch).output is batch
    np.testing.assert_array_equal(batch, wanted)
    for wrong in (np.empty((4, 2, 20, 8), np.float32), np.empty((3, 2, 20, 7), np.float32), np.empty(3, np.float32)):
        with pytest.raises(InvalidInput, match="out: expected float32 of shape"):
            attn.forward(batch, batch, out=wrong)


def test_metrics_alerts_and_prometheus(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr(service, "perf_counter", lambda: next(ticks) * 0.25)
    attn = make()
    for _ in range(2):
        attn.forward(QUERY, KEY)
    with pytest.raises(InvalidVector):
        attn.forward(QUERY, KEY[:, :7])
    came = attn.get_metrics("flash-attention-v2")
    assert came.to_dict() == {
        "count": 2,
        "mean_us": 250_000.0,
        "p50_us": 250_000.0,
        "p95_us": 250_000.0,
        "p99_us": 250_000.0,
        "peak_us": 250_000.0,
        "per_second": 4.0,
        "failures": 1,
        "success_rate": 2 / 3,
        "cache_hits": 0,
        "bytes_saved": 2 * 5 * 33 * 4 if attend(QUERY, KEY).backend == "native" else 0,
    }
    assert attn.get_all_metrics() == {"flash-attention-v2": came}
    assert [str(alert) for alert in attn.metrics.alerts()] == [
        "flash-attention-v2: p95_us is 250,000.0, above 100.0",
        "flash-attention-v2: per_second is 4.0, below 1,000.0",
    ]
    assert attn.metrics.alerts(p95_us=1e6, per_second=1) == []
    assert attn.get_metrics("scaled-dot").count == 0
    assert attn.get_metrics("scaled-dot").success_rate == 1
    with pytest.raises(UnknownMechanism):
        attn.get_metrics("fast")
    text = attn.metrics.prometheus()
    assert 'agentmem_attention_seconds{mechanism="flash-attention-v2",quantile="0.95"} 0.25\n' in text
    assert 'agentmem_attention_seconds_count{mechanism="flash-attention-v2"} 2\n' in text
    assert 'agentmem_attention_failures_total{mechanism="flash-attention-v2"} 1\n' in text
    names = [line.split("{")[0] for line in text.splitlines() if not line.startswith("#")]
    typed = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert {name.removesuffix("_sum").removesuffix("_count") for name in names} == typed
    attn.metrics.clear()
    assert attn.get_all_metrics() == {}


def test_profiling_tells_the_scratch() -> None:
    attn = make(enable_profiling=True, backend="numpy")
    came = attn.forward(rows(11, 200, 8), rows(12, 300, 8))
    assert came.scratch_bytes is not None
    assert came.scratch_bytes > 200 * 300 * 8  # NumPy holds the matrix of scores
    assert not tracemalloc.is_tracing()


def test_the_steady_state_allocates_nothing_that_stays() -> None:
    attn, out = make(), np.empty((64, 128), np.float32)
    query, key = rows(13, 64, 128).astype(np.float16), rows(14, 64, 128).astype(np.float16)

    def call() -> int:
        for _ in range(100):
            attn.forward(query, key, out=out)
        attn.metrics.all()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        for _ in range(45):  # until the windows of the metrics are full
            before = call()
        after = call()
        tracemalloc.reset_peak()
        attn.forward(query, key, out=out)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert after - before < 1_024
    converted = out.nbytes
    if attend(out, out).backend == "native":
        assert peak - after < converted + 8_192  # one output, and no converted rows: those are the pool's
    assert attn.buffers.bytes == 2 * converted


def test_nothing_is_started_before_it_is_needed() -> None:
    code = (
        "import sys, threading\n"
        "from agentmem.attention.service import AttentionService\n"
        "attn = AttentionService(fallback_mechanism=None)\n"
        "assert attn.workers.size == 0 and threading.active_count() == 1\n"
        "assert not {'torch', 'rich', 'hnswlib', 'sqlite3', 'tokenizers'} & set(sys.modules), 'loaded too early'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"default_mechanism": "fast"}, UnknownMechanism, "no mechanism 'fast'"),
        ({"fallback_mechanism": "fast"}, UnknownMechanism, "no mechanism 'fast'"),
        ({"backend": "cuda"}, InvalidInput, "backend must be one of 'auto', 'native', 'numpy', 'torch'"),
        ({"long_sequence_threshold": 0}, InvalidInput, "long_sequence_threshold must be"),
        ({"cache_size": -1}, InvalidInput, "cache_size must be"),
        ({"cache_ttl": -1.0}, InvalidInput, "cache_ttl must be"),
        ({"worker_threads": 0}, InvalidInput, "worker_threads must be"),
        ({"max_concurrency": 0}, InvalidInput, "max_concurrency must be"),
        ({"enable_profiling": 1}, InvalidInput, "enable_profiling must be True or False"),
    ],
)
def test_impossible_options(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make(**options)


def test_torch_is_refused_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r'needs .*run: pip install "agentmem\[torch\]"'):
        make(backend="torch").forward(QUERY, KEY)
