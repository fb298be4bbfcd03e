"""Reading labelled sets in the BEIR layout, and which of their queries may be fitted on."""

import dataclasses
import json

import numpy as np
import pytest

from agentmem.errors import InvalidInput
from agentmem.simulation import folds, read_dataset


@pytest.fixture
def folder(tmp_path):
    """A small set: two documents in a conversation, one without anything, three queries."""
    corpus = [
        {
            "_id": "d1",
            "title": "Tea",
            "text": "is hot",
            "metadata": {
                "namespace": "n",
                "conversation": "c",
                "position": 0,
                "session": 1,
                "speaker": "Ada",
                "epoch": 5,
            },
        },
        {
            "_id": "d2",
            "title": "",
            "text": "Ice is cold",
            "metadata": {"thread": "t", "timestamp": "2025-01-01T00:00:00"},
        },
        {"_id": "d3", "text": "Rain is wet"},
    ]
    queries = [
        {"_id": "q1", "text": "what is hot?", "metadata": {"namespace": "n", "category": 1}},
        {"_id": "q2", "text": "what is cold?", "metadata": {"category": 5}},
        {"_id": "q3", "text": "what is dry?"},
    ]
    (tmp_path / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)) + "\n\n")
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)) + "\n")
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t2\nq2\td3\t0\n")
    np.save(tmp_path / "corpus.npy", np.eye(3, 4, dtype=np.float16))
    np.save(tmp_path / "queries.npy", np.arange(12, dtype=np.float16).reshape(3, 4))
    return tmp_path


def test_documents_get_their_place(folder):
    first, second, third = read_dataset(folder).documents
    assert (first.text, first.namespace, first.thread, first.session) == ("Tea is hot", "n", "c", "1")
    assert (first.speaker, first.position, first.created_at) == ("Ada", 0.0, 5)
    assert (second.text, second.thread, second.created_at) == ("Ice is cold", "t", "2025-01-01T00:00:00")
    assert (third.namespace, third.thread, third.position, third.created_at) == ("", None, None, None)


def test_only_the_queries_of_the_split_are_kept(folder):
    dataset = read_dataset(folder)
    assert [query.id for query in dataset.queries] == ["q1", "q2"]
    assert [query.namespace for query in dataset.queries] == ["n", None]
    assert dataset.qrels == {"q1": {"d1": 1}, "q2": {"d2": 2, "d3": 0}}
    assert dataset.document_vectors is None


def test_categories_are_left_out_with_their_vectors(folder):
    dataset = read_dataset(folder, vectors=True, exclude_categories=("1",))
    assert [query.id for query in dataset.queries] == ["q2"]
    assert dataset.query_vectors.tolist() == [[4, 5, 6, 7]]
    assert dataset.document_vectors.dtype == dataset.query_vectors.dtype == np.float32
    assert dataset.document_vectors.shape == (3, 4)


def test_datasets_are_frozen(folder):
    dataset = read_dataset(folder)
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.name = "other"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("corpus.jsonl", "{", ["corpus.jsonl", "line 1", "not JSON"]),
        ("queries.jsonl", '{"text": "x"}', ["queries.jsonl", "line 1", "_id"]),
        ("qrels/test.tsv", "head\nq1 d1 1\n", ["test.tsv", "line 2"]),
        ("qrels/test.tsv", "head\n", ["no query"]),
        ("corpus.npy", "not numbers", ["corpus.npy"]),
    ],
)
def test_what_is_malformed_is_named(folder, name, content, words):
    (folder / name).write_text(content)
    with pytest.raises(InvalidInput) as error:
        read_dataset(folder, vectors=True)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv", "corpus.npy", "queries.npy"])
def test_what_is_missing_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(InvalidInput, match=name):
        read_dataset(folder, vectors=True)


def test_vectors_must_go_with_the_lines(folder):
    np.save(folder / "corpus.npy", np.eye(2))
    with pytest.raises(InvalidInput, match=r"expected \(3, dimension\)"):
        read_dataset(folder, vectors=True)


