"""Training and measuring: what is learned from, what is kept apart, and that seeds repeat it."""

from dataclasses import replace

import numpy as np
import pytest
from study_kit import DIM, small_corpus, with_test_vectors

from agentmem.errors import InvalidInput
from agentmem.simulation.study import Configuration, Corpus, Shape, measure_one
from agentmem.simulation.study import training as fitting
from agentmem.simulation.study.pools import Searched
from agentmem.simulation.study.quality import compare, names, ndcg
from agentmem.simulation.study.training import Adam, ask, train

SHAPE = Shape(2, 8, 1, 0.1)
ONE = Configuration(SHAPE, Corpus(0, DIM), 0)
TIMES = ("latency_us", "seconds")


@pytest.fixture(scope="module")
def found() -> Searched:
    return small_corpus()


@pytest.fixture(autouse=True)
def _fast(monkeypatch):
    """Learn fast, since the set is small."""
    monkeypatch.setattr(fitting, "RATE", 3e-3)


def same(left, right):
    """Say whether two fits hold the same parameters."""
    return all(np.array_equal(left.parameters[name], right.parameters[name]) for name in left.parameters)


def test_training_finds_what_there_is_to_learn(found):
    fitted = train(SHAPE, found.train, found.dev, 0)
    assert fitted.epoch > 0
    assert fitted.dev_ndcgs[fitted.epoch] == max(fitted.dev_ndcgs) > fitted.dev_ndcgs[0] + 0.02
    assert fitted.train_losses[-1] < fitted.train_losses[0]
    told = compare(found.dev, ask(fitted.parameters, found.dev).scores)
    assert told["ndcg@10"]["after"] == pytest.approx(fitted.dev_ndcgs[fitted.epoch])
    assert told["ndcg@10"]["before"] == pytest.approx(fitted.dev_ndcgs[0])


def test_training_stops_where_dev_no_longer_gains(found):
    fitted = train(SHAPE, found.train, found.dev, 0)
    assert (
        len(fitted.train_losses) == fitted.epoch + fitting.PATIENCE or len(fitted.train_losses) == fitting.MOST_EPOCHS
    )
    assert len(fitted.dev_losses) == len(fitted.dev_ndcgs) == len(fitted.train_losses) + 1


def test_the_seed_decides_and_repeats(found):
    first = train(SHAPE, found.train, found.dev, 1)
    assert same(first, train(SHAPE, found.train, found.dev, 1))
    assert not same(first, train(SHAPE, found.train, found.dev, 2))
    assert not same(first, train(SHAPE, found.train, found.dev, 1, 0.25))


def test_test_queries_are_refused(found):
    test = found.test().open()
    for split in ((test, found.dev), (found.train, test)):
        with pytest.raises(InvalidInput, match="never trained on"):
            train(SHAPE, *split, 0)


def test_what_the_test_queries_are_changes_nothing_that_is_learned(found, monkeypatch):
    """Every query that training sees is written down; and the test queries may be anything, even no numbers."""
    seen = set()
    batch = type(found.train).batch

    def watched(pools, places):
        seen.update(pools.queries[place] for place in places.tolist())
        return batch(pools, places)

    monkeypatch.setattr(type(found.train), "batch", watched)
    fitted = train(SHAPE, found.train, found.dev, 0)
    taught = {found.train.queries[place] for place in found.train.taught.tolist()}
    assert seen == taught | {*found.dev.queries}
    assert not seen & {*found.splits["test"].queries}
    broken = with_test_vectors(found, np.full(DIM, np.nan, np.float32))
    assert same(fitted, train(SHAPE, broken.train, broken.dev, 0))


def test_the_test_split_is_read_once(found):
    sealed = found.test()
    sealed.open()
    with pytest.raises(InvalidInput, match="read already"):
        sealed.open()


def test_measuring_reads_the_test_split_after_training_and_once(found, monkeypatch):
    events = []
    monkeypatch.setattr("agentmem.simulation.study.measuring.train", lambda *a: events.append("train") or train(*a))
    opened = type(found.test()).open
    monkeypatch.setattr(type(found.test()), "open", lambda sealed: events.append("open") or opened(sealed))
    measure_one(ONE, found)
    assert events == ["train", "train", "open"]


