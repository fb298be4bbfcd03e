"""What the helper writes about a record, under one key of its metadata, and how a record is written anew."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from agentmem.errors import InvalidInput
from agentmem.ingest import WITHOUT, Draft
from agentmem.records import Record

if TYPE_CHECKING:
    from agentmem.store import MemoryStore

NOTE = "memory"
"""The key of the metadata that holds the note; callers cannot use it."""
INDEXED = (f"{NOTE}.hash", f"{NOTE}.key")


class Note(NamedTuple):
    """What is known of a record besides its own fields.

    Attributes:
        hash: of the text, as ``text_hash`` gives it; None for the turn of a conversation.
        key: the name of the fact, or None.
        version: of the fact, from 1; the one before it is in the past.
        pinned: retention and deduplication leave it.
        seen_at: epoch seconds; when the same was last remembered again, or None.
    """

    hash: str | None = None
    key: str | None = None
    version: int = 1
    pinned: bool = False
    seen_at: float | None = None

    def metadata(self, own: Mapping[str, Any]) -> dict[str, Any]:
        """Return the metadata of a record: the caller's, and this note without what is as ever."""
        plain = Note()
        return {**own, NOTE: {name: value for name, value in self._asdict().items() if value != getattr(plain, name)}}


_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "hash": str, "key": str, "version": int, "pinned": bool, "seen_at": (int, float),
}  # fmt: skip


def note_of(record: Record) -> Note:
    """Return the note of a record; what is not there, or is nothing that the helper writes, is as ever."""
    note = record.metadata.get(NOTE)
    given = note if isinstance(note, dict) else {}
    return Note(**{name: given[name] for name, kind in _TYPES.items() if isinstance(given.get(name), kind)})


def own_metadata(record: Record) -> dict[str, Any]:
    """Return a record's metadata without the note."""
    return {name: value for name, value in record.metadata.items() if name != NOTE}


def check_own(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the caller's metadata.

    Raises:
        InvalidInput: it uses the helper's key.
    """
    if metadata is not None and not isinstance(metadata, Mapping):
        raise InvalidInput(f"metadata must be a JSON object (a dict), got {type(metadata).__name__}")
    if metadata and NOTE in metadata:
        raise InvalidInput(f"the metadata key {NOTE!r} is the helper's own; use another name")
    return dict(metadata or {})


def text_hash(text: str) -> str:
    """Return the hash by which texts are the same; how their words are spaced does not count.

    BLAKE2b (RFC 7693), 16 bytes in hexadecimal, of the text in Unicode's form NFC with single spaces.
    """
    plain = " ".join(unicodedata.normalize("NFC", text).split())
    return blake2b(plain.encode(), digest_size=16).hexdigest()


def later(*expiries: float | None) -> float | None:
    """Return the last of several expiries; None is never."""
    last = 0.0
    for expiry in expiries:
        if expiry is None:
            return None
        last = max(last, expiry)
    return last


def rewrite(store: MemoryStore, record: Record, note: Note, **changes: Any) -> None:
    """Write a record anew under its id, within a transaction, with another note and other fields.

    Id, vector, links and feedback stay.
    """
    vector = store.vector(record.id)
    fields = {name: getattr(record, name) for name in _KEPT} | changes
    metadata = note.metadata(fields.pop("metadata", own_metadata(record)))
    draft = Draft(embedding=WITHOUT if vector is None else vector, metadata=metadata, **fields)
    with store.database.transaction() as writer:
        writer.upsert(store.ingest.complete([draft])[0])


_KEPT = (
    "id", "text", "namespace", "thread", "position", "session", "speaker", "importance", "created_at", "expires_at",
)  # fmt: skip
