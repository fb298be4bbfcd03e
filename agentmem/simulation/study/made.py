"""A labelled set made from a seed, for a run without data: what it shows is that the study works, not what it finds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agentmem.records import Float32
from agentmem.simulation.datasets import ALL, DEV, TEST, TRAIN, Dataset, Document, LabelledQuery
from agentmem.simulation.study.corpora import unit

DIMENSION = 384
TOPICS, FACTS, TELLINGS, QUERIES = 60, 600, 4, 600
MEANING, STYLE = 32, 16
"""Vectors lie in so many directions, the same for every seed: of what is said, and of how it is said."""
SHARES = ((TRAIN, 0.5), (DEV, 0.7), (TEST, 1.0))


def made_set(seed: int = 0) -> Dataset:
    """Return 2,400 documents, four for each of 600 facts on 60 topics, and a question about each of the facts.

    A document's vector is made of its topic, its fact and its style; a question's of the fact and a style of its own.
    Style says nothing of what answers what, and that is what can be learned: the vectors alone take it for meaning.
    Texts have words of the topic and of the fact.

    Args:
        seed: another one makes other topics and facts, in the same directions.
    """
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(np.random.default_rng(12345).normal(size=(DIMENSION, MEANING + STYLE)))[0].T
    topic_of = np.arange(FACTS) % TOPICS
    facts = rng.normal(size=(TOPICS, MEANING))[topic_of] + 0.7 * rng.normal(size=(FACTS, MEANING))
    told = np.repeat(np.arange(FACTS), TELLINGS)
    vectors = _vectors(facts[told], basis, rng)
    queries = _vectors(facts, basis, rng)
    order = (rng.permutation(QUERIES) + 1) / QUERIES
    documents = tuple(
        Document(f"d{row}", _text(topic_of[fact], fact, rng), "", None, None, None, None, None, {})
        for row, fact in enumerate(told.tolist())
    )
    asked = tuple(
        LabelledQuery(
            f"q{fact}",
            _text(topic_of[fact], fact, rng),
            None,
            {},
            next(split for split, most in SHARES if order[fact] <= most),
        )
        for fact in range(FACTS)
    )
    qrels = {f"q{fact}": {f"d{fact * TELLINGS + number}": 1 for number in range(TELLINGS)} for fact in range(FACTS)}
    return Dataset(f"made-{seed}", documents, asked, qrels, vectors, queries, ALL)


def _vectors(meanings: NDArray[np.float64], basis: NDArray[np.float64], rng: np.random.Generator) -> Float32:
    """Return unit vectors of what is said, each with some noise in what it means and in a style of its own."""
    count = len(meanings)
    meant = meanings + 0.7 * rng.normal(size=meanings.shape)
    style = 1.4 * rng.normal(size=(count, STYLE))
    return unit(np.concatenate([meant, style], axis=1) @ basis + 0.1 * rng.normal(size=(count, DIMENSION)))


def _text(topic: int, fact: int, rng: np.random.Generator) -> str:
    """Return eight words: of the topic, of the fact, and of any talk."""
    numbers = rng.integers(12, size=8).tolist()
    own = [f"topic{topic}word{number}" for number in numbers[:2]] + [
        f"fact{fact}word{number}" for number in numbers[2:4]
    ]
    return " ".join(own + [f"word{number}" for number in numbers[4:]])
