"""What the Haystack tests share: a seeded embedding, documents."""

import numpy as np
from haystack import Document, component

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
    return (total / np.linalg.norm(total)).tolist()


def documents():
    """Return the four documents, each with its embedding."""
    return [
        Document(
            id=name, content=text, embedding=vector(text), meta={"who": text.split()[0], "words": len(text.split())}
        )
        for name, text in TEXTS.items()
    ]


@component
class WordTextEmbedder:
    """The model of ``vector``, for queries."""

    @component.output_types(embedding=list[float])
    def run(self, text: str):
        """Return the text's vector."""
        return {"embedding": vector(text)}
