"""calibrate: measured once, kept in the store, and bound to the embedder it was measured with."""

import numpy as np
import pytest

import agentmem

DIM = 16


def vectors(seed, spread):
    """Return 200 vectors about one direction."""
    return np.eye(1, DIM) + spread * np.random.default_rng(seed).normal(size=(200, DIM))


def filled(path, spread=0.5):
    """Return a store of them, on disk."""
    store = agentmem.MemoryStore(path, embedder=None, dimension=DIM, merge="manual", cache_size=10)
    store.add_many([f"note {row}" for row in range(200)], embeddings=vectors(1, spread))
    return store


def semantic(store):
    """Return the semantic head's part of the first hit of one search."""
    hit = store.search("note 7", embedding=np.eye(1, DIM)[0] + 0.3, namespace="", explain=True)[0]
    return hit.explanation.heads["semantic"]


def test_it_is_measured_and_kept(tmp_path):
    with filled(tmp_path / "memory.db") as store:
        measured = store.calibrate()
        unit = vectors(1, 0.5) / np.linalg.norm(vectors(1, 0.5), axis=1, keepdims=True)
        pairs = (unit @ unit.T)[np.triu_indices(200, 1)]
        assert (measured.mean, measured.std) == pytest.approx((pairs.mean(), pairs.std()), abs=1e-5)
        before = semantic(store)
        store.add_many(embeddings=vectors(2, 5.0), namespace="noise")
        assert semantic(store) == pytest.approx(before, rel=1e-5), "it stays as the store grows"
    with agentmem.MemoryStore(tmp_path / "memory.db", embedder=None, dimension=DIM, merge="manual") as store:
        assert semantic(store) == pytest.approx(before, rel=1e-5)
        assert store.calibrate().std != pytest.approx(measured.std, rel=0.1)
        assert semantic(store) != pytest.approx(before, rel=0.1)


def test_a_cached_result_does_not_outlive_it(tmp_path):
    with filled(tmp_path / "memory.db") as store:
        store.calibrate()
        store.add_many(embeddings=vectors(2, 5.0), namespace="noise")
        before = semantic(store)
        store.calibrate()
        assert semantic(store) != pytest.approx(before, rel=0.1)


def test_another_embedder_is_not_judged_by_it(tmp_path):
    texts = [f"word{row} of several" for row in range(100)]
    with agentmem.MemoryStore(tmp_path / "memory.db", merge="manual") as store:
        store.add_many(texts)
        store.calibrate()
        assert store.calibrated.keys() == {store.identity.generation}

        def other(batch):
            rows = [np.random.default_rng(len(text)).normal(size=8) for text in batch]
            return np.array(rows, np.float32)

        store.reembed(agentmem.CallableEmbedder(other, dimension=8, name="other"))
        assert store.identity.generation not in store.calibrated


@pytest.mark.parametrize("rows", [0, 63])
def test_too_few_vectors_are_refused(tmp_path, rows):
    with agentmem.MemoryStore(tmp_path / "memory.db", embedder=None, dimension=DIM, merge="manual") as store:
        if rows:
            store.add_many(embeddings=vectors(1, 1.0)[:rows])
        with pytest.raises(agentmem.InvalidInput, match="64"):
            store.calibrate()


def test_vectors_that_are_all_alike_are_refused(tmp_path):
    with agentmem.MemoryStore(tmp_path / "memory.db", embedder=None, dimension=DIM, merge="manual") as store:
        store.add_many(embeddings=np.ones((100, DIM)))
        with pytest.raises(agentmem.InvalidInput, match="different vectors"):
            store.calibrate()
