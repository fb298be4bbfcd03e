"""Every filter operator and condition of LlamaIndex, against what its own in-memory store makes of them."""

import pytest

pytest.importorskip("llama_index.core", reason='pip install "agentmem[llama-index]"')

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

from agentmem.adapters.llama_index import AgentMemVectorStore

ORDER = (FilterOperator.GT, FilterOperator.GTE, FilterOperator.LT, FilterOperator.LTE)
LISTS = (FilterOperator.IN, FilterOperator.NIN, FilterOperator.ANY, FilterOperator.ALL)
TEXTS = (FilterOperator.TEXT_MATCH, FilterOperator.TEXT_MATCH_INSENSITIVE)
KEYS = ("a", "b.c")
ODD_KEYS = ("a.b", "@x", "$y", "back\\slash", 'quo"te', "", "ÄÖ", "_lower", "class")
ALPHABET = "aAİ"

numbers = st.one_of(st.integers(-1, 2), st.sampled_from([0.0, 0.5, 1.0]))
strings = st.text(ALPHABET, max_size=2)
lists = st.one_of(st.lists(strings, max_size=3), st.lists(st.integers(-1, 2), max_size=3))
values = st.one_of(numbers, strings, lists, st.booleans(), st.none())
metadata = st.dictionaries(st.sampled_from(KEYS), values, max_size=2)


def value_for(operator):
    """Return the values that an operator can take."""
    if operator in LISTS:
        return lists
    if operator in TEXTS:
        return strings
    if operator in ORDER or operator == FilterOperator.CONTAINS:
        return st.one_of(numbers, strings)
    return st.one_of(numbers, strings, st.none())


@st.composite
def leaves(draw):
    """Draw one condition."""
    operator = draw(st.sampled_from(list(FilterOperator)))
    return MetadataFilter(key=draw(st.sampled_from(KEYS)), operator=operator, value=draw(value_for(operator)))


conditions = st.sampled_from(list(FilterCondition))
nested = st.recursive(
    st.builds(MetadataFilters, filters=st.lists(leaves(), min_size=1, max_size=3), condition=conditions),
    lambda inner: st.builds(
        MetadataFilters, filters=st.lists(st.one_of(leaves(), inner), min_size=1, max_size=3), condition=conditions
    ),
    max_leaves=6,
)


def holds(filters, data):
    """Say whether LlamaIndex's own evaluation finds that metadata matches; where it raises a TypeError, it does not."""
    found = []
    for each in filters.filters:
        if isinstance(each, MetadataFilters):
            found.append(holds(each, data))
            continue
        try:
            found.append(build_metadata_filter_fn(lambda _: data, MetadataFilters(filters=[each]))("n"))
        except TypeError:
            found.append(False)
    if filters.condition == FilterCondition.NOT:
        return not any(found)
    return all(found) if filters.condition == FilterCondition.AND else any(found)


@pytest.fixture(scope="module")
def store():
    store = AgentMemVectorStore(":memory:", embed_dim=2)
    yield store
    store.close()


def ids(store, filters):
    """Return the ids of the nodes that match."""
    return {each.node_id for each in store.get_nodes(filters=filters)}


def compare(store, drawn, filters):
    """Assert that the store's matches among nodes with these metadata are LlamaIndex's."""
    store.clear()
    named = {f"n{place}": data for place, data in enumerate(drawn)}
    store.add([TextNode(id_=name, text="x", embedding=[1.0, 0.0], metadata=data) for name, data in named.items()])
    assert ids(store, filters) == {name for name, data in named.items() if holds(filters, data)}


@pytest.mark.parametrize("operator", list(FilterOperator), ids=lambda each: each.name)
def test_an_operator_means_what_llama_index_makes_of_it(store, operator):
    leaf = st.builds(MetadataFilter, key=st.just("a"), operator=st.just(operator), value=value_for(operator))

    @settings(max_examples=80)
    @given(st.lists(st.builds(lambda value: {"a": value}, values), min_size=6, max_size=12), leaf)
    @example([{"a": True}, {"a": 1}, {"a": None}, {}, {"a": "Ä"}], MetadataFilter(key="a", operator=operator, value=1))
    def run(drawn, drawn_leaf):
        assume(drawn_leaf.value != 1 or operator not in (*LISTS, *TEXTS))
        compare(store, drawn, MetadataFilters(filters=[drawn_leaf]))

    run()


@settings(max_examples=150)
@given(st.lists(metadata, min_size=1, max_size=6), nested)
def test_conditions_mean_what_llama_index_makes_of_them(store, drawn, filters):
    compare(store, drawn, filters)


