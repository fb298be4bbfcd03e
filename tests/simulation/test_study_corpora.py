"""Corpora of the study: distractors, wider vectors, the store's candidates, and the set that is made from a seed."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from study_kit import DIM, small_corpus, small_set

from agentmem.errors import InvalidInput
from agentmem.simulation.study.configuration import Corpus
from agentmem.simulation.study.corpora import MADE_UP, corpus_of, embedded, enlarged, searched, widened
from agentmem.simulation.study.made import made_set
from agentmem.simulation.study.pools import DEPTH, Searched


def test_distractors_are_like_the_documents_and_the_same_every_time():
    dataset = embedded(made_set())
    large = enlarged(dataset, 12_000)
    count = len(dataset.documents)
    assert len(large.documents) == len(large.document_vectors) == 12_000
    assert all(each.id.startswith(MADE_UP) and not each.text for each in large.documents[count:])
    made = large.document_vectors[count:]
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(large.document_vectors, enlarged(dataset, 12_000).document_vectors)
    queries = dataset.query_vectors[:50]
    near, far = (np.percentile(queries @ rows.T, (50, 99)) for rows in (dataset.document_vectors, made))
    np.testing.assert_allclose(near, far, atol=0.06)
    random = np.random.default_rng(0).normal(size=made.shape)
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    assert np.percentile(queries @ random.T, 99) < 0.5 * far[1]


def test_distractors_lie_in_the_namespaces_of_the_documents():
    first, second = small_set(namespace="a"), small_set(namespace="b")
    renamed = tuple(replace(each, id=f"b{each.id}") for each in second.documents)
    both = replace(
        first,
        documents=first.documents + renamed,
        document_vectors=np.concatenate([first.document_vectors, second.document_vectors]),
    )
    spaces = Counter(each.namespace for each in enlarged(embedded(both), 1_000).documents)
    assert min(spaces["a"], spaces["b"]) > 400


def test_a_size_of_zero_leaves_the_set_alone_and_a_smaller_one_is_refused():
    dataset = embedded(small_set())
    assert enlarged(dataset, 0) is dataset
    with pytest.raises(InvalidInput, match="has 120 vectors"):
        enlarged(dataset, 50)
    with pytest.raises(InvalidInput, match="ask for 12 or 24"):
        corpus_of(dataset, Corpus(0, 13))


def test_the_wider_cosine_is_the_mean_of_meaning_and_words():
    dataset = embedded(small_set())
    wide = widened(dataset)
    assert wide.document_vectors.shape == (120, 2 * DIM)
    meaning = dataset.document_vectors @ dataset.query_vectors.T
    both = wide.document_vectors @ wide.query_vectors.T
    words = 2 * both - meaning
    assert (np.abs(words) < 1 + 1e-5).all()
    same_text = [wide.documents[row].text for row in (0, 1)]
    assert same_text[0] == same_text[1]
    np.testing.assert_array_equal(wide.document_vectors[0, DIM:], wide.document_vectors[1, DIM:])
    np.testing.assert_allclose(np.linalg.norm(wide.document_vectors[:, DIM:], axis=1), np.sqrt(0.5), atol=1e-5)


def test_texts_without_words_keep_their_meaning_alone():
    dataset = embedded(small_set())
    silent = replace(dataset, documents=(replace(dataset.documents[0], text=""), *dataset.documents[1:]))
    wide = widened(silent)
    np.testing.assert_allclose(wide.document_vectors[0, :DIM], dataset.document_vectors[0], atol=1e-6)
    assert not wide.document_vectors[0, DIM:].any()


def test_the_bundled_model_embeds_a_set_without_vectors():
    dataset = replace(small_set(), document_vectors=None, query_vectors=None)
    silent = replace(dataset, documents=(*dataset.documents, replace(dataset.documents[0], id="silent", text="")))
    made = embedded(silent)
    assert made.document_vectors.shape == (120, 256)
    assert "silent" not in {each.id for each in made.documents}
    np.testing.assert_allclose(np.linalg.norm(made.query_vectors, axis=1), 1, atol=1e-5)


def test_ids_that_look_made_up_are_refused():
    dataset = small_set()
    taken = replace(dataset, documents=(replace(dataset.documents[0], id=f"{MADE_UP}1"), *dataset.documents[1:]))
    with pytest.raises(InvalidInput, match=MADE_UP):
        embedded(taken)


def test_candidates_are_the_store_s_own_in_its_order():
    dataset = embedded(small_set())
    large = enlarged(dataset, 400)
    found = searched(large)
    assert found.size == 400
    shares = []
    for split, pools in found.splits.items():
        asked = [place for place, query in enumerate(dataset.queries) if query.split == split]
        assert list(pools.queries) == [dataset.queries[place].id for place in asked]
        best = np.argsort(-(large.query_vectors[asked] @ large.document_vectors.T), axis=1, kind="stable")[:, :DEPTH]
        ids = [[pools.ids[row] for row in rows] for rows in pools.rows]
        assert ids == [[large.documents[row].id for row in rows] for rows in best]
        shares += [np.mean([name.startswith(MADE_UP) for name in each]) for each in ids]
        assert pools.grades.max() == 2
        for query, names, grades in zip(pools.queries, ids, pools.grades, strict=True):
            assert grades.tolist() == [dataset.qrels[query].get(name, 0) for name in names]
    assert found.distractors == pytest.approx(np.mean(shares))


def test_fewer_candidates_than_asked_for_are_marked_and_weigh_nothing():
    found = small_corpus(queries=20)
    batch = found.train.batch(np.arange(2))
    assert (found.train.rows[:, 40:] == -1).all()
    assert (batch.missing[:, 40:] == -np.inf).all()
    assert not batch.keys[:, 40:].any()
    np.testing.assert_allclose(batch.target.sum(axis=1), 1)


def test_candidates_are_read_as_they_were_written(tmp_path):
    found = small_corpus()
    found.save(tmp_path / "pools.npz")
    again = Searched.load(tmp_path / "pools.npz")
    assert (again.size, again.distractors) == (found.size, found.distractors)
    for split, pools in found.splits.items():
        for name in ("x", "rows", "grades", "vectors"):
            np.testing.assert_array_equal(getattr(again.splits[split], name), getattr(pools, name))
        for name in ("split", "queries", "ids", "qrels", "categories"):
            assert getattr(again.splits[split], name) == getattr(pools, name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pools.npz"]


def test_the_made_set_is_the_same_every_time_and_has_three_splits():
    first, second = made_set(), made_set()
    np.testing.assert_array_equal(first.document_vectors, second.document_vectors)
    assert first.documents == second.documents
    assert Counter(query.split for query in first.queries) == {"train": 300, "dev": 120, "test": 180}
    assert not np.array_equal(first.query_vectors, made_set(1).query_vectors)
