"""The tail grows without disturbing older tails."""

from __future__ import annotations

import numpy as np
import pytest
from view_model import BACKENDS, NAMESPACES, as_rows, backend, random_rows

from agentmem.index import tail as tail_module
from agentmem.index.tail import Tail

COLUMNS = ["labels", "thread_key", "session_key", "speaker_key", "position", "created_at", "expires_at", "importance"]


def some_rows(count: int, dimension: int = 5) -> list:
    return random_rows(np.random.default_rng(count), 1, count, dimension)


def test_columns_are_those_of_the_rows() -> None:
    rows = some_rows(200)
    tail = Tail.empty(5, "ip", np.uint16)
    for start in range(0, 200, 7):
        tail = tail.append(as_rows(rows[start : start + 7], 5))
    plain = as_rows(rows, 5)
    assert tail.n == 200
    for name in [*COLUMNS, "vectors", "token_offsets", "tokens", "term_offsets", "terms"]:
        np.testing.assert_array_equal(getattr(tail, name), getattr(plain, name), err_msg=name)
    assert tail.has_vector.tolist() == plain.has_vector.tolist()
    assert tail.lengths.tolist() == [len(row.terms) for row in rows]
    np.testing.assert_allclose(tail.norms, (plain.vectors**2).sum(axis=1))
    np.testing.assert_allclose(tail.codes[:, :5] * tail.scales[:, None], plain.vectors, atol=0.02)
    assert tail.min_expiry == plain.expires_at.min()
    assert tail.append(as_rows([], 5)) is tail


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e15])
def test_cosine_vectors_have_length_one(scale: float) -> None:
    rows = some_rows(50)
    for row in rows:
        row.vector = None if row.vector is None else (row.vector * scale).astype(np.float32)
    tail = Tail.empty(5, "cosine", np.uint16).append(as_rows(rows, 5))
    np.testing.assert_allclose(tail.norms, tail.has_vector, rtol=1e-5)
    assert np.isfinite(tail.vectors).all()


def test_older_tails_keep_their_rows_and_forks_do_not_meet() -> None:
    rows = some_rows(150)
    older = Tail.empty(5, "ip", np.uint16).append(as_rows(rows[:40], 5))
    kept = {name: getattr(older, name).copy() for name in COLUMNS}
    newer = older.append(as_rows(rows[40:], 5))
    other = random_rows(np.random.default_rng(9), 300, 60, 5)
    fork = older.append(as_rows(other, 5))
    later = newer.append(as_rows(random_rows(np.random.default_rng(1), 900, 1, 5), 5))
    latest = later.append(as_rows(random_rows(np.random.default_rng(1), 901, 1, 5), 5))
    assert np.shares_memory(later.labels, latest.labels)
    assert not np.shares_memory(newer.labels, fork.labels)
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(older, name), kept[name])
        np.testing.assert_array_equal(getattr(newer, name), getattr(as_rows(rows, 5), name))
        np.testing.assert_array_equal(getattr(fork, name), getattr(as_rows(rows[:40] + other, 5), name))
    for namespace in NAMESPACES:
        assert fork.namespace_mask(namespace).tolist() == [row.namespace == namespace for row in rows[:40] + other]


def test_namespace_masks() -> None:
    rows = some_rows(120)
    tail = Tail.empty(5, "ip", np.uint16).append(as_rows(rows, 5))
    for namespace in [*NAMESPACES, "nowhere", "users/1/a/x/y"]:
        assert tail.namespace_mask(namespace).tolist() == [row.namespace == namespace for row in rows]
    for branch in ["users/", "users/1/", "users/10/", "/", "users/1/a/", "z/"]:
        assert tail.namespace_mask(branch).tolist() == [row.namespace.startswith(branch) for row in rows]


def test_rows_of_labels() -> None:
    tail = Tail.empty(5, "ip", np.uint16).append(as_rows(some_rows(30)[3:], 5))
    assert tail.rows_of(np.array([30, 4, 3, 31, -1, 5])).tolist() == [26, 0, -1, -1, -1, 1]
    assert Tail.empty(5, "ip", np.uint16).rows_of(np.array([1])).tolist() == [-1]


def test_threads_are_in_order_and_seen_up_to_the_tail() -> None:
    rows = some_rows(120)
    older = Tail.empty(5, "ip", np.uint16).append(as_rows(rows[:50], 5))
    newer = older.append(as_rows(rows[50:], 5))
    for tail in (newer, older):
        seen = rows[: tail.n]
        for key in set(tail.thread_key.tolist()) - {0}:
            mine = [row for row in range(tail.n) if tail.thread_key[row] == key]
            mine.sort(key=lambda row: (seen[row].position is None, seen[row].position or 0.0, row))
            assert tail.thread(key).tolist() == mine
    assert newer.thread(int(newer.thread_key.max())) is newer.thread(int(newer.thread_key.max()))
    assert newer.thread(12345).tolist() == []


@pytest.mark.parametrize("name", BACKENDS)
def test_postings_hold_every_row_while_the_tail_grows(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(tail_module, "SCANNED_ROWS", 16)
    rows = some_rows(200)
    tails = [Tail.empty(5, "ip", np.uint16)]
    wanted = np.array([0, 3, 11, 50], np.uint32)
    with backend(name):
        for start in range(0, 200, 9):
            tails.append(tails[-1].append(as_rows(rows[start : start + 9], 5)))
            tails[-1].postings_of(wanted)
        inverted = 0
        for tail in tails:
            lists = tail.postings_of(wanted)
            inverted = max(inverted, len(lists))
            for term in wanted:
                found: list[int] = []
                for postings in lists:
                    at = np.flatnonzero(postings.terms == term)
                    for index in at.tolist():
                        found += postings.rows[postings.offsets[index] : postings.offsets[index + 1]].tolist()
                expected = [row for row in range(tail.n) if term in rows[row].terms]
                assert [row for row in found if row < tail.n] == expected
        assert inverted == 2
