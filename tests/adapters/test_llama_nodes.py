"""A node comes back as it was: of whatever class, with its relationships, metadata, template and hash."""

import base64

import pytest

pytest.importorskip("llama_index.core", reason='pip install "agentmem[llama-index]"')

from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core.schema import (
    Document,
    ImageDocument,
    ImageNode,
    IndexNode,
    MediaResource,
    Node,
    NodeRelationship,
    ObjectType,
    RelatedNodeInfo,
    TextNode,
)

import agentmem
from agentmem.adapters.llama_index import AgentMemVectorStore

VECTOR = [0.5, 0.25, 1.0]
METADATA = {"z": 1, "a": {"z": [1, 2.5, None], "b": True}, "Titel": "Ärger\0", "big": 2**70, "ref_doc_id": "mine"}
RELATIONS = {
    NodeRelationship.SOURCE: RelatedNodeInfo(
        node_id="doc-7", node_type=ObjectType.DOCUMENT, metadata={"z": 1, "a": 2}, hash="f00"
    ),
    NodeRelationship.PREVIOUS: RelatedNodeInfo(node_id="n-1", node_type=ObjectType.TEXT),
    NodeRelationship.CHILD: [RelatedNodeInfo(node_id="c-1"), RelatedNodeInfo(node_id="c-2", hash="x")],
}
COMMON = {
    "embedding": VECTOR,
    "metadata": METADATA,
    "relationships": RELATIONS,
    "excluded_embed_metadata_keys": ["z"],
    "excluded_llm_metadata_keys": ["a"],
    "metadata_template": "{key} = {value}",
    "metadata_separator": "; ",
}
PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))


class Stanza(TextNode):
    """A node class that LlamaIndex does not know."""

    metre: str = "iambic"


NODES = {
    "text": TextNode(id_="n", text="Ä text\n", start_char_idx=3, end_char_idx=9, mimetype="text/markdown", **COMMON),
    "empty": TextNode(id_="n", text="", **COMMON),
    "bare": TextNode(id_="n", text="x", embedding=VECTOR),
    "document": Document(id_="n", text="Whole", **COMMON),
    "media": Node(
        id_="n",
        text_resource=MediaResource(text="caption", embeddings={"sparse": [0.5]}),
        image_resource=MediaResource(data=PICTURE, mimetype="image/png"),
        audio_resource=MediaResource(url="https://example.org/a.wav", mimetype="audio/wav"),
        **COMMON,
    ),
    "no text": Node(id_="n", image_resource=MediaResource(path="a/b.png"), **COMMON),
    "image": ImageNode(id_="n", text="a cat", image="aGVsbG8=", image_mimetype="image/png", **COMMON),
    "image document": ImageDocument(id_="n", image=PICTURE, image_mimetype="image/png", text="cat", **COMMON),
    "index": IndexNode(id_="n", text="see there", index_id="other", **COMMON),
    "index of a node": IndexNode(id_="n", text="see", index_id="o", obj=TextNode(id_="inner", text="deep"), **COMMON),
    "other class": Stanza(id_="n", text="Shall I", metre="sonnet", **COMMON),
}


def there_and_back(node):
    """Return a node after it was stored."""
    store = AgentMemVectorStore(":memory:", embed_dim=3)
    assert store.add([node]) == [node.node_id]
    back = store.get_nodes([node.node_id])
    store.close()
    assert len(back) == 1
    return back[0]


@pytest.mark.parametrize("name", NODES)
def test_a_node_comes_back_as_it_was(name):
    node = NODES[name]
    back = there_and_back(node)
    assert type(back) is type(node)
    assert back.embedding is None
    assert back == node.model_copy(update={"embedding": None})
    assert back.hash == node.hash
    assert list(back.metadata) == list(node.metadata)
    assert back.get_content("all") == node.get_content("all")
    assert back.as_related_node_info() == node.as_related_node_info()


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=6,
)


@settings(max_examples=150)
@given(st.text(), st.dictionaries(st.text(), json_values, max_size=4), st.one_of(st.none(), st.text(min_size=1)))
def test_any_text_and_any_json_come_back(text, metadata, source):
    related = {} if source is None else {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=source)}
    node = TextNode(id_="n", text=text, metadata=metadata, embedding=VECTOR, relationships=related)
    back = there_and_back(node)
    assert back == node.model_copy(update={"embedding": None})
    assert back.hash == node.hash
    assert back.ref_doc_id == source


@pytest.mark.parametrize("value", [(1, 2), {3}, b"x", float("nan"), {1: "a"}, object()], ids=lambda value: type(value))
def test_metadata_that_would_change_are_refused(value):
    store = AgentMemVectorStore(":memory:", embed_dim=3)
    with pytest.raises(ValueError, match="'n'"):
        store.add([NODES["text"], TextNode(id_="n", embedding=VECTOR, metadata={"a": [value]})])
    assert store.get_nodes() == []
    store.close()


def test_the_adapters_own_key_is_refused():
    store = AgentMemVectorStore(":memory:", embed_dim=3)
    with pytest.raises(ValueError, match="'_llama_index' is the adapter's own"):
        store.add([TextNode(id_="n", embedding=VECTOR, metadata={"_llama_index": 1})])
    store.close()


def test_a_class_that_is_not_imported_is_named():
    with agentmem.MemoryStore(":memory:", embedder=None, dimension=3) as memory:
        own = {"class": "poems.metres:Limerick", "node": "{}"}
        memory.add("There was", embedding=VECTOR, metadata={"_llama_index": own})
        with pytest.raises(ValueError, match=r"class poems\.metres:Limerick is stored here, which is not imported"):
            AgentMemVectorStore(memory).get_nodes()


def test_a_record_that_llama_index_did_not_write_is_a_text():
    with agentmem.MemoryStore(":memory:") as memory:
        memory.add("Ines bakes", id="r", metadata={"topic": "bread"}, thread="chat", embedding=[1.0] * 256)
        node = AgentMemVectorStore(memory).get_nodes()[0]
    assert (node.node_id, node.text, node.metadata) == ("r", "Ines bakes", {"topic": "bread"})


def test_what_a_node_says_is_what_other_users_of_the_store_see():
    with agentmem.MemoryStore(":memory:", embedder=None, dimension=3) as memory:
        AgentMemVectorStore(memory, namespace="docs").add([NODES["text"]])
        record = memory.get("n")
        assert memory.vector("n").tolist() == VECTOR
        assert memory.count({"Titel": "Ärger\0", "a.b": True}, namespace="docs") == 1
    assert (record.text, record.thread, record.position, record.namespace) == ("Ä text\n", "doc-7", 3, "docs")
