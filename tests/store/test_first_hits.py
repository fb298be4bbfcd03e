"""Few candidates, and filters that leave fewer: what came first and passes comes first again."""

import random

import pytest

import agentmem

PEOPLE = ["Ada", "Ben", "Cleo", "Dan", "Eve", "Finn"]
DOES = ["bought", "sold", "lost", "found", "repaired", "painted", "borrowed", "photographed"]
THINGS = ["a red bicycle", "the old boat", "two wooden chairs", "a silver ring", "the garden gate", "a winter coat",
          "the kitchen clock", "an oil lamp", "a paper kite", "the church bell"]  # fmt: skip
WHERE = ["in Porto", "near the harbour", "at the market", "behind the school", "on the hill"]


def texts(seed: int, count: int) -> list[str]:
    """Return made-up sentences, no two alike."""
    every = [f"{a} {b} {c} {d}" for a in PEOPLE for b in DOES for c in THINGS for d in WHERE]
    return random.Random(seed).sample(every, count)


@pytest.fixture(scope="module")
def store():
    """A store of 300 notes with a random number from 0 to 3 each."""
    with agentmem.MemoryStore(":memory:") as store:
        numbers = random.Random(8)
        notes = texts(7, 300)
        store.add_many(notes, ids=notes, metadatas=[{"part": numbers.randrange(4)} for _ in notes])
        yield store


def questions(store: agentmem.MemoryStore) -> list[str]:
    """Return parts of notes, which several notes fit more or less."""
    draw = random.Random(9)
    return [" ".join(draw.sample(note.split(), 4)) for note in texts(7, 300)[:80]]


def flips(store: agentmem.MemoryStore, mechanism: str) -> int:
    """Return how many first hits, of 80, another takes the place of when a filter leaves a quarter with the first."""
    count = 0
    for question in questions(store):
        first = store.search(question, k=1, mechanism=mechanism)[0]
        again = store.search(question, k=1, mechanism=mechanism, filter={"part": first.record.metadata["part"]})[0]
        count += again.id != first.id
    return count


def alone(ctx: agentmem.SearchContext) -> None:
    """Leave out the head by which candidates vouch for each other."""
    ctx.attention_config.heads["peers"] = 0.0


def test_a_filter_does_not_flip_first_hits(store):
    """A row's points come from itself, the query and the pool's least, which shifts all alike: no scale is the pool's.

    What passes the filter vouches for each other, so that the head of peers sees others; it alone may flip a near-tie.
    """
    assert flips(store, "dense") == 0
    assert flips(store, "auto") <= flips(store, "convex")
    store.hooks.register("intelligence", alone)
    try:
        assert flips(store, "auto") <= 2
    finally:
        store.hooks.unregister("intelligence", alone)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_candidates_keep_the_first_that_they_had_among_many(store, count):
    store.hooks.register("intelligence", alone)
    try:
        for question in questions(store)[:20]:
            many = store.search(question, k=40)
            kept = [many[place].id for place in range(0, 40, 40 // count)][:count]
            few = store.search(question, k=10, filter={"@id": {"$in": kept}})
            assert few[0].id == kept[0]
            assert len(few) == count
    finally:
        store.hooks.unregister("intelligence", alone)


def test_what_stands_around_a_turn_counts_though_a_filter_hides_it():
    with agentmem.MemoryStore(":memory:") as store:
        talk = ["Shall we go sailing on the lake?", "Yes, on Sunday", "The boat needs paint", "I will buy some"]
        for space in ("talks/a", "talks/b"):
            for place, text in enumerate(talk if space == "talks/a" else reversed(talk)):
                store.add(text, thread="t", position=place, metadata={"place": place % 2}, namespace=space)

        hits = store.search("when do we go sailing?", explain=True, namespace="talks/a", filter={"place": 1})
        assert [hit.record.text for hit in hits] == ["Yes, on Sunday", "I will buy some"]
        beside, far = (hit.explanation.heads["neighbours"] for hit in hits)
        assert beside > 2 * far > 0
