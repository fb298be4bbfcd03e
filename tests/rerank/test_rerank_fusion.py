"""The fusions, the gate and the background: known answers, edge cases, and properties over random candidates."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentmem.errors import InvalidInput, UnknownMechanism
from agentmem.rerank import constants, fusion
from agentmem.rerank.evidence import (
    DENSE,
    LEXICAL,
    MIN_BACKGROUND,
    NEIGHBOURS,
    Ancestors,
    Background,
    Evidence,
    Links,
    Neighbours,
    QueryFeatures,
    measure_background,
)
from agentmem.rerank.gate import lexical_gate, standing

NAN = float("nan")
KNOWN = QueryFeatures(Background(0.1, 0.1))


def test_rrf_is_the_sum_of_reciprocal_ranks_within_each_list(make):
    evidence = make(
        4, dense=[0.9, 0.8, 0.95, 0.99], lexical=[1, 5, 3, 9], sources=[DENSE, DENSE | LEXICAL, LEXICAL, NEIGHBOURS]
    )
    expected = [1 / 61, 1 / 62 + 1 / 61, 1 / 62, 0]
    ranking = fusion.rank("rrf", evidence, KNOWN)
    np.testing.assert_allclose(ranking.scores, expected, rtol=1e-6)
    assert ranking.order.tolist() == [1, 0, 2, 3]


def test_convex_is_half_and_half_of_the_scaled_scores(make):
    evidence = make(3, dense=[0.2, 0.4, 0.6], lexical=[8, 2, 0])
    np.testing.assert_allclose(fusion.rank("convex", evidence, KNOWN).scores, [0.5, 0.375, 0.5], rtol=1e-5)


@pytest.mark.parametrize("name", ["dense", "lexical"])
def test_one_source_alone_keeps_its_scores_and_puts_the_unknown_last(make, name):
    ranking = fusion.rank(name, make(3, **{name: [0.2, NAN, 0.6]}), KNOWN)
    assert ranking.order.tolist() == [2, 0, 1]
    assert ranking.scores[1] == -np.inf
    assert ranking.scores[2] == np.float32(0.6)


def test_memory_heads_of_one_plain_candidate_by_hand(make):
    evidence = make(2, dense=[0.5, 0.3], lexical=[2, 0], phrase=[1, 0], late=[0.6, 0.5])
    ranking = fusion.rank("memory-heads", evidence, KNOWN)
    importance = 0.5 * constants.WEIGHTS["importance"].plain
    assert lexical_gate(evidence, KNOWN.background) == 1.0, "four deviations out is the gate's centre"
    assert ranking.scores[0] == pytest.approx(6 * 2 + 2 + 0.5 + 20 * 0.1 + importance, rel=1e-5)
    assert ranking.explain(1) == {"importance": pytest.approx(importance)}
    assert ranking.explain(0)["semantic"] == pytest.approx(12)


def test_ties_go_by_the_raw_dense_score_and_then_by_the_label(make):
    evidence = make(4, labels=[9, 7, 8, 6], dense=[0.5, 0.9, 0.9, NAN], lexical=[2, 2, 2, 2])
    assert fusion.rank("lexical", evidence, KNOWN).order.tolist() == [1, 2, 0, 3]


def test_an_unknown_fusion_is_refused_with_the_list(make):
    with pytest.raises(UnknownMechanism, match="memory-heads") as caught:
        fusion.rank("magic", make(1), KNOWN)
    assert isinstance(caught.value, InvalidInput)


@pytest.mark.parametrize("name", fusion.FUSIONS)
@pytest.mark.parametrize("size", [0, 1, 2, 5])
def test_few_and_equal_candidates(make, name, size):
    ranking = fusion.rank(name, make(size), QueryFeatures())
    assert ranking.scores.shape == (size,)
    assert ranking.order.tolist() == list(range(size)), "equal candidates keep the order of their labels"


def test_the_neighbours_lift_a_turn_but_not_a_note(make):
    around = Neighbours(
        np.array([0], np.int32),
        np.array([-1], np.int8),
        np.array([0.6], np.float32),
        np.array([9.0], np.float32),
        np.array([0.8], np.float32),
    )
    turn = make(2, dense=[0.3, 0.3], thread_key=[5, 5], neighbours=around)
    note = dataclasses.replace(turn, thread_key=np.zeros(2, np.int64))
    assert fusion.rank("memory-heads", turn, KNOWN).explain(0)["neighbours"] > 5
    assert "neighbours" not in fusion.rank("memory-heads", note, KNOWN).explain(0)


def test_the_gate_is_left_out_for_turns(make):
    dense = [0.95, 0.3]
    plain = fusion.rank("memory-heads", make(2, dense=dense, lexical=[0, 8]), KNOWN)
    turns = fusion.rank("memory-heads", make(2, dense=dense, lexical=[0, 8], thread_key=[1, 1]), KNOWN)
    assert plain.explain(1)["lexical"] == pytest.approx(4)
    assert turns.explain(1)["lexical"] == pytest.approx(8)


@given(top=st.floats(-1, 1), mean=st.floats(-1, 1), std=st.floats(1e-3, 1))
def test_the_gate_stays_within_its_bounds(make, top, mean, std):
    low, high = constants.GATE_BOUNDS
    assert low <= lexical_gate(make(1, dense=[top]), Background(mean, std)) <= high


def test_the_gate_falls_as_the_dense_first_hit_stands_out(make):
    background = Background(0.1, 0.1)
    gates = [lexical_gate(make(1, dense=[top]), background) for top in (0.2, 0.4, 0.5, 0.55, 0.9)]
    assert gates[0] == 2.0
    assert gates[-1] == 0.5
    assert gates == sorted(gates, reverse=True)


@pytest.mark.parametrize("background", [Background(NAN, NAN), Background(0.2, 0.0)])
def test_the_gate_is_neutral_where_the_background_is_unknown(make, background):
    assert lexical_gate(make(1, dense=[0.9]), background) == 1.0


def test_the_gate_is_neutral_without_dense_evidence(make):
    assert np.isnan(standing(make(2, dense=[NAN, NAN]), Background(0.1, 0.1)))
    assert lexical_gate(make(0), Background(0.1, 0.1)) == 1.0


def test_a_long_query_weighs_no_more_than_a_full_one(make):
    evidence = make(2, lexical=[300, 0], thread_key=[0, 1])
    short, full, long = (
        fusion.rank("memory-heads", evidence, QueryFeatures(idf_sum=total)).explain(0)["lexical"]
        for total in (5.0, constants.FULL_QUERY, 5 * constants.FULL_QUERY)
    )
    assert short == full == 300
    assert long == pytest.approx(60)


def test_the_background_of_independent_vectors():
    vectors = np.random.default_rng(3).standard_normal((400, 64)).astype(np.float32)
    cosine = measure_background(vectors * 7, normalised=True)
    assert cosine.mean == pytest.approx(0, abs=0.01)
    assert cosine.std == pytest.approx(1 / 8, rel=0.05)
    l2 = measure_background(vectors, normalised=False, l2=True)
    assert l2.mean == pytest.approx(-np.sqrt(128), rel=0.02)
    assert measure_background(vectors, normalised=False).std == pytest.approx(8, rel=0.05)


def test_too_few_or_equal_vectors_have_no_background():
    assert not measure_background(np.eye(MIN_BACKGROUND - 1, dtype=np.float32), normalised=True).known
    assert not measure_background(np.ones((100, 8), np.float32), normalised=True).known


seeds, sizes = st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 3, 5, 31, 70])


@settings(deadline=None, max_examples=60)
@given(seed=seeds, size=sizes, holes=st.booleans(), name=st.sampled_from(sorted(fusion.FUSIONS)), known=st.booleans())
def test_parts_add_up_and_the_order_is_by_score(draw, seed, size, holes, name, known):
    evidence = draw(seed, size, holes)
    ranking = fusion.rank(name, evidence, KNOWN if known else QueryFeatures())
    assert sorted(ranking.order.tolist()) == list(range(size))
    best_first = ranking.scores[ranking.order]
    assert (best_first[:-1] >= best_first[1:]).all()
    assert not np.isnan(ranking.scores).any()
    np.testing.assert_allclose(ranking.parts.sum(axis=0), ranking.scores, rtol=1e-5)
    assert len(ranking.head_names) == len(ranking.parts)


@settings(deadline=None, max_examples=40)
@given(seed=seeds, size=sizes, holes=st.booleans())
def test_the_order_of_the_candidates_does_not_matter(draw, seed, size, holes):
    evidence = draw(seed, size, holes)
    shuffle = np.random.default_rng(seed).permutation(size)
    place = np.argsort(shuffle)
    columns = {
        field.name: getattr(evidence, field.name)[shuffle]
        for field in dataclasses.fields(evidence)
        if field.name not in ("peers", "neighbours", "links", "ancestors")
    }
    around, links = evidence.neighbours, evidence.links
    climbed = dataclasses.astuple(evidence.ancestors)
    moved = Evidence(
        **columns,
        peers=evidence.peers[np.ix_(shuffle, shuffle)],
        neighbours=dataclasses.replace(around, owner=place[around.owner].astype(np.int32)),
        links=Links(place[links.owner].astype(np.int32), place[links.source].astype(np.int32)),
        ancestors=Ancestors(*(place[each].astype(np.int32) for each in climbed[:3]), climbed[3][shuffle]),
    )
    before, after = (fusion.rank("memory-heads", one, KNOWN) for one in (evidence, moved))
    np.testing.assert_allclose(after.scores, before.scores[shuffle], rtol=2e-4, atol=1e-4)


@settings(deadline=None, max_examples=40)
@given(seed=seeds, size=st.sampled_from([2, 5, 31]), extra=st.integers(1, 9))
def test_rows_beyond_the_first_round_do_not_reorder_it(draw, seed, size, extra):
    """Ranges are frozen on the first round: neighbours and links that come and go leave its heads alone."""
    evidence = dataclasses.replace(
        draw(seed, size + extra, False), peers=None, session_key=np.zeros(size + extra, np.int64)
    )
    first = np.arange(size + extra) < size
    evidence = dataclasses.replace(evidence, first_round=first)
    around, links = evidence.neighbours, Links(np.zeros(0, np.int32), np.zeros(0, np.int32))
    kept = around.owner < size
    alone = Evidence(
        **{
            field.name: getattr(evidence, field.name)[:size]
            for field in dataclasses.fields(evidence)
            if field.name not in ("peers", "neighbours", "links", "ancestors")
        },
        neighbours=Neighbours(
            *(getattr(around, name)[kept] for name in ("owner", "offset", "dense", "lexical", "late"))
        ),
    )
    together = dataclasses.replace(evidence, links=links, ancestors=None)
    for name in ("memory-heads", "convex"):
        whole, part = fusion.rank(name, together, KNOWN), fusion.rank(name, alone, KNOWN)
        np.testing.assert_allclose(whole.scores[:size], part.scores, rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(seed=seeds, gain=st.floats(0.1, 5))
def test_more_lexical_evidence_never_costs_a_candidate_points(draw, seed, gain):
    evidence = dataclasses.replace(draw(seed, 12, False), session_key=np.zeros(12, np.int64))
    lexical = evidence.lexical.copy()
    lexical[3] += gain
    before = fusion.rank("memory-heads", evidence, KNOWN)
    after = fusion.rank("memory-heads", dataclasses.replace(evidence, lexical=lexical), KNOWN)
    assert after.scores[3] > before.scores[3]


def test_evidence_may_be_read_only(draw):
    evidence = draw(1, 9, True)
    for field in dataclasses.fields(evidence):
        value = getattr(evidence, field.name)
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    assert len(fusion.rank("memory-heads", evidence, KNOWN).order) == 9


def test_no_factor_of_the_gate_leaves_a_half_to_two(make):
    """However far the dense first hit stands out, each head of a plain record counts half to twice its weight."""
    for top in (-1e6, -3.0, 0.0, 3.9, 5.0, 12.0, 1e6):
        evidence = make(2, dense=[top, top - 1], lexical=[3, 0], phrase=[2, 0], late=[0.5, 0.1])
        query = QueryFeatures(Background(0.0, 1.0))
        parts = fusion.rank("memory-heads", evidence, query).explain(0)
        ungated = {"semantic": 1.0, "lexical": 3.0, "phrase": 2.0, "late": 0.4, "importance": 0.5}
        for name, value in ungated.items():
            assert 0.5 - 1e-4 <= parts[name] / (constants.WEIGHTS[name].plain * value) <= 2 + 1e-4, (top, name)


def test_beyond_the_range_that_was_seen_the_gate_stays_where_it_was(make):
    low, high = (lexical_gate(make(1, dense=[top]), Background(0.0, 1.0)) for top in (6.0, 60.0))
    assert low == high == constants.GATE_BOUNDS[0]
    low, high = (lexical_gate(make(1, dense=[top]), Background(0.0, 1.0)) for top in (2.0, -20.0))
    assert low == high == constants.GATE_BOUNDS[1]


def test_where_vectors_are_sure_late_interaction_loses_and_the_semantic_head_gains(make):
    query = QueryFeatures(Background(0.0, 1.0))
    sure, vague = (
        fusion.rank("memory-heads", make(2, dense=[top, top - 1], late=[0.5, 0.1]), query).explain(0)
        for top in (6.0, 1.0)
    )
    assert sure["late"] == pytest.approx(vague["late"] / 2, rel=1e-3)
    assert sure["semantic"] == pytest.approx(vague["semantic"] * 2**0.5, rel=1e-3)


def test_the_words_at_the_beginning_count_where_vectors_are_unsure(make):
    query = QueryFeatures(Background(0.0, 1.0))

    def lead(top, query=query, **columns):
        evidence = make(2, dense=[top, top - 1], lead=[3, 0], **columns)
        return fusion.rank("memory-heads", evidence, query).explain(0).get("lead", 0.0)

    assert lead(1.0) == pytest.approx(3 * constants.WEIGHTS["lead"].plain)
    assert lead(constants.GATE_CENTRE) == lead(6.0) == 0
    assert lead(1.0, thread_key=[7, 7]) == 0
    assert lead(1.0, QueryFeatures()) == 0, "no background, no gate"
    assert lead(1.0, QueryFeatures(query.background, idf_sum=2 * constants.FULL_QUERY)) == pytest.approx(lead(1.0) / 2)


def test_ranks_and_lengths_are_no_evidence(make):
    """A candidate that comes between two others, within their range, changes neither one's points."""
    columns = {"dense": [0.9, 0.5, 0.1], "lexical": [9, 5, 1], "late": [0.9, 0.5, 0.1]}
    apart = fusion.rank("memory-heads", make(3, **columns), KNOWN)
    pair = fusion.rank("memory-heads", make(2, **{name: [v[0], v[2]] for name, v in columns.items()}), KNOWN)
    np.testing.assert_allclose(apart.scores[[0, 2]], pair.scores, rtol=1e-5)
    assert not [name for name in fusion.HEAD_NAMES if "rank" in name or "length" in name]
