"""A small labelled set and its candidates, for the tests of the study."""

from dataclasses import replace

import numpy as np

from agentmem.simulation.datasets import ALL, Dataset, Document, LabelledQuery
from agentmem.simulation.study.configuration import Corpus
from agentmem.simulation.study.corpora import corpus_of, embedded, searched, unit

DIM, STYLE = 12, 4


def small_set(queries=60, seed=0, namespace=""):
    """Return facts told twice each, in styles that say nothing: to look past them can be learned."""
    rng = np.random.default_rng(seed)

    def vectors(facts):
        style = 1.6 * rng.normal(size=(len(facts), STYLE))
        return unit(np.concatenate([facts + 0.3 * rng.normal(size=facts.shape), style], axis=1))

    facts = rng.normal(size=(queries, DIM - STYLE))
    told = np.repeat(np.arange(queries), 2)
    documents = tuple(
        Document(f"d{row}", f"fact {fact} is told", namespace, None, None, None, None, None, {})
        for row, fact in enumerate(told.tolist())
    )
    splits = ("train", "train", "train", "dev", "test")
    asked = tuple(
        LabelledQuery(
            f"q{fact}", f"what of fact {fact}?", namespace or None, {"category": str(fact % 2)}, splits[fact % 5]
        )
        for fact in range(queries)
    )
    qrels = {f"q{fact}": {f"d{2 * fact}": 1, f"d{2 * fact + 1}": 2} for fact in range(queries)}
    return Dataset("small", documents, asked, qrels, vectors(facts[told]), vectors(facts), ALL)


def small_corpus(**arguments):
    """Return the candidates of the small set as it is."""
    return searched(corpus_of(embedded(small_set(**arguments)), Corpus(0, DIM)))


def with_test_vectors(found, vectors):
    """Return candidates with other vectors in the place of the test queries'."""
    test = found.splits["test"]
    return replace(
        found, splits={**found.splits, "test": replace(test, x=np.broadcast_to(vectors, test.x.shape).copy())}
    )
