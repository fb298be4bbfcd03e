"""The bundled static model: its files, its vectors and its tokens."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentmem.embed import StaticEmbedder, has_tokens, static
from agentmem.errors import EmbeddingFailed, InvalidInput

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.fixture(scope="module")
def embedder() -> StaticEmbedder:
    return StaticEmbedder()


def cosine(embedder: StaticEmbedder, left: str, right: str) -> float:
    a, b = embedder.embed([left, right])
    return float(a @ b)


def test_files_are_those_of_the_description(embedder: StaticEmbedder) -> None:
    description = json.loads((static.FOLDER / "model.json").read_text(encoding="utf-8"))
    hashes = {name: hashlib.sha256((static.FOLDER / name).read_bytes()).hexdigest() for name in description["sha256"]}
    assert hashes == description["sha256"]
    whole = hashlib.sha256("".join(hashes.values()).encode()).hexdigest()
    assert embedder.name == f"all-MiniLM-L6-v2-static-256@{whole[:12]}"
    assert embedder.tokenizer_hash == hashes["tokenizer.json"]
    assert description["licence"] == "Apache-2.0"
    licence = (static.FOLDER / "LICENSE-all-MiniLM-L6-v2").read_text(encoding="utf-8")
    assert "Apache License" in licence
    assert "all-MiniLM-L6-v2" in licence


def test_shape_type_and_length(embedder: StaticEmbedder) -> None:
    vectors = embedder.embed(["We moved the meeting to Thursday.", "tea", "A rather long sentence, with commas, etc."])
    assert vectors.shape == (3, 256)
    assert embedder.dimension == 256
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert embedder.embed([]).shape == (0, 256)
    assert embedder.metric == "cosine"
    assert has_tokens(embedder)


@pytest.mark.parametrize(
    ("word", "near", "far"),
    [
        ("cat", "dog", "contract"),
        ("physician", "doctor", "guitar"),
        ("We adopted a puppy", "their new little dog came home", "the invoice is overdue"),
        ("he was fired from his job", "he lost his employment", "she planted roses in spring"),
    ],
)
def test_meaning_decides_who_is_near(embedder: StaticEmbedder, word: str, near: str, far: str) -> None:
    assert cosine(embedder, word, near) > cosine(embedder, word, far) + 0.1


ODD_ASCII = st.text(st.characters(max_codepoint=0x7F), max_size=60)
ODD_WORDS = ["The", "don't", "U.S.A.", "x_y", "[PAD]", "[UNK]", "[", "a\x01b", "\x7f", "\n", "\v", "z" * 101, "é"]
WORDS = st.lists(st.sampled_from(ODD_WORDS))


@given(ODD_ASCII | TEXT | WORDS.map(" ".join) | WORDS.map("".join))
@settings(max_examples=400, deadline=None)
def test_tokens_are_those_of_the_tokenizer_whatever_the_text(text: str) -> None:
    model = static._model()
    whole = model.tokenizer.encode(text, add_special_tokens=False).ids
    expected = [token for token in whole if token not in model.ignored]
    assert StaticEmbedder().token_ids([text])[0].tolist() == expected


def test_a_word_of_the_vocabulary_is_one_token(embedder: StaticEmbedder) -> None:
    tokenizer = static._model().tokenizer
    words = [word for word in tokenizer.get_vocab() if static._IS_WORD(word)]
    assert len(words) > 20_000
    found = [tokens.tolist() for tokens in embedder.token_ids(words)]
    assert found == [[tokenizer.token_to_id(word)] for word in words]
    assert found[::50] == [tokenizer.encode(word, add_special_tokens=False).ids for word in words[::50]]


@given(st.lists(TEXT, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_a_text_has_one_vector_alone_or_in_a_batch(texts: list[str]) -> None:
    embedder = StaticEmbedder()
    vectors, tokens = embedder.embed_with_tokens(texts)
    for row, ids, text in zip(vectors, tokens, texts, strict=True):
        np.testing.assert_array_equal(row, StaticEmbedder().embed([text])[0])
        np.testing.assert_array_equal(ids, embedder.token_ids([text])[0])
        assert np.linalg.norm(row) == pytest.approx(1 if len(ids) else 0, abs=1e-6)


@given(TEXT)
@settings(max_examples=60, deadline=None)
def test_pooling_is_the_normalised_mean_of_dequantised_rows(text: str) -> None:
    embedder = StaticEmbedder()
    (vector,), (ids,) = embedder.embed_with_tokens([text])
    codes, scales = np.load(static.FOLDER / "codes.npy"), np.load(static.FOLDER / "scales.npy")
    total = (codes[ids].astype(np.float64) * scales[ids].astype(np.float64)[:, None]).sum(axis=0)
    length = np.linalg.norm(total)
    np.testing.assert_allclose(vector, total / length if length else total, atol=1e-5)


def test_a_very_long_text_is_pooled_whole(embedder: StaticEmbedder) -> None:
    counts = {"tea": static.SLICE, "volcano": static.SLICE - 7, "piano": 900}
    (vector,), (ids,) = embedder.embed_with_tokens([" ".join(f"{word} " * n for word, n in counts.items())])
    assert len(ids) == sum(counts.values())
    scales = np.load(static.FOLDER / "scales.npy")
    codes = np.load(static.FOLDER / "codes.npy").astype(np.float64)
    rows = [embedder.token_ids([word])[0][0] for word in counts]
    total = sum(n * scales[row] * codes[row] for n, row in zip(counts.values(), rows, strict=True))
    np.testing.assert_allclose(vector, total / np.linalg.norm(total), atol=1e-5)


@pytest.mark.parametrize("text", ["🦊🎉", "", "   ", "你好", "[PAD][UNK]"])
def test_a_text_without_a_known_token_is_a_zero_vector(embedder: StaticEmbedder, text: str) -> None:
    (vector,), (ids,) = embedder.embed_with_tokens([text])
    assert not vector.any()
    assert len(ids) == 0


def test_special_tokens_do_not_count(embedder: StaticEmbedder) -> None:
    plain, padded = embedder.embed(["green tea", "green [PAD] tea [UNK] 🦊"])
    np.testing.assert_array_equal(plain, padded)
    ids = embedder.token_ids(["[CLS] hello [SEP]"])[0]
    assert len(ids) == 7 + 1, "brackets and letters are read as text: [ cl ##s ] hello [ sep ]"
    assert not {0, 1} & set(ids.tolist())


def test_token_ids_number_the_rows(embedder: StaticEmbedder) -> None:
    ids, again, other = embedder.token_ids(["Cats, cats!", "cats cats", "dogs"])
    assert ids.dtype == np.uint16
    assert ids.ndim == 1
    assert ids[0] == ids[2] == again[0], "case does not matter"
    assert len(ids) == 4
    assert len(again) == 2
    assert other[0] != again[0]


def test_token_table_gives_vectors_of_length_one(embedder: StaticEmbedder) -> None:
    codes, scales = embedder.token_table()
    assert codes.shape == (29525, 256)
    assert codes.dtype == np.int8
    assert scales.dtype == np.float32
    assert not codes.flags.writeable
    rows = np.random.default_rng(7).integers(0, len(codes), 500)
    np.testing.assert_allclose(np.linalg.norm(codes[rows] * scales[rows, None], axis=1), 1, atol=1e-5)
    tea = embedder.token_ids(["tea"])[0]
    np.testing.assert_allclose(codes[tea[0]] * scales[tea[0]], embedder.embed(["tea"])[0], atol=1e-6)


def test_a_single_string_is_refused(embedder: StaticEmbedder) -> None:
    with pytest.raises(InvalidInput, match="list"):
        embedder.embed("tea")
    with pytest.raises(InvalidInput, match="list"):
        embedder.token_ids("tea")


def test_it_survives_pickling(embedder: StaticEmbedder) -> None:
    copy = pickle.loads(pickle.dumps(embedder))
    np.testing.assert_array_equal(copy.embed(["tea"]), embedder.embed(["tea"]))


def test_missing_files_are_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static, "FOLDER", tmp_path)
    static._model.cache_clear()
    try:
        with pytest.raises(EmbeddingFailed, match="reinstall"):
            StaticEmbedder().embed(["tea"])
    finally:
        static._model.cache_clear()


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)


def test_importing_loads_neither_tokenizer_nor_weights() -> None:
    code = "import sys, agentmem.embed as e; e.StaticEmbedder().name; print('tokenizers' in sys.modules)"
    assert run_python(code).stdout.strip() == "False"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_after_use_is_silent_and_works() -> None:
    code = (
        "import os; os.environ.pop('TOKENIZERS_PARALLELISM', None)\n"
        "from agentmem.embed import StaticEmbedder\n"
        "e = StaticEmbedder(); texts = ['some words here'] * 2000; e.embed(texts)\n"
        "child = os.fork()\n"
        "if child == 0: os._exit(0 if e.embed(texts).any() else 1)\n"
        "print(os.waitpid(child, 0)[1])\n"
    )
    result = run_python(code)
    assert result.stdout.strip() == "0"
    assert result.stderr == ""
