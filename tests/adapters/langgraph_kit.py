"""What the tests of LangGraph's store share: a seeded model, and a store that ranks as the one in memory does."""

import numpy as np
import pytest

REASON = 'pip install "agentmem[langgraph]"'
pytest.importorskip("langgraph.store.base", reason=REASON)

from agentmem.adapters.langgraph import AgentMemStore  # noqa: E402

DIMS = 8


def embed(texts):
    """Return vectors that are drawn by a seed from each text, of different lengths."""
    vectors = []
    for text in texts:
        rng = np.random.default_rng(list(text.encode()) or 0)
        vectors.append((rng.normal(size=DIMS) * rng.uniform(0.5, 2)).tolist())
    return vectors


INDEX = {"dims": DIMS, "embed": embed, "fields": ["text", "notes[*]"]}


def opened(path=":memory:", **options):
    """Return a store that ranks as the one in memory does."""
    return AgentMemStore(path, index=INDEX, **({"mechanism": "dense"} | options))
