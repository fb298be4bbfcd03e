"""Maximal marginal relevance, against a plain reading of its formula and answers worked by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmem import InvalidInput, InvalidVector
from agentmem.adapters.mmr import maximal_marginal_relevance


def cosine(a, b):
    """Return the cosine of two vectors, 0 where one of them has no direction."""
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / lengths) if lengths else 0.0


def by_formula(query, embeddings, k, lambda_mult):
    """Choose one after the other, everything computed anew each time."""
    chosen = []
    while len(chosen) < min(k, len(embeddings)):
        values = {
            place: lambda_mult * cosine(query, row)
            - (1 - lambda_mult) * max(cosine(embeddings[other], row) for other in chosen)
            if chosen
            else cosine(query, row)
            for place, row in enumerate(embeddings)
            if place not in chosen
        }
        chosen.append(max(values, key=values.get))
    return chosen


def test_a_copy_gives_way_to_something_new():
    query = [1.0, 0.1]
    embeddings = [[1.0, 0.0], [1.0, 0.01], [0.6, 0.8]]
    assert maximal_marginal_relevance(query, embeddings, 2, 1.0) == [1, 0]
    assert maximal_marginal_relevance(query, embeddings, 2, 0.3) == [1, 2]
    assert maximal_marginal_relevance(query, embeddings, 3, 0.0) == [1, 2, 0]


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 12),
    dimension=st.integers(1, 33),
    k=st.integers(0, 14),
    lambda_mult=st.floats(0, 1),
)
def test_it_is_its_formula(seed, count, dimension, k, lambda_mult):
    rng = np.random.default_rng(seed)
    query, embeddings = rng.normal(size=dimension), rng.normal(size=(count, dimension)).astype(np.float32)
    if dimension > 1:  # on a line all cosines are 1 or -1, and rounding decides among equals
        expected = by_formula(query, embeddings.astype(np.float64), k, lambda_mult)
        assert maximal_marginal_relevance(query, embeddings, k, lambda_mult) == expected
    else:
        chosen = maximal_marginal_relevance(query, embeddings, k, lambda_mult)
        assert len(chosen) == len(set(chosen)) == min(k, count)


def test_vectors_without_direction_are_unlike_everything():
    assert maximal_marginal_relevance([0.0, 0.0], [[0.0, 0.0], [1.0, 0.0]], 2) == [0, 1]
    assert maximal_marginal_relevance([1.0, 0.0], [[0.0, 0.0], [1.0, 0.0]], 2) == [1, 0]


def test_no_candidates_no_choice():
    assert maximal_marginal_relevance([1.0], [], 3) == []
    assert maximal_marginal_relevance([1.0], np.empty((0, 1)), 3) == []


@pytest.mark.parametrize(("k", "lambda_mult"), [(-1, 0.5), (1, -0.1), (1, 1.1), (1, float("nan"))])
def test_numbers_out_of_range_are_refused(k, lambda_mult):
    with pytest.raises(InvalidInput, match="got"):
        maximal_marginal_relevance([1.0], [[1.0]], k, lambda_mult)


@pytest.mark.parametrize("embeddings", [[[1.0]], [1.0, 2.0], [[[1.0, 2.0]]]])
def test_shapes_that_do_not_fit_are_refused(embeddings):
    with pytest.raises(InvalidVector, match="shape"):
        maximal_marginal_relevance([1.0, 2.0], embeddings, 1)
