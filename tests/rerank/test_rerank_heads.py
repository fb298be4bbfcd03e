"""Each head against an answer worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from agentmem.keys import speaker_key
from agentmem.rerank import constants, heads
from agentmem.rerank.evidence import Ancestors, Background, Links, Neighbours, QueryFeatures, query_features
from agentmem.rerank.temporal import TimeSpan

NAN = float("nan")
KNOWN = QueryFeatures(Background(0.1, 0.1))
PLAIN = QueryFeatures()
DAY = 86_400.0


def test_semantic_counts_background_deviations_above_the_pool(make):
    evidence = make(4, dense=[0.5, 0.3, 0.2, NAN])
    np.testing.assert_allclose(heads.semantic(evidence, KNOWN), [3, 1, 0, 0], rtol=1e-5)


def test_semantic_without_background_takes_the_pool_to_span_four_deviations(make):
    evidence = make(3, dense=[0.9, 0.7, 0.5])
    np.testing.assert_allclose(heads.semantic(evidence, PLAIN), [4, 2, 0], rtol=1e-5)


def test_semantic_of_equal_scores_is_zero(make):
    assert heads.semantic(make(3, dense=[0.4, 0.4, 0.4]), PLAIN).tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", ["lexical", "phrase", "lead", "importance", "feedback"])
def test_heads_that_pass_a_column_on_turn_nan_into_nothing(make, name):
    evidence = make(2, **{name: [0.75, NAN]})
    assert getattr(heads, name)(evidence, PLAIN).tolist() == [0.75, 0]


def test_late_counts_from_the_first_rounds_least(make):
    evidence = make(4, late=[0.8, 0.5, 0.4, NAN], first_round=[1, 1, 0, 1])
    np.testing.assert_allclose(heads.late(evidence, PLAIN), [0.3, 0, 0, 0], atol=1e-6)


def test_neighbours_decay_with_distance_and_count_all_three_evidences(make):
    around = Neighbours(
        np.array([0, 0, 1], np.int32),
        np.array([-1, 2, 3], np.int8),
        np.array([0.3, 0.2, 0.1], np.float32),
        np.array([2.0, 0.0, NAN], np.float32),
        np.array([0.5, 0.4, NAN], np.float32),
    )
    evidence = make(3, dense=[0.6, 0.2, 0.3], late=[0.9, 0.4, 0.4], neighbours=around)
    weights = constants.WEIGHTS
    near = weights["semantic"].threaded * 1 + 2 + weights["late"].threaded * 0.1
    np.testing.assert_allclose(heads.neighbours(evidence, KNOWN), [math.exp(-0.5) * near, 0, 0], rtol=1e-5)


def test_links_square_the_share_that_points_at_a_record(make):
    scale = constants.LINK_TEMPERATURE * 0.1
    links = Links(np.array([2, 2, 3], np.int32), np.array([0, 1, 1], np.int32))
    evidence = make(4, dense=[0.5, 0.5 - scale * math.log(3), NAN, NAN], first_round=[1, 1, 0, 0], links=links)
    np.testing.assert_allclose(heads.links(evidence, KNOWN), [0, 0, 1, 0.0625], rtol=1e-4)


def test_ancestors_collect_the_certainty_below_them_by_its_rarity(make):
    scores = np.array([20, 20 - constants.ANCESTOR_TEMPERATURE * math.log(3), 0, 0], np.float32)
    climbed = Ancestors(
        np.array([2, 2, 3], np.int32),
        np.array([0, 1, 1], np.int32),
        np.array([0, 1], np.int32),
        np.array([6, 6, 2, 1], np.float32),
    )
    points = heads.ancestors(make(4, ancestors=climbed), KNOWN, scores)
    np.testing.assert_allclose(points, [4 * 0.75**3 * 6, 4 * 0.25**3 * 6, 2, 0.25], rtol=1e-4)


def test_without_a_hierarchy_ancestors_say_nothing(make):
    assert heads.ancestors(make(2), KNOWN, np.ones(2, np.float32)).tolist() == [0, 0]


def test_time_is_full_within_and_fades_outside(make):
    created = [100 * DAY, 101.5 * DAY, 108 * DAY, 98 * DAY, NAN]
    query = QueryFeatures(spans=(TimeSpan(100 * DAY, 101 * DAY, "day"),))
    expected = [1, math.exp(-0.5 / 7), math.exp(-1), math.exp(-1), 0]
    np.testing.assert_allclose(heads.time(make(5, created_at=created), query), expected, rtol=1e-5)


def test_time_takes_the_best_of_several_spans(make):
    spans = (TimeSpan(0, DAY, "day"), TimeSpan(100 * DAY, 101 * DAY, "day"))
    assert heads.time(make(1, created_at=[100.5 * DAY]), QueryFeatures(spans=spans)).tolist() == [1]


def test_speaker_is_whoever_the_query_names(make):
    evidence = make(3, speaker_key=[speaker_key("Caroline Smith"), speaker_key("Mel"), 0])
    query = query_features("What did CAROLINE's sister say?", 0.0)
    assert heads.speaker(evidence, query).tolist() == [1, 0, 0]


def test_a_plain_stop_word_names_nobody(make):
    evidence = make(1, speaker_key=[speaker_key("Will")])
    assert heads.speaker(evidence, query_features("what will she cook", 0.0)).tolist() == [0]
    assert heads.speaker(evidence, query_features("what did Will cook", 0.0)).tolist() == [1]


@pytest.mark.parametrize("text", ["When did he move?", "What year was it?", "in which month did they meet"])
def test_form_prefers_turns_that_tell_a_time_when_one_is_asked_for(make, text):
    evidence = make(3, asks=[0, 1, 1], tells_time=[1, 0, 1])
    query = query_features(text, 0.0)
    assert heads.form(evidence, query).tolist() == [constants.TELLS_TIME, -constants.ASKS, 2.0]
    assert heads.form(evidence, query_features("who was it", 0.0)).tolist() == [0, -constants.ASKS, -constants.ASKS]


def test_recency_runs_from_the_oldest_to_the_newest_of_the_first_round(make):
    evidence = make(4, created_at=[10, 20, 30, NAN], first_round=[1, 1, 0, 1])
    assert heads.recency(evidence, PLAIN).tolist() == [0, 1, 1, 0]
    latest = query_features("where does she live now", 0.0)
    assert heads.recency(evidence, latest)[1] == constants.LATEST_FACTOR


def test_recency_says_nothing_when_all_are_of_one_age(make):
    assert heads.recency(make(3), PLAIN).tolist() == [0, 0, 0]


@pytest.mark.parametrize("seed", range(5))
def test_session_is_what_a_look_at_every_pair_says(make, seed):
    rng = np.random.default_rng(seed)
    keys, scores = rng.integers(-1, 4, 30), rng.integers(0, 12, 30).astype(np.float32)
    evidence = make(30, session_key=keys, first_round=rng.random(30) < 0.6)
    median = np.sort(scores[evidence.first_round])[evidence.first_round.sum() // 2]
    expected = [
        max([max(scores[j] - median, 0) for j in range(30) if j != i and keys[j] == keys[i] != 0], default=0)
        for i in range(30)
    ]
    assert heads.session(evidence, PLAIN, scores).tolist() == expected


def test_session_takes_the_best_other_of_the_same_session(make):
    evidence = make(5, session_key=[7, 7, 8, 0, 0])
    scores = np.array([9, 4, 3, 8, 2], np.float32)
    assert heads.session(evidence, PLAIN, scores).tolist() == [0, 5, 0, 0, 0]


def test_peers_average_the_others_by_resemblance(make):
    scale = constants.PEER_TEMPERATURE * 0.1
    peers = np.full((3, 3), 1.0, np.float32)
    peers[0, 1], peers[0, 2] = 0.5 + scale * math.log(3), 0.5
    evidence = make(3, dense=[0.3, 0.2, 0.1], peers=peers)
    scores = np.array([100, 4, 8], np.float32)
    assert heads.peers(evidence, KNOWN, scores)[0] == pytest.approx(0.75 * 4 + 0.25 * 8, rel=1e-4)


def test_peers_leave_rows_without_a_vector_out(make):
    peers = np.array([[1, 0.5, NAN], [0.5, 1, NAN], [NAN, NAN, NAN]], np.float32)
    evidence = make(3, dense=[0.3, 0.2, NAN], peers=peers)
    assert heads.peers(evidence, KNOWN, np.array([1, 2, 4], np.float32)).tolist() == [2, 1, 0]


def test_every_head_has_two_weights_with_sane_values():
    assert set(constants.WEIGHTS) == {*heads.FIRST_STAGE, *heads.RELATIONAL}
    assert all(0 <= value <= 200 for row in constants.WEIGHTS.values() for value in row)
    assert constants.WEIGHTS["lexical"] == (1.0, 1.0), "BM25 is the unit"
    assert constants.WEIGHTS["neighbours"].plain == constants.WEIGHTS["session"].plain == 0
    low, high = constants.GATE_BOUNDS
    assert low == 0.5
    assert high == 2.0


@pytest.mark.parametrize("size", [0, 1, 2, 5])
def test_every_head_gives_one_finite_float32_a_candidate(make, size):
    evidence = make(size, peers=np.ones((size, size), np.float32))
    for head in heads.FIRST_STAGE.values():
        result = head(evidence, PLAIN)
        assert result.shape == (size,)
        assert result.dtype == np.float32
        assert np.isfinite(result).all()
    for relation in heads.RELATIONAL.values():
        result = relation(evidence, PLAIN, np.arange(size, dtype=np.float32))
        assert result.shape == (size,)
        assert result.dtype == np.float32


@pytest.mark.parametrize(
    ("text", "latest"),
    [
        ("the most recent one", True),
        ("who is there AT the moment?", True),
        ("Newest_", False),
        ("these days", True),
        ("days of old", False),
        ("the neweſt", True),
        ("known recentre", False),
    ],
)
def test_what_asks_for_the_present_state(text, latest):
    assert query_features(text, 0.0).wants_latest is latest
