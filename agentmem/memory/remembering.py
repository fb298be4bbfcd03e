"""The verb of writing: one text as one fact, or the turns of a conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

import numpy as np

from agentmem import validation as check
from agentmem.errors import InvalidInput, NotFound
from agentmem.memory.duplicates import check_threshold, cosine
from agentmem.memory.notes import INDEXED, Note, check_own, later, note_of, own_metadata, rewrite, text_hash
from agentmem.memory.packing import CountTokens, default_count
from agentmem.memory.scopes import LIVE, PAST, Scope
from agentmem.records import Record
from agentmem.store import MemoryStore
from agentmem.validation import Timestamp

Message = Mapping[str, Any]
_NEAR = 8
"""How many neighbours are looked at for one that means the same."""


class Remembering:
    """remember; see ``Memory`` for the arguments."""

    def __init__(
        self,
        store: MemoryStore,
        *,
        user: str | None = None,
        agent: str | None = None,
        session: str | None = None,
        similarity: float | None = None,
        count_tokens: CountTokens | None = None,
    ) -> None:
        if not isinstance(store, MemoryStore):
            raise InvalidInput(
                f"a Memory is in an open MemoryStore, got {check.came(store)}; of an AsyncMemoryStore give its .store"
            )
        self.store = store
        self.scope = Scope(user, agent, session)
        self._similarity = check_threshold(similarity)
        self._count = count_tokens or default_count(store)

    @overload
    def remember(
        self,
        content: str,
        *,
        key: str | None = ...,
        replaces: str | None = ...,
        pinned: bool = ...,
        importance: float = ...,
        metadata: Mapping[str, Any] | None = ...,
        embedding: Any = ...,
        created_at: Timestamp | None = ...,
        ttl: float | None = ...,
    ) -> str: ...

    @overload
    def remember(
        self,
        content: Sequence[Message],
        *,
        thread: str | None = ...,
        pinned: bool = ...,
        created_at: Timestamp | None = ...,
    ) -> list[str]: ...

    def remember(
        self,
        content: str | Sequence[Message],
        *,
        key: str | None = None,
        replaces: str | None = None,
        thread: str | None = None,
        pinned: bool = False,
        importance: float = 0.5,
        metadata: Mapping[str, Any] | None = None,
        embedding: Any = None,
        created_at: Timestamp | None = None,
        ttl: float | None = None,
    ) -> str | list[str]:
        """Keep a text, or the turns of a conversation; one commit.

        A text that is known already (see ``similarity``; only where not both have keys of their own) is not kept twice:
        the older memory stays, with the greater importance, the earlier time and the later expiry of the two, pinned if
        either is, and the metadata of both, its own first.  Turns are always kept, as each has its place, but for those
        that bring an "id" that is there: a conversation may be given again with its new turns.  Of two texts that are
        similar, but not the same, both may stay where two processes write them at one moment; ``deduplicate`` sees it.

        Args:
            content: a text; or messages as ``MemoryStore.add_messages`` takes them.
            key: names the fact.  A live memory of this scope with that key is replaced: it is no longer recalled and
                stays in ``history``.  There is one live memory of a key, whichever processes write.
            replaces: the key or the id of a live memory of this scope that the text takes the place of, with its key
                (its id where it has none).
            thread: the conversation, for messages; the session's name, or "conversation", when None.
            pinned: never deleted by ``retain`` or ``deduplicate``.
            importance: in [0, 1]; messages carry their own.
            metadata: a JSON object to filter by, without a key "memory"; messages carry their own.
            embedding: float (dim,) of the text; the store's embedder makes it when None.
            created_at: epoch seconds, datetime or ISO 8601; now when None.
            ttl: seconds until the text expires; never when None.

        Returns:
            The id of the memory that holds the text; for messages the ids of all of them, in order.

        Raises:
            NotFound: ``replaces`` names no live memory of exactly this scope.
            InvalidInput: an argument that cannot be used, or does not go with the kind of content.
            StoreReadOnly: the store was opened read-only.
            StoreBusy: another process held the write lock past the timeout; retry.
        """
        pinned = check.check_flag(pinned, "pinned")
        if isinstance(content, str):
            if thread is not None:
                raise InvalidInput(
                    "a thread goes with messages; give [{'role': ..., 'content': ...}] in place of a text"
                )
            fields = {"importance": importance, "created_at": created_at, "ttl": ttl}
            return self._remember_text(content, key, replaces, pinned, check_own(metadata), embedding, fields)
        if importance != 0.5 or any(each is not None for each in (key, replaces, metadata, embedding, ttl)):
            raise InvalidInput("with messages go thread, pinned and created_at only; each carries what else it has")
        return self._remember_turns(content, thread, pinned, created_at)

    def _covers(self, record: Record) -> bool:
        return any(self.scope.covers(record.namespace, root) for root in (LIVE, PAST))

    def _remember_text(
        self,
        text: str,
        key: str | None,
        replaces: str | None,
        pinned: bool,
        metadata: dict[str, Any],
        embedding: Any,
        fields: dict[str, Any],
    ) -> str:
        if key is not None and replaces is not None:
            raise InvalidInput("give key or replaces, not both: what replaces a memory takes its key")
        if key is not None and not check.check_string(key, "key"):
            raise InvalidInput("key is empty; give a name for the fact, or None")
        name = text_hash(check.check_text(text, has_embedding=False) or "")
        transaction = self.store.database.transaction()
        if embedding is None and self.store.embedder is not None:
            vector = self.store.ingest.embed([text])[0]
            embedding = vector if vector.any() else None
        near = self._near(embedding) if key is replaces is None else []
        with transaction:
            self._index()
            old = self._live(key) if replaces is None else self._replaced(replaces)
            note = Note(hash=name, key=key, pinned=pinned)
            if old is not None and note_of(old).hash == name:
                return self._merge(old, note, metadata, fields)
            if old is not None:
                before = note_of(old)
                note = Note(name, before.key or key or old.id, before.version + 1, pinned or before.pinned)
                rewrite(self.store, old, before._replace(key=note.key), namespace=self.scope.namespace(PAST))
            twin = self._twin(note, near, embedding)
            if twin is not None:
                return self._merge(twin, note, metadata, fields)
            return self.store.add(
                text,
                namespace=self.scope.namespace(),
                session=self.scope.session,
                metadata=note.metadata(metadata),
                embedding=embedding,
                **fields,
            )

    def _remember_turns(
        self, messages: Sequence[Message], thread: str | None, pinned: bool, created_at: Timestamp | None
    ) -> list[str]:
        turns = []
        for index, message in enumerate(check.check_list(messages, "content")):
            if not isinstance(message, Mapping):
                raise InvalidInput(f"message {index} must be a mapping with 'role' and 'content'")
            metadata = check_own(message.get("metadata"))
            turns.append({**message, "metadata": Note(pinned=pinned).metadata(metadata) if pinned else metadata})
        with self.store.transaction():
            given = [turn["id"] for turn in turns if turn.get("id") is not None]
            there = {record.id for record in self.store.get_many(given) if record is not None and self._covers(record)}
            added = iter(
                self.store.add_messages(
                    [turn for turn in turns if turn.get("id") not in there],
                    thread=thread or self.scope.session or "conversation",
                    session=self.scope.session,
                    namespace=self.scope.namespace(),
                    created_at=created_at,
                )
            )
        return [turn["id"] if turn.get("id") in there else next(added) for turn in turns]

    def _index(self) -> None:
        """Make looking for keys and hashes fast; where that was done already this costs next to nothing."""
        for path in INDEXED:
            self.store.create_metadata_index(path)

    def _live(self, key: str | None) -> Record | None:
        """Return the live memory of a key."""
        if key is None:
            return None
        return next(self.store.iterate({"memory.key": key}, self.scope.namespace(), batch=1), None)

    def _replaced(self, name: str) -> Record:
        """Return the live memory of exactly this scope that a key or an id names."""
        found = self._live(check.check_string(name, "replaces"))
        if found is None and name:
            record = self.store.get_many([name])[0]
            found = record if record is not None and record.namespace == self.scope.namespace() else None
        if found is None:
            raise NotFound(
                f"replaces={name!r} names no live memory of exactly this user, agent and session; "
                "leave it out, or open the Memory of the scope that it belongs to"
            )
        return found

    def _near(self, embedding: Any) -> list[str]:
        """Return the ids of the nearest memories of this scope, which may mean the same."""
        if self._similarity is None or embedding is None:
            return []
        found = self.store.knn([embedding], _NEAR, namespace=self.scope.namespace(), exact=True)[0][0]
        return [id for id in found if id is not None]

    def _twin(self, note: Note, near: Sequence[str], embedding: Any) -> Record | None:
        """Return a live memory that says what a new one says, and may stand for it.

        Args:
            note: of the new one.
            near: ids of memories that may mean the same.
            embedding: of the new one.
        """
        namespace = self.scope.namespace()
        for record in self.store.iterate({"memory.hash": note.hash}, namespace):
            if note.key is None or note_of(record).key in (None, note.key):
                return record
        best: tuple[float, Record] | None = None
        for other in self.store.get_many(near):
            if other is not None and other.namespace == namespace and other.thread is None:
                vector = self.store.vector(other.id)
                similarity = 0.0 if vector is None else cosine(np.asarray(embedding, np.float32), vector)
                if similarity >= (self._similarity or 0.0) and (best is None or similarity > best[0]):
                    best = similarity, other
        return None if best is None else best[1]

    def _merge(self, kept: Record, note: Note, metadata: dict[str, Any], fields: dict[str, Any]) -> str:
        """Have a memory stand for a new one that says the same."""
        now = check.wall_clock()
        before = note_of(kept)
        created_at = kept.created_at
        if fields["created_at"] is not None:
            created_at = min(created_at, check.check_timestamp(fields["created_at"], "created_at"))
        rewrite(
            self.store,
            kept,
            before._replace(
                key=before.key or note.key,
                version=max(before.version, note.version),
                pinned=before.pinned or note.pinned,
                seen_at=now,
            ),
            metadata={**metadata, **own_metadata(kept)},
            importance=max(check.check_number(fields["importance"], "importance", low=0.0, high=1.0), kept.importance),
            created_at=created_at,
            expires_at=later(kept.expires_at, check.expiry(fields["ttl"], now)),
        )
        return kept.id
