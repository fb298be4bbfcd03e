"""Reading labelled sets in the BEIR layout."""

import dataclasses
import json

import numpy as np
import pytest

from agentmem.errors import InvalidInput
from agentmem.simulation import read_dataset


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
