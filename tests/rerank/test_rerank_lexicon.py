"""Query terms, idf, piece weights and phrases."""

from __future__ import annotations

import math

import numpy as np
import pytest

from agentmem.index.lexical import K1
from agentmem.rerank import lexicon


def test_query_terms_drop_stop_words_and_repeats():
    assert lexicon.query_terms(["when", "did", "carolin", "join", "the", "carolin", "group"]) == [
        "carolin",
        "join",
        "group",
    ]


def test_a_query_of_stop_words_keeps_them():
    assert lexicon.query_terms(["to", "be", "or", "not", "to", "be"]) == ["to", "be", "or", "not"]


def test_idf_is_lucenes_and_never_negative():
    values = lexicon.idf(10, [0, 1, 10])
    np.testing.assert_allclose(
        values, [math.log(1 + 10.5 / 0.5), math.log(1 + 9.5 / 1.5), math.log(1 + 0.5 / 10.5)], rtol=1e-6
    )
    assert (values > 0).all()


def test_piece_weights_share_out_the_idf():
    assert lexicon.piece_weights([1.0, 0.0, 2.0, 2.0]).tolist() == pytest.approx([0.2, 0, 0.4, 0.4])
    assert lexicon.piece_weights([0.0, 0.0]).tolist() == [0, 0]
    assert lexicon.piece_weights([]).tolist() == []


def phrases(rows, query, weights):
    flat = np.array([term for row in rows for term in row], np.uint32)
    offsets = np.cumsum([0, *(len(row) for row in rows)]).astype(np.int64)
    return lexicon.phrase_scores(flat, offsets, np.array(query, np.int64), np.array(weights, np.float32))


def test_phrases_count_pairs_that_stand_together_in_the_querys_order():
    rows = [[5, 6, 9], [5, 9, 6], [5, 9, 9, 6], [6, 5], [5, 6, 5, 6], []]
    one = 1.0
    # 5 6 5 6: three ordered pairs within reach? (0,1), (2,3); (0,3) is too far apart.
    two = 2 * (K1 + 1) / (2 + K1)
    np.testing.assert_allclose(phrases(rows, [5, 6], [3, 2]), [2 * one, 2 * one, 0, 0, 2 * two, 0], rtol=1e-6)


def test_phrases_are_what_a_look_at_every_pair_of_places_says():
    rng = np.random.default_rng(3)
    query = rng.permutation(np.array([9, 3, 40, 7, 2, 4_000_000_000]))
    weights = rng.random(6) + 0.5
    rows = [rng.choice([*query, 1, 5], rng.integers(0, 12)).tolist() for _ in range(40)]
    expected = []
    for row in rows:
        score = 0.0
        for pair in range(5):
            places = [np.flatnonzero(np.array(row) == term) for term in query[pair : pair + 2]]
            near = sum(1 <= j - i <= lexicon.PHRASE_REACH for i in places[0] for j in places[1])
            score += min(weights[pair : pair + 2]) * near * (lexicon.K1 + 1) / (near + lexicon.K1)
        expected.append(score)
    assert max(expected) > 1
    np.testing.assert_allclose(phrases(rows, query, weights), expected, rtol=1e-5)


def test_phrases_do_not_reach_across_rows():
    assert phrases([[5], [6]], [5, 6], [1, 1]).tolist() == [0, 0]


def test_phrases_of_unknown_terms_and_short_queries():
    assert phrases([[5, 6]], [5], [1]).tolist() == [0]
    assert phrases([[5, 6]], [5, -1, 6], [1, 1, 1]).tolist() == [0]
    assert phrases([[], []], [5, 6], [1, 1]).tolist() == [0, 0]


def test_phrases_agree_with_a_plain_count():
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 6, rng.integers(0, 30)).tolist() for _ in range(20)]
    query, weights = [3, 1, 4], [1.0, 2.0, 0.5]
    expected = []
    for row in rows:
        total = 0.0
        for a, b, w in ((3, 1, 1.0), (1, 4, 0.5)):
            count = sum(row[i] == a and row[j] == b for i in range(len(row)) for j in (i + 1, i + 2) if j < len(row))
            total += w * count * (K1 + 1) / (count + K1)
        expected.append(total)
    np.testing.assert_allclose(phrases(rows, query, weights), expected, rtol=1e-5)


def leads(rows, query, weights):
    """Return the lead scores of rows of ids."""
    flat, offsets = np.array([id for row in rows for id in row], np.uint32), np.cumsum([0, *map(len, rows)])
    return lexicon.lead_scores(flat, offsets, np.array(query, np.int64), np.array(weights, np.float32))


def test_a_lead_counts_each_term_of_the_query_once_among_the_first_words():
    far = [0] * (lexicon.LEAD_WORDS - 1)
    rows = [[5, 6, 5], [*far, 5, 6], [*far, 0, 5], [], [7]]
    assert leads(rows, [6, -1, 5], [2, 4, 3]).tolist() == [5, 3, 0, 0, 0]


def test_the_word_lists_are_lower_case_and_apart():
    assert all(word == word.lower() for word in lexicon.STOP_STEMS | lexicon.TIME_STEMS)
    assert not lexicon.STOP_STEMS & lexicon.TIME_STEMS
