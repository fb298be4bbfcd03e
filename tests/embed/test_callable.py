"""Wrapped callables, and what ``resolve`` makes of the caller's embedder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from agentmem.embed import CallableEmbedder, StaticEmbedder, checked, has_tokens, resolve
from agentmem.errors import EmbeddingFailed, InvalidInput


def lengths(texts: list[str], dimension: int = 3) -> np.ndarray:
    return np.array([[len(text)] * dimension for text in texts], np.float64)


class Recorder:
    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, texts: list[str]) -> np.ndarray:
        self.calls.append(texts)
        return lengths(texts)


class OwnEmbedder:
    name = "mine-1"
    dimension = 2
    metric = "ip"

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return np.ones((len(texts), 2), np.float32)


class Encoder:
    """What sentence-transformers looks like from here: callable too, as a torch module is."""

    def __init__(self, name: str | None) -> None:
        self.model_card_data = SimpleNamespace(base_model=name, model_id=None)

    def __call__(self) -> None:
        raise AssertionError("encode is to be used")

    def encode(self, texts: list[str]) -> np.ndarray:
        return np.full((len(texts), 4), 0.5, np.float16)


def test_a_callable_gives_checked_float32() -> None:
    embedder = CallableEmbedder(lengths, name="lengths")
    vectors = embedder.embed(("tea", "coffee"))
    np.testing.assert_array_equal(vectors, [[3, 3, 3], [6, 6, 6]])
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    assert (embedder.name, embedder.dimension, embedder.metric) == ("lengths", 3, "cosine")
    assert not has_tokens(embedder)


def test_lists_and_integers_are_read_as_vectors() -> None:
    assert CallableEmbedder(lambda texts: [[1, 2]] * len(texts), "x").embed(["a", "b"]).tolist() == [[1, 2], [1, 2]]


def test_the_dimension_is_asked_for_once_and_only_when_needed() -> None:
    fn = Recorder()
    embedder = CallableEmbedder(fn, "r")
    assert fn.calls == []
    assert embedder.dimension == embedder.dimension == 3
    assert len(fn.calls) == 1
    assert embedder.embed([]).shape == (0, 3)
    assert len(fn.calls) == 1, "an empty list is never handed to the function"
    known = Recorder()
    assert CallableEmbedder(known, "r", dimension=3).dimension == 3
    assert known.calls == []


def test_the_first_batch_fixes_the_dimension() -> None:
    widths = iter([3, 4])
    embedder = CallableEmbedder(lambda texts: np.ones((len(texts), next(widths))), "shifty")
    embedder.embed(["a"])
    with pytest.raises(EmbeddingFailed, match=r"\(1, 3\).*got shape \(1, 4\)"):
        embedder.embed(["b"])


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (np.ones(3), r"got shape \(3,\)"),
        (np.ones((1, 3)), r"expected real numbers of shape \(2, 3\), got shape \(1, 3\)"),
        (np.ones((2, 4)), r"got shape \(2, 4\)"),
        (np.ones((2, 3, 1)), "got shape"),
        (np.ones((2, 0)), "got shape"),
        ([["a", "b", "c"]] * 2, "got dtype <U1"),
        (np.ones((2, 3), np.complex64), "complex64"),
        (np.ones((2, 3), np.bool_), "bool"),
        ([[1, 2, 3], [1, 2]], "that is no array|dtype object"),
        (None, "dtype object"),
        ([[1, 2, 3], [1, np.nan, 3]], "NaN or infinity for text 1 of 2"),
        ([[np.inf, 2, 3], [1, 2, 3]], "NaN or infinity for text 0 of 2"),
        ([[1e300, 2, 3], [1, 2, 3]], "NaN or infinity for text 0 of 2"),
    ],
)
def test_what_is_no_embedding_says_what_was_expected_and_what_came(returned: Any, message: str) -> None:
    embedder = CallableEmbedder(lambda texts: returned, "broken", dimension=3)
    with pytest.raises(EmbeddingFailed, match=message) as caught:
        embedder.embed(["a", "b"])
    assert "'broken'" in str(caught.value)


def test_an_exception_inside_is_named_and_chained() -> None:
    def fail(texts: list[str]) -> None:
        raise ConnectionError("no route")

    with pytest.raises(EmbeddingFailed, match="'remote' raised ConnectionError: no route") as caught:
        CallableEmbedder(fail, "remote").embed(["a"])
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert isinstance(caught.value, RuntimeError)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InvalidInput, match="callable"):
        CallableEmbedder("not a function", "x")
    with pytest.raises(InvalidInput, match="name"):
        CallableEmbedder(lengths, "")
    with pytest.raises(InvalidInput, match="at least 1"):
        CallableEmbedder(lengths, "x", dimension=0)
    with pytest.raises(InvalidInput, match="one string"):
        CallableEmbedder(lengths, "x").embed("tea")


def test_checked_accepts_any_dimension_when_none_is_known() -> None:
    assert checked([[1.0, 2.0]], 1, None, "x").shape == (1, 2)
    strided = checked(np.ones((4, 6), np.float32)[:, ::2], 4, 3, "x")
    assert strided.flags.c_contiguous


def test_resolve_knows_names_and_none() -> None:
    assert resolve(None) is None
    assert resolve(None, 384) is None
    assert isinstance(resolve("static"), StaticEmbedder)
    assert isinstance(resolve("static", 256), StaticEmbedder)


def test_resolve_wraps_callables_under_their_own_name() -> None:
    found = resolve(lengths)
    assert isinstance(found, CallableEmbedder)
    assert found.name == f"{__name__}.lengths"
    assert resolve(partial(lengths, dimension=5), 5).name == found.name
    assert resolve(Recorder()).name == f"{__name__}.Recorder"
    assert resolve(Recorder()).embed(["tea"]).tolist() == [[3, 3, 3]]


def test_resolve_passes_embedders_through() -> None:
    own = OwnEmbedder()
    assert resolve(own) is own
    assert resolve(own, 2) is own


def test_resolve_uses_encode_and_the_model_name() -> None:
    found = resolve(Encoder("org/model"), 4)
    assert found.name == "org/model"
    assert found.embed(["a"]).tolist() == [[0.5] * 4]
    with pytest.raises(InvalidInput, match=r'CallableEmbedder\(model.encode, name="..."\)'):
        resolve(Encoder(None))


@pytest.mark.parametrize("embedder", ["statik", 7, ["static"], object()])
def test_resolve_lists_what_exists(embedder: Any) -> None:
    with pytest.raises(InvalidInput, match=r"'static'.*callable"):
        resolve(embedder)


def test_resolve_refuses_classes_and_half_embedders() -> None:
    with pytest.raises(InvalidInput, match="class StaticEmbedder"):
        resolve(StaticEmbedder)
    with pytest.raises(InvalidInput, match="needs also: name, dimension, metric"):
        resolve(SimpleNamespace(embed=lengths))


def test_resolve_refuses_another_dimension() -> None:
    with pytest.raises(InvalidInput, match="dimension 256, not 384"):
        resolve("static", 384)
    with pytest.raises(InvalidInput, match="dimension 2, not 3"):
        resolve(OwnEmbedder(), 3)
