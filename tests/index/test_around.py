"""What is said around rows in one pass, and what stands beside the best, as the steps one by one have it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from view_model import BACKENDS, SCOPES, Model, as_rows, backend, random_rows

from agentmem.index import kernels
from agentmem.index.around import around, beside, said
from agentmem.index.build import build_segment
from agentmem.index.scope import Scope
from agentmem.index.segment import Segment
from agentmem.index.view import View
from agentmem.rerank.kernels import scaled

STEADY = settings(max_examples=40, deadline=None, derandomize=True)
QUERY = np.array([1, -2, 0.5, 3, 1], np.float32)


def made(seed: int, metric: str, tail: int) -> tuple[View, Model]:
    """Return a view of 90 rows in a segment, eight of them dead, and of some behind them."""
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, 1, 90 + tail, 5)
    segment = build_segment(
        None, as_rows(rows[:90], 5), store_uuid="u", seq=0, kind="base", metric=metric, tokenizer_hash="t", graph=False
    )
    view = View.of([Segment.open(segment)], 5, metric, seq=0)
    dead = rng.choice(90, 8, replace=False) + 1
    for row in rows:
        row.alive = row.label not in dead
    return view.apply(as_rows(rows[90:], 5), dead, 1), Model(metric, rows)


draws = {
    "seed": st.integers(0, 9),
    "metric": st.sampled_from(["cosine", "ip", "l2"]),
    "tail": st.sampled_from([0, 0, 20]),
    "namespace": st.sampled_from(SCOPES),
    "now": st.sampled_from([-1.0, 5.0]),
    "labels": st.none() | st.lists(st.integers(0, 120), min_size=5),
    "vector": st.sampled_from([QUERY, None]),
    "terms": st.none() | st.lists(st.integers(0, 14), max_size=5, unique=True),
}


def searched(view: View, namespace: str | None, now: float, labels: list[int] | None, terms: list[int] | None):
    """Return a scope, and a search by terms in it or None."""
    scope = view.scope(namespace, now, None if labels is None else np.array(labels, np.int64))
    return scope, None if terms is None else view.lexical(np.array(terms, np.uint32), 10, scope)


def drawn_rows(view: View, scope: Scope, seed: int) -> np.ndarray:
    rows = view.rows_in(scope)
    return np.sort(np.random.default_rng(seed).permutation(rows)[:25])


@pytest.mark.parametrize("name", BACKENDS)
@STEADY
@given(radius=st.sampled_from([1, 3, 127]), **draws)
def test_what_is_said_around_rows_is_what_the_steps_say(
    name, radius, seed, metric, tail, namespace, now, labels, vector, terms
):
    with backend(name):
        view, _ = made(seed, metric, tail)
        scope, bm25 = searched(view, namespace, now, labels, terms)
        rows = drawn_rows(view, view.scope(None, -1.0), seed)
        found = around(view, rows, radius, scope, vector, bm25)
        owner, offset, near = view.neighbours(rows, radius, scope)
        every = np.concatenate([rows, near])
        assert found.owner.tolist() == owner.tolist()
        assert found.offset.tolist() == offset.tolist()
        assert found.distinct.tolist() == sorted(set(every.tolist()))
        assert found.distinct[found.places].tolist() == every.tolist()
        dense, lexical = said(view, vector, bm25, every)
        np.testing.assert_array_equal(found.dense, dense)
        np.testing.assert_array_equal(found.lexical, lexical)
        assert [array.dtype for array in found] == [np.int32, np.int8, np.int64, np.int64, np.float32, np.float32]


@STEADY
@given(best=st.sampled_from([0, 1, 10, 400]), reach=st.sampled_from([1, 2]), **draws)
def test_what_stands_beside_the_best_is_what_the_steps_find(
    best, reach, seed, metric, tail, namespace, now, labels, vector, terms
):
    with backend("native"):
        view, _ = made(seed, metric, tail)
        scope, bm25 = searched(view, namespace, now, labels, terms)
        offered = [(1, drawn_rows(view, scope, seed)[::-1].copy()), (2, drawn_rows(view, scope, seed + 1))]
        found = beside(view, offered, vector, bm25, scope, best, reach, 4)
        if tail:
            assert found is None
            return
        first = kernels.union(offered)[0]
        dense, lexical = said(view, vector, bm25, first)
        top = first[np.argsort(-(scaled(dense) + scaled(lexical)), kind="stable")[:best]]
        rows, marks = kernels.union([*offered, (4, view.neighbours(top, reach, scope)[2])])
        assert found is not None
        assert found[0].tolist() == rows.tolist()
        assert found[1].tolist() == marks.tolist()


def test_without_kernels_the_steps_are_left_to_the_caller():
    with backend("numpy"):
        view, _ = made(0, "ip", 0)
        assert beside(view, [], QUERY, None, view.scope(None, 0.0), 10, 2, 4) is None


@pytest.mark.parametrize("row", [-1, 90, 2**40])
def test_a_row_outside_the_part_is_refused(row):
    with backend("native"):
        view, _ = made(0, "ip", 0)
        scope, rows = view.scope(None, 0.0), np.array([3, row], np.int64)
        with pytest.raises(IndexError, match="outside"):
            around(view, rows, 3, scope, QUERY, None)
        with pytest.raises(IndexError, match="outside"):
            beside(view, [(1, rows)], QUERY, None, scope, 10, 2, 4)


def test_nothing_stands_around_nothing():
    with backend("native"):
        view, _ = made(0, "ip", 0)
        none = np.empty(0, np.int64)
        found = around(view, none, 3, view.scope(None, 0.0), QUERY, None)
        assert [len(array) for array in found] == [0] * 6
        rows, marks = beside(view, [], QUERY, None, view.scope(None, 0.0), 10, 2, 4)
        assert len(rows) == len(marks) == 0
