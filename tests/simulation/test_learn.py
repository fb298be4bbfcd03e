"""Learning from labels: the training split alone teaches, and what ranks a namespace was learned on the others."""

import json

import numpy as np
import pytest

import agentmem.simulation.learn as labels
from agentmem.errors import InvalidInput
from agentmem.rerank.weights import HeadWeights, start
from agentmem.simulation import filled_store
from agentmem.store import MemoryStore

WORDS = ["tea", "rain", "books", "music", "cats", "maths", "bread", "snow"]


@pytest.fixture
def folder(tmp_path):
    """A set of two namespaces: the right note of a topic is the one that asks nothing and comes first."""
    rng = np.random.default_rng(0)
    corpus, queries, splits = [], [], {"train": [], "dev": [], "test": []}
    for space in ("one", "two"):
        for topic in WORDS:
            for n in range(6):
                text = f"a note on {topic}{'?' if n else ''}"
                corpus.append({"_id": f"{space}-{topic}-{n}", "text": text, "metadata": {"namespace": space}})
            for n in range(8):
                name = f"{space}-q-{topic}-{n}"
                queries.append({"_id": name, "text": f"{topic} {n}", "metadata": {"namespace": space}})
                split = "test" if n == 7 else "dev" if n == 6 else "train"
                splits[split].append((name, f"{space}-{topic}-0"))
    (tmp_path / "qrels").mkdir()
    for name, lines in [("corpus", corpus), ("queries", queries)]:
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
        np.save(tmp_path / f"{name}.npy", rng.standard_normal((len(lines), 8)).astype(np.float16))
    for split, pairs in splits.items():
        rows = "".join(f"{query}\t{document}\t1\n" for query, document in pairs)
        (tmp_path / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}")
    return tmp_path


def test_queries_of_the_test_split_never_teach(folder, monkeypatch):
    with pytest.raises(InvalidInput, match="test split is for measuring"):
        labels.training_set(folder, "test")
    leak = (folder / "qrels" / "test.tsv").read_text().splitlines()[1]
    with (folder / "qrels" / "train.tsv").open("a") as file:
        file.write(f"{leak}\n")
    dataset = labels.training_set(folder, vectors=True)
    tests = {line.split("\t")[0] for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]}
    assert len(tests) == 16
    assert len(dataset.queries) == 96
    assert len(dataset.query_vectors) == 96
    assert not tests & {query.id for query in dataset.queries}
    asked = []
    feedback = MemoryStore.feedback
    monkeypatch.setattr(
        MemoryStore,
        "feedback",
        lambda store, query, **rest: asked.append(query) or feedback(store, query, **rest),
    )
    weights, report = labels.learn_labels(dataset)
    assert sorted(asked) == sorted(query.text for query in dataset.queries)
    assert not any(text.endswith("7") for text in asked)
    assert isinstance(weights, HeadWeights)
    assert report.queries == 96
    (folder / "qrels" / "train.tsv").write_text(f"query-id\tcorpus-id\tscore\n{leak}\n")
    with pytest.raises(InvalidInput, match="no query of the split 'train' is left"):
        labels.training_set(folder)


def test_a_fold_is_ranked_by_what_the_others_taught(folder, monkeypatch):
    taught = []
    learn = labels.learn

    def noted(searches, keys, *rest):
        taught.append(set(keys))
        return learn(searches, keys, *rest)

    monkeypatch.setattr(labels, "learn", noted)
    report = labels.learn_folds(labels.whole_set(folder, vectors=True))
    assert [{key.split("\0")[0] for key in keys} for keys in taught] == [{"two"}, {"one"}]
    assert list(report.folds) == ["one", "two"]
    assert report.whole.queries == 128
    for name in ("dense", "constants", "learned"):
        mean = np.mean([each.ndcg[name] for each in report.folds.values()])
        assert report.whole.ndcg[name] == pytest.approx(mean)
        assert 0 < report.whole.ndcg[name] <= report.whole.recall[name] <= 1
    if not report.promoted:
        assert report.whole.ndcg["learned"] == report.whole.ndcg["constants"]


def test_what_is_measured_is_what_a_search_finds(folder):
    dataset = labels.training_set(folder, "dev", vectors=True)
    cases = labels.cases_from(dataset)
    with filled_store(dataset) as store:
        searches = labels.judged_searches(store, cases, lambda count: None)
        origin = start("given", 8)
        points = origin.points.copy()
        points[:, 1] *= np.random.default_rng(1).uniform(0, 2, len(points)).astype(np.float32)
        turned = np.random.default_rng(2).standard_normal((2, 2, 8)).astype(np.float32)
        made = HeadWeights("given", 8, origin.heads, points, origin.gate, turned[0], turned[1])
        store.weights.install(made)
        for row, (query, each) in enumerate(zip(dataset.queries, searches, strict=True)):
            hits = store.search(query.text, embedding=dataset.query_vectors[row], namespace=query.namespace, k=10)
            order = labels.ranked(each, made)[:10]
            assert [hit.record.label for hit in hits] == each.labels[order].tolist()


def test_folds_need_namespaces(folder):
    lines = (folder / "queries.jsonl").read_text().splitlines()
    (folder / "queries.jsonl").write_text("\n".join(json.dumps(json.loads(line) | {"metadata": {}}) for line in lines))
    with pytest.raises(InvalidInput, match="two namespaces"):
        labels.learn_folds(labels.whole_set(folder))
    with pytest.raises(InvalidInput, match="no judgements"):
        labels.whole_set(folder / "qrels")
