"""LangGraph's store against its own store in memory, on random operations."""

import asyncio
import json
from copy import deepcopy

import pytest

REASON = 'pip install "agentmem[langgraph]"'
pytest.importorskip("langgraph.store.base", reason=REASON)

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from langgraph.store.base import GetOp, ListNamespacesOp, MatchCondition, PutOp, SearchOp  # noqa: E402
from langgraph.store.memory import InMemoryStore  # noqa: E402
from langgraph_kit import INDEX, opened  # noqa: E402

from agentmem.adapters.langgraph.names import branch_of, labels_of  # noqa: E402


class Model(InMemoryStore):
    """LangGraph's store in memory; a put forgets the vectors of what was there before, which the original keeps."""

    def _apply_put_ops(self, put_ops):
        super()._apply_put_ops(put_ops)

    def _extract_texts(self, put_ops):
        for namespace, key in put_ops:
            self._vectors[namespace].pop(key, None)
        return super()._extract_texts(put_ops)

    def _insertinmem_store(self, to_embed, embeddings):
        """Give a vector to each place of a text; the original counts one place a text only."""
        for places, embedding in zip(to_embed.values(), embeddings, strict=True):
            for namespace, key, path in places:
                self._vectors[namespace][key][path] = embedding


labels = st.sampled_from(["a", "b", "a/b", "*"])
namespaces = st.sampled_from([("a",), ("a", "b"), ("b",), ("a/b",), ("b", "a", "b"), ("%2F", "*")])
prefixes = st.sampled_from([(), (), ("a",), ("a", "b"), ("b",), ("*",)])
keys = st.sampled_from(["1", "1/0", ""])
words = st.sampled_from(["one", "two", "three", "four"])
numbers = st.integers(2, 5) | st.sampled_from([2.5, 3.0])
values = st.fixed_dictionaries(
    {},
    optional={
        "text": words | st.none(),
        "notes": st.lists(words, max_size=2),
        "kind": st.sampled_from(["x", "y"]) | st.none(),
        "n": numbers,
        "flag": st.booleans(),
        "in": st.fixed_dictionaries({"a.b": numbers}, optional={"c": words}),
        "tags": st.lists(words, max_size=2),
    },
)
index = st.sampled_from([None, None, False, ["text"], ["kind", "in.c"], ["tags[*]"]])
conditions_on = {
    "kind": st.sampled_from(["x", None, {"$eq": "y"}, {"$ne": "x"}, {"$eq": None}, {"$ne": None}]),
    "flag": st.booleans() | st.booleans().map(lambda value: {"$ne": value}),
    "in": st.fixed_dictionaries({"a.b": numbers | numbers.map(lambda n: {"$ne": n})}),
    "tags": st.lists(words, max_size=2) | st.lists(words, max_size=2).map(lambda tags: {"$ne": tags}),
}
filters = st.fixed_dictionaries({}, optional=conditions_on) | st.one_of(
    st.fixed_dictionaries({key: condition}) for key, condition in conditions_on.items()
)
puts = st.builds(PutOp, namespaces, keys, values | st.none(), index=index, ttl=st.none())
gets = st.builds(GetOp, namespaces, keys, refresh_ttl=st.just(True))
searches = st.builds(
    SearchOp,
    prefixes,
    filter=filters | st.none(),
    limit=st.integers(0, 4) | st.just(50) | st.just(50),
    offset=st.just(0),
    query=words | st.none(),
    refresh_ttl=st.just(True),
)
patterns = st.lists(labels, min_size=1, max_size=2).map(tuple)
conditions = st.builds(MatchCondition, st.sampled_from(["prefix", "suffix"]), patterns)
lists = st.builds(
    ListNamespacesOp,
    st.lists(conditions, max_size=2).map(tuple),
    max_depth=st.none() | st.integers(1, 3),
    limit=st.just(1_000),
    offset=st.just(0),
)
batches = st.lists(
    st.lists(puts | puts | puts | searches | searches | gets | lists, min_size=1, max_size=8), min_size=2, max_size=8
)


def same(op, ours, theirs, model):
    """Compare a result with the model's, in all that the model defines."""
    if isinstance(op, GetOp):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert content(ours) == content(theirs)
    elif isinstance(op, SearchOp):
        assert len(ours) == len(theirs)
        scores = [(item.score is None, -(item.score or 0)) for item in ours]
        if op.query:
            assert scores == sorted(scores)
            assert [item.score for item in ours] == [
                None if item.score is None else pytest.approx(item.score, abs=1e-5) for item in theirs
            ]
        if op.limit == 50:  # all of them: which of equals come first is not defined
            assert sorted(map(content, ours)) == sorted(map(content, theirs))
    elif isinstance(op, ListNamespacesOp):
        assert ours == theirs
    else:
        assert ours is theirs is None


def content(item):
    return item.namespace, item.key, json.dumps(item.value, sort_keys=True)


def drop_empty(model):
    """Forget namespaces that were only looked into, or emptied: the original goes on listing them."""
    for namespace in [each for each, held in model._data.items() if not held]:
        del model._data[namespace]


@settings(max_examples=150)
@given(batches)
def test_it_does_what_the_store_in_memory_does(drawn):
    model = Model(index=INDEX)
    with opened() as store:
        for batch in drawn:
            drop_empty(model)
            batch = sorted(batch, key=lambda op: not isinstance(op, ListNamespacesOp))
            theirs = deepcopy(model.batch(batch))
            for op, mine, its in zip(batch, store.batch(batch), theirs, strict=True):
                same(op, mine, its, model)


@settings(max_examples=30)
@given(batches)
def test_coroutines_do_the_same(drawn):
    async def run():
        with opened() as one, opened() as two:
            for batch in drawn:
                for op, mine, its in zip(batch, await one.abatch(batch), two.batch(batch), strict=True):
                    same(op, mine, its, None)

    asyncio.run(run())


@given(st.lists(st.text(max_size=4), max_size=4).map(tuple), st.lists(st.text(max_size=4), max_size=4).map(tuple))
def test_namespaces_have_paths_of_their_own(one, other):
    assert labels_of(branch_of("root", one)) == one
    assert (branch_of("root", one) == branch_of("root", other)) == (one == other)
    assert branch_of("root", one + other).startswith(branch_of("root", one))


@given(st.lists(st.tuples(namespaces, keys), min_size=2, max_size=2, unique=True))
def test_items_have_ids_of_their_own(places):
    with opened() as store:
        for number, (namespace, key) in enumerate(places):
            store.batch([PutOp(namespace, key, {"n": number})])
        for number, (namespace, key) in enumerate(places):
            assert store.batch([GetOp(namespace, key)])[0].value == {"n": number}
