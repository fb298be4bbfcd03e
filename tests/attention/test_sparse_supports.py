"""Supports as data: runs of keys a query, against the rule that defines each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentmem.attention.supports import Support, build, draw, hashed

Rule = Callable[[np.ndarray, np.ndarray, int, int, int], np.ndarray]


def dense(support: Support, n_keys: int) -> np.ndarray:
    """How often each query sees each key."""
    counts = np.zeros((len(support.offsets) - 1, n_keys), int)
    for i, row in enumerate(counts):
        np.add.at(row, support.keys(i), 1)
    return counts


# a, b and c are the parameters of the rule, in the order of the names beside it
RULES: dict[str, tuple[tuple[str, ...], Rule]] = {
    "all": ((), lambda i, j, a, b, c: i == i),
    "window": (("window",), lambda i, j, a, b, c: abs(i - j) <= a),
    "past": (("window",), lambda i, j, a, b, c: (i - a < j) & (j <= i)),
    "dilated | global": (
        ("window", "dilation", "global_tokens"),
        lambda i, j, a, b, c: ((abs(i - j) <= a // 2 * b) & ((i - j) % b == 0)) | (j < c) | ((i >= 0) & (i < c)),
    ),
    "reach | stride": (("stride",), lambda i, j, a, b, c: (abs(i - j) <= a) | ((i - j) % a == 0)),
    "chunk | summary": (("stride", "summary"), lambda i, j, a, b, c: (i // a == j // a) | (j % a >= a - b)),
    "block-window | block-global": (
        ("block", "window", "global_first"),
        lambda i, j, a, b, c: (abs(i // a - j // a) <= b // 2) | (j // a < c) | ((i >= 0) & (i // a < c)),
    ),
}


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=80, deadline=None)
@given(st.integers(0, 45), st.integers(-3, 12), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9), st.booleans())
def test_each_atom_is_its_rule(name: str, n_keys: int, extra: int, a: int, b: int, c: int, causal: bool) -> None:
    names, rule = RULES[name]
    params = dict(zip(names, (a, b, c), strict=False)) | {"causal": causal, "global_last": 0}
    at = np.arange(max(n_keys + extra, 0)) + n_keys - max(n_keys + extra, 0)  # may begin before the first key
    i, j = at[:, None], np.arange(n_keys)[None]
    expected = np.broadcast_to(rule(i, j, a, b, c), (len(at), n_keys)) & ((j <= i) if causal else True)
    np.testing.assert_array_equal(dense(build(name, at, n_keys, params), n_keys), expected)


def test_global_blocks_at_the_end() -> None:
    params = {"block": 4, "window": 1, "global_first": 0, "global_last": 1}
    came = dense(build("block-window | block-global", np.arange(10), 10, params), 10)
    i, j = np.ogrid[:10, :10]
    np.testing.assert_array_equal(came, (i // 4 == j // 4) | (j >= 8) | (i >= 8))


def test_runs_are_few_and_sizes_count_keys() -> None:
    n = 5000
    params = {"window": 300, "dilation": 3, "global_tokens": 2, "causal": False}
    support = build("dilated | global", np.arange(n), n, params)
    assert len(support.runs) <= 3 * n
    assert support.offsets.tolist()[-1] == len(support.runs)
    np.testing.assert_array_equal(support.sizes, [len(support.keys(i)) for i in range(n)])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 30), st.integers(1, 12), st.integers(0, 2**40))
def test_draws_are_distinct_and_as_many_as_there_are(among: int, k: int, seed: int) -> None:
    rows = np.arange(20)
    came = draw(seed, rows, np.full(20, among), k)
    for row in came:
        kept = row[row >= 0]
        assert len(kept) == len(set(kept.tolist())) == min(k, among)
        assert (kept < among).all()
    np.testing.assert_array_equal(came[[3, 17]], draw(seed, rows[[3, 17]], np.full(2, among), k))


def test_draws_are_uniform() -> None:
    rows, k, among = 20_000, 5, 8
    counts = np.bincount(draw(7, np.arange(rows), np.full(rows, among), k).ravel(), minlength=among)
    share = rows * k / among
    assert (abs(counts - share) < 5 * np.sqrt(share)).all()
    bits = hashed(1, np.arange(4096))[:, None] >> np.arange(64, dtype=np.uint64) & np.uint64(1)
    assert (abs(bits.sum(0).astype(int) - 2048) < 5 * 32).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 9), st.sampled_from([1, 3, 5]), st.integers(0, 2), st.integers(0, 2))
def test_random_blocks_are_new_ones(n: int, block: int, window: int, first: int, last: int) -> None:
    params = {"block": block, "window": window, "global_first": first, "global_last": last, "random": 3, "seed": 5}
    at = np.arange(n)
    without = dense(build("block-window | block-global", at, n, params), n)
    extra = dense(build("block-window | block-global | block-random", at, n, params), n) - without
    blocks = -(-n // block)
    seen = np.stack([extra[:, b * block : (b + 1) * block].max(1) for b in range(blocks)], 1)
    free = np.stack([without[:, b * block : (b + 1) * block].max(1) for b in range(blocks)], 1) == 0
    np.testing.assert_array_equal(seen.sum(1), np.minimum(free.sum(1), 3))
    np.testing.assert_array_equal(extra, np.repeat(seen, block, 1)[:, :n])  # whole blocks
    np.testing.assert_array_equal(extra, extra[at // block * block])  # the same for a block's rows


def test_a_rows_random_keys_depend_on_the_seed_and_the_row_alone() -> None:
    params = {"random": 4, "seed": 3}
    whole = build("random", np.arange(50), 50, params)
    last = build("random", np.arange(47, 50), 50, params)
    for i in range(3):
        np.testing.assert_array_equal(last.keys(i), whole.keys(47 + i))
    other = build("random", np.arange(50), 50, params | {"seed": 4})
    assert any(whole.keys(i).tolist() != other.keys(i).tolist() for i in range(50))
