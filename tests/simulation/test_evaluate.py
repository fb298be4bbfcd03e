"""Measures over a store's own searches, against figures worked out by hand."""

import sys
from dataclasses import replace
from math import log2
from pathlib import Path

import numpy as np
import pytest

from agentmem.backend import kernels
from agentmem.errors import InvalidInput, MissingExtra, UnknownMechanism
from agentmem.simulation import (
    DENSE,
    Dataset,
    Document,
    LabelledQuery,
    Pipeline,
    evaluate,
    evaluate_folds,
    fill,
    filled_store,
    new_store,
    pipelines_named,
    searches,
)


def documents(namespaces):
    """Return documents named by letters."""
    return tuple(
        Document(letter, f"note {letter}", namespace, None, None, None, None, None, {})
        for letter, namespace in zip("abcdef", namespaces, strict=False)
    )


def dataset(queries, qrels, query_vectors, namespaces=("",) * 6):
    """Return a set whose six documents lie on an arc: a is nearest to (1, 0), f farthest."""
    angles = np.linspace(0, 1, 6)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    asked = tuple(LabelledQuery(name, f"about {name}", *rest, {}) for name, *rest in queries)
    return Dataset("arc", documents(namespaces), asked, qrels, vectors, np.array(query_vectors, np.float32))


def run(data, tmp_path, pipelines=(DENSE,), **options):
    """Fill a new store and evaluate."""
    with new_store(tmp_path, data) as store:
        fill(store, data)
        return evaluate(store, data, pipelines, **options)


def test_measures_are_those_worked_out_by_hand(tmp_path):
    data = dataset([("q1", None), ("q2", None)], {"q1": {"b": 1, "f": 1}, "q2": {"a": 1}}, [[1, 0], [1, 0]])
    (result,) = run(data, tmp_path)
    assert list(result.run.ranked["q1"]) == list("abcdef")
    assert result.metrics["recall@1"] == pytest.approx((0 + 1) / 2)
    assert result.metrics["recall@5"] == pytest.approx((1 / 2 + 1) / 2)
    assert result.metrics["recall@10"] == pytest.approx(1)
    assert result.metrics["mrr"] == pytest.approx((1 / 2 + 1) / 2)
    ndcg = (1 / log2(3) + 1 / log2(7)) / (1 + 1 / log2(3))
    assert result.metrics["ndcg@10"] == pytest.approx((ndcg + 1) / 2)
    assert result.seconds > 0


def test_depth_decides_which_measures_there_are(tmp_path):
    data = dataset([("q", None)], {"q": {"f": 1}}, [[1, 0]])
    with new_store(tmp_path, data) as store:
        fill(store, data)
        (shallow,) = evaluate(store, data, [DENSE], k=5, deep=False)
        (deep,) = evaluate(store, data, [DENSE], k=5)
    assert set(shallow.metrics) == {"recall@1", "recall@5", "recall_all@5", "ndcg@5", "mrr", "hit@5"}
    assert set(deep.metrics) == {*shallow.metrics, "recall@30"}
    assert shallow.metrics["recall@5"] == deep.metrics["recall@5"] == 0
    assert deep.metrics["recall@30"] == 1


def test_a_query_searches_its_own_namespace(tmp_path):
    names = ("x", "y", "x", "y", "x", "y")
    (result,) = run(dataset([("q", "y")], {"q": {"b": 1}}, [[1, 0]], names), tmp_path)
    assert list(result.run.ranked["q"]) == ["b", "d", "f"]
    assert result.metrics["recall@1"] == 1


def test_the_document_that_a_query_was_made_of_is_hidden(tmp_path):
    asked = (LabelledQuery("a", "note a", None, {}, own="a"), LabelledQuery("b", "about b", None, {}))
    data = dataset([], {"a": {"b": 1}, "b": {"b": 1}}, [[1, 0], [1, 0]])
    (result,) = run(replace(data, queries=asked), tmp_path, k=5)
    assert list(result.run.ranked["a"]) == list("bcdef")
    assert list(result.run.ranked["b"]) == list("abcde")
    assert result.metrics["recall@1"] == 0.5


def test_pipelines_come_in_order_and_progress_is_told(tmp_path):
    told = []
    data = dataset([("q", None)], {"q": {"a": 1}}, [[1, 0]])
    pipelines = [DENSE, Pipeline("words", "lexical"), Pipeline("default")]
    results = run(data, tmp_path, pipelines, progress=told.append)
    assert [result.pipeline.name for result in results] == ["dense", "words", "default"]
    assert sum(told) == searches(pipelines) == 6


def test_the_bundled_model_embeds_where_there_are_no_vectors(tmp_path):
    data = Dataset(
        "texts",
        (
            Document("tea", "Tea is served hot", "", "t", "1", "Ada", 0, "2025-01-01", {}),
            Document("car", "The engine broke down", "", "t", "1", "Bo", 1, "2025-01-02", {}),
        ),
        (LabelledQuery("q", "what do we drink?", None, {}),),
        {"q": {"tea": 1}},
    )
    (result,) = run(data, tmp_path)
    assert result.metrics["recall@1"] == 1


