"""Statistics of attention weights, by hand, and what bounds them."""

import numpy as np
import pytest

from agentmem.rerank.diversity import divergence
from agentmem.simulation.study.statistics import describe, gini, sparsity, verdict


def test_gini_by_hand():
    assert gini(np.full(5, 0.2)) == pytest.approx(0)
    assert gini(np.array([0.0, 0.0, 1.0, 0.0])) == pytest.approx(0.75)
    # mean absolute difference of 1, 2, 3, 4 is 20 / 16; halved and over the mean 2.5
    assert gini(np.array([0.4, 0.1, 0.3, 0.2])) == pytest.approx(0.25)


def test_sparsity_by_hand():
    assert sparsity(np.array([0.5, 0.3, 0.191, 0.009])) == 0.25
    assert sparsity(np.array([0.99, 0.01])) == 0


def test_describe_takes_means_over_layers_queries_and_heads():
    sure, even = [1.0, 0.0], [0.5, 0.5]
    blocks = [np.array([[[sure, even]]]), np.array([[[even, even]]])]
    told = describe(blocks)
    assert told["entropy"] == pytest.approx(0.75 * np.log(2))
    assert told["gini"] == pytest.approx(0.125)
    assert told["sparsity"] == pytest.approx(0.125)
    assert told["diversity"] == pytest.approx((0.8112781 - 0.5) / 2)


def test_one_head_has_no_diversity():
    assert describe([np.array([[[[0.5, 0.5]]]])])["diversity"] is None


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("entropy", 3.01, "met"),
        ("entropy", 3.0, "missed"),
        ("gini", 0.49, "met"),
        ("gini", 0.5, "missed"),
        ("sparsity", 0.15, "met"),
        ("sparsity", 0.2, "met"),
        ("sparsity", 0.21, "missed"),
        ("sparsity", 0.14, "missed"),
        ("diversity", 0.71, "met"),
        ("diversity", 0.7, "missed"),
        ("diversity", None, "–"),
    ],
)
def test_verdicts(name, value, expected):
    assert verdict(name, value) == expected


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 5.0])
def test_heads_are_no_more_diverse_than_twice_their_gini(sharpness):
    rng = np.random.default_rng(0)
    weights = np.exp(sharpness * rng.normal(size=(500, 4, 20)))
    weights /= weights.sum(axis=-1, keepdims=True)
    assert (divergence(weights) <= 2 * gini(weights).mean(axis=-1)).all()
