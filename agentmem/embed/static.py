"""The bundled embedder: static token vectors distilled from all-MiniLM-L6-v2, no torch and no download.

A text's embedding is the mean of its tokens' vectors, normalised to length 1 (the weights of rare and frequent tokens
are part of the vectors: smooth inverse frequency, Arora et al. 2017).  ``static/README.md`` tells where they come from.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from agentmem.cache import Memo
from agentmem.embed.protocol import TokenIds
from agentmem.errors import EmbeddingFailed, InvalidInput
from agentmem.records import Float32, Metric

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FOLDER = Path(__file__).with_name("static")
_NOT_PLAIN = re.compile(r"[^\t\n\r -Z\\^-~]").search
"""Control characters are dropped inside words, brackets may make a special token, and Unicode has rules of its own."""
_PLAIN_WORDS = re.compile(r"[a-z0-9]+|[!-/:-@\\^-`{-~]").findall
_IS_WORD = re.compile(r"[a-z0-9]{1,100}").fullmatch
"""What ``_PLAIN_WORDS`` finds; longer ones are unknown to the tokenizer."""
SLICE = 4096
"""Tokens that are pooled at a time, so that a very long text costs no more memory than this."""


@dataclass(frozen=True, slots=True)
class _Model:
    tokenizer: Tokenizer
    ignored: frozenset[int]
    codes: NDArray[np.int8]
    scales: Float32
    id_type: type[np.unsignedinteger[Any]]


def _unreadable(error: Exception) -> EmbeddingFailed:
    return EmbeddingFailed(f"the bundled model in {FOLDER} cannot be read, reinstall agentmem ({error})")


@cache
def _description() -> dict[str, Any]:
    try:
        description: dict[str, Any] = json.loads((FOLDER / "model.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(error) from error
    return description


@cache
def _model() -> _Model:
    """Load the model once for the process: the codes stay mapped to the file and are shared by all processes."""
    from tokenizers import Tokenizer

    try:
        codes = np.asarray(np.load(FOLDER / "codes.npy", mmap_mode="r", allow_pickle=False))
        scales = np.load(FOLDER / "scales.npy", allow_pickle=False)
        tokenizer = Tokenizer.from_str((FOLDER / "tokenizer.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(error) from error
    expected = (_description()["vocabulary"], _description()["dimension"])
    if codes.shape != expected or scales.shape != expected[:1] or tokenizer.get_vocab_size() != expected[0]:
        raise _unreadable(ValueError(f"codes {codes.shape} and scales {scales.shape}, expected {expected}"))
    ignored = frozenset(tokenizer.get_added_tokens_decoder())
    id_type = np.uint16 if len(codes) <= 1 << 16 else np.uint32
    return _Model(tokenizer, ignored, codes, scales, id_type)


@cache
def _unit_scales() -> Float32:
    codes = _model().codes
    squares = np.einsum("ij,ij->i", codes, codes, dtype=np.int32)
    scales: Float32 = np.reciprocal(np.sqrt(np.maximum(squares, 1))).astype(np.float32)
    return scales


@cache
def _pieces() -> Memo[tuple[int, ...]]:
    """Return the known tokens of words and punctuation marks, remembered."""
    model = _model()

    def pieces(word: str) -> tuple[int, ...]:
        if _IS_WORD(word):  # The longest piece of a word that is in the vocabulary is the word itself.
            whole = model.tokenizer.token_to_id(word)
            if whole is not None:
                return (whole,)
        # One text a call: batches would run on the tokenizer's thread pool, which warns once the process forks.
        ids = model.tokenizer.encode(word, add_special_tokens=False).ids
        return tuple(token for token in ids if token not in model.ignored)

    return Memo(pieces, size=200_000)


def _tokenise(model: _Model, text: str) -> TokenIds:
    """Return the ids of the text's known tokens; [PAD] and [UNK] are left out.

    The tokenizer takes plain ASCII apart into runs of letters and digits and single marks, each on its own, so these
    are looked up; any other text goes through it as a whole.
    """
    pieces = _pieces()
    words = [text] if _NOT_PLAIN(text) else _PLAIN_WORDS(text.lower())
    return np.array(list(chain.from_iterable(map(pieces.__getitem__, words))), model.id_type)


def _pool(model: _Model, ids: TokenIds, out: Float32) -> None:
    """Add the token vectors up into ``out``, float32 (d,) of zeros, and normalise it; no tokens leave it zero."""
    for start in range(0, len(ids), SLICE):
        part = ids[start : start + SLICE]
        out += model.scales[part] @ model.codes[part]
    length = math.sqrt(float(out @ out))
    if length > 0:
        out /= length


class StaticEmbedder:
    """The bundled model, a ``TokenEmbedder``; loaded at the first use, once for the process.

    English, 256 dimensions.  A text of which it knows no token (emoji, most Chinese) gets a zero vector.
    """

    metric: Metric = "cosine"

    @property
    def name(self) -> str:
        """The model's name and a hash of its files."""
        return str(_description()["name"])

    @property
    def dimension(self) -> int:
        """The length of each vector: 256."""
        return int(_description()["dimension"])

    @property
    def tokenizer_hash(self) -> str:
        """SHA-256 of the tokenizer's file, in hexadecimal."""
        return str(_description()["sha256"]["tokenizer.json"])

    def embed(self, texts: Sequence[str]) -> Float32:
        """Return float32 rows of length 1, shape (len(texts), 256); zero rows for texts without a known token.

        Raises:
            InvalidInput: a single string was given.
            EmbeddingFailed: the model's files cannot be read.
        """
        return self.embed_with_tokens(texts)[0]

    def token_ids(self, texts: Sequence[str]) -> list[TokenIds]:
        """Return each text's known tokens, uint16 arrays of shape (n_tokens,), in the text's order.

        Raises:
            InvalidInput: a single string was given.
            EmbeddingFailed: the model's files cannot be read.
        """
        if isinstance(texts, str):
            raise InvalidInput("expected a sequence of texts, got one string; put it into a list")
        model = _model()
        return [_tokenise(model, text) for text in texts]

    def embed_with_tokens(self, texts: Sequence[str]) -> tuple[Float32, list[TokenIds]]:
        """Return ``embed(texts)`` and ``token_ids(texts)``, tokenising once; raises what they raise."""
        ids = self.token_ids(texts)
        model = _model()
        vectors = np.zeros((len(ids), model.codes.shape[1]), np.float32)
        for tokens, row in zip(ids, vectors, strict=True):
            _pool(model, tokens, row)
        return vectors, ids

    def token_table(self) -> tuple[NDArray[np.int8], Float32]:
        """Return read-only int8 codes (29525, 256) and float32 scales (29525,) that give token vectors of length 1.

        Raises:
            EmbeddingFailed: the model's files cannot be read.
        """
        return _model().codes, _unit_scales()
