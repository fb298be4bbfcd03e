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


def test_a_filter_does_not_flip_first_hits(store):
    """Candidates are judged by those of the same search without the filter, so that it changes no score."""
    assert flips(store, "dense") == 0
    assert flips(store, "convex") > 0, "the questions are hard enough to tell"
    assert flips(store, "auto") == 0


def test_a_filter_that_passes_the_first_hit_changes_no_score(store):
    for question in questions(store)[:20]:
        hits = store.search(question, k=10)
        before = {hit.id: hit.score for hit in hits}
        passing = {"part": {"$in": [hits[0].record.metadata["part"], 1]}}
        after = {hit.id: hit.score for hit in store.search(question, k=10, filter=passing)}
        assert hits[0].id in after
        assert all(after[each] == pytest.approx(before[each], abs=1e-4) for each in before.keys() & after.keys())


def test_where_the_first_hit_is_hidden_the_others_are_judged_as_if_it_were_not_there(store):
    for question in questions(store)[:20]:
        first = store.search(question, k=1)[0].id
        others = [note for note in texts(7, 300) if note != first]
        with agentmem.MemoryStore(":memory:") as rest:
            rest.add_many(others, ids=others)
            wanted = rest.search(question, k=1)[0]
        found = store.search(question, k=1, filter={"@id": {"$ne": first}})[0]
        assert (found.id, found.score) == (wanted.id, pytest.approx(wanted.score, abs=0.5)), "word counts differ by one"


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_candidates_keep_the_first_that_they_had_among_many(store, count):
    for question in questions(store)[:20]:
        many = store.search(question, k=40)
        kept = [many[place].id for place in (0, *range(7, 40, 8))][:count]
        few = store.search(question, k=10, filter={"@id": {"$in": kept}})
        assert few[0].id == kept[0]
        assert len(few) == count


def test_what_only_a_filter_lets_in_is_ranked_and_stays_behind_the_first_hit(store):
    for question in questions(store)[:20]:
        first = store.search(question, k=1)[0]
        far = [hit.id for hit in store.search(question, k=200, mechanism="dense")[150:]]
        hits = store.search(question, k=10, filter={"@id": {"$in": [first.id, *far]}})
        assert hits[0].id == first.id
        assert len(hits) == 10
        scores = [hit.score for hit in store.search(question, k=10, filter={"@id": {"$in": far}})]
        assert scores == sorted(scores, reverse=True)
        assert len(set(scores)) > 5, "those far below all candidates are told from each other"


def test_sessions_are_judged_as_without_the_filter():
    with agentmem.MemoryStore(":memory:") as store:
        draw = random.Random(3)
        notes = texts(5, 200)
        for place, note in enumerate(notes):
            part = {"part": draw.randrange(3)}
            store.add(note, id=note, thread="t", session=place // 5, position=place, metadata=part)
        for question in (" ".join(draw.sample(note.split(), 4)) for note in notes[:40]):
            first = store.search(question, k=1)[0]
            again = store.search(question, k=1, filter={"part": first.record.metadata["part"]})[0]
            assert (again.id, again.score) == (first.id, pytest.approx(first.score, abs=1e-4))


def test_what_a_filter_hides_leads_nowhere():
    with agentmem.MemoryStore(":memory:") as store:
        store.add("the harbour master of Porto", id="target")
        store.add("who repaired the old boat", id="source", links=[("about", "target")])
        for place, note in enumerate(texts(5, 60)):
            store.add(note, id=f"note {place}")
        seen, hidden = (
            store.search("who repaired the old boat", k=60, explain=True, filter={"@id": {"$nin": ids}})
            for ids in ([], ["source"])
        )
        assert next(hit for hit in seen if hit.id == "target").explanation.heads["links"] > 0
        assert all("links" not in hit.explanation.heads for hit in hidden)


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
