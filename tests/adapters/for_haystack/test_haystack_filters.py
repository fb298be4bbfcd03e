"""Every filter operator of Haystack, dates among them, against what Haystack's own evaluation makes of them."""

from datetime import datetime, timedelta, timezone

import pytest

pytest.importorskip("haystack", reason='pip install "agentmem[haystack]"')

from haystack import Document
from haystack.dataclasses import ByteStream, SparseEmbedding
from haystack.errors import FilterError
from haystack.utils.filters import document_matches_filter
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agentmem.adapters.haystack import AgentMemDocumentStore

COMPARISONS = ("==", "!=", ">", ">=", "<", "<=", "in", "not in")
ORDER = COMPARISONS[2:6]
META_FIELDS = ("meta.a", "meta.a.b", "a", "meta.b")
FIELDS = (*META_FIELDS, "content", "id")
DATES = [
    "2024-05-01",
    "2024-05-01T00:00:00",
    "2024-05-01T12:00:00",
    "2024-05-01 12:00:00.000001",
    "2024-05-01T12:00:00Z",
    "2024-05-01T14:00:00+02:00",
    "2024-05-01T14:00:00-02:00",
    "2024-05-03",
    "1969-07-21T20:17:40",
]

numbers = st.one_of(st.integers(-1, 2), st.sampled_from([0.0, 0.5, 1.0]))
words = st.sampled_from(["", "a", "b", "2024-13-01", "2024-05-01x", "2024"])
dates = st.sampled_from(DATES)
scalars = st.one_of(st.none(), st.booleans(), numbers, words, dates)
values = st.one_of(scalars, st.lists(scalars, max_size=2), st.fixed_dictionaries({"b": scalars}))
metas = st.dictionaries(st.sampled_from("ab"), values, max_size=2)
moments = st.builds(
    lambda text, offset: datetime.fromisoformat(text).replace(tzinfo=offset),
    st.sampled_from(DATES[:3]),
    st.sampled_from([None, timezone.utc, timezone(timedelta(hours=2))]),
)


def value_for(operator):
    """Return the values that a filter's operator can take."""
    if operator in ("in", "not in"):
        return st.lists(st.one_of(scalars, moments), max_size=3)
    if operator in ("==", "!="):
        return st.one_of(values, moments)
    return st.one_of(st.none(), st.booleans(), numbers, dates, moments)


@st.composite
def leaves(draw):
    """Draw one comparison."""
    operator = draw(st.sampled_from(COMPARISONS))
    fields = META_FIELDS if operator in ORDER else FIELDS
    return {"field": draw(st.sampled_from(fields)), "operator": operator, "value": draw(value_for(operator))}


filters_of = st.recursive(
    leaves(),
    lambda inner: st.fixed_dictionaries(
        {"operator": st.sampled_from(["AND", "OR", "NOT"]), "conditions": st.lists(inner, max_size=3)}
    ),
    max_leaves=5,
)


def is_guessed(document, field):
    """Say whether a field is a text that is no date, of which Haystack guesses what date may be meant."""
    value = document.meta
    for key in field.removeprefix("meta.").split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return isinstance(value, str) and value not in DATES


def holds(filters, document):
    """Say whether Haystack's own evaluation finds that a document matches; where it raises, it does not."""
    if "field" not in filters:
        found = [holds(each, document) for each in filters["conditions"]]
        return {"AND": all(found), "OR": any(found), "NOT": not all(found)}[filters["operator"]]
    if filters["operator"] in ORDER and is_guessed(document, filters["field"]):
        return False
    try:
        return document_matches_filter(filters, document)
    except (FilterError, TypeError):
        return False


@pytest.fixture(scope="module")
def store():
    store = AgentMemDocumentStore(":memory:", embedding_dimension=2)
    yield store
    store.close()


def compare(store, metas, filters):
    """Assert that the store's matches among documents with these metadata are Haystack's."""
    store.delete_all_documents()
    documents = [Document(id=f"n{n}", content=(None, "", "a")[n % 3], meta=meta) for n, meta in enumerate(metas)]
    store.write_documents(documents)
    assert store.filter_documents(filters) == [each for each in documents if holds(filters, each)]
    assert store.count_documents_by_filter(filters) == len([each for each in documents if holds(filters, each)])


@pytest.mark.parametrize("operator", COMPARISONS)
def test_a_comparison_means_what_haystack_makes_of_it(store, operator):
    drawn = st.lists(st.builds(lambda value: {"a": value}, values), min_size=5, max_size=10)

    @settings(max_examples=100)
    @given(drawn, value_for(operator))
    @example([{"a": True}, {"a": 1}, {"a": None}, {}, {"a": DATES[4]}], [1] if "in" in operator else 1)
    @example([{"a": each} for each in DATES], [DATES[4]] if "in" in operator else DATES[4])
    @example([{"a": each} for each in DATES], [DATES[2]] if "in" in operator else DATES[2])
    def run(metas, value):
        compare(store, metas, {"field": "meta.a", "operator": operator, "value": value})

    run()


