"""What the LlamaIndex tests share: an embedding model without a download, and nodes."""

import numpy as np
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

DIMENSION = 16
TEXTS = {
    "bread": "Ines bakes rye bread on Friday",
    "peanuts": "Ines cannot eat peanuts",
    "boat": "The boat deposit is twenty pounds",
    "sluice": "Open the sluice by two turns",
}


def vector(text):
    """Return a seeded sum of vectors, one for each word: texts that share words are alike."""
    words = text.lower().split()
    seeds = [int.from_bytes(word.encode()[:7], "little") for word in words] or [0]
    total = sum(np.random.default_rng(seed).standard_normal(DIMENSION) for seed in seeds)
    return (total / np.linalg.norm(total)).astype(np.float32).tolist()


class WordEmbedding(BaseEmbedding):
    """The model of ``vector``."""

    def _get_query_embedding(self, query):
        return vector(query)

    async def _aget_query_embedding(self, query):
        return vector(query)

    def _get_text_embedding(self, text):
        return vector(text)


def node(name, text=None, source="doc", **fields):
    """Return a text node with its embedding."""
    text = TEXTS[name] if text is None else text
    related = {} if source is None else {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=source)}
    return TextNode(id_=name, text=text, embedding=vector(text), relationships=related, **fields)


def nodes():
    """Return the four nodes: two of one document, two of another."""
    return [
        node("bread", source="ines", metadata={"who": "Ines", "day": 5}),
        node("peanuts", source="ines", metadata={"who": "Ines", "day": 2}),
        node("boat", source="club", metadata={"who": "Colm", "day": 3}),
        node("sluice", source="club", metadata={"who": "Teresa", "day": 1}),
    ]