def test_one_configuration_repeats_but_for_its_times(found):
    first, second = (
        {name: value for name, value in measure_one(ONE, found, found).items() if name not in TIMES} for _ in range(2)
    )
    assert first == second
    assert first["key"] == "setx12/2h-8d-1L-0.1/0"
    assert first["transfer"]["ndcg@10"] == first["ndcg@10"]
    assert set(first["categories"]) == {"0", "1"}
    # W_Q, W_K and W_V of 12 by 8, two sharpnesses and a scale; two heads' weights of 50 candidates; W_O: float32
    assert first["memory"] == {
        "projections": 4 * (3 * 12 * 8 + 3),
        "weights": 4 * 2 * 50,
        "output": 4 * 8 * 12,
        "total": 4 * (3 * 12 * 8 + 3 + 100 + 96),
        "bytes_a_vector": 4 * (3 * 12 * 8 + 3 + 100 + 96) / 120,
    }


def test_latency_is_told_by_component(found):
    latency = measure_one(ONE, found)["latency_us"]
    assert set(latency) == {"projection", "weights", "softmax", "aggregation", "concatenation", "total"}
    assert all(value > 0 for value in latency.values())


def test_cosines_are_means_over_relevant_candidates(found):
    pools = found.dev
    fitted = train(SHAPE, found.train, pools, 0)
    asked = ask(fitted.parameters, pools)
    for place in range(len(pools)):
        right = pools.vectors[pools.rows[place][pools.grades[place] > 0]]
        expected = float((right @ pools.x[place]).mean()) if len(right) else np.nan
        assert asked.before[place] == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_adam_takes_the_steps_of_its_paper():
    """Also of more parameters than are moved at a time."""
    rng = np.random.default_rng(0)
    start = rng.normal(size=(3, fitting.PIECE // 2)).astype(np.float32)
    parameters, adam = {"one": start.copy(), "two": start[0].copy()}, Adam({"one": start, "two": start[0]})
    expected, mean, square = start.astype(np.float64), 0.0, 0.0
    for step in range(1, 4):
        slope = rng.normal(size=start.shape).astype(np.float32)
        adam.step(parameters, {"one": slope, "two": slope[0]})
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope.astype(np.float64) ** 2
        rate = fitting.RATE * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        expected -= rate * mean / (np.sqrt(square) + 1e-8)
    np.testing.assert_allclose(parameters["one"], expected, atol=1e-5)
    np.testing.assert_allclose(parameters["two"], parameters["one"][0], atol=1e-7)


def test_compare_by_hand(found):
    pools = found.dev
    few = replace(
        pools,
        queries=("a", "b"),
        rows=np.array([[0, 1, 2], [2, 1, -1]]),
        grades=np.array([[0, 1, 0], [0, 1, 0]], np.float32),
        ids=("x", "y", "z"),
        qrels={"a": {"y": 1}, "b": {"y": 1, "w": 1}, "c": {"x": 1}},
        categories={"a": "one", "b": "two", "c": "two"},
    )
    scores = np.array([[1, 3, 2], [5, 4, -np.inf]], np.float32)
    assert names(few) == {"a": ["x", "y", "z"], "b": ["z", "y"]}
    assert names(few, scores) == {"a": ["y", "z", "x"], "b": ["z", "y"]}
    told = compare(few, scores)
    half, both = 1 / np.log2(3), 1 + 1 / np.log2(3)
    assert told["recall@10"] == {"before": 0.5, "after": 0.5, "change": 0}
    assert told["ndcg@10"]["before"] == pytest.approx((half + half / both + 0) / 3)
    assert told["ndcg@10"]["after"] == pytest.approx((1 + half / both + 0) / 3)
    assert ndcg(few, scores) == told["ndcg@10"]["after"]
    assert told["categories"]["two"]["queries"] == 2
    assert told["categories"]["one"]["ndcg@10"]["change"] == pytest.approx(1 / half - 1)
