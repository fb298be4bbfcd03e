"""The rerank's kernels against their definitions in NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentmem.backend import kernels as compiled
from agentmem.rerank import heads, kernels, lexicon
from agentmem.rerank.evidence import Background, QueryFeatures
from agentmem.rerank.temporal import TimeSpan

pytestmark = pytest.mark.skipif(compiled("heads") is None, reason="the kernels are not built")

STEADY = settings(max_examples=60, deadline=None, derandomize=True)
seeds, sizes = st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2, 5, 31, 32, 33, 97])
QUERIES = (
    QueryFeatures(),
    QueryFeatures(
        Background(0.1, 0.1),
        idf_sum=90.0,
        named=np.array([1, 7], np.int64),
        spans=(TimeSpan(2e8, 3e8, "month"), TimeSpan(5e8, 5e8 + 86_400, "day")),
        asks_when=True,
        wants_latest=True,
    ),
)


def said(evidence, query):
    """Return what the first-stage heads say."""
    table = np.full((len(heads.FIRST_STAGE), len(evidence)), np.nan, np.float32)
    kernels.first_stage(evidence, query, out=table)
    return table


@STEADY
@given(seed=seeds, size=sizes.filter(bool), holes=st.booleans(), query=st.sampled_from(QUERIES))
def test_the_first_stage_is_what_each_head_says(draw, seed, size, holes, query):
    evidence = draw(seed, size, holes)
    wanted = np.stack([head(evidence, query) for head in heads.FIRST_STAGE.values()])
    np.testing.assert_allclose(said(evidence, query), wanted, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("query", QUERIES)
def test_no_candidates(make, query):
    assert said(make(0), query).shape == (len(heads.FIRST_STAGE), 0)
    assert kernels.order(*np.zeros((2, 0), np.float32), np.zeros(0, np.int64)).tolist() == []


def test_where_nothing_is_known_nothing_is_said(make):
    nan = np.full(3, np.nan)
    evidence = make(3, dense=nan, lexical=nan, phrase=nan, lead=nan, late=nan, created_at=nan, first_round=np.zeros(3))
    assert said(evidence, QUERIES[1])[:8].tolist() == np.zeros((8, 3)).tolist()


def test_columns_of_narrower_types_and_any_stride_are_taken_as_they_are(make):
    evidence = replace(make(4), dense=np.arange(12, dtype=np.float32)[::3], importance=np.arange(4, dtype=np.uint8))
    table = said(evidence, QueryFeatures(Background(0.0, 2.0)))
    assert table[0].tolist() == [0, 1.5, 3, 4.5]
    assert table[list(heads.FIRST_STAGE).index("importance")].tolist() == [0, 1, 2, 3]
    assert kernels.order(np.arange(8, dtype=np.float32)[::-2], np.zeros(4, np.float32), np.arange(4)).tolist() == [
        0,
        1,
        2,
        3,
    ]


def test_columns_of_another_length_are_refused(make):
    with pytest.raises(ValueError, match="expected 4 numbers, not 3"):
        said(make(4, late=np.zeros(3)), QUERIES[0])


@STEADY
@given(seed=seeds, size=sizes.filter(bool))
def test_sessions_hand_on_the_best_of_the_others(draw, seed, size):
    evidence = draw(seed, size, False)
    scores = np.random.default_rng(seed).integers(0, 5, size).astype(np.float32)
    wanted = heads.session(evidence, QUERIES[0], scores)
    assert kernels.session(evidence, QUERIES[0], scores).tolist() == wanted.tolist()


@STEADY
@given(seed=seeds, size=sizes, alike=st.booleans())
def test_weighing_is_a_product_and_a_sum(seed, size, alike):
    rng = np.random.default_rng(seed)
    table, weights = (rng.normal(size=(12, width)).astype(np.float32) for width in (size, 1 if alike else size))
    wanted = table * weights
    total = kernels.weighted(table, weights)
    assert table.tolist() == wanted.tolist()
    np.testing.assert_allclose(total, wanted.sum(axis=0), rtol=1e-5, atol=1e-5)


def test_weights_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        kernels.weighted(np.zeros((12, 5), np.float32), np.zeros((12, 4), np.float32))


@STEADY
@given(seed=seeds, size=sizes)
def test_the_order_is_that_of_a_plain_sort(seed, size):
    rng = np.random.default_rng(seed)
    scores, dense = rng.integers(0, 4, (2, size)).astype(np.float32)
    scores[rng.random(size) < 0.1], dense[rng.random(size) < 0.3] = -np.inf, np.nan
    labels = rng.permutation(size)
    assert kernels.order(scores, dense, labels).tolist() == np.lexsort((labels, -dense, -scores)).tolist()


@STEADY
@given(seed=seeds, size=sizes, some=st.booleans())
def test_scaling_is_by_what_was_seen(seed, size, some):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=size).astype(np.float32)
    values[rng.random(size) < 0.2] = np.nan
    seen = rng.random(size) < 0.5
    pool = values[seen & ~np.isnan(values)] if some else values[~np.isnan(values)]
    result = kernels.scaled(values, seen if some else None)
    if len(np.unique(pool)) < 2:
        assert not result.any()
    else:
        wanted = np.nan_to_num(np.clip((values - pool.min()) / (pool.max() - pool.min()), 0, 1))
        np.testing.assert_allclose(result, wanted, rtol=1e-6)


@STEADY
@given(seed=seeds, n_terms=st.integers(1, 90), vocabulary=st.sampled_from([3, 70, 2**32 - 1]))
def test_phrases_of_any_rows(seed, n_terms, vocabulary):
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 40, 9))])
    terms = rng.integers(0, vocabulary, offsets[-1], np.uint32)
    query = rng.choice(np.unique([*terms, 5]), min(n_terms, len(np.unique([*terms, 5]))), replace=False).astype(
        np.uint32
    )
    weights = rng.random(len(query)).astype(np.float32)
    rows = rng.integers(0, 9, 12)
    every = lexicon.phrase_scores(terms, offsets, query.astype(np.int64), weights)
    if len(query) > 1:
        np.testing.assert_allclose(kernels.phrase_scores(offsets, terms, rows, query, weights), every[rows], rtol=1e-5)
        held = np.array([np.isin(terms[offsets[row] : offsets[row + 1]], query).sum() for row in rows], np.float32)
        known = kernels.phrase_scores(offsets, terms, rows, query, weights, held)
        np.testing.assert_allclose(known, every[rows], rtol=1e-5)


def test_rows_known_to_hold_no_term_are_not_looked_at():
    offsets, terms, query = (
        np.array([0, 2, 4], np.int64),
        np.array([1, 2, 1, 2], np.uint32),
        np.array([1, 2], np.uint32),
    )
    held = np.array([3, 0], np.float32)
    scores = kernels.phrase_scores(offsets, terms, np.arange(2), query, np.ones(2, np.float32), held)
    assert (scores > 0).tolist() == [True, False]


@pytest.mark.parametrize("tokens", [[], [3], [0, 7, 7, 2]])
def test_the_vectors_of_tokens_are_codes_times_scales(tokens):
    rng = np.random.default_rng(1)
    codes, scales = rng.integers(-127, 128, (8, 5)).astype(np.int8), rng.random(8).astype(np.float32)
    vectors = kernels.token_vectors(codes, scales, tokens)
    assert (vectors.shape, vectors.dtype) == ((len(tokens), 5), np.float32)
    assert vectors.tolist() == [(codes[token].astype(np.float32) * scales[token]).tolist() for token in tokens]


@pytest.mark.parametrize("token", [-1, 8])
def test_a_token_that_the_table_lacks_is_refused(token):
    with pytest.raises(IndexError, match="lacks"):
        kernels.token_vectors(np.zeros((8, 5), np.int8), np.zeros(8, np.float32), [0, token])


@STEADY
@given(seed=seeds, n_terms=st.integers(1, 20))
def test_leads_of_any_rows(seed, n_terms):
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 40, 9))])
    terms = rng.integers(0, 30, offsets[-1], np.uint32)
    query = rng.choice(40, n_terms, replace=False).astype(np.uint32)
    weights, rows = rng.random(n_terms).astype(np.float32), rng.integers(0, 9, 12)
    every = lexicon.lead_scores(terms, offsets, query.astype(np.int64), weights)
    np.testing.assert_allclose(kernels.lead_scores(offsets, terms, rows, query, weights), every[rows], rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_rows_that_hold_an_id(dtype):
    offsets, ids = np.array([0, 2, 2, 5], np.int64), np.array([7, 9, 1, 65_535, 7], dtype)
    rows = np.array([2, 1, 0, 2], np.int64)
    found = [kernels.holding(offsets, ids, rows, np.array(wanted, np.uint32)).tolist() for wanted in ([7], [2, 9], [])]
    assert found == [[True, False, True, True], [False, False, True, False], [False] * 4]
    assert kernels.holding(offsets, ids, rows, np.array([65_535], np.uint32)).tolist() == [True, False, False, True]


def test_slices_that_point_outside_are_empty():
    offsets, ids = np.array([0, 2, -5, 99, 3, 4], np.int64), np.array([1, 2, 1, 2], np.uint32)
    rows, wanted = np.array([0, 1, 2, 3, 4, 5, -1, 10**12], np.int64), np.array([1, 2], np.uint32)
    assert np.flatnonzero(kernels.holding(offsets, ids, rows, wanted)).tolist() == [0, 4]
    scores = kernels.phrase_scores(offsets, ids, rows, wanted, np.ones(2, np.float32))
    assert np.flatnonzero(scores).tolist() == [0]
    assert np.flatnonzero(kernels.lead_scores(offsets, ids, rows, wanted, np.ones(2, np.float32))).tolist() == [0, 4]
