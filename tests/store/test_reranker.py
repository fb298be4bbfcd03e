"""The reranker for documents of another database: the heads that have what they need, as a store ranks them."""

import numpy as np
import pytest

import agentmem
from agentmem.rerank.weights import HEADS, HeadWeights, start
from agentmem.reranking import Reranker

DOCUMENTS = [
    "the club met on a rainy day",
    "Ines bakes bread and cannot eat peanuts",
    "peanut butter is on the shelf",
    "nothing of the kind",
]


def vectors(count, dimension=8, seed=0):
    """Return seeded vectors."""
    return np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)


def test_it_is_a_public_name_and_needs_texts_only():
    ranked = agentmem.Reranker().rank("who must not eat peanuts?", DOCUMENTS)
    assert ranked[0].place == 1
    assert sorted(each.place for each in ranked) == [0, 1, 2, 3]
    assert [each.score for each in ranked] == sorted((each.score for each in ranked), reverse=True)
    assert {"semantic", "lexical", "late", "importance"} <= set(ranked[0].explanation.heads)
    assert agentmem.Reranker().rank("peanuts", DOCUMENTS, k=2)[1].place in (1, 2)
    assert agentmem.Reranker().rank("peanuts", []) == []
    with pytest.raises(AttributeError, match="Rerank"):
        _ = agentmem.Reranked


def test_it_ranks_as_a_store_of_these_documents_does(tmp_path):
    embeddings, asked = vectors(4), vectors(1, seed=1)[0]
    metadatas = [
        {"thread": "t", "position": n, "speaker": "Ines", "created_at": 1e9 + n, "importance": n / 4, "other": n}
        for n in range(4)
    ]
    ranked = Reranker().rank("peanuts", DOCUMENTS, embeddings=embeddings, query_embedding=asked, metadatas=metadatas)
    with agentmem.MemoryStore(tmp_path / "m.db", embedder=None, dimension=8, merge="manual") as store:
        for n, (text, fields) in enumerate(zip(DOCUMENTS, metadatas, strict=True)):
            own = {name: value for name, value in fields.items() if name != "other"}
            store.add(text, id=str(n), embedding=embeddings[n], **own)
        hits = store.search("peanuts", embedding=asked, k=4, explain=True, exact=True)
    assert [each.place for each in ranked] == [int(hit.id) for hit in hits]
    assert [each.score for each in ranked] == pytest.approx([hit.score for hit in hits])
    assert ranked[0].explanation.heads == pytest.approx(hits[0].explanation.heads)
    assert "neighbours" in ranked[0].explanation.heads


@pytest.mark.parametrize("kind", ["object", "bytes", "path"])
def test_learned_weights_rank(tmp_path, kind):
    origin = start("some model", 8)
    points = np.zeros_like(origin.points)
    points[HEADS.index("importance")] = 10
    made = HeadWeights("some model", 8, HEADS, points, origin.gate, origin.query, origin.key)
    (tmp_path / "w.npz").write_bytes(made.to_bytes())
    weights = {"object": made, "bytes": made.to_bytes(), "path": tmp_path / "w.npz"}[kind]
    metadatas = [{"importance": value} for value in (0.2, 0.1, 0.9, 0.4)]
    ranked = Reranker(weights).rank(
        "peanuts", DOCUMENTS, embeddings=vectors(4), query_embedding=vectors(1)[0], metadatas=metadatas
    )
    assert [each.place for each in ranked] == [2, 3, 0, 1]
    assert ranked[0].explanation.heads == pytest.approx({"importance": 9.0})
    with pytest.raises(agentmem.EmbedderMismatch, match="some model"):
        Reranker(weights).rank("peanuts", DOCUMENTS)
    with pytest.raises(agentmem.EmbedderMismatch, match="dimension 8"):
        Reranker(weights).rank("x", DOCUMENTS, embeddings=vectors(4, 5), query_embedding=vectors(1, 5)[0])


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"embeddings": vectors(4)}, "or neither"),
        ({"embeddings": vectors(3), "query_embedding": vectors(1)[0]}, "3 embeddings"),
        ({"metadatas": [{}]}, "1 metadatas"),
        ({"metadatas": ["a", "b", "c", "d"]}, "no object"),
        ({"metadatas": [{"importance": 7}, {}, {}, {}]}, "importance"),
        ({"k": 0}, "k"),
        ({"documents": "text"}, "documents"),
        ({"query": ""}, "query"),
    ],
)
def test_what_cannot_be_ranked_is_refused(arguments, match):
    with pytest.raises(agentmem.InvalidInput, match=match):
        Reranker().rank(**({"query": "peanuts", "documents": DOCUMENTS} | arguments))
    with pytest.raises(agentmem.InvalidInput, match="weights"):
        Reranker(3)
    with pytest.raises(agentmem.InvalidInput, match="no weights"):
        Reranker(b"x")
