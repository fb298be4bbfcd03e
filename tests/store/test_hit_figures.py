"""What a hit says of itself besides its score: similarity and relevance."""

import copy
import json
import pickle
from math import inf
from pathlib import Path

import numpy as np
import pytest

import agentmem
from agentmem import attention
from agentmem.rerank.relevance import CALIBRATION, relevances

FIT = Path(__file__).parents[2] / "benchmarks" / "results" / "relevance_fit.json"
TEXTS = [
    f"the {name} sings of a {thing}" for name in ("choir", "violin", "train") for thing in ("book", "garden", "sea")
]


def cosine(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.fixture(params=["cosine", "ip", "l2"])
def mixed(request, tmp_path):
    """A store of 40 given vectors of different lengths, and of two records without one."""
    chance = np.random.default_rng(5)
    store = agentmem.MemoryStore(tmp_path / "m.db", embedder=None, dimension=6, metric=request.param, merge="manual")
    with store:
        vectors = chance.normal(size=(40, 6)) * chance.uniform(0.5, 3, size=(40, 1))
        store.add_many([f"note {n} of a book" for n in range(40)], embeddings=vectors)
        yield store


@pytest.mark.parametrize(
    "mechanism", ["auto", "dense", "lexical", "rrf", "convex", "prf", "scaled-dot", "linear-attention"]
)
def test_similarity_is_the_cosine_whatever_metric_and_mechanism(mixed, mechanism):
    query = np.random.default_rng(6).normal(size=6) * 2
    if mechanism == "auto":
        mixed.optimize()
    hits = mixed.search("note 3 of a book", embedding=query, mechanism=mechanism, k=20)
    assert len(hits) == 20
    for hit in hits:
        assert hit.similarity == pytest.approx(cosine(query, mixed.vector(hit.id)), abs=1e-5)
        assert -1 <= hit.similarity <= 1


def test_the_same_vector_has_similarity_one_and_never_more(tmp_path):
    with agentmem.MemoryStore(tmp_path / "m.db", merge="manual") as store:
        store.add_many(TEXTS)
        for text in TEXTS:
            best = max(store.search(text), key=lambda hit: hit.similarity)
            assert best.text == text
            assert best.similarity == pytest.approx(1, abs=1e-6)
            assert best.similarity <= 1


def test_without_a_vector_there_is_no_similarity(tmp_path):
    with agentmem.MemoryStore(tmp_path / "m.db", merge="manual") as store:
        store.add_many(["a book of trains", "\u2603"], ids=["known", "unknown"])
        assert store.vector("unknown") is None
        assert {hit.id: hit.similarity is None for hit in store.search("a book")} == {"known": False, "unknown": True}
        assert {hit.similarity for hit in store.search("\u2603")} == {None}
    with agentmem.MemoryStore(tmp_path / "given.db", embedder=None, dimension=3, merge="manual") as store:
        store.add("a book", embedding=[1, 0, 0])
        assert [hit.similarity for hit in store.search("book")] == [None]
        assert store.search(embedding=[2, 0, 0])[0].similarity == 1.0


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_lengths_do_not_matter_but_for_a_vector_that_has_none(tmp_path, metric):
    with agentmem.MemoryStore(tmp_path / "m.db", embedder=None, dimension=2, metric=metric, merge="manual") as store:
        store.add_many(embeddings=[[0, 0], [1e-15, 0], [1e15, 1e15]], ids=["none", "short", "long"])
        found = {hit.id: hit.similarity for hit in store.search(embedding=[1e10, 0])}
    assert found == {"none": None, "short": pytest.approx(1), "long": pytest.approx(0.5**0.5)}


def test_relevance_is_in_bounds_and_in_the_order_of_the_scores(mixed):
    query = np.random.default_rng(6).normal(size=6)
    tried = 0
    for mechanism in ("auto", "dense", "lexical", "rrf", "convex", "prf", *attention.registry.list()):
        try:
            hits = mixed.search("note 3 of a book", embedding=query, mechanism=mechanism, k=30)
        except agentmem.InvalidInput:
            continue
        tried += 1
        shares = [hit.relevance for hit in hits]
        assert all(0 <= share <= 1 for share in shares), mechanism
        assert shares == sorted(shares, reverse=True), mechanism
    assert tried > 20


@pytest.mark.parametrize("mechanism", [*CALIBRATION, "something else"])
@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_relevance_rises_with_the_score(mechanism, metric):
    line = CALIBRATION.get(mechanism)
    slope, middle = (1.0, 0.0) if line is None else (line.slope, -line.offset / line.slope)
    scores = middle + np.sort(np.random.default_rng(0).normal(scale=2, size=200)) / slope
    if metric == "l2" and mechanism == "dense":
        scores = -np.sqrt(2 - 2 * np.clip(scores, -1, 1))
    shares = relevances(mechanism, metric, scores.tolist())
    assert np.all(np.diff(shares) >= 0)
    assert len(set(shares)) > 100
    ends = relevances(mechanism, metric, [-inf, -1e308, 1e308])
    assert ends[0] == 0
    assert all(0 <= end <= 1 for end in ends)


def test_l2_counts_as_the_cosine_of_unit_vectors():
    chance = np.random.default_rng(1)
    a, b = chance.normal(size=(2, 8))
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    distance = -float(np.linalg.norm(a - b))
    assert relevances("dense", "l2", [distance]) == pytest.approx(relevances("dense", "cosine", [float(a @ b)]))


def test_the_lines_are_those_that_were_fitted():
    fitted = json.loads(FIT.read_text())["fitted"]
    assert fitted.keys() == CALIBRATION.keys()
    for name, line in CALIBRATION.items():
        assert line.slope > 0
        assert line == pytest.approx((fitted[name]["slope"], fitted[name]["offset"]), rel=5e-3)


def test_a_pickled_or_copied_hit_keeps_its_figures_and_the_cache_too(tmp_path):
    with agentmem.MemoryStore(tmp_path / "m.db", merge="manual", cache_size=10) as store:
        store.add_many(TEXTS)
        first = store.search("a choir sings")
        assert store.search("a choir sings") == first
        assert store.cache.summary()["hits"] == 1
        far = pickle.loads(pickle.dumps(first))
        assert copy.deepcopy(first) == far
        assert [(hit.similarity, hit.relevance, hit.score) for hit in far] == [
            (hit.similarity, hit.relevance, hit.score) for hit in first
        ]
        assert far[0].origin is None


def test_a_hit_that_comes_from_no_search_has_none(tmp_path):
    with agentmem.MemoryStore(tmp_path / "m.db", merge="manual") as store:
        record = store.get(store.add("a book"))
    hit = agentmem.Hit(record, 1.0, 1)
    assert (hit.similarity, hit.relevance) == (None, None)
