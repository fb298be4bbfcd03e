"""Hooks see a search on its way and may change it."""

import asyncio
import logging

import numpy as np
import pytest

import agentmem
from agentmem.attention import AttentionWeights, score
from agentmem.hooks import POINTS, choose_mechanism, profile_query


@pytest.fixture
def store(store):
    store.add("Ada joined the choir", id="choir")
    store.add("Ben repaired the red bicycle", id="bicycle")
    store.add("The train to Porto leaves at nine", id="train")
    return store


def ids(hits):
    return [hit.id for hit in hits]


def test_hooks_run_in_the_order_of_registration_behind_the_default_ones(store):
    seen = []
    for point in POINTS:
        store.hooks.register(point, lambda ctx, point=point: seen.append(f"{point} 1"))
        store.hooks.register(point, lambda ctx, point=point: seen.append(f"{point} 2"))
    store.search("choir")
    assert seen == [f"{point} {number}" for point in POINTS for number in (1, 2)]
    assert store.hooks.registered("pre-retrieval")[0] is profile_query
    assert store.hooks.registered("intelligence")[0] is choose_mechanism


def test_a_pre_retrieval_hook_may_rewrite_the_query_and_widen_the_search(store):
    @store.hooks.on("pre-retrieval")
    def expand(ctx):
        assert ctx.profile is not None
        ctx.text = "cycling bicycle"
        ctx.candidates = 50

    assert ids(store.search("choir", k=1)) == ["bicycle"]
    store.hooks.unregister("pre-retrieval", expand)
    assert ids(store.search("choir", k=1)) == ["choir"]


def test_an_intelligence_hook_chooses_the_mechanism_and_says_why(store):
    @store.hooks.on("intelligence")
    def lexical(ctx):
        ctx.attention_config = agentmem.AttentionConfig("lexical")
        ctx.reason = "the test says so"
        return ctx

    hit = store.search("choir", explain=True)[0]
    assert (hit.id, hit.explanation.mechanism, hit.explanation.reason) == ("choir", "lexical", "the test says so")
    assert list(hit.explanation.heads) == ["lexical"]


def test_heads_can_be_weighed_by_a_hook(store):
    before = store.search("choir", explain=True)[0].explanation.heads

    @store.hooks.on("intelligence")
    def words_only(ctx):
        ctx.attention_config.heads = {"lexical": 2.0, "late": 0.0}

    after = store.search("choir", explain=True)[0].explanation.heads
    assert after["lexical"] == pytest.approx(2 * before["lexical"])
    assert "late" in before
    assert "late" not in after


def test_a_post_retrieval_hook_may_reorder_and_drop(store):
    store.hooks.register("post-retrieval", lambda ctx: setattr(ctx, "hits", [h for h in ctx.hits if h.id != "choir"]))
    hits = store.search("choir", k=2)
    assert "choir" not in ids(hits)
    assert [hit.rank for hit in hits] == [1, 2]


def test_coroutines_are_hooks_too_with_or_without_a_running_loop(store):
    seen = []

    @store.hooks.on("pre-retrieval")
    async def patient(ctx):
        await asyncio.sleep(0)
        seen.append(ctx.text)
        return ctx

    async def inside():
        return ids(store.search("bicycle", k=1))

    assert ids(store.search("choir", k=1)) == ["choir"]
    assert asyncio.run(inside()) == ["bicycle"]
    assert seen == ["choir", "bicycle"]


def test_a_hook_that_raises_is_reported_and_skipped(store, caplog):
    store.hooks.register("intelligence", lambda ctx: 1 / 0)
    with caplog.at_level(logging.ERROR, logger="agentmem.hooks"):
        assert ids(store.search("choir", k=1)) == ["choir"]
    assert "ZeroDivisionError" in caplog.text


def test_or_raises_by_option(tmp_path):
    with agentmem.MemoryStore(tmp_path / "m.db", hook_errors="raise", merge="manual") as store:
        store.add("a note")
        store.hooks.register("post-retrieval", lambda ctx: "not a context")
        with pytest.raises(agentmem.errors.HookFailed, match="SearchContext"):
            store.search("note")


@pytest.mark.parametrize(
    "call",
    [
        lambda hooks: hooks.register("before", print),
        lambda hooks: hooks.register("intelligence", "print"),
        lambda hooks: hooks.unregister("intelligence", print),
    ],
)
def test_bad_registrations_are_refused(store, call):
    with pytest.raises(agentmem.InvalidInput):
        call(store.hooks)


