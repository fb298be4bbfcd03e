"""Views answer as a plain list of rows would, however the rows came and wherever they lie."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from view_model import BACKENDS, SCOPES, Model, ModelRow, as_rows, backend, random_rows

from agentmem.index import planner
from agentmem.index.build import build_segment
from agentmem.index.ragged import distinct
from agentmem.index.segment import Segment
from agentmem.index.view import View

METRICS = ["cosine", "ip", "l2"]
LAYOUTS = ["tail", "base", "base+delta"]
STEADY = settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def segment_of(rows: Sequence[ModelRow], dimension: int, metric: str, graph: bool = False) -> Segment:
    kind = "base" if rows[0].label == 1 else "delta"
    source = build_segment(
        None,
        as_rows(rows, dimension),
        store_uuid="u",
        seq=0,
        kind=kind,
        metric=metric,
        tokenizer_hash="t",
        graph=graph,
    )
    return Segment.open(source)


def kill(view: View, model: Model, rng: np.random.Generator, seq: int) -> View:
    dead = rng.choice([row.label for row in model.rows], max(1, len(model.rows) // 8), replace=False)
    for row in model.rows:
        row.alive = row.alive and row.label not in dead
    return view.apply(as_rows([], view.dimension), np.append(dead, 10**9), seq)


def grown(layout: str, seed: int, metric: str, dimension: int, graph: bool = False) -> tuple[View, Model]:
    """A view of random rows in a layout, and the model that has the same; rows die along the way."""
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, 1, 160, dimension)
    model = Model(metric)
    segments = []
    if layout != "tail":
        segments.append(segment_of(rows[:90], dimension, metric, graph))
        model.rows += rows[:90]
    if layout == "base+delta":
        segments.append(segment_of(rows[90:120], dimension, metric, graph))
        model.rows += rows[90:120]
    view = View.of(segments, dimension, metric, seq=0)
    seq = 0
    if segments:
        view = kill(view, model, rng, seq)
    while len(model.rows) < len(rows):
        seq += 1
        batch = rows[len(model.rows) : len(model.rows) + int(rng.integers(1, 40))]
        view = view.apply(as_rows(batch, dimension), np.empty(0, np.int64), seq)
        model.rows += batch
        if rng.random() < 0.7:
            view = kill(view, model, rng, seq)
    return view, model


@dataclass
class Case:
    """One search."""

    namespace: str | None
    now: float
    labels: list[int] | None
    k: int
    seed: int
    rng: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def label_array(self) -> np.ndarray | None:
        return None if self.labels is None else np.array(self.labels, np.int64)


CASES = st.builds(
    Case,
    namespace=st.sampled_from(SCOPES),
    now=st.sampled_from([-1.0, 3.0, 5.0, 100.0]),
    labels=st.none() | st.lists(st.integers(-2, 200), max_size=6) | st.lists(st.integers(0, 400), min_size=60),
    k=st.sampled_from([1, 4, 30, 500]),
    seed=st.integers(0, 2**32 - 1),
)


def over_layouts(check: Callable[..., None]) -> Callable[..., None]:
    for name, values in (("layout", LAYOUTS), ("metric", METRICS), ("name", BACKENDS)):
        check = pytest.mark.parametrize(name, values)(check)
    return check


@over_layouts
@STEADY
@given(case=CASES, dimension=st.sampled_from([1, 5, 31]))
def test_nearest_is_what_a_sort_gives(name: str, metric: str, layout: str, case: Case, dimension: int) -> None:
    with backend(name):
        view, model = grown(layout, case.seed % 5, metric, dimension)
        scope = view.scope(case.namespace, case.now, case.label_array())
        wanted_scope = model.scope(case.namespace, case.now, case.labels)
        assert scope.count == len(wanted_scope)
        assert sorted(view.labels(view.rows_in(scope)).tolist()) == [row.label for row in wanted_scope]
        everything = np.arange(sum(part.n for part in view.parts))
        assert everything[view.in_scope(scope, everything)].tolist() == view.rows_in(scope).tolist()
        queries = case.rng.integers(-3, 4, (2, dimension)).astype(np.float32) + np.float32(0.5)
        many_rows, many_scores = view.nearest_many(queries, case.k, scope, threads=2)
        for line, query in enumerate(queries):
            wanted = model.nearest(query, case.k, wanted_scope)
            for exact in (False, True):
                rows, scores = view.nearest(query, case.k, scope, exact=exact)
                np.testing.assert_allclose(scores, [score for score, _ in wanted], rtol=1e-5, atol=1e-5)
                if metric != "cosine":
                    assert view.labels(rows).tolist() == [label for _, label in wanted]
                np.testing.assert_allclose(view.dense_scores(query, rows), scores, rtol=1e-5, atol=1e-5)
            filled = many_rows[line] >= 0
            assert filled.sum() == len(wanted)
            assert (many_scores[line][~filled] == -np.inf).all()
            np.testing.assert_allclose(many_scores[line][filled], [s for s, _ in wanted], rtol=1e-5, atol=1e-5)


@over_layouts
@STEADY
@given(case=CASES, terms=st.lists(st.integers(0, 14), max_size=6))
def test_lexical_is_what_a_dictionary_gives(name: str, metric: str, layout: str, case: Case, terms: list[int]) -> None:
    with backend(name):
        view, model = grown(layout, case.seed % 5, metric, 5)
        scope = view.scope(case.namespace, case.now, case.label_array())
        wanted_scope = model.scope(case.namespace, case.now, case.labels)
        wanted = model.bm25(terms, case.namespace, wanted_scope)
        found = view.lexical(np.array(terms, np.uint32), case.k, scope)
        assert found.idf.shape == (len(terms),)
        best = sorted(wanted.values(), reverse=True)[: case.k]
        np.testing.assert_allclose(found.scores, best, rtol=1e-5)
        np.testing.assert_allclose(found.scores, [wanted[label] for label in view.labels(found.rows)], rtol=1e-5)
        rows = view.rows_of(np.array([row.label for row in wanted_scope], np.int64))
        expected = [wanted.get(row.label, 0.0) for row in wanted_scope]
        np.testing.assert_allclose(found.scores_of(rows), expected, rtol=1e-5)


@over_layouts
@STEADY
@given(case=CASES, radius=st.sampled_from([1, 3, 127]))
def test_neighbours_are_what_a_sort_gives(name: str, metric: str, layout: str, case: Case, radius: int) -> None:
    with backend(name):
        view, model = grown(layout, case.seed % 5, metric, 5)
        scope = view.scope(case.namespace, case.now, case.label_array())
        wanted_scope = model.scope(case.namespace, case.now, case.labels)
        labels = case.rng.permutation([row.label for row in model.scope(None, -1.0, None)])[:40]
        rows = view.rows_of(labels)
        owner, offset, found = view.neighbours(rows, radius, scope)
        assert (owner.dtype, offset.dtype, found.dtype) == (np.int32, np.int8, np.int64)
        names = view.labels(found)
        for index, label in enumerate(labels):
            mine = owner == index
            got = dict(zip(names[mine].tolist(), offset[mine].tolist(), strict=True))
            assert got == model.neighbours(label, radius, wanted_scope)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_columns_tokens_and_labels(layout: str) -> None:
    view, model = grown(layout, 1, "ip", 5)
    alive = [row for row in model.rows if row.alive]
    dead = [row.label for row in model.rows if not row.alive]
    order = np.random.default_rng(0).permutation(len(alive))
    asked = [alive[index] for index in order]
    rows = view.rows_of(np.array([row.label for row in asked], np.int64))
    assert (rows >= 0).all()
    assert (view.rows_of(np.array([*dead, 0, 10**12], np.int64)) == -1).all()
    columns = view.columns(rows)
    plain = as_rows(alive, 5)
    for column in ("labels", "thread_key", "session_key", "speaker_key", "position", "created_at", "importance"):
        np.testing.assert_array_equal(getattr(columns, column), getattr(plain, column)[order])
    np.testing.assert_array_equal(view.vectors(rows), plain.vectors[order])
    every = np.arange(len(rows))
    for places, part, local in view.parts_of(rows):
        for place, own in zip(every[places].tolist(), local.tolist(), strict=True):
            tokens, terms = slice(*part.token_offsets[own : own + 2]), slice(*part.term_offsets[own : own + 2])
            assert part.tokens[tokens].tolist() == asked[place].tokens.tolist()
            assert part.terms[terms].tolist() == asked[place].terms.tolist()
    assert sorted(np.concatenate([every[places] for places, _, _ in view.parts_of(rows)]).tolist()) == every.tolist()
    similar = view.dense_scores(np.ones(5, np.float32), rows)
    assert np.isnan(similar).tolist() == [row.vector is None for row in asked]
    assert view.has_vector(rows).tolist() == [row.vector is not None for row in asked]
    assert sorted(view.live_labels().tolist()) == [row.label for row in alive]
    assert view.n_live == len(alive)
    none = np.empty(0, np.int64)
    assert (
        len(view.columns(none).labels)
        == len(view.parts_of(none))
        == len(view.neighbours(none, 3, view.scope(None, 0))[0])
        == 0
    )


@STEADY
@given(seed=st.integers(0, 1000), split=st.integers(1, 60))
def test_an_older_view_stays_as_it_was_and_may_be_grown_again(seed: int, split: int) -> None:
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, 1, 120, 5)
    query = rng.normal(size=5).astype(np.float32)
    terms = np.arange(5, dtype=np.uint32)
    none = np.empty(0, np.int64)

    def answers(view: View) -> list[object]:
        scope = view.scope("users/", 4.0)
        lexical = view.lexical(terms, 9, scope)
        near = view.nearest(query, 9, scope)
        live = view.rows_of(np.arange(1, 121))
        around = view.neighbours(live[live >= 0], 2, scope)
        ordered = sorted(zip(*(column.tolist() for column in around), strict=True))
        return [*(column.tolist() for column in (*near, lexical.rows, lexical.scores, lexical.idf)), ordered]

    older = View.empty(5, "cosine").apply(as_rows(rows[:split], 5), none, 1)
    before = answers(older)
    newer = older.apply(as_rows(rows[split:], 5), np.array([1, 2]), 2)
    after = answers(newer)
    assert answers(older) == before
    fork = older.apply(as_rows(rows[split:], 5), np.array([1, 2]), 2)
    other = older.apply(as_rows(random_rows(rng, 500, 30, 5), 5), none, 2)
    answers(other)
    assert answers(fork) == after == answers(newer)
    assert answers(older) == before
    assert (older.seq, newer.seq, other.n_live) == (1, 2, split + 30)


def test_searches_go_on_while_another_thread_writes() -> None:
    rng = np.random.default_rng(0)
    rows = random_rows(rng, 1, 300, 5)
    views = [View.empty(5, "ip").apply(as_rows(rows[:1], 5), np.empty(0, np.int64), 1)]
    queries = rng.integers(-3, 4, (8, 5)).astype(np.float32)

    def write() -> None:
        for row in rows[1:]:
            views.append(views[-1].apply(as_rows([row], 5), np.empty(0, np.int64), row.label))

    def read(query: np.ndarray) -> None:
        seen = 0
        while seen < len(rows):
            view = views[-1]
            seen = view.n_live
            model = Model("ip", rows[:seen])
            scope = view.scope(None, -1.0)
            found = view.nearest(query, 5, scope)[0]
            assert view.labels(found).tolist() == [label for _, label in model.nearest(query, 5, model.rows)]
            lexical = view.lexical(np.array([3], np.uint32), 500, scope)
            assert sorted(view.labels(lexical.rows).tolist()) == [row.label for row in model.rows if 3 in row.terms]
            owner, offset, around = view.neighbours(found[:1], 2, scope)
            got = dict(zip(view.labels(around).tolist(), offset.tolist(), strict=True))
            first = view.labels(found[:1]).tolist()
            assert got == (model.neighbours(first[0], 2, model.rows) if first else {})
            assert len(owner) == len(got)

    with ThreadPoolExecutor(9) as pool:
        tasks = [pool.submit(write), *(pool.submit(read, query) for query in queries[:4])]
        for task in tasks:
            task.result()


def test_an_empty_view_finds_nothing() -> None:
    view = View.empty(3, "cosine")
    scope = view.scope(None, 0.0)
    assert (scope.count, view.n_live, view.tail_rows, view.seq) == (0, 0, 0, 0)
    assert len(view.nearest(np.ones(3, np.float32), 5, scope)[0]) == 0
    assert len(view.lexical(np.array([1], np.uint32), 5, scope).rows) == 0
    assert view.nearest_many(np.ones((2, 3), np.float32), 2, scope)[0].tolist() == [[-1, -1], [-1, -1]]
    assert view.audit(10, 10, None, 0) == 1.0
    assert view.rows_of(np.array([1])).tolist() == [-1]
    assert view.apply(as_rows([], 3), np.array([4]), 7).seq == 7


def test_labels_must_ascend() -> None:
    rows = random_rows(np.random.default_rng(0), 5, 3, 4)
    view = View.empty(4, "ip").apply(as_rows(rows, 4), np.empty(0, np.int64), 1)
    with pytest.raises(ValueError, match="ascending"):
        view.apply(as_rows(rows[:1], 4), np.empty(0, np.int64), 2)


def test_a_purged_expiry_makes_the_whole_scope_cheap_again() -> None:
    rows = random_rows(np.random.default_rng(0), 1, 40, 4)
    view = View.empty(4, "ip").apply(as_rows(rows, 4), np.empty(0, np.int64), 1)
    expired = np.array([row.label for row in rows if row.expires_at is not None and row.expires_at <= 5.0])
    before = view.scope(None, 5.0)
    view = view.apply(as_rows([], 4), expired, 2)
    after = view.scope(None, 5.0)
    assert after.count == before.count == 40 - len(expired)
    assert after is view.scope(None, 5.0)
    assert before.population[0].count == 40


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("layout", LAYOUTS[1:])
@pytest.mark.parametrize("seed", range(4))
def test_graphs_give_what_a_scan_gives(monkeypatch: pytest.MonkeyPatch, metric: str, layout: str, seed: int) -> None:
    monkeypatch.setattr(planner, "SCAN_ROWS", 5)
    monkeypatch.setattr(planner, "SCAN_SHARE", 1000)
    monkeypatch.setattr(planner.kernels, "walks_natively", lambda: True)
    view, model = grown(layout, seed, metric, 3, graph=True)
    rng = np.random.default_rng(seed)
    for namespace in (None, "users/", "users/1/"):
        for labels in (None, np.arange(0, 160, 2)):
            scope = view.scope(namespace, 4.0, labels)
            wanted_scope = model.scope(namespace, 4.0, None if labels is None else labels.tolist())
            queries = rng.normal(size=(5, 3)).astype(np.float32)
            rows, many = view.nearest_many(queries, 12, scope, ef=200)
            for line, query in enumerate(queries):
                wanted = [score for score, _ in model.nearest(query, 12, wanted_scope)]
                found, scores = view.nearest(query, 12, scope, ef=200)
                np.testing.assert_allclose(scores, wanted, rtol=1e-5, atol=1e-5)
                np.testing.assert_allclose(many[line][rows[line] >= 0], wanted, rtol=1e-5, atol=1e-5)
                assert len(set(found.tolist())) == len(found)
                assert scope.holds(found).all()


def test_a_label_array_may_be_asked_for_again() -> None:
    view, model = grown("base+delta", 2, "ip", 5)
    labels = np.arange(1, 161, 3)
    for now in (-1.0, 4.0, 100.0, -1.0):
        for namespace in SCOPES:
            scope = view.scope(namespace, now, labels)
            wanted = [row.label for row in model.scope(namespace, now, labels.tolist())]
            assert sorted(view.labels(scope.rows()).tolist()) == wanted
            assert scope.count == len(wanted)


def test_unreachable_rows_obey_the_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "SCAN_ROWS", 5)
    monkeypatch.setattr(planner.kernels, "walks_natively", lambda: True)
    rng = np.random.default_rng(4)
    rows = random_rows(rng, 1, 60, 5)
    for row in rows:
        row.vector = rng.normal(size=5).astype(np.float32)
    segment = segment_of(rows, 5, "ip", graph=True)
    assert segment.graph is not None
    assert segment.graph.group_offsets is None
    segment.graph = replace(segment.graph, unreachable=np.arange(0, 60, 2))
    view = View.of([segment], 5, "ip", seq=0)
    labels = np.arange(1, 61, 2)
    scope = view.scope(None, -1.0, labels)
    found, _ = view.nearest(rng.normal(size=5).astype(np.float32), 10, scope)
    assert scope.holds(found).all()


@pytest.mark.parametrize("listed", [True, False])
def test_what_a_walk_cannot_reach_is_scanned(monkeypatch: pytest.MonkeyPatch, listed: bool) -> None:
    """A graph without links finds one node; the rest is on the list of the unreachable, or too few come back."""
    monkeypatch.setattr(planner, "SCAN_ROWS", 5)
    monkeypatch.setattr(planner.kernels, "walks_natively", lambda: True)
    rng = np.random.default_rng(3)
    rows = random_rows(rng, 1, 150, 2)
    model = Model("ip", rows)
    segment = segment_of(rows, 2, "ip", graph=True)
    graph = segment.graph
    assert graph is not None
    assert graph.group_offsets is not None
    nodes = np.flatnonzero(graph.links[:, 0])
    assert len(nodes) > 10
    lost = nodes[nodes != graph.entry] if listed else nodes[:0]
    segment.graph = replace(graph, links=np.zeros_like(graph.links), max_level=0, unreachable=lost)
    view = View.of([segment], 2, "ip", seq=0).apply(as_rows([], 2), np.arange(1, 20), 1)
    for row in rows[:19]:
        row.alive = False
    query = rng.normal(size=2).astype(np.float32)
    for labels in (None, np.arange(0, 151, 2)):
        for k in (1, 20, 500):
            if not listed and k == 1:
                continue
            found, scores = view.nearest(query, k, view.scope(None, -1.0, labels))
            wanted = model.nearest(query, k, model.scope(None, -1.0, None if labels is None else labels.tolist()))
            np.testing.assert_allclose(scores, [score for score, _ in wanted], rtol=1e-6)
            assert view.labels(found).tolist() == [label for _, label in wanted]


def test_audit_compares_the_walk_with_an_exact_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "SCAN_ROWS", 5)
    view, _ = grown("base", 0, "cosine", 31, graph=True)
    assert view.audit(50, 10, 200, 0) == 1.0
    monkeypatch.setattr(planner.kernels, "walks_natively", lambda: True)
    lost = (np.zeros((50, 10), np.int64), np.full((50, 10), -1e9, np.float32), np.full(50, 10, np.int32))
    monkeypatch.setattr(planner.kernels, "graph_search_many", lambda *_: lost)
    assert view.audit(50, 10, 200, 0) < 0.9


def test_describe_tells_the_parts() -> None:
    view, model = grown("base+delta", 0, "ip", 5, graph=True)
    described = view.describe()
    assert described["rows"] == view.n_live == sum(row.alive for row in model.rows)
    assert [(part["kind"], part["rows"], part["graph"]) for part in described["parts"]] == [
        ("segment", 90, True),
        ("segment", 30, True),
        ("tail", 40, False),
    ]
    scope = view.scope(None, -1.0)
    assert [(part["in_scope"], part["search"]) for part in view.plan(scope)] == [
        (part.count, "scan") for part in scope.parts
    ]
    assert len(view.segments) == 2
    sample = view.sample(7, 0)
    assert len(sample) == 7
    assert view.has_vector(sample).all()
    assert sum(part["dead"] for part in described["parts"]) == 160 - view.n_live
    assert all(part["bytes"] > 0 for part in described["parts"])


@given(st.lists(st.integers(-5, 5), max_size=30))
def test_distinct_numbers_are_those_of_numpy(numbers):
    numbers = np.array(numbers, np.int64)
    np.testing.assert_array_equal(distinct(numbers), np.unique(numbers))
