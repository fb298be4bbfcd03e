"""The parts of the service: threads by load, buffers, keys of content."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from agentmem.attention.buffers import BufferPool
from agentmem.attention.cache import content_key
from agentmem.attention.workers import WorkerPool
from agentmem.errors import InvalidInput


def test_the_pool_grows_with_its_load_and_shrinks_again() -> None:
    pool, gate = WorkerPool(4), threading.Event()
    assert (pool.size, pool.load) == (0, 0.0)
    held = [pool.submit(gate.wait, 60) for _ in range(10)]
    assert pool.size == 4
    assert pool.load == 2.5
    gate.set()
    assert all(future.result(60) for future in held)
    assert (pool.size, pool.load) == (1, 0.0)
    assert pool.submit(lambda: 7).result(60) == 7


def test_one_after_another_needs_one_thread() -> None:
    pool = WorkerPool(8)
    for number in range(20):
        assert pool.submit(lambda number=number: number * 2).result(60) == number * 2
        assert pool.size == 1


def test_what_a_task_raises_comes_out_and_cancelled_ones_do_not_run() -> None:
    pool, gate, ran = WorkerPool(1), threading.Event(), []
    first = pool.submit(gate.wait, 60)
    second = pool.submit(ran.append, 2)
    assert second.cancel()
    gate.set()
    assert first.result(60)
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 / 0).result(60)
    assert ran == []
    pool.close()
    assert pool.size == 0
    assert pool.submit(lambda: 1).result(60) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_threads_do_not_cross_a_fork() -> None:
    pool = WorkerPool(2)
    pool.submit(lambda: None).result(60)
    child = os.fork()
    if child == 0:
        os._exit(pool.submit(lambda: 42).result(60))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42


def test_buffers_come_back() -> None:
    pool = BufferPool(max_bytes=100)
    first = pool.take((5, 2), np.float32)
    pool.give(first)
    assert pool.bytes == 40
    assert pool.take((5, 2), "float32") is first
    assert pool.take((5, 2), np.float32) is not first
    assert pool.take((5, 2), np.float64).dtype == np.float64
    pool.give(np.empty(30, np.float32))  # too large
    pool.give(np.empty((4, 4), np.float32)[:2])  # a part of something else
    assert pool.bytes == 0
    with pool.borrow((5, 2)) as lent:
        assert pool.bytes == 0
    assert pool.bytes == 40
    assert pool.take((5, 2), np.float32) is lent
    pool.give(lent)
    pool.clear()
    assert pool.bytes == 0
    assert pool.take((5, 2), np.float32) is not lent
    with pytest.raises(InvalidInput, match="max_bytes"):
        BufferPool(-1)


def test_keys_tell_contents_apart() -> None:
    array = np.arange(6, dtype=np.float32)
    keys = [
        content_key(array),
        content_key(array.reshape(2, 3)),
        content_key(array.astype(np.float64)),
        content_key(array.astype(np.float16)),
        content_key({"a": array}),
        content_key([array]),
        content_key((array,)),
        content_key(array, None),
        content_key({"a": 1}),
        content_key({"a": 1.0}),
        content_key({"a": True}),
        content_key({"a": "1"}),
        content_key("ab", "c"),
        content_key("a", "bc"),
        content_key(),
    ]
    assert len(set(keys)) == len(keys)
    assert content_key(np.arange(12, dtype=np.float32)[::2]) == content_key(np.arange(0, 12, 2, dtype=np.float32))
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1})
    with pytest.raises(InvalidInput, match="a call with set cannot be kept"):
        content_key({1})
