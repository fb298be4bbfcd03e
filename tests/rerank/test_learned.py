"""Learned weights: they start at the constants, come back as they were kept, and their gradient is right."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest

from agentmem.errors import InvalidInput
from agentmem.rerank import fusion, learned, promotion, weights
from agentmem.rerank.evidence import Background, Neighbours, QueryFeatures
from agentmem.rerank.promotion import FOLDS, compare, interval, learn, ndcg, part_of, ranked, verdict
from agentmem.rerank.training import Judged, Lists, fit
from agentmem.rerank.weights import HEADS, HeadWeights, start

DIMENSION = 5
FEATURES = QueryFeatures(Background(0.1, 0.1), idf_sum=40.0)


def random_evidence(make, rng, size=9):
    """Return candidates of both kinds, with neighbours, sessions and peers."""
    count = 12
    around = Neighbours(
        rng.integers(0, size, count).astype(np.int32),
        rng.choice([-3, -2, -1, 1, 2, 3], count).astype(np.int8),
        *(rng.random(count).astype(np.float32) for _ in range(3)),
    )
    return make(
        size,
        labels=rng.permutation(50)[:size] + 1,
        dense=rng.random(size),
        lexical=9 * rng.random(size),
        phrase=rng.random(size),
        lead=rng.random(size),
        late=rng.random(size),
        thread_key=rng.integers(0, 2, size),
        session_key=rng.integers(0, 3, size),
        created_at=rng.random(size) * 1e6,
        asks=rng.random(size) < 0.5,
        peers=rng.random((size, size)).astype(np.float32),
        neighbours=around,
    )


def judged(make, rng, *, size=9, right=(2,), wrong=(0,), weight=1.0, keys=None):
    """Return a judged search over random candidates."""
    evidence = random_evidence(make, rng, size)
    target, rejected = np.zeros(size, np.float32), np.zeros(size, bool)
    target[list(right)], rejected[list(wrong)] = 1.0, True
    keys = learned.unit(rng.normal(size=(30, DIMENSION)).astype(np.float32)) if keys is None else keys
    return Judged(
        learned.head_table(evidence, FEATURES), target, rejected, np.ones(len(right), np.float32), weight,
        rng.normal(size=DIMENSION).astype(np.float32), keys, rng.integers(0, len(keys), size), evidence.labels,
        evidence.dense,
    )  # fmt: skip


def several(make, count=12, seed=0, **options):
    """Return judged searches with shared vectors."""
    rng = np.random.default_rng(seed)
    keys = learned.unit(rng.normal(size=(30, DIMENSION)).astype(np.float32))
    return [judged(make, rng, keys=keys, size=6 + n % 4, **options) for n in range(count)]


@pytest.mark.parametrize("seed", range(6))
def test_the_start_ranks_as_the_constants_do(make, seed):
    evidence = random_evidence(make, np.random.default_rng(seed))
    shipped = fusion.memory_heads(evidence, FEATURES)
    ranking = learned.rank(evidence, FEATURES, start("x", DIMENSION), np.zeros(9, np.float32))
    np.testing.assert_allclose(ranking.scores, shipped.scores, rtol=2e-5)
    assert ranking.order.tolist() == shipped.order.tolist()
    for place in range(9):
        assert ranking.explain(place) == pytest.approx(shipped.explain(place), rel=1e-4, abs=1e-4)


def test_sides_add_up_to_the_neighbours_head(make):
    evidence = random_evidence(make, np.random.default_rng(3))
    table = weights.START
    sides = learned.sides(evidence, FEATURES)
    assert sides.shape == (len(learned.HEADS) - len(fusion.HEAD_NAMES), 9)
    says = (np.full(1, value, np.float32) for value in (0.4, 3, 0.7))
    around = Neighbours(np.zeros(1, np.int32), np.full(1, -1, np.int8), *says)
    one = make(2, dense=[0.5, 0.2], neighbours=around)
    named = dict(zip(weights.SIDE_NAMES, learned.sides(one, FEATURES)[:, 0].tolist(), strict=True))
    assert {name: round(value, 3) for name, value in named.items() if value} == {
        "semantic:before": 2.0, "lexical:before": 2.25, "late:before": 0.7
    }  # fmt: skip
    assert all(table[name] == (0.0, 0.0) for name in weights.SIDE_NAMES)


def test_the_gate_stays_within_a_half_and_two():
    gate = np.array([[0, 0], [-0.6, 2.4]], np.float32)
    for height, expected in [(4, 1), (100, 0.5), (-100, 2), (np.nan, 1), (5, 2**-0.6)]:
        assert learned.gate_factors(gate, height).tolist() == pytest.approx([1, expected], rel=1e-5)


def test_projections_add_to_the_similarity_of_unit_vectors():
    query, key = (np.random.default_rng(n).normal(size=(2, DIMENSION)).astype(np.float32) for n in (1, 2))
    origin = start("x", DIMENSION)
    made = HeadWeights("x", DIMENSION, origin.heads, origin.points, origin.gate, query, key)
    vectors = learned.unit(np.random.default_rng(3).normal(size=(4, DIMENSION)).astype(np.float32))
    vectors[3] = 0
    asked = np.arange(DIMENSION, dtype=np.float32)
    expected = [(query @ (asked / np.linalg.norm(asked))) @ (key @ vector) for vector in vectors]
    np.testing.assert_allclose(learned.project(made, 7 * asked, vectors), expected, rtol=1e-4, atol=1e-6)
    assert not learned.project(origin, asked, vectors).any()
    assert not learned.project(made, None, vectors).any()


def test_weights_come_back_as_they_were_kept():
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=shape).astype(np.float32) for shape in ((2, 2), (2, 2), (3, DIMENSION), (3, DIMENSION))]
    made = HeadWeights("modèl \0", DIMENSION, ("late", "lexical:before"), *parts)
    again = HeadWeights.from_bytes(made.to_bytes())
    assert (again.embedder, again.dimension, again.heads) == ("modèl \0", DIMENSION, made.heads)
    for name in ("points", "gate", "query", "key"):
        np.testing.assert_array_equal(getattr(again, name), getattr(made, name))
    table = again.table()
    assert table[HEADS.index("lexical")].tolist() == [1, 1], "a head that was not learned keeps its constants"
    np.testing.assert_array_equal(table[HEADS.index("late")], parts[0][0])
    assert again.fits("modèl \0", DIMENSION) is None
    assert "fitted with embedder" in again.fits("other", DIMENSION)


def archive(**changes):
    """Return the bytes of weights with something wrong."""
    origin = start("x", 2)
    about = {"format": 1, "embedder": "x", "dimension": 2, "heads": list(HEADS)} | changes.pop("about", {})
    arrays = {"points": origin.points, "gate": origin.gate, "query": origin.query, "key": origin.key} | changes
    file = io.BytesIO()
    np.savez(file, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x05\x06" + bytes(18),
        start("x", 2).to_bytes()[:-30],
        archive(about={"format": 2}),
        archive(about={"heads": [*HEADS[:-1], "magic"]}),
        archive(about={"dimension": 3}),
        archive(points=np.full((len(HEADS), 2), np.nan, np.float32)),
        archive(gate=np.zeros((2, 2))),
        archive(gate=np.array([[object(), 1]])),
        archive(query=np.zeros((1, 2), np.float32)),
    ],
)
def test_what_are_no_weights_is_refused(data):
    with pytest.raises(InvalidInput, match="weights"):
        HeadWeights.from_bytes(data)


@pytest.mark.parametrize("rank", [0, 3])
def test_the_gradient_is_that_of_the_loss(make, rank):
    searches = [
        *several(make, 5),
        *several(make, 2, seed=1, right=(), wrong=(1, 3)),
        *several(make, 2, seed=2, right=(0, 4), wrong=(), weight=0.3),
    ]
    shared = searches[0].keys
    searches = [replace(each, keys=shared) for each in searches]
    lists = Lists(searches, start("x", DIMENSION), 0.05, rank, dtype=np.float64)
    rng = np.random.default_rng(9)
    at = [each + 0.1 * rng.normal(size=each.shape) for each in lists.parameters]
    at[1] = np.array([[0.02, -0.3], [-0.05, 0.4]])
    value, gradient = lists.loss(at)
    assert value > 0
    assert len(gradient) == (4 if rank else 2)
    for number, slope in enumerate(gradient):
        assert np.abs(slope).max() > 1e-4
        for place in np.ndindex(slope.shape):
            moved = []
            for step in (1e-6, -1e-6):
                other = [each.copy() for each in at]
                other[number][place] += step
                moved.append(lists.loss(other)[0])
            assert (moved[0] - moved[1]) / 2e-6 == pytest.approx(slope[place], rel=1e-4, abs=1e-7), (number, place)


def test_the_loss_of_two_candidates_by_hand(make):
    evidence = make(2, lexical=[8, 0], dense=[0.3, 0.3], late=[0, 0])
    table = learned.head_table(evidence, QueryFeatures())
    vectors = np.zeros((2, DIMENSION), np.float32)
    one = Judged(table, np.array([0, 1], np.float32), np.array([True, False]), np.ones(1, np.float32), 1.0, None,
                 vectors, np.arange(2), evidence.labels, evidence.dense)  # fmt: skip
    lists = Lists([one], start("x", DIMENSION), 0.0, dtype=np.float64)
    assert lists.loss(lists.parameters)[0] == pytest.approx(np.log(1 + np.e)), "eight points are one nat"


def test_fitting_moves_what_is_right_up_and_is_repeatable(make):
    searches = several(make, 20)
    origin = start("x", DIMENSION)
    made = fit(Lists(searches, origin, 0.01))
    before, after = (np.mean([ndcg(each, ranked(each, one)) for each in searches]) for one in (origin, made))
    assert after > before + 0.1
    again = fit(Lists(searches, origin, 0.01))
    assert again.to_bytes() == made.to_bytes()
    held = fit(Lists(searches, origin, 1e6))
    np.testing.assert_allclose(held.points, origin.points, atol=0.2, rtol=0.05)


def test_heads_that_say_next_to_nothing_are_pruned(make):
    searches, origin = several(make, 20), start("x", DIMENSION)
    lists = Lists(searches, origin, 0.01)
    points = origin.table()
    faint, loud = HEADS.index("recency"), HEADS.index("lexical")
    points[faint], points[loud] = (1e-4, 1e-4), (1.0, 1e-5)
    pruned = lists.pruned(replace(origin, heads=HEADS, points=points)).table()
    assert pruned[faint].tolist() == [0, 0]
    assert pruned[loud].tolist() == [1, 0], "for plain records alone"
    kept = pruned != 0
    np.testing.assert_array_equal(pruned[kept], points[kept])
    assert kept[HEADS.index("late")].all()
    silent = HEADS.index("links")
    assert pruned[silent].tolist() == points[silent].tolist(), "nobody knows what it would have said"


def pruning(make, monkeypatch, effect):
    """Return what is learned where pruning is wanted and changes the ranking of held-out queries by an effect."""
    monkeypatch.setattr(promotion, "choose", lambda *rest: promotion.Setting(0.01, 0, True))
    gains, none = promotion._gains, HEADS.index("late")

    def told(tests, weights):
        bare = weights.table()[none].tolist() == [0, 0]
        return np.clip(gains(tests, weights) + (effect if bare else 0), 0, 1)

    def without_late(lists, weights):
        points = weights.table()
        points[none] = 0
        return replace(weights, heads=HEADS, points=points)

    monkeypatch.setattr(promotion, "_gains", told)
    monkeypatch.setattr(Lists, "pruned", without_late)
    searches = several(make, 40)
    return learn(searches, [str(n) for n in range(40)], None, start("x", DIMENSION), 0, lambda share: None)[0]


def test_a_pruning_that_may_cost_held_out_queries_something_is_undone(make, monkeypatch):
    costly = pruning(make, monkeypatch, -0.1)
    assert costly.pruned == ()
    assert costly.pruning.low < 0
    assert costly.weights.table()[HEADS.index("late")].all()
    assert np.nanmean(costly.held_out.after) == pytest.approx(costly.pruning.before)


def test_a_pruning_that_wins_stays(make, monkeypatch):
    free = pruning(make, monkeypatch, 1.0)
    assert free.pruned == ("late of turns", "late of plain records")
    assert free.pruning.low > 0
    assert free.weights.table()[HEADS.index("late")].tolist() == [0, 0]
    assert np.nanmean(free.held_out.after) == pytest.approx(free.pruning.after)


def test_what_is_no_candidate_counts_as_not_found(make):
    one = several(make, 1)[0]
    order = ranked(one, start("x", DIMENSION))
    whole = ndcg(one, order)
    two = replace(one, ideal=np.ones(3, np.float32))
    assert ndcg(two, order) == pytest.approx(whole / (1 + 1 / np.log2(3) + 0.5))
    none = replace(one, target=np.zeros_like(one.target))
    assert ndcg(none, order) == 0.0
    assert compare(np.zeros(1), np.ones(1), 0).low == 1.0
    assert compare(np.zeros(0), np.zeros(0), 0).queries == 0


def test_parts_are_the_same_at_every_run():
    places = np.array([part_of(f"query {number}", 0) for number in range(2000)])
    assert ((places >= 0) & (places < 1)).all()
    assert np.histogram(places, bins=5, range=(0, 1))[0] == pytest.approx(400, abs=80)
    assert part_of("query 0", 0) == places[0]
    assert part_of("query 0", 1) != places[0]


def test_nothing_is_ranked_by_weights_that_saw_it(make, monkeypatch):
    searches, seen = several(make, 40), []
    monkeypatch.setattr(promotion, "choose", lambda *rest: promotion.Setting(0.01, 0))
    original = promotion.Lists
    monkeypatch.setattr(promotion, "Lists", lambda taught, *rest: seen.append(list(taught)) or original(taught, *rest))
    ranked_by = []
    gains = promotion._gains
    monkeypatch.setattr(
        promotion, "_gains", lambda tests, weights: ranked_by.append(list(tests)) or gains(tests, weights)
    )
    learn(searches, [str(n) for n in range(40)], None, start("x", DIMENSION), 0, lambda share: None)
    asked = ranked_by[-2 * FOLDS :: 2]
    assert sum(map(len, asked)) > 20
    for fitted, tested in zip(seen[-FOLDS - 1 : -1], asked, strict=True):
        assert not {id(each) for each in fitted} & {id(each) for each in tested}
        assert len(fitted) + len(tested) == 40
    assert len(seen[-1]) == 40, "what may rank is fitted on all"


def test_the_interval_is_that_of_the_mean():
    values = np.random.default_rng(0).normal(0.1, 1.0, 400)
    low, high = interval(values, seed=0)
    assert low == pytest.approx(values.mean() - 1.96 * values.std() / 20, abs=0.02)
    assert high == pytest.approx(values.mean() + 1.96 * values.std() / 20, abs=0.02)
    assert interval(values, seed=0) == (low, high)


def test_noise_is_not_promoted(make):
    searches, origin = several(make, 80, seed=5), start("x", DIMENSION)
    rng = np.random.default_rng(0)
    shuffled = []
    for each in searches:
        target = np.zeros_like(each.target)
        target[rng.integers(len(target))] = 1
        shuffled.append(replace(each, target=target))
    fitted, compared, why = learn(shuffled, [str(n) for n in range(80)], None, origin, 0, lambda share: None)
    assert why is not None
    assert why == verdict(compared, fitted)


def test_ties_are_settled_as_a_search_does(make):
    evidence = make(4, labels=[9, 7, 8, 6], dense=[0.5, 0.5, 0.5, np.nan], late=[0, 0, 0, 0])
    table = learned.head_table(evidence, QueryFeatures())
    none = np.zeros(4, np.float32)
    keys, rows = np.zeros((1, DIMENSION), np.float32), np.zeros(4, np.int64)
    one = Judged(table, none, none > 0, none[:0], 1.0, None, keys, rows, evidence.labels, evidence.dense)
    assert ranked(one, start("x", DIMENSION)).tolist() == [1, 2, 0, 3]
