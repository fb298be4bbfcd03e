"""An embedder that raises: nothing is written, and what is raised is agentmem's, with the cause."""

import numpy as np
import pytest

import agentmem


class Moody:
    """Embeds until it meets the word that it cannot bear."""

    name, dimension, metric = "moody", 3, "cosine"

    def embed(self, texts):
        if any("broccoli" in text for text in texts):
            raise ConnectionError("no route")
        return np.ones((len(texts), 3), np.float32)


@pytest.fixture(params=["object", "callable"])
def store(request, tmp_path):
    embedder = Moody() if request.param == "object" else agentmem.CallableEmbedder(Moody().embed, "moody", 3)
    with agentmem.MemoryStore(tmp_path / "memory.db", embedder=embedder, merge="manual") as store:
        store.add("soup", id="soup")
        yield store


CALLS = {
    "add": lambda store: store.add("broccoli"),
    "upsert": lambda store: store.upsert("broccoli", id="soup"),
    "update": lambda store: store.update("soup", text="broccoli"),
    "add_many": lambda store: store.add_many(["bread", "broccoli"]),
    "a later batch": lambda store: store.add_many([*["bread"] * 1500, "broccoli"]),
    "replacing": lambda store: store.add_many(["bread", "broccoli"], ids=["soup", "b"], on_conflict="replace"),
    "add_messages": lambda store: store.add_messages(
        [{"role": "user", "content": text} for text in ("bread", "broccoli")], thread="t"
    ),
    "search": lambda store: store.search("broccoli"),
    "search_many": lambda store: store.search_many(["bread", "broccoli"]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_nothing_is_written_and_the_error_names_the_embedder(store, call):
    with pytest.raises(agentmem.EmbeddingFailed, match="embedder 'moody' raised ConnectionError: no route") as caught:
        call(store)
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert [(record.id, record.text) for record in store.iterate()] == [("soup", "soup")]
    assert store.seq == 1
    assert store.check().ok
    store.add("bread")
    assert len(store.search("bread")) == 2


def test_within_a_transaction_only_that_call_is_undone(store):
    with store.transaction():
        store.add("bread", id="bread")
        with pytest.raises(agentmem.EmbeddingFailed):
            store.add_many(["cake", "broccoli"])
    assert {record.id for record in store.iterate()} == {"soup", "bread"}
