"""What was accepted for similar queries is added to later ones, where feedback held out shows that it helps."""

import numpy as np
import pytest

import agentmem
from agentmem.enhance import AcceptedMemories, Expansion, fit_expansion

DIM = 24


def axis(*places, size=4):
    """Return a vector with ones at some places."""
    vector = np.zeros(size, np.float32)
    vector[list(places)] = 1
    return vector


@pytest.fixture
def store():
    """Three notes in two namespaces, one of them accepted for a query along the first axis."""
    with agentmem.MemoryStore(":memory:", embedder=None, dimension=4) as store:
        store.add("the zeppelin lands at noon", id="a", embedding=axis(1), namespace="one")
        store.add("the harbour is closed", id="b", embedding=axis(2), namespace="one")
        store.add("the zeppelin is late", id="c", embedding=axis(3), namespace="two")
        store.feedback("when does it land?", embedding=axis(0), accepted=["a"])
        yield store


def test_nothing_is_born_and_nothing_is_attached(store):
    vector = axis(0)
    text, same = Expansion().expand(store, AcceptedMemories(store), "landing", vector, "one")
    assert (text, same is vector) == ("landing", True)
    hooks = store.hooks.registered("pre-retrieval")
    Expansion().attach(store)
    assert store.hooks.registered("pre-retrieval") == hooks
    fitted = fit_expansion(store)
    assert not fitted.active
    assert fitted.compared is None, "one judged search says nothing"


def test_vectors_and_words_of_what_was_accepted_are_added(store):
    accepted, asked = AcceptedMemories(store), np.array([2, 0, 0, 0], np.float32)
    text, vector = Expansion(0.9, 0.5, 0).expand(store, accepted, "landing", asked, "one")
    assert text == "landing"
    np.testing.assert_allclose(vector, [2, 1, 0, 0], rtol=1e-6)
    text, vector = Expansion(0.9, 0.0, 2).expand(store, accepted, "the noon", asked, "one")
    assert text.split()[:2] == ["the", "noon"]
    assert set(text.split()[2:]) < {"zeppelin", "lands"} | {"land"}
    assert len(text.split()) == 4
    assert vector is asked
    assert Expansion(0.9, 0.5, 2).expand(store, accepted, None, asked, "one")[0] is None


def test_what_is_not_similar_not_there_or_not_to_be_looked_at_adds_nothing(store):
    accepted, expansion = AcceptedMemories(store), Expansion(0.9, 0.5, 2)
    asked = axis(0)

    def changed(vector=asked, namespace="one", **options):
        return expansion.expand(store, accepted, "landing", vector, namespace, **options) != ("landing", vector)

    assert changed()
    assert changed(namespace=None)
    assert not changed(axis(0, 1, 2))
    assert not changed(namespace="two")
    assert not changed(but=np.array([True]))
    store.delete("a")
    assert not changed()


def test_a_search_goes_by_it_but_not_where_a_filter_hides(store):
    plain = [hit.id for hit in store.search(embedding=axis(0, 2), k=2, namespace="one")]
    assert plain == ["b", "a"]
    Expansion(0.5, 3.0, 0).attach(store)
    assert [hit.id for hit in store.search(embedding=axis(0, 2), k=2, namespace="one")] == ["a", "b"]
    kept = {"@id": {"$in": ["a", "b"]}}
    assert [hit.id for hit in store.search(embedding=axis(0, 2), k=2, namespace="one", filter=kept)] == plain


def taught(helps):
    """Return a store of 20 topics, each asked for four times; what was accepted lies together, or anywhere."""
    rng = np.random.default_rng(5)
    asked, answers = rng.normal(size=(2, 20, DIM))
    store = agentmem.MemoryStore(":memory:", embedder=None, dimension=DIM)
    notes = np.repeat(asked, 4, axis=0) + rng.normal(size=(80, DIM))
    wanted = np.repeat(answers, 3, axis=0) + 0.2 * rng.normal(size=(60, DIM))
    store.add_many([f"note {n}" for n in range(140)], ids=[*map(str, range(140))], embeddings=[*notes, *wanted])
    for number in range(80):
        topic = number // 4
        right = [str(80 + 3 * topic + n) for n in range(3)] if helps else [str(number)]
        query = asked[topic] + 0.2 * rng.normal(size=DIM) + 0.4 * (answers[topic] if helps else notes[number])
        store.feedback(embedding=query, accepted=right)
    return store


def test_it_is_taken_where_held_out_feedback_agrees():
    with taught(helps=True) as store:
        fitted = fit_expansion(store)
        assert fitted.active
        assert fitted.compared.queries == 40
        assert fitted.compared.low > 0
        assert fit_expansion(store) == fitted
    with taught(helps=False) as store:
        left = fit_expansion(store)
        assert not left.active
        assert left.compared.low <= 0


def test_a_judged_search_does_not_see_its_own_feedback(monkeypatch):
    seen = []
    near = AcceptedMemories.near
    monkeypatch.setattr(AcceptedMemories, "near", lambda self, *rest: seen.append(rest[-1].copy()) or near(self, *rest))
    with taught(helps=True) as store:
        store.feedback("once more", embedding=store.feedback_log()[0].vector, accepted=["1"])
        fit_expansion(store)
    assert len(seen) > 400
    assert all(each.any() for each in seen)
    assert max(each.sum() for each in seen) == 2, "the same vector under another name"