@settings(max_examples=200)
@given(st.lists(metas, min_size=1, max_size=8), filters_of)
def test_conditions_mean_what_haystack_makes_of_them(store, drawn, filters):
    compare(store, drawn, filters)


def test_a_key_with_a_dot_is_no_path(store):
    compare(store, [{"a.b": DATES[2], "a": {"b": DATES[4]}}, {"a.b": DATES[2]}], {
        "field": "meta.a.b", "operator": "==", "value": DATES[5],
    })  # fmt: skip
    compare(store, [{"a.b": DATES[2]}], {"field": "meta.a.b", "operator": "==", "value": DATES[2]})


@pytest.mark.parametrize("key", ["@x", "$y", "back\\slash", 'quo"te', "ÄÖ", "_haystack2", "wall"])
def test_a_key_may_have_any_characters(store, key):
    for value in ("x", DATES[4]):
        for name in (f"meta.{key}", key, f"meta.{key}.{key}"):
            compare(store, [{key: value}, {key: {key: value}}, {}], {"field": name, "operator": "==", "value": value})
            compare(store, [{key: value}, {key: {key: value}}, {}], {"field": name, "operator": "!=", "value": None})
    compare(store, [{key: DATES[4]}, {key: DATES[8]}], {"field": key, "operator": "<", "value": DATES[5][:-6]})


def test_other_fields_of_a_document(store):
    store.delete_all_documents()
    documents = [
        Document(id="x", content="text", score=0.5, embedding=[1.0, 2.0]),
        Document(id="y", blob=ByteStream(b"data", meta={"page": 3}, mime_type="text/plain")),
        Document(id="z", content="words", sparse_embedding=SparseEmbedding([1], [0.5])),
    ]
    store.write_documents(documents)
    cases = [
        ("id", "in", ["x", "z"]),
        ("content", "==", "words"),
        ("content", "==", None),
        ("content", "!=", None),
        ("content", "in", ["text", None]),
        ("score", ">=", 0.5),
        ("score", "==", None),
        ("blob.mime_type", "==", "text/plain"),
        ("blob", "==", None),
        ("embedding", "!=", None),
        ("sparse_embedding", "==", None),
    ]
    for field, operator, value in cases:
        filters = {"field": field, "operator": operator, "value": value}
        if field == "blob.mime_type":  # Haystack itself does not look into a blob
            assert [each.id for each in store.filter_documents(filters)] == ["y"]
            continue
        expected = [each.id for each in documents if document_matches_filter(filters, each)]
        assert [each.id for each in store.filter_documents(filters)] == expected
        assert 0 < len(expected) < 3
    pages = {"field": "blob.meta.page", "operator": ">", "value": 2}
    assert [each.id for each in store.filter_documents(pages)] == ["y"]


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"field": "meta.a", "operator": "like", "value": 1}, r"unknown comparison operator 'like'; there are '==', "),
        ({"operator": "XOR", "conditions": []}, "unknown logical operator 'XOR'; there are 'AND', 'OR', 'NOT'"),
        ({"operator": "AND", "conditions": {}}, "'conditions' must be a list, got dict"),
        ({"operator": "AND", "conditions": ["a"]}, "a filter must be a dictionary, got str"),
        ({"field": 3, "operator": "==", "value": 1}, "'field' must be a string, got int"),
        ({"field": "embedding", "operator": "==", "value": [1.0]}, "can compare 'embedding' with None only"),
        ({"field": "blob.data", "operator": "==", "value": "x"}, "cannot look at 'blob.data'; there are meta"),
        ({"field": "author.name", "operator": "==", "value": "x"}, "cannot look at 'author.name'"),
        ({"field": "meta.a", "operator": "<", "value": "July 1969"}, "'<' at 'meta.a' needs a number, or an ISO 8601"),
        ({"field": "meta.a", "operator": "<", "value": {"b": 1}}, "needs a number"),
        ({"field": "content", "operator": "<", "value": DATES[0]}, "'<' at 'content' needs a number"),
        ({"field": "meta.a", "operator": "==", "value": float("nan")}, "not a JSON number"),
        ({"field": "meta.a", "operator": "==", "value": 2**70}, "does not fit 64 bits"),
        ({"field": "meta.a", "operator": "==", "value": object()}, "not a JSON value"),
        ({"field": "meta.a"}, "the key 'operator' is missing"),
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_understood_is_refused(store, filters, message):
    for verb in ("filter_documents", "count_documents_by_filter", "delete_by_filter"):
        with pytest.raises(FilterError, match=message):
            getattr(store, verb)(filters)
    with pytest.raises(FilterError, match=message):
        store.embedding_retrieval([1.0, 0.0], filters)


def test_a_filter_that_is_nested_too_deep_is_refused(store):
    filters = {"field": "meta.a", "operator": "==", "value": 1}
    for _ in range(40):
        filters = {"operator": "NOT", "conditions": [filters]}
    with pytest.raises(FilterError, match="nested deeper than"):
        store.filter_documents(filters)
