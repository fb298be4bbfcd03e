"""What ``agentmem evaluate`` reports of rankings worked out by hand, and how it is written down."""

import numpy as np
import pytest

from agentmem.simulation import Dataset, Evaluation, LabelledQuery, Pipeline, report
from agentmem.simulation.evaluate import Loss, Run
from agentmem.simulation.markdown import markdown
from agentmem.simulation.measures import deep_recall, measure


def dataset(**metadata):
    """Return four queries with one relevant document each, whose category and namespace alternate."""
    queries = tuple(
        LabelledQuery(f"q{n}", "?", "xy"[n % 2] if metadata.get("spaces") else None, {"category": n % 2})
        for n in range(4)
    )
    return Dataset("made", (), queries, {query.id: {"d": 1} for query in queries})


def evaluation(name, ranks, data, **more):
    """Return a pipeline that finds the document at these ranks, 0 for never, in 1, 2, 3, ... milliseconds."""
    ranked = {f"q{n}": {**{f"x{r}": 0.0 for r in range(1, rank or 11)}, "d": 0.0} for n, rank in enumerate(ranks)}
    for n, rank in enumerate(ranks):
        if not rank:
            del ranked[f"q{n}"]["d"]
    laps = {"rerank": [0.0005] * 4, "total": [(n + 1) / 1e3 for n in range(4)]}
    values = {**measure(data, ranked, 10), **deep_recall(data, ranked)}
    return Evaluation(Pipeline(name, "dense", exact=name == "dense"), Run(ranked, laps), values, **more)


@pytest.fixture
def measured():
    """Two pipelines, the second one better at two queries and worse at one."""
    data = dataset(spaces=True)
    return data, [evaluation("dense", [1, 2, 0, 4], data), evaluation("other", [1, 1, 1, 0], data)]


def test_means_latencies_and_groups(measured):
    whole = report(*measured, k=10, vectors="given", seed=5)
    assert (whole["dataset"], whole["split"], whole["queries"], whole["seed"]) == ("made", "test", 4, 5)
    dense = whole["pipelines"]["dense"]
    assert dense["recall@10"] == dense["hit@10"] == dense["recall@30"] == dense["recall_all@5"] == 0.75
    assert dense["recall@1"] == 0.25
    assert dense["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 4) / 4)
    assert dense["ndcg@10"] == pytest.approx((1 + 1 / np.log2(3) + 1 / np.log2(5)) / 4)
    assert (dense["p50_us"], dense["stages"]["rerank"]) == (pytest.approx(2500), {"p50_us": 500, "p95_us": 500})
    assert "total" not in dense["stages"]
    assert dense["categories"]["0"]["queries"] == 2
    assert dense["categories"]["0"]["recall@10"] == 0.5
    assert dense["namespaces"]["y"]["mrr"] == pytest.approx((1 / 2 + 1 / 4) / 2)
    low, high = dense["ci95"]["recall@10"]
    assert 0 <= low < 0.75 < high <= 1


def test_the_others_are_compared_with_the_first(measured):
    whole = report(*measured, k=10, vectors="given")
    assert "against" not in whole["pipelines"]["dense"]
    against = whole["pipelines"]["other"]["against"]
    assert set(against) == {"pipeline", "recall@10", "ndcg@10", "mrr"}
    assert against["pipeline"] == "dense"
    mrr = against["mrr"]
    assert (mrr["win"], mrr["tie"], mrr["loss"]) == (2, 1, 1)
    assert mrr["difference"] == pytest.approx(0.75 - 1.75 / 4)
    assert mrr["relative"] == pytest.approx(0.75 / (1.75 / 4) - 1)
    assert mrr["ci95"][0] < mrr["difference"] < mrr["ci95"][1]
    assert mrr["relative_ci95"][0] < mrr["relative"] < mrr["relative_ci95"][1]
    assert mrr["namespaces"]["ci95"] == pytest.approx([(1 / 2 - 1 / 4) / 2, (0 + 1) / 2])


def test_one_namespace_or_none_gives_no_interval_by_namespaces():
    data = dataset()
    pair = [evaluation("dense", [1, 2, 0, 4], data), evaluation("other", [1, 1, 1, 0], data)]
    against = report(data, pair, k=10, vectors="given")["pipelines"]["other"]["against"]
    assert "namespaces" not in against["mrr"]
    assert report(data, pair, k=10, vectors="given")["pipelines"]["dense"]["namespaces"] == {}


def test_nothing_found_by_the_first_has_no_relative_change():
    data = dataset()
    pair = [evaluation("dense", [0, 0, 0, 0], data), evaluation("other", [1, 0, 0, 0], data)]
    change = report(data, pair, k=10, vectors="given")["pipelines"]["other"]["against"]["mrr"]
    assert (change["relative"], change["relative_ci95"]) == (None, None)
    assert change["difference"] == 0.25
    text = markdown(report(data, pair, k=10, vectors="given"))
    assert "+0.250" in text
    assert "by namespaces" not in text


def test_the_seed_repeats_every_figure(measured):
    assert report(*measured, k=10, vectors="given", seed=1) == report(*measured, k=10, vectors="given", seed=1)
    assert report(*measured, k=10, vectors="given", seed=1) != report(*measured, k=10, vectors="given", seed=2)


def test_the_loss_of_approximate_search_is_told_apart(measured):
    data, (dense, _) = measured
    found = evaluation("hnsw", [1, 2, 0, 0], data, loss=Loss(3, 0.9, dense.values))
    whole = report(data, [dense, found], k=10, vectors="given")
    exact = whole["pipelines"]["hnsw"]["exact"]
    assert exact == {"graph_walks": 3, "overlap@10": 0.9, "recall@10": -0.25, **exact}
    assert exact["mrr"] == pytest.approx(-1 / 16)
    assert "3 searches walked a graph" in markdown(whole)


def test_the_markdown_has_a_table_of_each_kind(measured):
    text = markdown(report(*measured, k=10, vectors="given", folds=True))
    assert text.startswith(
        "## made\n\n0 documents, 4 queries of the split test, leave one namespace out; vectors: given"
    )
    for line in (
        "|  | recall@1 | recall@5 | recall@10 | recall_all@5 | recall@30 |",
        "|  | ndcg@10 | mrr | hit@10 | p50 ms | p95 ms |",
        "| dense | 0.250 | 0.750 | 0.750 | 0.750 | 0.750 |",
        "### Against dense: relative change, 95% intervals by queries (by namespaces)",
        "| category | queries | dense | other |",
        "| namespace | queries | dense | other |",
        "| dense | 500 / 500 |",
    ):
        assert line in text.splitlines()
    assert "1 / 2 / 1" not in text
    assert "| 2 / 1 / 1 |" in text
    widths = [{line.count(" | ") for line in block.splitlines()} for block in text.split("\n\n") if block[0] == "|"]
    assert all(len(width) == 1 for width in widths)
    assert len(widths) == 6


def test_queries_that_could_not_be_asked_are_told(measured):
    data, (dense, _) = measured
    dense.run.unanswered.append("q2")
    whole = report(data, [dense], k=10, vectors="static")
    assert whole["pipelines"]["dense"]["unanswered"] == 1
    assert "1 queries hold no word that the embedder knows" in markdown(whole)
