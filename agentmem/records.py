"""The nouns that every part of agentmem speaks in: immutable, no behaviour beyond convenience."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from agentmem.errors import InvalidInput

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

Metric = Literal["cosine", "ip", "l2"]
METRICS: tuple[Metric, ...] = ("cosine", "ip", "l2")


class Record(NamedTuple):
    """One memory.  A tuple, since every search makes several of them and tuples are made fastest.

    Attributes:
        id: the caller's or a generated id, unique in the store.
        text: the text, or None for a record that is a vector only.
        metadata: a JSON object.
        namespace: path-like, "" by default.
        thread: the conversation or document that the record is part of, or None.
        position: its place in the thread (any number; order counts), or None.
        session: the sitting within the thread, or None.
        speaker: who said it, or None.
        created_at: epoch seconds, UTC.
        updated_at: epoch seconds, UTC.
        expires_at: epoch seconds, UTC, or None for never.
        importance: in [0, 1], 0.5 by default.
        label: the number of this version in the index; every update gives a new one.
    """

    id: str
    text: str | None
    metadata: dict[str, Any]
    namespace: str
    thread: str | None
    position: float | None
    session: str | None
    speaker: str | None
    created_at: float
    updated_at: float
    expires_at: float | None
    importance: float
    label: int


class NewRecord(NamedTuple):
    """A record about to be written, validated at the boundary; the store fills what is missing.

    Attributes:
        vector: float32 array of shape (dim,) as given by the caller or the embedder, or None (found lexically only).
        tokens: token ids of the embedder's tokenizer (uint16 or uint32 bytes), for late interaction.
        terms: uint32 ids of the text's stems, for the lexical index.
        links: (kind, target id) pairs.
    """

    id: str
    text: str | None
    vector: Float32 | None
    metadata: Mapping[str, Any] = {}
    namespace: str = ""
    thread: str | None = None
    position: float | None = None
    session: str | None = None
    speaker: str | None = None
    created_at: float = 0.0
    updated_at: float = 0.0
    expires_at: float | None = None
    importance: float = 0.5
    links: Sequence[tuple[str, str]] = ()
    tokens: bytes = b""
    terms: bytes = b""


@dataclass(frozen=True, slots=True)
class Change:
    """One committed change; ``seq`` grows by one with every change of the store.

    ``op`` is "put" or "delete" of the record with that id, or, with an empty id, "reembed": every vector is another, or
    "weights": searches rank by other learned weights.
    """

    seq: int
    op: Literal["put", "delete", "reembed", "weights"]
    id: str
    at: float


@dataclass(frozen=True, slots=True)
class Feedback:
    """One judged search.

    Attributes:
        at: epoch seconds, UTC.
        query: its text, or None.
        vector: float32 (dim,), or None where the text's own embedding was searched with.
        shown: ids of the records that the search showed, in their order; empty where that is not known.
        accepted: ids of those that were right.
        rejected: ids of those that were wrong.
        used: ids of those that somebody went on with; weaker evidence than accepted ones.
    """

    at: float
    query: str | None
    vector: Float32 | None
    shown: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    used: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a hit is where it is.

    Attributes:
        heads: each head's part of the score; they add up to the score.
        sources: the candidate sources that found it ("dense", "lexical", "neighbours", "links").
        mechanism: what ranked it.
        reason: why that mechanism was chosen.
    """

    heads: Mapping[str, float]
    sources: tuple[str, ...]
    mechanism: str
    reason: str


class Origin(Protocol):
    """The search that a hit came from."""

    def used(self, hit: Hit) -> None:
        """Tell the store that a hit was of use."""


class Hit(NamedTuple):
    """One search result.

    Attributes:
        record: what was found.
        score: higher is better; comparable within one mechanism only.
        rank: counts from 1.
        explanation: why it is where it is, where that was asked for.
        origin: the search that it came from.
        similarity: the cosine of the query's vector and the record's, in [-1, 1], whatever the store's metric; None
            where one of them has none.
        relevance: the score as a share of certainty in [0, 1] that the record is right, higher for higher scores of the
            same mechanism; ``agentmem.rerank.relevance`` says how far it can be trusted.  None for a hit that comes
            from no search.
    """

    record: Record
    score: float
    rank: int
    explanation: Explanation | None = None
    origin: Origin | None = None
    similarity: float | None = None
    relevance: float | None = None

    def used(self) -> None:
        """Tell the store that this memory was of use: weaker evidence than to accept it, but no effort.

        Kept in the feedback, in a commit of its own, once for each call.

        Raises:
            InvalidInput: the hit comes from no search, or was pickled.
            NotFound: the record is gone.
            StoreClosed: the store is closed, or gone.
            StoreReadOnly: it was opened read-only.
        """
        if self.origin is None:
            raise InvalidInput("this hit does not come from a search; use store.feedback(query, used=[id])")
        self.origin.used(self)

    @property
    def id(self) -> str:
        """The record's id."""
        return self.record.id

    @property
    def text(self) -> str | None:
        """The record's text."""
        return self.record.text


class Query(NamedTuple):
    """One search, validated.

    Attributes:
        text: the query's text, or None for a vector-only search.
        embedding: float32 array of shape (dim,), C-contiguous, or None.
        k: how many hits at most.
        offset: how many of the best hits to leave out.
        namespace: exact; a trailing "/" means the whole branch; None everything.
        filter: the filter language over metadata and the record's own fields, or None.
        mechanism: "auto" or the name of a mechanism.
        ef: breadth of the graph search, or None for the default.
        exact: scan every live vector rather than walk the graph.
        min_score: leave out hits that score less.
        explain: give each hit an explanation.
        now: epoch seconds; records that expired by then are not found.
    """

    text: str | None = None
    embedding: Float32 | None = None
    k: int = 10
    offset: int = 0
    namespace: str | None = None
    filter: Mapping[str, Any] | None = None
    mechanism: str = "auto"
    ef: int | None = None
    exact: bool = False
    min_score: float | None = None
    explain: bool = False
    now: float = 0.0
