"""Every verb with arguments of every kind: it does what was asked and nothing else, or refuses in its own words."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import fuzz_kit as kit
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import agentmem
from agentmem import AgentMemError, InvalidInput, MemoryStore
from agentmem.records import Record

Given = dict[str, Any]
Contents = kit.Contents
counts = st.integers(1, 5)
flags = st.booleans()
words = kit.any_string
RECORD = {
    "namespace": kit.namespaces,
    "metadata": kit.metadata,
    "thread": words,
    "session": words | st.integers(),
    "speaker": words,
    "position": st.floats(-5, 5),
    "importance": st.floats(0, 1),
    "links": kit.links,
    "created_at": kit.times,
    "ttl": st.sampled_from([None, 1e6]),
}
SCOPE = {"namespace": kit.namespaces, "filter": kit.filters}
SEARCH = {
    **SCOPE,
    "k": counts,
    "offset": st.integers(0, 2),
    "mechanism": st.sampled_from(
        ["auto", "dense", "lexical", "rrf", "convex", "hyperbolic-attention", "late-interaction"]
    ),
    "ef": counts,
    "exact": flags,
    "min_score": st.floats(-1, 1),
    "explain": flags,
}
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": words, "content": words}, optional={"id": kit.ids, "metadata": kit.metadata}),
    max_size=3,
)
TWO = {"min_size": 2, "max_size": 2}

PATHS = st.sampled_from(["one.db", "two.db", "memory.db", ":memory:", ".", "no/such/folder.db", "", "nul\0", "\ud800"])
"""Of copies; all within the working folder."""
no_path = kit.anything.filter(lambda value: not isinstance(value, (str, bytes)))

# Of each verb: the arguments that are always given, and those that may be.
VERBS: dict[str, tuple[Given, Given]] = {
    "add": ({"text": words, "embedding": kit.vectors}, {"id": kit.ids, **RECORD}),
    "upsert": ({"text": words, "embedding": kit.vectors, "id": kit.ids}, RECORD),
    "add_many": (
        {"texts": st.lists(words, **TWO), "embeddings": st.lists(kit.vectors, **TWO)},
        {
            "ids": st.lists(kit.ids, **TWO),
            "metadatas": st.lists(kit.metadata, **TWO),
            "namespace": kit.namespaces | st.lists(kit.namespaces, **TWO),
            "threads": words | st.lists(words, **TWO),
            "sessions": words | st.lists(st.integers(), **TWO),
            "speakers": words | st.lists(words, **TWO),
            "positions": st.lists(st.floats(-5, 5), **TWO),
            "created_at": kit.times,
            "importances": st.floats(0, 1),
            "links": st.lists(kit.links, **TWO),
            "ttl": st.sampled_from([None, 1e6]),
            "on_conflict": st.sampled_from(["error", "replace", "skip"]),
            "progress": st.just(False),
        },
    ),
    "add_messages": (
        {"messages": MESSAGES, "thread": words},
        {"session": words, "namespace": kit.namespaces, "created_at": kit.times},
    ),
    "update": (
        {"id": kit.ids},
        {"text": words, "embedding": kit.vectors}
        | {name: RECORD[name] for name in ("metadata", "importance", "ttl", "links")},
    ),
    "delete": ({"ids": st.lists(kit.ids, max_size=3)}, {}),
    "delete_where": (SCOPE, {}),
    "get": ({"id": kit.ids}, {}),
    "vector": ({"id": kit.ids}, {}),
    "links": ({"id": kit.ids}, {}),
    "get_many": ({"ids": st.lists(kit.ids, max_size=3)}, {}),
    "count": ({}, SCOPE),
    "iterate": ({}, {**SCOPE, "batch": counts}),
    "explain_plan": ({}, SCOPE),
    "changes": ({}, {"since": st.integers(0, 9), "limit": st.integers(0, 9)}),
    "namespaces": ({}, {"prefix": kit.namespaces}),
    "create_metadata_index": ({"path": kit.strings}, {}),
    "search": ({"text": words, "embedding": kit.vectors}, SEARCH),
    "search_many": ({"texts": st.lists(words, **TWO), "embeddings": st.lists(kit.vectors, **TWO)}, SEARCH),
    "knn": (
        {"vectors": st.lists(kit.vectors, min_size=1, max_size=2)},
        {**SCOPE, "k": counts, "ef": counts, "exact": flags},
    ),
    "feedback": (
        {"query": words, "accepted": st.lists(kit.ids, max_size=2)},
        {"embedding": kit.vectors, "rejected": st.lists(kit.ids, max_size=2), "shown": st.lists(kit.ids, max_size=3)}
        | {"used": st.lists(kit.ids, max_size=2)},
    ),
    "feedback_log": ({}, {"limit": st.integers(0, 9)}),
    "learn": ({}, {"seed": st.integers(0, 3), "progress": st.just(False)}),
    "backup": ({"path": PATHS}, {"progress": st.just(False)}),
    "verify": ({"path": PATHS}, {}),
    "check": ({}, {"sample": counts}),
    "wait_for_merge": ({}, {"timeout": st.just(0.1)}),
    "optimize": ({}, {"progress": st.just(False)}),
}  # fmt: skip
PLAIN = {"calibrate", "close", "info", "merge", "metrics_text", "purge_expired", "stats", "transaction", "vacuum"}
"""Verbs that take no argument."""
EXAMPLES = {
    "check": 20, "learn": 20, "backup": 60, "verify": 60, "optimize": 20, "create_metadata_index": 40, "search": 400,
    "add": 300, "add_many": 300,
}  # fmt: skip


def test_every_verb_is_fuzzed() -> None:
    public = {
        name
        for base in MemoryStore.__mro__[:-1]
        for name, each in vars(base).items()
        if callable(each) and not name.startswith("_")
    }
    assert public - kit.INTERNAL == set(VERBS) | PLAIN | {"reembed"}


@st.composite
def calls(draw: Callable[..., Any], verb: str) -> Given:
    """Draw the arguments of a call: sound ones, and as a rule one or two that are not."""
    needed, optional = VERBS[verb]
    chosen = draw(st.lists(st.sampled_from(sorted(optional)), max_size=4, unique=True)) if optional else []
    arguments = {name: draw({**needed, **optional}[name]) for name in [*needed, *chosen]}
    names = sorted({**needed, **optional})
    for name in draw(st.lists(st.sampled_from(names), max_size=2)):
        arguments[name] = draw(no_path if verb in ("backup", "verify") and name == "path" else kit.anything)
    return arguments


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MemoryStore]:
    with MemoryStore(
        tmp_path / "memory.db", embedder=None, dimension=kit.DIMENSION, merge="manual", cache_size=20
    ) as store:
        kit.fill(store)
        yield store


def call(store: MemoryStore, verb: str, arguments: Given) -> Any:
    if verb == "delete":
        return store.delete(*arguments["ids"]) if isinstance(arguments["ids"], list) else store.delete(arguments["ids"])
    result = getattr(store, verb)(**arguments)
    return list(result) if verb == "iterate" else result


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_does_what_was_asked_and_nothing_else(store: MemoryStore, verb: str) -> None:
    tables = kit.schema(store)
    before = kit.contents(store)
    done = refused = 0

    @settings(max_examples=EXAMPLES.get(verb, 150), suppress_health_check=list(HealthCheck))
    @given(calls(verb))
    def one(arguments: Given) -> None:
        nonlocal before, done, refused
        try:
            result = call(store, verb, arguments)
        except AgentMemError:
            refused += 1
            assert kit.contents(store) == before
            return
        done += 1
        after = kit.contents(store)
        OUTCOMES.get(verb, unchanged)(store, before, after, arguments, result)
        if after != before:
            kit.fill(store)
            before = kit.contents(store)

    one()
    assert done
    assert refused
    report = store.check()
    assert report.ok, report.problems
    made = [name for name, _ in set(kit.schema(store)) - set(tables)]
    assert all(re.fullmatch("metadata_[0-9a-f]{16}", name) for name in made)
    assert not made or verb == "create_metadata_index"


Outcome = Callable[[MemoryStore, Contents, Contents, Given, Any], None]


def unchanged(store: MemoryStore, before: Contents, after: Contents, arguments: Given, result: Any) -> None:
    assert after == before


def others_are_untouched(before: Contents, after: Contents, touched: set[str]) -> None:
    assert {name: each for name, each in before.items() if name not in touched} == {
        name: each for name, each in after.items() if name not in touched
    }


def is_as_given(record: Record, arguments: Given) -> None:
    assert record.text == arguments.get("text", record.text)
    assert record.namespace == arguments.get("namespace", "")
    assert kit.same_json(record.metadata, arguments.get("metadata"))
    for name in ("thread", "session", "speaker"):
        value = arguments.get(name)
        assert getattr(record, name) == (None if value is None else str(value))
    assert record.position == arguments.get("position")
    assert record.importance == arguments.get("importance", 0.5)
    if isinstance(arguments.get("created_at"), (int, float)):
        assert record.created_at == arguments["created_at"]


def added(store: MemoryStore, before: Contents, after: Contents, arguments: Given, result: Any) -> None:
    assert result == (arguments.get("id") or result)
    others_are_untouched(before, after, {result})
    record, vector, links = after[result]
    is_as_given(record, arguments)
    old = before[result][2] if result in before else ()
    assert set(links) == set(old) | set(map(tuple, arguments.get("links") or ()))
    if arguments["embedding"] is not None:
        assert vector == np.asarray(arguments["embedding"], np.float32).tobytes()
    assert store.get(result)._replace(label=0) == record


def added_many(store: MemoryStore, before: Contents, after: Contents, arguments: Given, result: Any) -> None:
    others_are_untouched(before, after, set(result))
    assert set(after) == set(before) | set(result)
    fresh = [name for name in result if name not in before or arguments.get("on_conflict") == "replace"]
    if len(set(result)) == len(result) and arguments.get("texts") is not None:
        texts = dict(zip(result, arguments["texts"], strict=True))
        assert [after[name][0].text for name in fresh] == [texts[name] for name in fresh]


def added_messages(store: MemoryStore, before: Contents, after: Contents, arguments: Given, result: Any) -> None:
    others_are_untouched(before, after, set(result))
    records = [after[name][0] for name in result]
    assert [record.text for record in records] == [each["content"] for each in arguments["messages"]]
    assert {record.thread for record in records} <= {arguments["thread"]}
    assert [record.position for record in records] == sorted(record.position for record in records)


def updated(store: MemoryStore, before: Contents, after: Contents, arguments: Given, result: Any) -> None:
    name = arguments["id"]
    others_are_untouched(before, after, {name})
    assert result == store.get(name)
    old, new = before[name][0], after[name][0]
    kept = {"namespace", "thread", "session", "speaker", "position", "created_at"}
    assert all(getattr(old, field) == getattr(new, field) for field in kept)
    assert new.text == arguments.get("text", old.text)
    assert kit.same_json(new.metadata, arguments.get("metadata", old.metadata))
    if "links" in arguments:
        assert set(after[name][2]) == set(map(tuple, arguments["links"] or ()))


def deleted(store: MemoryStore, before: Contents, after: Contents, arguments: Given, result: Any) -> None:
    doomed = set(before) & set(arguments["ids"] if isinstance(arguments["ids"], list) else [arguments["ids"]])
    assert result == len(doomed)
    assert set(after) == set(before) - doomed


def deleted_where(store: MemoryStore, before: Contents, after: Contents, arguments: Given, result: Any) -> None:
    doomed = set(before) - set(after)
    assert result == len(doomed)
    assert all(in_scope(before[name][0].namespace, arguments["namespace"]) for name in doomed)
    assert store.count(**arguments) == 0


def in_scope(namespace: str, asked: str | None) -> bool:
    if asked is None:
        return True
    return namespace.startswith(asked) if asked.endswith("/") else namespace == asked


def read(store: MemoryStore, before: Contents, after: Contents, arguments: Given, result: Any) -> None:
    assert after == before
    scope = {name: arguments.get(name) for name in ("filter", "namespace")}
    found = [record.id for record in store.iterate(**scope)]
    assert all(in_scope(before[name][0].namespace, scope["namespace"]) for name in found)
    if isinstance(result, int):
        assert result == len(found)
    else:
        assert [record.id for record in result] == found


def searched(store: MemoryStore, before: Contents, after: Contents, arguments: Given, result: Any) -> None:
    assert after == before
    scope = {name: arguments.get(name) for name in ("filter", "namespace")}
    allowed = {record.id for record in store.iterate(**scope)}
    first = arguments.get("offset", 0)
    assert [hit.rank for hit in result] == list(range(first + 1, first + 1 + len(result)))
    assert {hit.id for hit in result} <= allowed
    assert len({hit.id for hit in result}) == len(result)
    assert all(hit.record._replace(label=0) == before[hit.id][0] for hit in result)
    scores = [hit.score for hit in result]
    assert scores == sorted(scores, reverse=True)
    if arguments.get("min_score") is None and arguments.get("mechanism", "auto") in ("auto", "dense"):
        assert len(result) == max(0, min(arguments.get("k", 10), len(allowed) - first))


def searched_many(store: MemoryStore, before: Contents, after: Contents, arguments: Given, result: Any) -> None:
    options = {name: value for name, value in arguments.items() if name not in ("texts", "embeddings")}
    for hits in result:
        searched(store, before, after, options, hits)


def nearest(store: MemoryStore, before: Contents, after: Contents, arguments: Given, result: Any) -> None:
    assert after == before
    found, distances = result
    allowed = {record.id for record in store.iterate(arguments.get("filter"), arguments.get("namespace"))}
    assert found.shape == distances.shape == (len(arguments["vectors"]), arguments.get("k", 10))
    assert {name for name in found.ravel() if name is not None} <= allowed
    assert (np.diff(distances[np.isfinite(distances).all(axis=1)]) >= 0).all()
    assert all((row != None).sum() == min(len(row), len(allowed)) for row in found)  # noqa: E711


OUTCOMES: dict[str, Outcome] = {
    "add": added,
    "upsert": added,
    "add_many": added_many,
    "add_messages": added_messages,
    "update": updated,
    "delete": deleted,
    "delete_where": deleted_where,
    "count": read,
    "iterate": read,
    "search": searched,
    "search_many": searched_many,
    "knn": nearest,
}


@pytest.mark.parametrize("verb", sorted(PLAIN - {"close", "transaction"}))
def test_verbs_without_arguments_leave_the_contents_alone(store: MemoryStore, verb: str) -> None:
    before, tables = kit.contents(store), kit.schema(store)
    too_few = pytest.raises(InvalidInput) if verb == "calibrate" else nullcontext()
    with too_few:
        getattr(store, verb)()
    assert kit.contents(store) == before
    assert kit.schema(store) == tables


def test_nothing_is_reembedded_by_what_is_no_embedder_or_with_wrong_options(store: MemoryStore) -> None:
    before, tables = kit.contents(store), kit.schema(store)
    names = st.sampled_from(["embedder", "metric", "batch", "progress"])

    @settings(max_examples=200, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(names, kit.anything, min_size=1))
    def one(options: Given) -> None:
        arguments = {"embedder": "nobody", **options}
        with pytest.raises(AgentMemError):
            store.reembed(**arguments)
        assert kit.contents(store) == before

    one()
    assert kit.schema(store) == tables


def test_a_store_is_opened_or_refused(tmp_path: Path) -> None:
    names = sorted(set(inspect.signature(MemoryStore).parameters) - {"path"})
    outcomes: set[str] = set()

    @settings(max_examples=200, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(st.sampled_from(names), kit.anything, max_size=2), kit.anything)
    def one(options: Given, name: Any) -> None:
        path = f"{tmp_path}/{name.replace('/', '_').replace('.', '_')}" if isinstance(name, str) else name
        arguments = {"embedder": None, "dimension": 4, "merge": "manual", **options}
        try:
            with MemoryStore(path, **arguments) as store:
                assert store.count() == 0
                outcomes.add("opened")
        except AgentMemError:
            outcomes.add("refused")

    one()
    assert outcomes == {"opened", "refused"}
    assert agentmem.MemoryStore(tmp_path / "last.db", embedder=None, dimension=4).count() == 0
