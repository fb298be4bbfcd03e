"""What the page shows of a store, against what the store itself says."""

import json
import threading

import page_kit
import pytest
from page_kit import HOSTILE, SPOKEN

from agentmem import InvalidFilter, InvalidInput, MemoryStore, NotFound, StoreReadOnly, UnknownMechanism
from agentmem.care import CheckReport
from agentmem.inspector import checks
from agentmem.inspector.checks import CheckJob
from agentmem.inspector.views import EXCERPT, PAGE, Views


@pytest.fixture
def views(filled):
    with MemoryStore(filled, read_only=True) as store:
        yield Views(store, writable=False)


def all_of(view, key, *args, **options):
    """Return what every page of a view has."""
    page = view(*args, **options)
    found = list(page[key])
    while page["after"] is not None:
        page = view(*args, after=page["after"], **options)
        assert 0 < len(page[key]) <= PAGE
        found += page[key]
    return found


def test_every_answer_is_json(views):
    for answer in (
        views.about(),
        views.namespaces(),
        views.threads("users/ada"),
        views.timeline("users/ada", "kitchen"),
        views.search("bees"),
        views.record(HOSTILE),
        views.health(),
        views.latency(),
        views.learning(),
    ):
        json.dumps(answer, allow_nan=False)


def test_the_tree_counts_what_the_store_counts(views):
    roots = {node["name"]: node for node in views.namespaces()["nodes"]}
    assert roots["users"]["own"] == 1
    assert roots["users"]["below"] == views.store.count(namespace="users/")
    assert {node["namespace"] for node in views.namespaces("users/")["nodes"]} == {"users/ada", "users/bo"}


def test_the_tree_follows_changes(copy):
    with MemoryStore(copy) as store:
        views = Views(store, writable=True)
        before = views.namespaces()["nodes"]
        store.add("one more", namespace="zebras")
        assert [node["name"] for node in views.namespaces()["nodes"]] == [*(node["name"] for node in before), "zebras"]


def test_a_branch_ends_in_a_slash(views):
    with pytest.raises(InvalidInput, match="branch"):
        views.namespaces("users")


def test_threads_say_how_many_records_sittings_and_when(views):
    answer = views.threads("users/ada")
    turns = list(views.store.iterate(namespace="users/ada"))
    assert answer["loose"] is None
    assert answer["threads"] == [
        {
            "name": "kitchen",
            "records": SPOKEN,
            "sessions": 2,
            "first": min(turn.created_at for turn in turns),
            "last": max(turn.created_at for turn in turns),
        }
    ]
    assert views.threads("users")["loose"]["records"] == 1
    assert views.threads("nobody") == {"namespace": "nobody", "threads": [], "loose": None, "after": None}


def test_threads_come_a_page_at_a_time(tmp_path):
    with MemoryStore(tmp_path / "threads.db", embedder=None, dimension=2) as store:
        count = 2 * PAGE + 3
        threads = [f"t{number:03}" for number in range(count)]
        store.add_many(embeddings=[[1.0, 0.0]] * count, threads=threads)
        store.add("", embedding=[1.0, 0.0], thread="")
        store.add("gone", embedding=[1.0, 0.0], thread="t000", ttl=1e-9)
        found = all_of(Views(store, writable=False).threads, "threads", "")
    assert [(thread["name"], thread["records"]) for thread in found] == [(name, 1) for name in ["", *threads]]


@pytest.mark.parametrize("newest_first", [False, True])
def test_a_timeline_has_every_record_once_by_time(views, newest_first):
    found = all_of(views.timeline, "records", "users/ada", "kitchen", newest_first=newest_first)
    ids = [f"turn-{turn}" for turn in range(SPOKEN)]
    assert [record["id"] for record in found] == (ids[::-1] if newest_first else ids)