@pytest.fixture
def splits(folder):
    """The small set with judgements in three splits; q2 is in two of them."""
    head = "query-id\tcorpus-id\tscore\n"
    (folder / "qrels" / "train.tsv").write_text(head + "q3\td3\t1\nq2\td1\t1\n")
    (folder / "qrels" / "dev.tsv").write_text(head + "q1\td1\t1\n")
    (folder / "qrels" / "test.tsv").write_text(head + "q2\td2\t1\n")
    return folder


def test_all_queries_know_their_split(splits):
    dataset = read_dataset(splits, split="all", vectors=True)
    assert [(query.id, query.split) for query in dataset.queries] == [("q1", "dev"), ("q2", "test"), ("q3", "train")]
    assert dataset.split == "all"
    assert dataset.qrels["q2"] == {"d1": 1, "d2": 1}
    dev = dataset.part("dev")
    assert (dev.split, [query.id for query in dev.queries], list(dev.qrels)) == ("dev", ["q1"], ["q1"])
    assert dev.query_vectors.tolist() == [[0, 1, 2, 3]]
    assert len(dev.documents) == 3


@pytest.mark.parametrize("split", ["train", "all"])
def test_queries_of_the_test_split_are_never_trained_on(splits, split):
    training = read_dataset(splits, split=split).training_queries()
    assert [query.id for query in training.queries] == ["q3"]
    assert list(training.qrels) == ["q3"]
    assert {query.split for query in training.queries} == {training.split} == {"train"}


@pytest.mark.parametrize("split", ["test", "dev"])
def test_a_set_without_training_queries_says_so(splits, split):
    with pytest.raises(InvalidInput, match=f"no query is of the split 'train'; those read are of: {split}"):
        read_dataset(splits, split=split).training_queries()


def test_a_split_that_is_not_there_names_those_that_are(splits):
    with pytest.raises(InvalidInput, match="dev, test, train, all"):
        read_dataset(splits, split="trian")


def test_queries_without_a_relevant_document_are_left_out(folder):
    (folder / "qrels" / "test.tsv").write_text("head\nq1\td1\t0\nq2\td2\t1\n")
    assert [query.id for query in read_dataset(folder).queries] == ["q2"]


def test_a_query_is_made_of_a_document_by_name_or_by_id_and_text(folder):
    lines = [
        {"_id": "d2", "text": "Ice is cold"},
        {"_id": "d3", "text": "another text"},
        {"_id": "d1", "text": "Tea is hot"},
        {"_id": "q1", "text": "Tea?", "metadata": {"self": "d1"}},
    ]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (folder / "qrels" / "test.tsv").write_text("head\nd2\td1\t1\nd3\td1\t1\nd1\td2\t1\nq1\td2\t1\n")
    assert [query.own for query in read_dataset(folder).queries] == ["d2", None, "d1", "d1"]


@pytest.fixture
def namespaces(folder):
    """Six queries in three namespaces, in two splits."""
    queries = [{"_id": f"q{n}", "text": "tea?", "metadata": {"namespace": "abc"[n % 3]}} for n in range(6)]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    np.save(folder / "queries.npy", np.arange(24).reshape(6, 4))
    for split, rows in (("train", range(4)), ("test", (4, 5))):
        (folder / "qrels" / f"{split}.tsv").write_text("head\n" + "".join(f"q{n}\td1\t1\n" for n in rows))
    return folder


def test_each_fold_leaves_one_namespace_out(namespaces):
    dataset = read_dataset(namespaces, split="all", vectors=True)
    seen = []
    for fold in folds(dataset):
        assert {query.namespace for query in fold.test.queries} == {fold.namespace}
        assert fold.namespace not in {query.namespace for query in fold.train.queries}
        assert len(fold.train.training_queries().queries) == len(fold.train.queries) == 4
        with pytest.raises(InvalidInput):
            fold.test.training_queries()
        seen += [query.id for query in fold.test.queries]
    assert sorted(seen) == [f"q{n}" for n in range(6)]


def test_there_are_no_folds_of_test_queries(namespaces):
    with pytest.raises(InvalidInput, match="never trained on"):
        list(folds(read_dataset(namespaces)))


def test_folds_need_namespaces(splits):
    with pytest.raises(InvalidInput, match="two or more"):
        list(folds(read_dataset(splits, split="all")))
