"""Measures over a store's own searches, against figures worked out by hand."""

import sys
from dataclasses import replace
from math import log2

import numpy as np
import pytest

from agentmem.errors import BackendUnavailable
from agentmem.simulation import DENSE, Dataset, Document, LabelledQuery, Pipeline, evaluate, fill, new_store, searches


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
    with pytest.raises(BackendUnavailable, match=r'pip install "agentmem\[evaluate\]"'):
        run(data, tmp_path)