def test_equal_times_are_told_apart_by_position_then_version(tmp_path):
    with MemoryStore(tmp_path / "ties.db", embedder=None, dimension=2) as store:
        for id, at, position in [("c", 5, 2), ("a", 5, None), ("d", 6, 0), ("b", 5, 1), ("b2", 5, 1)]:
            store.add(id=id, embedding=[1.0, 0.0], created_at=at, position=position, thread="t")
        views = Views(store, writable=False)
        assert [record["id"] for record in views.timeline("", "t")["records"]] == ["a", "b", "b2", "c", "d"]
        after = "5.0,1.0,4"
        assert [record["id"] for record in views.timeline("", "t", after)["records"]] == ["b2", "c", "d"]


def test_a_timeline_can_begin_at_a_time(views):
    at = views.store.get("turn-50").created_at
    assert views.timeline("users/ada", "kitchen", f"{at},-inf,-1")["records"][0]["id"] == "turn-50"


@pytest.mark.parametrize("after", ["", "1,2", "x,y,z", "1,2,3,4", "1,2,3.5"])
def test_a_place_that_no_answer_named_is_refused(views, after):
    with pytest.raises(InvalidInput, match="after"):
        views.timeline("users/ada", "kitchen", after)


def test_records_in_no_thread_have_a_timeline_of_their_own(views):
    assert [record["id"] for record in views.timeline("users", None)["records"]] == ["bees"]


def test_hits_are_the_store_s_and_their_parts_add_up(views):
    answer = views.search("who is allergic to peanuts?", k=5, namespace="users/")
    expected = views.store.search("who is allergic to peanuts?", k=5, namespace="users/")
    assert [hit["record"]["id"] for hit in answer["hits"]] == [hit.id for hit in expected]
    assert answer["more"]
    for hit, own in zip(answer["hits"], expected, strict=True):
        assert (hit["similarity"], hit["relevance"]) == pytest.approx((own.similarity, own.relevance), abs=1e-3)
        assert sum(hit["heads"].values()) == pytest.approx(hit["score"], abs=1e-3)
        assert hit["mechanism"] == "memory-heads"
        assert hit["reason"]
        assert hit["sources"]


def test_pages_of_hits_join(views):
    whole = [hit["record"]["id"] for hit in views.search("kettle", k=20, mechanism="dense")["hits"]]
    second = views.search("kettle", k=10, offset=10, mechanism="dense")
    assert [hit["record"]["id"] for hit in second["hits"]] == whole[10:]
    assert second["hits"][0]["rank"] == 11


def test_filters_and_mechanisms_reach_the_store(views):
    answer = views.search("who keeps bees?", condition='{"topic": "bees"}', mechanism="lexical")
    assert [(hit["record"]["id"], hit["mechanism"]) for hit in answer["hits"]] == [("bees", "lexical")]
    assert "memory-attention" in views.about()["mechanisms"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"condition": "{"}, InvalidInput),
        ({"condition": "[]"}, InvalidInput),
        ({"condition": "[" * 100_000}, InvalidInput),
        ({"condition": '{"a": {"$no": 1}}'}, InvalidFilter),
        ({"mechanism": "no"}, UnknownMechanism),
        ({"k": 0}, InvalidInput),
        ({"k": 10**6}, InvalidInput),
        ({"offset": 10**6}, InvalidInput),
    ],
)
def test_a_search_that_cannot_be_is_refused(views, options, error):
    with pytest.raises(error):
        views.search("bees", **options)


def test_long_texts_are_cut_in_lists_and_say_so(tmp_path):
    with MemoryStore(tmp_path / "long.db") as store:
        store.add("tea " * 1_000, id="long")
        views = Views(store, writable=False)
        body = views.search("tea")["hits"][0]["record"]["body"]
        assert len(body["text"]) == EXCERPT
        assert body["length"] == 4_000
        assert len(views.record("long")["body"]["text"]) == 4_000


def test_a_record_has_metadata_links_and_feedback(views):
    bees = views.record("bees")
    assert json.loads(bees["metadata"]["text"]) == {"topic": "bees", "big": 2**70}
    assert [(each["query"], each["verdict"]) for each in bees["feedback"]] == [("who keeps bees?", "accepted")]
    assert [each["verdict"] for each in views.record("note")["feedback"]] == ["rejected"]
    assert views.record("note")["links"] == [{"kind": "about", "id": "bees"}]
    with pytest.raises(NotFound):
        views.record("nobody")


