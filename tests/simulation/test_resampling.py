"""Intervals by bootstrap: what is known of them beforehand, and that the seed fixes them."""

import math

import numpy as np
import pytest

from agentmem.simulation.resampling import ROUNDS, interval, numbered, relative, resampled_means, wins


@pytest.fixture
def values():
    """400 queries, of two pipelines; the second is better by 0.1 throughout."""
    first = np.random.default_rng(3).integers(0, 2, 400).astype(np.float64)
    return np.stack([first, first + 0.1], axis=1)


def test_the_same_queries_are_drawn_for_all(values):
    means = resampled_means(values, seed=1)
    assert means.shape == (ROUNDS, 2)
    assert means[:, 1] - means[:, 0] == pytest.approx(0.1)
    assert interval(means[:, 1] - means[:, 0]) == pytest.approx((0.1, 0.1))


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution(values):
    mean = values[:, 0].mean()
    half = 1.96 * math.sqrt(mean * (1 - mean) / 400)
    low, high = interval(resampled_means(values, seed=1)[:, 0])
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.005)


def test_the_seed_decides(values):
    assert np.array_equal(resampled_means(values, seed=1), resampled_means(values, seed=1))
    assert not np.array_equal(resampled_means(values, seed=1), resampled_means(values, seed=2))


def test_namespaces_are_drawn_as_wholes():
    values = np.array([[0.0], [1.0], [1.0], [1.0]])
    groups = numbered(["a", "b", "b", "b"])
    assert groups.tolist() == [0, 1, 1, 1]
    means = resampled_means(values, 0, groups)[:, 0]
    assert np.unique(means).tolist() == [0.0, 0.75, 1.0]
    shares = [np.mean(means == mean) for mean in (0.0, 0.75, 1.0)]
    assert shares == pytest.approx([1 / 4, 1 / 2, 1 / 4], abs=0.03)


def test_a_ratio_to_nothing_is_left_out():
    change = relative(np.array([1.0, 3.0]), np.array([0.0, 2.0]))
    assert np.isnan(change[0])
    assert change[1] == 0.5
    assert interval(change) == (0.5, 0.5)
    assert all(math.isnan(end) for end in interval(change[:1]))


def test_wins_ties_and_losses_are_counted():
    before, after = np.array([0.1, 0.5, 1.0, 0.3]), np.array([0.2, 0.5 + 1e-12, 0.0, 0.4])
    assert wins(before, after) == {"win": 2, "tie": 1, "loss": 1}
