"""``AgentMemPostprocessor``: the rerank for nodes that any LlamaIndex retriever found."""

from __future__ import annotations

from typing import Any

from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from agentmem import Reranker


class AgentMemPostprocessor(BaseNodePostprocessor):
    """Puts nodes in the order of ``memory-heads`` and gives them its scores.

    The heads read a node's text with the metadata that an embedding model would see, the document that it is of and
    where it starts there; the embeddings of nodes and query where all of them have one, else the bundled model's.

    Args:
        top_n: how many nodes to keep; None keeps all.
        weights: the path of a file that ``agentmem learn --output`` wrote; None for the constants.

    Raises:
        InvalidInput: these are no weights.
    """

    top_n: int | None = Field(default=None, ge=1)
    weights: str | None = None

    _reranker: Reranker = PrivateAttr()

    def __init__(self, top_n: int | None = None, weights: str | None = None, **fields: Any) -> None:
        """Read the weights; ``fields`` are those of LlamaIndex's base class."""
        super().__init__(**{**fields, "top_n": top_n, "weights": weights})
        self._reranker = Reranker(weights)

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the class."""
        return "AgentMemPostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise ValueError("AgentMemPostprocessor needs the query: give query_str or query_bundle")
        embeddings = [each.node.embedding for each in nodes]
        embedded = query_bundle.embedding is not None and all(vector is not None for vector in embeddings)
        ranked = self._reranker.rank(
            query_bundle.query_str,
            [each.node.get_content(MetadataMode.EMBED) for each in nodes],
            embeddings=embeddings if embedded else None,
            query_embedding=query_bundle.embedding if embedded else None,
            metadatas=[
                {"thread": each.node.ref_doc_id, "position": getattr(each.node, "start_char_idx", None)}
                for each in nodes
            ],
            k=self.top_n,
        )
        return [NodeWithScore(node=nodes[each.place].node, score=each.score) for each in ranked]