def test_a_document_of_nothing_is_left_out(tmp_path):
    data = Dataset(
        "texts",
        (Document("empty", "", "", None, None, None, None, None, {}), Document("tea", "Tea", "", *[None] * 5, {})),
        (LabelledQuery("q", "tea?", None, {}),),
        {"q": {"tea": 1, "empty": 1}},
    )
    (result,) = run(data, tmp_path)
    assert list(result.run.ranked["q"]) == ["tea"]
    assert result.metrics["recall@10"] == pytest.approx(0.5)


def test_a_missing_extra_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    data = dataset([("q", None)], {"q": {"a": 1}}, [[1, 0]])
    with pytest.raises(MissingExtra, match=r'pip install "agentmem\[evaluate\]"'):
        run(data, tmp_path)


def test_measures_where_not_all_is_found(tmp_path):
    data = dataset([("q1", None), ("q2", None)], {"q1": {"a": 1, "f": 1}, "q2": {"c": 2, "d": 1}}, [[1, 0], [1, 0]])
    (result,) = run(data, tmp_path, k=5)
    assert result.values["recall@5"].tolist() == [0.5, 1]
    assert result.values["recall_all@5"].tolist() == [0, 1]
    assert result.values["hit@5"].tolist() == [1, 1]
    assert result.values["mrr"].tolist() == pytest.approx([1, 1 / 3])
    gain = 2 / log2(4) + 1 / log2(5)
    assert result.values["ndcg@5"].tolist() == pytest.approx([1 / (1 + 1 / log2(3)), gain / (2 + 1 / log2(3))])


def test_every_search_is_timed_by_stage_and_the_stores_own_latencies_go_on(tmp_path):
    data = dataset([("q1", None), ("q2", None)], {"q1": {"b": 1}, "q2": {"a": 1}}, [[1, 0], [1, 0]])
    with new_store(tmp_path, data) as store:
        fill(store, data)
        before = store.metrics
        (result,) = evaluate(store, data, [DENSE])
        assert store.metrics is before
        assert store.stats()["latency"]["search.total.dense"]["count"] == 4
    assert {"scope", "candidates", "rerank", "fetch", "total"} <= set(result.run.laps)
    assert all(len(laps) == 2 for laps in result.run.laps.values())


def test_approximate_search_is_held_against_exact_search(tmp_path):
    data = dataset([("q1", None), ("q2", None)], {"q1": {"b": 1}, "q2": {"a": 1}}, [[1, 0], [1, 0]])
    alone, dense = run(data, tmp_path, pipelines_named(["hnsw", "dense"]))
    assert (alone.loss.walks, alone.loss.overlap) == (0, 1)
    assert alone.loss.values["mrr"].tolist() == pytest.approx([0.5, 1])
    assert dense.loss is None


def test_exact_search_is_run_for_the_comparison_where_it_is_not_asked_for(tmp_path):
    data = dataset([("q", None)], {"q": {"b": 1}}, [[1, 0]])
    (result,) = run(data, tmp_path, pipelines_named(["hnsw"]))
    assert result.loss.values["mrr"].tolist() == [0.5]


def test_graph_walks_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("agentmem.index.planner.SCAN_ROWS", 3)
    monkeypatch.setattr("agentmem.maintenance.GRAPH_ROWS", 3)
    data = dataset([("q1", None), ("q2", None)], {"q1": {"b": 1}, "q2": {"a": 1}}, [[1, 0], [1, 0]])
    with new_store(tmp_path, data) as store:
        fill(store, data)
        store.optimize()
        graphs = [part["graph"] for part in store.info()["index"]["parts"]]
        (result,) = evaluate(store, data, pipelines_named(["hnsw"]))
    assert any(graphs)
    assert result.loss.walks == (2 if kernels("graph") else 0), "without compiled kernels every search scans"


def test_a_query_of_unknown_words_counts_as_nothing_found(tmp_path):
    data = Dataset(
        "texts",
        (Document("tea", "Tea", "", *[None] * 5, {}),),
        (LabelledQuery("q1", "\U0001f375", None, {}), LabelledQuery("q2", "tea?", None, {})),
        {"q1": {"tea": 1}, "q2": {"tea": 1}},
    )
    dense, auto = run(data, tmp_path, [DENSE, Pipeline("auto")])
    assert dense.run.unanswered == ["q1"]
    assert dense.values["recall@10"].tolist() == [0, 1]
    assert auto.run.unanswered == []
    assert len(dense.run.laps["total"]) == 1


def test_other_refusals_of_a_search_are_raised(tmp_path):
    data = dataset([("q", None)], {"q": {"a": 1}}, [[1, 0]])
    with pytest.raises(InvalidInput, match="k must"):
        run(data, tmp_path, k=0)