def test_learning_tells_attempts_and_feedback_newest_first(views):
    answer = views.learning()
    history = views.store.weights.history()
    assert [attempt["number"] for attempt in answer["attempts"]] == [entry.number for entry in reversed(history)]
    assert answer["attempts"][0]["reason"] == history[-1].report["reason"]
    assert [line["query"] for line in answer["feedback"]] == [HOSTILE, "who keeps bees?"]
    assert answer["feedback"][1]["accepted"] == 1


def test_health_tells_segments_and_tail(views):
    kinds = {part["kind"]: part["rows"] for part in views.health()["index"]["parts"]}
    assert kinds == {"segment": SPOKEN + 3, "tail": 1}


def test_latencies_are_of_this_page_s_searches(views):
    assert views.latency()["stages"] == {}
    views.search("bees")
    assert views.latency()["stages"]["search.total.memory-heads"]["count"] == 1


def test_feedback_is_kept(copy):
    with MemoryStore(copy) as store:
        Views(store, writable=True).judge({"query": "bees", "accepted": ["bees"], "shown": ["bees", "note"]})
        assert store.feedback_log(1)[0].accepted == ("bees",)


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"query": "x"},
        {"query": "x", "accepted": "bees"},
        {"query": 1, "accepted": ["bees"]},
        {"query": "x", "accepted": ["bees"], "vector": [1]},
        {"query": "x", "accepted": [1]},
        {"query": "x", "accepted": ["bees"], "rejected": ["bees"]},
    ],
)
def test_feedback_that_says_nothing_clear_is_refused(copy, body):
    with MemoryStore(copy) as store:
        before = store.feedback_log()
        with pytest.raises(InvalidInput):
            Views(store, writable=True).judge(body)
        assert len(store.feedback_log()) == len(before)


def test_a_read_only_store_takes_none(views):
    with pytest.raises(StoreReadOnly):
        views.judge({"query": "bees", "accepted": ["bees"]})


def test_a_check_runs_once_at_a_time_and_tells_its_steps(views, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def slow(store, sample, report):
        report("a step of the test")
        begun.set()
        assert go_on.wait(60)
        return CheckReport(records=3)

    monkeypatch.setattr(checks, "examine", slow)
    job = CheckJob(views.store, full=False)
    assert job.state()["state"] == "never"
    job.start()
    assert begun.wait(60)
    assert (job.state()["state"], job.state()["step"]) == ("running", "a step of the test")
    with pytest.raises(InvalidInput, match="running"):
        job.start()
    go_on.set()
    job.wait()
    assert job.state()["state"] == "done"
    assert job.state()["report"] == {"problems": (), "recall": 1.0, "records": 3, "ok": True, "full": False}
    assert job.state()["seconds"] >= 0


def test_the_check_is_the_store_s(views):
    job = CheckJob(views.store, full=False)
    job.start()
    job.wait()
    assert job.state()["report"]["records"] == views.store.count()
    assert job.state()["report"]["ok"]


def test_a_check_that_fails_says_so_and_may_be_begun_again(copy, caplog):
    with MemoryStore(copy) as store:
        job = CheckJob(store, full=True)
    job.start()
    job.wait()
    assert job.state()["state"] == "failed"
    assert "closed" in job.state()["error"]
    job.start()
    job.wait()


def test_a_check_that_breaks_down_is_logged(views, monkeypatch, caplog):
    monkeypatch.setattr(checks, "examine", lambda *_: 1 / 0)
    job = CheckJob(views.store, full=False)
    job.start()
    job.wait()
    assert "ZeroDivisionError" in job.state()["error"]
    assert "ZeroDivisionError" in caplog.text


def test_the_kit_has_what_the_tests_look_for(filled):
    with MemoryStore(filled, read_only=True) as store:
        assert store.get(page_kit.HOSTILE).namespace == HOSTILE
