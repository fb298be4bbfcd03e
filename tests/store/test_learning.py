"""Learning from use: what is promoted ranks everywhere, can be rolled back, and a death costs nothing."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import agentmem
from agentmem import faults
from agentmem.learning import USED, cases_of
from agentmem.rerank.weights import HeadWeights, start
from agentmem.storage.weights import activate

DIMENSION = 8
TOPICS = ["tea", "rain", "books", "music", "cats", "maths"]
OPEN = f"agentmem.MemoryStore({{path!r}}, embedder=None, dimension={DIMENSION}, merge='manual')"


def vector(seed):
    """Return a seeded vector."""
    return np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)


def fill(store, judged=60, seed=0):
    """Add notes that share their words; the important one of each topic is right, whatever is asked.

    A test can so tell learned weights from the constants: only the head of importance knows what is right.
    """
    rng = np.random.default_rng(seed)
    for number in range(90):
        topic = TOPICS[number % len(TOPICS)]
        store.add(f"a note on {topic}", id=f"{topic}-{number // len(TOPICS)}", embedding=vector(number),
                  importance=0.9 if number < len(TOPICS) else 0.1, created_at=1e9)  # fmt: skip
    for number in range(judged):
        topic = TOPICS[number % len(TOPICS)]
        wrong = [f"{topic}-{rng.integers(1, 15)}"]
        store.feedback(f"{topic} {number}", embedding=vector(1000 + number), accepted=[f"{topic}-0"], rejected=wrong)


@pytest.fixture
def taught(tmp_path):
    """A store of given vectors with 60 judged queries."""
    with agentmem.MemoryStore(
        tmp_path / "memory.db", embedder=None, dimension=DIMENSION, merge="manual", cache_size=10
    ) as store:
        fill(store)
        yield store


def places(store):
    """Return the rank of the right note for queries that were never judged."""
    return [
        [hit.id for hit in store.search(topic, embedding=vector(5000 + number), k=15)].index(f"{topic}-0")
        for number, topic in enumerate(TOPICS)
    ]


def test_what_wins_on_held_out_feedback_ranks_from_the_next_search_on(taught):
    before, seq = places(taught), taught.seq
    assert max(before) > 3
    report = taught.learn()
    assert report.promoted, report.reason
    assert (report.number, report.events, report.queries, report.skipped) == (1, 60, 60, 0)
    assert 35 < report.held_out < 60
    assert report.low > 0
    assert report.after > report.before
    assert report.found == 1.0
    assert taught.seq == seq + 1
    assert [change.op for change in taught.changes(seq)] == ["weights"]
    assert places(taught) == [0] * 6
    hit = taught.search("tea", embedding=vector(5000), explain=True)[0]
    assert sum(hit.explanation.heads.values()) == pytest.approx(hit.score, rel=1e-4)
    assert hit.explanation.heads["importance"] > 2
    assert "learned weights 1" in hit.explanation.reason
    assert taught.info()["weights"] == {"active": 1, "ignored": None}


def test_the_way_back_and_forth(taught):
    before = places(taught)
    report = taught.learn()
    assert [(entry.number, entry.active, entry.promoted) for entry in taught.weights.history()] == [(1, True, True)]
    assert taught.weights.active().report["after"] == report.after
    learned = taught.weights.get()
    origin = start("given", DIMENSION)
    assert taught.weights.install(origin, "the constants") == 2
    assert places(taught) == before
    assert taught.weights.rollback().number == 1
    assert places(taught) == [0] * 6
    assert taught.weights.rollback() is None
    assert places(taught) == before
    with pytest.raises(agentmem.NotFound, match="no learned weights"):
        taught.weights.rollback()
    with pytest.raises(agentmem.NotFound, match="number 9"):
        taught.weights.get(9)
    assert taught.weights.get(1).to_bytes() == learned.to_bytes()
    assert taught.weights.install(HeadWeights.from_bytes(learned.to_bytes())) == 3
    assert places(taught) == [0] * 6
    assert [(entry.number, entry.active) for entry in taught.weights.history()] == [(1, False), (2, False), (3, True)]


def test_a_rollback_within_a_transaction_that_is_undone(taught):
    taught.learn()

    def undone():
        with taught.transaction():
            taught.weights.rollback()
            assert places(taught) != [0] * 6
            raise RuntimeError

    with pytest.raises(RuntimeError):
        undone()
    assert taught.weights.active().number == 1
    assert places(taught) == [0] * 6


def test_the_same_feedback_and_seed_give_the_same_weights(taught):
    first = taught.learn(seed=3)
    one = taught.weights.get(first.number).to_bytes()
    taught.weights.rollback()
    second = taught.learn(seed=3)
    assert taught.weights.get(second.number).to_bytes() == one
    assert (first.after, first.low, first.strength) == (second.after, second.low, second.strength)


def test_learning_again_must_beat_what_ranks_now(taught):
    assert taught.learn().promoted
    again = taught.learn()
    assert not again.promoted
    assert again.before >= again.after
    assert "not above 0" in again.reason
    assert [(entry.active, entry.promoted) for entry in taught.weights.history()] == [(True, True), (False, False)]


@pytest.mark.parametrize("judged", [0, 12])
def test_too_little_feedback_is_told_and_kept_aside(tmp_path, judged):
    with agentmem.MemoryStore(tmp_path / "m.db", embedder=None, dimension=DIMENSION, merge="manual") as store:
        fill(store, judged)
        store.feedback(embedding=vector(1), accepted=["tea-0"])
        before = places(store)
        report = store.learn()
        assert not report.promoted
        assert (report.events, report.skipped) == (judged + 1, 1)
        assert report.reason == store.weights.history()[0].report["reason"]
        assert places(store) == before
        assert store.weights.active() is None


def test_answers_that_are_no_candidates_count_as_not_found(taught):
    for number in range(40):
        taught.add("zzz", id=f"far-{number}", embedding=-vector(7000 + number))
        taught.feedback(f"tea again {number}", embedding=vector(7000 + number), accepted=[f"far-{number}"])
    report = taught.learn()
    assert 0.5 < report.found < 0.75
    assert report.after < 0.75


def test_weights_of_another_embedder_are_refused_and_ignored_with_a_reason(taught):
    with pytest.raises(agentmem.EmbedderMismatch, match="'other'"):
        taught.weights.install(start("other", DIMENSION))
    with pytest.raises(agentmem.InvalidInput, match="HeadWeights"):
        taught.weights.install(b"weights")
    taught.learn()
    before = places(taught)
    taught.reembed(lambda texts: [vector(len(text)) for text in texts], progress=False)
    ranking = taught.info()["weights"]
    assert ranking["active"] == 1
    assert "fitted with embedder 'given'" in ranking["ignored"]
    assert taught.search("tea", k=15)
    assert before == [0] * 6
    taught.weights.install(start(taught.identity.embedder, DIMENSION))
    assert taught.info()["weights"] == {"active": 2, "ignored": None}


def test_damaged_weights_are_ignored_with_a_reason(taught):
    before = places(taught)
    taught.learn()
    with taught.database.transaction() as writer:
        writer.connection.run("UPDATE weights SET value = ?", (b"nonsense",))
        activate(writer.connection, 1, 0.0)
        writer.refresh()
    assert places(taught) == before
    assert "no weights that agentmem wrote" in taught.info()["weights"]["ignored"]


def run(path, code, **environment):
    """Run code on a store of its own in another process."""
    source = f"import agentmem\nwith {OPEN.format(path=str(path))} as store:\n    {code}\n"
    return subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def test_another_process_ranks_by_them_at_its_next_search(taught):
    before = places(taught)
    done = run(taught.path, "print(store.learn().promoted)")
    assert done.stdout == "True\n", done.stderr
    assert places(taught) == [0] * 6
    assert run(taught.path, "store.weights.rollback()").returncode == 0
    assert places(taught) == before


@pytest.mark.parametrize("point", [each for each in faults.POINTS if each.startswith("learn:")])
def test_a_death_in_the_middle_changes_nothing(taught, point):
    before = places(taught)
    done = run(taught.path, "store.learn()", **{faults.VARIABLE: f"{point}:kill"})
    assert done.returncode == -signal.SIGKILL, done.stderr
    kept = point == "learn:committed"
    assert len(taught.weights.history()) == kept
    assert places(taught) == ([0] * 6 if kept else before)
    assert taught.check().ok
    assert taught.learn().promoted != kept


def test_searches_and_writes_go_on_while_it_learns(taught, monkeypatch):
    begun, go = threading.Event(), threading.Event()
    fitted = agentmem.learning.learn

    def waits(*arguments):
        begun.set()
        assert go.wait(60)
        return fitted(*arguments)

    monkeypatch.setattr(agentmem.learning, "learn", waits)
    reports = []
    thread = threading.Thread(target=lambda: reports.append(taught.learn()))
    thread.start()
    assert begun.wait(60)
    before = places(taught)
    taught.add("a note on tea", id="late", embedding=vector(1))
    taught.feedback("tea", embedding=vector(2), accepted=["late"])
    assert taught.search("tea", embedding=vector(1), k=1)
    go.set()
    thread.join()
    assert reports[0].promoted
    assert reports[0].events == 60
    assert places(taught) != before


def test_weights_promoted_meanwhile_are_not_overwritten(taught, monkeypatch):
    fitted = agentmem.learning.learn

    def overtaken(*arguments):
        taught.weights.install(start("given", DIMENSION))
        return fitted(*arguments)

    monkeypatch.setattr(agentmem.learning, "learn", overtaken)
    report = taught.learn()
    assert not report.promoted
    assert "meanwhile" in report.reason
    assert taught.weights.active().number == 1


def test_a_read_only_store_ranks_by_them_and_does_not_learn(taught):
    taught.learn()
    with agentmem.MemoryStore(taught.path, embedder="stored", read_only=True) as other:
        assert places(other) == [0] * 6
        for change in (other.learn, other.weights.rollback, other.search("tea", embedding=vector(0))[0].used):
            with pytest.raises(agentmem.StoreReadOnly):
                change()


def test_a_hit_tells_that_it_was_used(taught):
    log = len(taught.feedback_log())
    hits = taught.search("tea", embedding=vector(3), k=3)
    hits[1].used()
    told = taught.feedback_log()[log:]
    assert [(each.query, each.used, each.accepted, each.shown) for each in told] == [("tea", (hits[1].id,), (), ())]
    np.testing.assert_array_equal(told[0].vector, vector(3))
    taught.feedback("tea", used=hits[:1])
    assert taught.feedback_log()[-1].used == (hits[0].id,)
    taught.delete(hits[1].id)
    assert len(taught.feedback_log()) == log + 1, "feedback goes with the record"
    with pytest.raises(agentmem.NotFound, match="gone"):
        hits[1].used()


def test_a_hit_is_what_it_was_beside_its_origin(taught):
    first, second = (taught.search("tea", embedding=vector(3), k=1)[0] for _ in range(2))
    assert first == second
    for far in (pickle.loads(pickle.dumps(first)), copy.deepcopy(first), agentmem.Hit(first.record, 1.0, 1)):
        assert far.record == first.record
        with pytest.raises(agentmem.InvalidInput, match="does not come from a search"):
            far.used()
    taught.close()
    with pytest.raises(agentmem.StoreClosed):
        first.used()


def test_what_was_used_counts_less_than_what_was_accepted():
    log = [
        agentmem.Feedback(1.0, "q", None, used=("a", "b")),
        agentmem.Feedback(2.0, "q", None, accepted=("b",), rejected=("c",), shown=("a", "b", "c")),
        agentmem.Feedback(3.0, "q", None, used=("c",)),
        agentmem.Feedback(4.0, "r", None, used=("x",)),
        agentmem.Feedback(5.0, None, vector(1), accepted=("a",)),
    ]
    spaces = {"a": "one", "b": "one", "c": "one", "x": "two"}
    one, two = cases_of(log, spaces)
    assert (one.query, one.namespace, one.values, one.weight) == ("q", "one", {"a": USED, "b": 1.0, "c": 0.0}, 1.0)
    assert (two.query, two.namespace, two.values, two.weight) == ("r", "two", {"x": USED}, USED)
    mixed = cases_of([agentmem.Feedback(1.0, "q", None, accepted=("a", "x"))], spaces)
    assert mixed[0].namespace is None


def misled(store, judged=60):
    """Add notes whose words are those of other notes; the nearest vector is right, whatever the words say."""
    for number in range(90):
        store.add(f"a note on {TOPICS[number % 6]} {number}", id=str(number), embedding=vector(number), created_at=1e9)
    for number in range(judged):
        text, asked = question(number)
        store.feedback(text, embedding=asked, accepted=[str(number)])


def question(number):
    """Return a text that names another note, and a vector that is nearly the right one's."""
    return f"tell me about {TOPICS[(number + 1) % 6]} {(number + 31) % 90}", vector(number) + 0.01 * vector(
        900 + number
    )


