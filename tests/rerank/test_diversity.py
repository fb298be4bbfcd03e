"""How differently heads judge: entropy and divergence by hand, and the monitor that a store keeps."""

import numpy as np
import pytest

import agentmem
from agentmem.rerank.diversity import EVERY, WINDOW, HeadDiversity, divergence, entropy


def test_entropy_by_hand():
    assert entropy(np.full(4, 0.25)) == pytest.approx(np.log(4))
    assert entropy(np.array([[1.0, 0.0], [0.5, 0.5]])) == pytest.approx([0, np.log(2)])


def test_divergence_by_hand():
    equal = np.array([[0.2, 0.8], [0.2, 0.8]])
    disjoint = np.array([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.3, 0.7]])
    assert divergence(equal) == 0
    assert divergence(disjoint) == pytest.approx(1)
    # of (1, 0) and (½, ½): the entropy of (¾, ¼), 0.8113 bits, less half of that of (½, ½), 1 bit
    assert divergence(np.array([[1.0, 0.0], [0.5, 0.5]])) == pytest.approx(0.8113 - 0.5, abs=1e-4)


def test_divergence_is_the_mean_over_pairs():
    first, second, third = [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]
    assert divergence(np.array([first, second, third])) == pytest.approx(2 / 3)
    assert divergence(np.array([[first, second], [first, third]])) == pytest.approx([0, 1])


def watched(*parts):
    monitor = HeadDiversity()
    monitor.record(np.array(parts, np.float32))
    return monitor.summary()


def test_equal_heads_give_zero_whatever_their_scale_and_offset():
    head = np.array([0.0, 1.0, 3.0, 2.0])
    assert watched(head, 5 * head, head - 7)["diversity"] == pytest.approx(0, abs=1e-6)


def test_heads_that_pick_different_candidates_give_one():
    assert watched([1, 0, 0, 0], [0, 2, 3, 0], [0, 0, 0, 9])["diversity"] == pytest.approx(1)


def test_heads_that_say_nothing_are_left_out():
    assert watched([1, 0, 0], [0, 2, 0], [0, 0, 0], [4, 4, 4])["diversity"] == pytest.approx(1)
    assert watched([1, 0, 0], [0, 0, 0]) == {"diversity": None, "sampled": 0, "every": EVERY}
    assert watched()["sampled"] == 0


def test_one_ranking_in_so_many_is_looked_at_and_so_many_are_remembered():
    monitor = HeadDiversity()
    equal, apart = np.array([[0, 1], [0, 1]], np.float32), np.array([[0, 1], [1, 0]], np.float32)
    monitor.record(equal)
    for _ in range(EVERY - 1):
        monitor.record(apart)
    assert monitor.summary()["diversity"] == 0
    monitor.record(apart)
    assert monitor.summary() == {"diversity": pytest.approx(0.5), "sampled": 2, "every": EVERY}
    for _ in range(EVERY * WINDOW):
        monitor.record(apart)
    assert monitor.summary() == {"diversity": pytest.approx(1), "sampled": WINDOW, "every": EVERY}


def test_a_store_tells_how_differently_its_heads_judge():
    with agentmem.MemoryStore(":memory:") as store:
        store.add_many(["the tea is hot", "the coffee is cold", "a red kite flies", "rain falls on the hill"])
        assert store.stats()["heads"]["diversity"] is None
        store.search("hot tea", mechanism="dense")
        assert store.stats()["heads"]["sampled"] == 0
        store.search("hot tea")
        heads = store.stats()["heads"]
        assert heads["sampled"] == 1
        assert 0 < heads["diversity"] < 1