def test_a_hook_that_chooses_nonsense_gets_the_list_of_mechanisms(store):
    store.hooks.register(
        "intelligence", lambda ctx: setattr(ctx, "attention_config", agentmem.AttentionConfig("magic"))
    )
    with pytest.raises(agentmem.UnknownMechanism, match="memory-heads"):
        store.search("choir")


def test_the_result_cache_knows_of_hooks(tmp_path):
    with agentmem.MemoryStore(tmp_path / "m.db", cache_size=8, merge="manual") as store:
        store.add("Ada joined the choir", id="choir")
        store.add("Ben repaired the red bicycle", id="bicycle")
        assert ids(store.search("choir", k=1)) == ["choir"]
        drop = store.hooks.register(
            "post-retrieval", lambda ctx: setattr(ctx, "hits", [hit for hit in ctx.hits if hit.id != "choir"])
        )
        assert ids(store.search("choir", k=1)) == ["bicycle"]
        store.hooks.unregister("post-retrieval", drop)
        texts = iter(["bicycle", "choir"])
        store.hooks.register("pre-retrieval", lambda ctx: setattr(ctx, "text", next(texts)))
        assert [ids(store.search("anything", k=1)) for _ in range(2)] == [["bicycle"], ["choir"]]


def test_a_filter_with_keys_of_two_kinds_is_refused_with_a_cache_too(tmp_path):
    with agentmem.MemoryStore(tmp_path / "m.db", cache_size=8, merge="manual") as store:
        store.add("a note", metadata={"a": 1})
        with pytest.raises(agentmem.InvalidFilter):
            store.search("note", filter={"a": 1, 2: 3})


def route_to_the_first_expert(dim):
    """Weights of moe-attention that send every query to an expert which looks at the second half of a vector alone."""
    half = np.diag(np.repeat([0.0, 1.0], dim // 2)).astype(np.float32)
    router = np.zeros((dim, 1), np.float32)
    return AttentionWeights("moe-attention", {"router": router, "query": half[None]})


def test_a_hook_gives_a_mechanism_its_learned_weights(vectors_store):
    store = vectors_store
    store.add_many([None, None], embeddings=[[1, 0.2, 0, 0], [0.5, 0, 0, 1]], ids=["front", "back"])
    query = np.array([1, 0, 0, 0.5], np.float32)
    assert ids(store.search(embedding=query, k=2)) == ["front", "back"]

    @store.hooks.on("intelligence")
    def learned(ctx):
        params = {"experts": 1, "experts_per_token": 1}
        ctx.attention_config = agentmem.AttentionConfig(
            "moe-attention", params=params, weights=route_to_the_first_expert(4)
        )
        ctx.reason = "learned"

    hits = store.search(embedding=query, k=2, explain=True)
    assert ids(hits) == ["back", "front"]
    assert (hits[0].explanation.mechanism, hits[0].explanation.reason) == ("moe-attention", "learned")
    wanted = score(
        query,
        np.array([[0.5, 0, 0, 1], [1, 0.2, 0, 0]], np.float32) / np.sqrt([[1.25], [1.04]]).astype(np.float32),
        mechanism="moe-attention",
        params={"experts": 1, "experts_per_token": 1},
        weights=route_to_the_first_expert(4),
    )
    assert [hit.score for hit in hits] == pytest.approx(wanted.tolist(), rel=1e-5)


def test_learned_weights_that_are_missing_or_another_s_are_one_clear_error(vectors_store):
    vectors_store.add(None, embedding=[1, 0, 0, 0])
    query = np.array([1, 0, 0, 0], np.float32)
    with pytest.raises(
        agentmem.InvalidInput, match=r"^moe-attention needs weights\['router'\]; AttentionWeights.init makes weights"
    ):
        vectors_store.search(embedding=query, mechanism="moe-attention")
    vectors_store.hooks.register(
        "intelligence",
        lambda ctx: setattr(
            ctx, "attention_config", agentmem.AttentionConfig("standard-mha", weights=route_to_the_first_expert(4))
        ),
    )
    with pytest.raises(
        agentmem.InvalidInput, match="weights: expected those of standard-mha, came those of moe-attention"
    ):
        vectors_store.search(embedding=query)