def test_a_mechanism_that_wins_on_the_feedback_is_chosen_and_can_be_taken_back(tmp_path, monkeypatch):
    monkeypatch.setattr(agentmem.rerank.promotion, "STRENGTHS", ())  # the heads would learn it too
    path = tmp_path / "m.db"
    options = {"embedder": None, "dimension": DIMENSION, "merge": "manual"}
    with agentmem.MemoryStore(path, **options) as store:
        misled(store)
        before = [store.search(text, embedding=asked)[0].id for text, asked in map(question, range(60, 90))]
        assert sum(id == str(number) for number, id in enumerate(before, 60)) < 20
        report = store.learn()
        (choice,) = report.choices
        assert report.promoted
        assert (choice.task, choice.mechanism, choice.promoted) == ("default", "dense", True)
        assert choice.compared.low > 0
        assert "dense for default queries" in report.reason
        assert store.weights.active().report["choices"][0]["mechanism"] == "dense"
        assert store.weights.get().choices == {"default": "dense"}
    with agentmem.MemoryStore(path, **options) as store:
        for number in range(60, 90):
            text, asked = question(number)
            hit = store.search(text, embedding=asked, explain=True)[0]
            assert hit.id == str(number)
            assert hit.explanation.mechanism == "dense"
            assert "feedback on default queries" in hit.explanation.reason
        asked = {"explain": True, "embedding": vector(3)}
        assert store.search("where is my note?", **asked)[0].explanation.mechanism == "memory-heads", "another task"
        named = store.search("a note", mechanism="memory-heads", **asked)
        assert named[0].explanation.mechanism == "memory-heads"
        assert store.search("tea")[0].record.text, "without a vector the heads rank"
        store.weights.rollback()
        assert [store.search(text, embedding=asked)[0].id for text, asked in map(question, range(60, 90))] == before


def test_used_memories_alone_can_teach(tmp_path):
    with agentmem.MemoryStore(tmp_path / "m.db", embedder=None, dimension=DIMENSION, merge="manual") as store:
        fill(store, judged=0)
        for number in range(60):
            topic = TOPICS[number % len(TOPICS)]
            hits = store.search(f"{topic} {number}", embedding=vector(1000 + number), k=90)
            next(hit for hit in hits if hit.id == f"{topic}-0").used()
        assert store.learn().promoted
        assert places(store) == [0] * 6