@pytest.mark.parametrize("operator", list(FilterOperator), ids=lambda each: each.name)
def test_each_operator_divides_these_nodes(store, operator):
    store.clear()
    drawn = [{"a": 1}, {"a": "One two"}, {"a": ["one", "two"]}, {"a": []}, {"a": None}, {}, {"a": 7}, {"a": "one"}]
    store.add([TextNode(id_=f"n{n}", embedding=[1.0, 0.0], metadata=data) for n, data in enumerate(drawn)])
    asked = {FilterOperator.IN: ["one"], FilterOperator.NIN: ["one"], FilterOperator.ANY: ["two", "six"]}
    asked |= {FilterOperator.ALL: ["one", "two"], FilterOperator.TEXT_MATCH: "two", FilterOperator.CONTAINS: "one"}
    asked |= {FilterOperator.TEXT_MATCH_INSENSITIVE: "ONE", FilterOperator.IS_EMPTY: None}
    filters = MetadataFilters(filters=[MetadataFilter(key="a", operator=operator, value=asked.get(operator, 1))])
    found = ids(store, filters)
    assert found == {f"n{n}" for n, data in enumerate(drawn) if holds(filters, data)}
    assert 0 < len(found) < len(drawn) or operator == FilterOperator.LT


@pytest.mark.parametrize("key", ODD_KEYS)
def test_a_key_may_have_any_characters(store, key):
    store.clear()
    store.add([TextNode(id_=f"n{n}", embedding=[1.0, 0.0], metadata={key: word}) for n, word in enumerate(("Ä", "b"))])
    for operator, value in (("==", "Ä"), ("text_match_insensitive", "ä"), ("in", ["Ä"]), ("<=", "Ä"), ("!=", "b")):
        filters = MetadataFilters(filters=[MetadataFilter(key=key, operator=operator, value=value)])
        assert ids(store, filters) == ({"n0"} if operator != "<=" else {"n0", "n1"})


def test_the_document_is_a_key(store):
    store.clear()
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="Doc-1")}
    store.add([TextNode(id_="x", embedding=[1.0, 0.0], relationships=source), TextNode(id_="y", embedding=[0.0, 1.0])])
    for key in ("ref_doc_id", "doc_id", "document_id"):
        for operator, value in (("==", "Doc-1"), ("in", ["Doc-1"]), ("text_match_insensitive", "doc")):
            filters = MetadataFilters(filters=[MetadataFilter(key=key, operator=operator, value=value)])
            assert ids(store, filters) == {"x"}, (key, operator)
        assert ids(store, MetadataFilters(filters=[MetadataFilter(key=key, operator="!=", value="Doc-1")])) == {"y"}


def test_no_filters_match_everything(store):
    store.clear()
    store.add([TextNode(id_="x", embedding=[1.0, 0.0])])
    for filters in (None, MetadataFilters(filters=[]), MetadataFilters(filters=[MetadataFilters(filters=[])])):
        assert ids(store, filters) == {"x"}
    absent = MetadataFilters(filters=[MetadataFilter(key="a", value=1)], condition=None)
    assert ids(store, absent) == set()


@pytest.mark.parametrize(
    ("operator", "value", "needs"),
    [("in", "x", "a list"), ("any", 1, "a list"), (">", None, "a number or a string"), ("<", ["a"], "a number or"),
     ("text_match", 3, "a string"), ("text_match_insensitive", None, "a string"), ("contains", ["a"], "a number or")],
)  # fmt: skip
def test_a_value_that_an_operator_cannot_take_is_refused(store, operator, value, needs):
    filters = MetadataFilters(filters=[MetadataFilter(key="topic", operator=operator, value=value)])
    with pytest.raises(ValueError, match=f"'topic' {operator}: needs {needs}"):
        store.get_nodes(filters=filters)


def test_what_nobody_knows_is_refused(store):
    leaf = MetadataFilter(key="a", value=1).model_copy(update={"operator": "like"})
    with pytest.raises(ValueError, match=r"unknown filter operator 'like'; there are '==', .*'is_empty'"):
        store.get_nodes(filters=MetadataFilters(filters=[leaf]))
    xor = MetadataFilters(filters=[MetadataFilter(key="a", value=1)]).model_copy(update={"condition": "xor"})
    with pytest.raises(ValueError, match="unknown filter condition 'xor'; there are 'and', 'or', 'not'"):
        store.get_nodes(filters=xor)
