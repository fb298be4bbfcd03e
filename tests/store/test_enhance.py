"""A query moved towards what it attends to: the identity unless feedback held out agrees."""

import math

import numpy as np
import pytest

import agentmem
from agentmem.enhance import MIN_JUDGED, QueryAttention, fit_query_attention

DIM, TOPICS, EACH = 48, 30, 12


def filled():
    """Return a store of noisy records about 30 topics, and the topics' vectors."""
    rng = np.random.default_rng(11)
    topics = rng.normal(size=(TOPICS, DIM))
    vectors = np.repeat(topics, EACH, axis=0) + 1.2 * rng.normal(size=(TOPICS * EACH, DIM))
    store = agentmem.MemoryStore(":memory:", embedder=None, dimension=DIM)
    ids = [f"{topic}/{row}" for topic in range(TOPICS) for row in range(EACH)]
    store.add_many(ids, ids=ids, embeddings=vectors)
    return store, topics, rng


def test_it_is_born_as_the_identity():
    store, topics, _ = filled()
    vector = topics[0].astype(np.float32)
    assert QueryAttention().moved(store, vector) is vector
    before = store.hooks.registered("pre-retrieval")
    QueryAttention().attach(store)
    assert store.hooks.registered("pre-retrieval") == before
    assert math.isnan(fit_query_attention(store).gain), "no feedback"


def test_it_moves_the_query_by_the_softmax_of_the_nearest():
    with agentmem.MemoryStore(":memory:", embedder=None, dimension=2) as store:
        store.add_many(embeddings=[[1, 0], [0, 1]])
        weights = np.exp([20 * 0.8, 20 * 0.6])
        weights /= weights.sum()
        moved = QueryAttention(0.5).moved(store, np.array([1.6, 1.2], np.float32))
        np.testing.assert_allclose(moved, np.array([1.6, 1.2]) + 0.5 * 2 * weights, rtol=1e-5)


def test_it_is_taken_where_it_helps_and_left_where_it_harms():
    store, topics, rng = filled()
    queries = np.repeat(topics, 2, axis=0) + 1.2 * rng.normal(size=(2 * TOPICS, DIM))
    for row, query in enumerate(queries):
        store.feedback(embedding=query, accepted=[f"{row // 2}/{each}" for each in range(EACH)])
    helps = fit_query_attention(store)
    assert helps.share > 0
    assert helps.gain > 0.02
    helps.attach(store)
    assert len(store.hooks.registered("pre-retrieval")) == 2
    assert store.search(embedding=queries[0], k=3)

    other, topics, rng = filled()
    for row in range(2 * MIN_JUDGED):
        id = f"{row % TOPICS}/{row % EACH}"
        own = other.vector(id)
        other.feedback(embedding=own + 0.3 * rng.normal(size=DIM), accepted=[id])
    harms = fit_query_attention(other)
    assert harms.share == 0
    assert not harms.gain > 0


def test_a_namespace_is_not_looked_out_of():
    with agentmem.MemoryStore(":memory:", embedder=None, dimension=2) as store:
        store.add("a", embedding=[1, 0], namespace="a")
        store.add("b", embedding=[0, 1], namespace="b")
        moved = QueryAttention(1.0).moved(store, np.array([1, 1], np.float32), "a")
        np.testing.assert_allclose(moved, [1 + 2**0.5, 1], rtol=1e-5)
        np.testing.assert_allclose(
            QueryAttention(1.0).moved(store, np.array([1, 1], np.float32), "nobody"), [1, 1], rtol=1e-6
        )


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_a_text_is_embedded_before_it_is_moved(share):
    with agentmem.MemoryStore(":memory:") as store:
        store.add_many([f"note {row} about boats and harbours" for row in range(30)])
        plain = store.search("boats", k=3, mechanism="dense")[0].score
        QueryAttention(share).attach(store)
        assert store.search("boats", k=3, mechanism="dense")[0].score > plain