def test_names_stand_for_pipelines():
    assert pipelines_named(["dense", "hnsw", "rrf", "hyperbolic-attention"]) == (
        Pipeline("dense", "dense", exact=True),
        Pipeline("hnsw", "dense"),
        Pipeline("rrf", "rrf"),
        Pipeline("hyperbolic-attention", "hyperbolic-attention"),
    )
    with pytest.raises(UnknownMechanism, match="memory-heads"):
        pipelines_named(["dens"])
    for names in ([], ["rrf", "rrf"]):
        with pytest.raises(InvalidInput, match="each once"):
            pipelines_named(names)


@pytest.mark.parametrize(
    "name", ["auto", "memory-heads", "lexical", "rrf", "convex", "standard-mha", "memory-attention", "late-interaction"]
)
def test_a_mechanism_is_a_pipeline(tmp_path, name):
    data = dataset([], {"q": {"a": 1}}, [[1, 0]])
    data = replace(
        data,
        documents=tuple(replace(each, thread="t", position=1.0) for each in data.documents),
        queries=(LabelledQuery("q", "the note a", None, {}),),
        document_vectors=np.repeat(data.document_vectors, 24, axis=1),
        query_vectors=np.repeat(data.query_vectors, 24, axis=1),
    )
    (result,) = run(data, tmp_path, pipelines_named([name]))
    assert set(result.run.ranked["q"]) == set("abcdef")
    assert result.metrics["recall@10"] == 1


def conversations():
    """Return two queries in each of three namespaces, read from all splits."""
    data = dataset([], {f"q{n}": {"ab"[n % 2]: 1} for n in range(6)}, [[1, 0]] * 6)
    documents = tuple(
        replace(document, id=f"{document.id}{space}", namespace=space) for space in "xyz" for document in data.documents
    )
    queries = tuple(LabelledQuery(f"q{n}", "about", "xyz"[n % 3], {}, "test" if n > 3 else "train") for n in range(6))
    return replace(
        data,
        documents=documents,
        document_vectors=np.tile(data.document_vectors, (3, 1)),
        queries=queries,
        qrels={query.id: {f"a{query.namespace}": 1} for query in queries},
        split="all",
    )


def test_a_fold_is_trained_on_the_other_namespaces_only():
    data = conversations()
    seen = []

    def train(store, training):
        seen.append((store.path, {query.namespace for query in training.queries}))
        assert {query.split for query in training.queries} == {"train"}
        left_out = next(iter(set("xyz") - seen[-1][1]))
        store.delete(f"a{left_out}")

    (trained,) = evaluate_folds(data, [DENSE], train=train)
    assert [namespaces for _, namespaces in seen] == [{"y", "z"}, {"x", "z"}, {"x", "y"}]
    assert len({path for path, _ in seen}) == 3
    assert trained.values["recall@10"].tolist() == [0] * 6
    assert list(trained.run.ranked) == ["q0", "q3", "q1", "q4", "q2", "q5"]
    (untrained,) = evaluate_folds(data, [DENSE], train=lambda store, training: None)
    assert untrained.values["recall@10"].tolist() == [1] * 6


def test_no_training_sees_the_test_split():
    def train(store, training):
        raise AssertionError("trained")

    with pytest.raises(InvalidInput, match="never trained on"):
        evaluate_folds(replace(conversations(), split="test"), train=train)


def test_any_embedder_may_give_the_vectors(tmp_path):
    def embed(texts):
        return np.array([[text.count("a") + 0.1, text.count("b") + 0.1] for text in texts], np.float32)

    data = Dataset(
        "texts",
        (Document("a", "aaaa", "", *[None] * 5, {}), Document("b", "bbbb", "", *[None] * 5, {})),
        (LabelledQuery("q", "abbb", None, {}),),
        {"q": {"b": 1}},
    )
    with new_store(tmp_path, data, embed) as store:
        fill(store, data)
        (result,) = evaluate(store, data, [DENSE])
    assert result.metrics["recall@1"] == 1
    assert "embed" in result.run.laps


def test_a_filled_store_is_the_same_every_time(monkeypatch):
    monkeypatch.setattr("agentmem.index.planner.SCAN_ROWS", 50)
    monkeypatch.setattr("agentmem.maintenance.GRAPH_ROWS", 50)
    generator = np.random.default_rng(2)
    vectors = generator.normal(size=(400, 16)).astype(np.float32)
    data = Dataset(
        "many",
        tuple(Document(f"d{n}", f"word{n % 7} word{n % 11}", "", *[None] * 5, {}) for n in range(400)),
        tuple(LabelledQuery(f"q{n}", f"word{n % 7} now", None, {}) for n in range(20)),
        {f"q{n}": {f"d{n}": 1} for n in range(20)},
        vectors,
        vectors[:20] + generator.normal(size=(20, 16)).astype(np.float32),
    )
    runs = []
    for _ in range(2):
        with filled_store(data) as store:
            assert any(part["graph"] for part in store.info()["index"]["parts"])
            assert len({record.created_at for record in store.iterate()}) == 1
            runs.append([result.run.ranked for result in evaluate(store, data, pipelines_named(["hnsw", "auto"]))])
        assert not Path(store.path).exists()
    assert runs[0] == runs[1]
