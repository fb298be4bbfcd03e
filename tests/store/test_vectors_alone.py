"""A search by vectors alone takes a shorter way to its hits: they are those of the long one."""

import numpy as np
import pytest

import agentmem

DIMENSION = 16


@pytest.fixture(params=["cosine", "ip", "l2"])
def store(request, tmp_path):
    path = tmp_path / "memory.db"
    with agentmem.MemoryStore(path, embedder=None, dimension=DIMENSION, metric=request.param, merge="manual") as opened:
        vectors = np.random.default_rng(3).normal(size=(60, DIMENSION)).astype(np.float32)
        opened.add_many(
            [f"note {i}" for i in range(60)],
            embeddings=vectors,
            ids=[f"r{i}" for i in range(60)],
            metadatas=[{"even": i % 2 == 0} for i in range(60)],
            namespace=["a" if i < 40 else "b" for i in range(60)],
        )
        yield opened


def plain(hits):
    return [hit._replace(explanation=None) for hit in hits]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"k": 1},
        {"k": 100},
        {"offset": 5},
        {"offset": 1_000},
        {"namespace": "b"},
        {"filter": {"even": True}},
        {"filter": {"even": "never"}},
        {"mechanism": "dense"},
        {"text": "note", "mechanism": "dense"},
        {"exact": True, "min_score": -3.0},
    ],
)
def test_the_hits_are_those_of_the_long_way(store, options):
    query = np.random.default_rng(4).normal(size=DIMENSION).astype(np.float32)
    explained = store.search(embedding=query, explain=True, **options)
    short = store.search(embedding=query, **options)
    assert all(hit.explanation is not None for hit in explained)
    assert short == plain(explained)
    store.hooks.register("post-retrieval", lambda ctx: ctx)
    hooked = store.search(embedding=query, **options)
    assert [hit[:5] for hit in hooked] == [hit[:5] for hit in short]
    # The similarities of all candidates are computed in one product, which rounds as their number has it.
    assert [hit.similarity for hit in hooked] == pytest.approx([hit.similarity for hit in short], abs=1e-6)
    assert [hit.rank for hit in short] == list(
        range(1 + options.get("offset", 0), 1 + options.get("offset", 0) + len(short))
    )


def test_an_intelligence_hook_still_chooses(store):
    query = np.random.default_rng(4).normal(size=DIMENSION).astype(np.float32)
    first = store.search(embedding=query, k=3)

    @store.hooks.on("intelligence")
    def other(ctx):
        assert ctx.attention_config.mechanism == "dense"
        ctx.attention_config.mechanism = "prf"

    chosen = store.search(embedding=query, k=3)
    assert [hit.score for hit in chosen] != [hit.score for hit in first]
    store.hooks.unregister("intelligence", other)
    assert store.search(embedding=query, k=3) == first


def test_links_that_make_a_hierarchy_are_followed(store):
    query = np.random.default_rng(4).normal(size=DIMENSION).astype(np.float32)
    store.add("above all", id="top", embedding=np.ones(DIMENSION))
    for i in range(60):
        parent = "top" if i < 4 else f"r{i // 4}"
        store.update(f"r{i}", links=[("parent", parent)])
    assert "dense" not in {hit.explanation.mechanism for hit in store.search(embedding=query, explain=True)}
    assert store.search(embedding=query) == plain(store.search(embedding=query, explain=True))
