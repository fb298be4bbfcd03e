"""Nodes as records, and records as nodes.

A record has the node's id, its text without metadata, its embedding and its metadata, so that filters and other users
of the store see them; the document that it is of is the thread, the character at which it starts there the position.
Everything else of the node stands as one JSON text under ``OWN`` in the metadata, exactly as LlamaIndex dumps it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageDocument,
    ImageNode,
    IndexNode,
    MetadataMode,
    Node,
    TextNode,
)

from agentmem import Record
from agentmem.adapters.llama_index.filters import LOWER, OWN

SHIPPED: dict[str, type[BaseNode]] = {
    cls.class_name(): cls for cls in (TextNode, Node, ImageNode, IndexNode, Document, ImageDocument)
}
RESOURCES = ("text_resource", "image_resource", "audio_resource", "video_resource")


def columns(nodes: Sequence[BaseNode]) -> dict[str, Any]:
    """Return what ``MemoryStore.add_many`` takes for n nodes.

    Raises:
        ValueError: a node has no embedding, or metadata that would not come back as it is.
    """
    return {
        "texts": [node.get_content(MetadataMode.NONE) for node in nodes],
        "embeddings": [node.get_embedding() for node in nodes],
        "ids": [node.node_id for node in nodes],
        "metadatas": [_metadata(node) for node in nodes],
        "threads": [node.ref_doc_id for node in nodes],
        "positions": [getattr(node, "start_char_idx", None) for node in nodes],
    }


def node_of(record: Record) -> BaseNode:
    """Return the node that a record holds, without its embedding; of a record that LlamaIndex did not write, a text.

    Raises:
        ValueError: the node is of a class that is not imported.
    """
    own = record.metadata.get(OWN)
    if own is None:
        return TextNode(id_=record.id, text=record.text or "", metadata=record.metadata)
    data = json.loads(own["node"])
    cls = _class(own["class"])
    if "text" in cls.model_fields:
        data["text"] = record.text
    return cls.from_dict(data)


def _metadata(node: BaseNode) -> dict[str, Any]:
    """Return the node's metadata, with everything that it has no other place for."""
    try:
        data = node.model_dump(mode="json", exclude={"embedding", "text"})
    except ValueError as error:
        raise ValueError(f"node {node.node_id!r} cannot be kept: {error}") from error
    if data["metadata"] != node.metadata:
        raise ValueError(
            f"node {node.node_id!r}: its metadata would not come back as it is, since it is not plain JSON (tuples, "
            "sets, dates, NaN or keys that are no strings); give lists, strings and numbers"
        )
    if OWN in node.metadata:
        raise ValueError(f"node {node.node_id!r}: the metadata key {OWN!r} is the adapter's own; use another name")
    for name in RESOURCES:
        resource = getattr(node, name, None)
        if resource is not None and resource.data is not None:  # LlamaIndex leaves it out of its dumps
            data[name]["data"] = resource.data.decode("ascii")
    own: dict[str, Any] = {"class": _name(type(node)), "node": json.dumps(data, ensure_ascii=False)}
    searched = node.metadata if node.ref_doc_id is None else {**node.metadata, "ref_doc_id": node.ref_doc_id}
    lower = {key: value.lower() for key, value in searched.items() if isinstance(value, str) and value.lower() != value}
    if lower:
        own[LOWER] = lower
    return {**node.metadata, OWN: own}


def _name(cls: type[BaseNode]) -> str:
    """Return the name that a class is found by again: LlamaIndex's own by theirs, others by where they are."""
    name = cls.class_name()
    return name if SHIPPED.get(name) is cls else f"{cls.__module__}:{cls.__qualname__}"


def _class(name: str) -> type[BaseNode]:
    for cls in (*SHIPPED.values(), *_subclasses(BaseNode)):
        if _name(cls) == name:
            return cls
    raise ValueError(f"a node of the class {name} is stored here, which is not imported; import it first")


def _subclasses(cls: type[Any]) -> Iterator[type[BaseNode]]:
    for each in cls.__subclasses__():
        yield each
        yield from _subclasses(each)
