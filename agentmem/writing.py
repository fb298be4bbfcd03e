"""The verbs that change a store: each returns after its commit, and what it wrote is searchable at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice, repeat
from typing import Any, Literal, cast

import numpy as np

from agentmem import validation as check
from agentmem.core import StoreCore
from agentmem.errors import InvalidInput, NotFound
from agentmem.ingest import Draft
from agentmem.progress import track
from agentmem.records import NewRecord, Record
from agentmem.telemetry import BATCH as SIZE
from agentmem.telemetry import operation, timed
from agentmem.validation import Timestamp

OnConflict = Literal["error", "replace", "skip"]
Links = Sequence[tuple[str, str]]
BATCH = 1_000
KEEP: Any = object()
"""Default of ``update``'s arguments: leave this as it is (None is a value)."""


class WritingVerbs(StoreCore):
    """add, upsert, add_many, add_messages, update, delete, delete_where, purge_expired, transaction."""

    @timed()
    def add(
        self,
        text: str | None = None,
        *,
        namespace: str = "",
        metadata: Mapping[str, Any] | None = None,
        thread: str | None = None,
        session: str | int | None = None,
        speaker: str | None = None,
        position: float | None = None,
        importance: float = 0.5,
        links: Links = (),
        id: str | None = None,
        embedding: Any = None,
        created_at: Timestamp | None = None,
        ttl: float | None = None,
    ) -> str:
        """Add one record; return its id once it is committed.

        Args:
            text: the memory; may be None or empty where an embedding is given.
            namespace: path-like, e.g. "users/1".
            metadata: a JSON object to filter by.
            thread: the conversation or document that the record is part of.
            session: the sitting within the thread.
            speaker: who said it.
            position: place in the thread; without one, records of a thread stand in the order they were added.
            importance: in [0, 1].
            links: (kind, target id) pairs to records that exist.
            id: unique in the store; generated when None.
            embedding: float vector of shape (dim,); the embedder's when None.
            created_at: epoch seconds, datetime or ISO 8601; now when None.
            ttl: seconds until the record expires; never when None.

        Raises:
            DuplicateId: the id exists.
            InvalidInput: an argument that cannot be used, or a link to nothing.
            EmbeddingFailed: the embedder failed.
            StoreBusy: another process held the write lock past the timeout; retry.
        """
        draft = Draft(
            text, embedding, id, namespace, metadata, thread, session, speaker, position, importance, links,
            created_at, ttl,
        )  # fmt: skip
        return self._insert(draft, overwrite=False)

    @timed()
    def upsert(
        self,
        text: str | None = None,
        *,
        id: str,
        namespace: str = "",
        metadata: Mapping[str, Any] | None = None,
        thread: str | None = None,
        session: str | int | None = None,
        speaker: str | None = None,
        position: float | None = None,
        importance: float = 0.5,
        links: Links = (),
        embedding: Any = None,
        created_at: Timestamp | None = None,
        ttl: float | None = None,
    ) -> str:
        """Add a record, or put it in the place of the one with this id; arguments and errors as ``add``.

        A record that is replaced keeps its ``created_at`` unless a new one is given, and its links.
        """
        draft = Draft(
            text, embedding, check.check_id(id), namespace, metadata, thread, session, speaker, position, importance,
            links, created_at, ttl,
        )  # fmt: skip
        return self._insert(draft, overwrite=True)

    def _insert(self, draft: Draft, *, overwrite: bool) -> str:
        transaction = self.database.transaction()
        record = self.ingest.complete([draft])[0]
        with transaction as writer:
            if overwrite:
                writer.upsert(record, keep_created_at=draft.created_at is None)
            else:
                writer.insert(record)
        return record.id

    @timed(SIZE)
    def add_many(
        self,
        texts: Sequence[str | None] | None = None,
        *,
        embeddings: Any = None,
        ids: Sequence[str] | None = None,
        metadatas: Sequence[Mapping[str, Any] | None] | None = None,
        namespace: str | Sequence[str] = "",
        threads: str | Sequence[str | None] | None = None,
        sessions: Any = None,
        speakers: str | Sequence[str | None] | None = None,
        positions: Sequence[float | None] | None = None,
        created_at: Any = None,
        importances: Any = 0.5,
        links: Sequence[Links] | None = None,
        ttl: Any = None,
        on_conflict: OnConflict = "error",
        progress: bool = False,
    ) -> list[str]:
        """Add many records in one transaction: all of them or, when anything is refused, none.

        Everything is embedded before anything is written: an embedder that fails half way has cost its time only.

        Args:
            texts: n texts, or None where embeddings are given alone.
            embeddings: float array of shape (n, dim); the embedder's when None.
            ids: n ids; generated when None.
            metadatas: n JSON objects.
            namespace: one for all, or n of them.
            threads: one for all, or n of them.
            sessions: one for all, or n of them.
            speakers: one for all, or n of them.
            positions: n places in their threads.
            created_at: one for all, or n of them.
            importances: one for all, or n of them.
            links: n lists of (kind, target id) pairs; targets may stand earlier in the same call.
            ttl: one for all, or n of them.
            on_conflict: what an id that exists does: "error", "replace" (keeps created_at when none is given), "skip".
            progress: show a progress bar.

        Returns:
            The n ids, those skipped too.

        Raises:
            InvalidInput: lengths that differ, or an argument that cannot be used; the message names the record.
            DuplicateId: an id that exists, or comes twice, with on_conflict="error".
            EmbeddingFailed: the embedder failed; nothing was written.
        """
        transaction = self.database.transaction()
        check.check_choice(on_conflict, "on_conflict", ("error", "replace", "skip"))
        progress = check.check_flag(progress, "progress")
        if texts is None and embeddings is None:
            raise InvalidInput("add_many needs texts, embeddings, or both")
        if isinstance(texts, str):
            raise InvalidInput("texts is one string; give a list of texts, or use add()")
        if embeddings is not None:
            embeddings = check.check_matrix(embeddings, self.identity.dimension, self.identity.metric)
        count = len(embeddings if texts is None else check.check_list(texts, "texts"))
        columns = zip(
            _each(texts, count, "texts"),
            _each(embeddings, count, "embeddings"),
            _each(ids, count, "ids"),
            _all_or_each(namespace, count, "namespace"),
            _each(metadatas, count, "metadatas"),
            _all_or_each(threads, count, "threads"),
            _all_or_each(sessions, count, "sessions"),
            _all_or_each(speakers, count, "speakers"),
            _each(positions, count, "positions"),
            _all_or_each(importances, count, "importances"),
            _each(links, count, "links"),
            _all_or_each(created_at, count, "created_at"),
            _all_or_each(ttl, count, "ttl"),
            strict=True,
        )
        records: list[NewRecord] = []
        with track("embedding", count, progress) as advance:
            for start in range(0, count, BATCH):
                drafts = [Draft(*row) for row in islice(columns, BATCH)]
                records += self._complete(drafts, start)
                advance(len(drafts))
        with transaction as writer, track("writing", count, progress) as advance:
            for start in range(0, count, BATCH):
                batch = records[start : start + BATCH]
                writer.insert_many(batch, on_conflict=on_conflict, keep_created_at=created_at is None)
                advance(len(batch))
        return [record.id for record in records]

    def _complete(self, drafts: list[Draft], start: int) -> list[NewRecord]:
        try:
            return self.ingest.complete(drafts)
        except InvalidInput as error:
            if start == 0:
                raise
            raise type(error)(f"in the batch that begins at record {start}: {error}") from error

    @timed(SIZE)
    def add_messages(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        thread: str,
        session: str | int | None = None,
        namespace: str = "",
        created_at: Timestamp | None = None,
    ) -> list[str]:
        """Add the turns of a conversation, in order, in one transaction; they continue the thread's positions.

        Args:
            messages: mappings with "role" and "content", as chat interfaces have them; optionally "speaker" or "name"
                (the role when absent), "created_at", "id", "metadata", "importance".
            thread: the conversation.
            session: the sitting; every turn of this call belongs to it.
            namespace: of all turns.
            created_at: of turns that carry none; now when None.

        Returns:
            The ids, in order.
        """
        thread = check.check_string(thread, "thread")
        namespace = check.check_string(namespace, "namespace")
        drafts = []
        for index, message in enumerate(check.check_list(messages, "messages")):
            if not isinstance(message, Mapping) or "content" not in message:
                raise InvalidInput(
                    f"message {index} must be a mapping with 'role' and 'content', got {check.came(message)}"
                )
            metadata = dict(check.check_metadata(message.get("metadata")))
            if "role" in message:
                metadata.setdefault("role", message["role"])
            drafts.append(
                Draft(
                    text=message["content"],
                    id=message.get("id"),
                    namespace=namespace,
                    metadata=metadata,
                    thread=thread,
                    session=session,
                    speaker=message.get("speaker") or message.get("name") or message.get("role"),
                    importance=message.get("importance", 0.5),
                    created_at=message.get("created_at", created_at),
                )
            )
        with self.database.transaction() as writer:
            first = writer.next_position(namespace, thread)
            numbered = [draft._replace(position=first + offset) for offset, draft in enumerate(drafts)]
            records = self.ingest.complete(numbered)
            writer.insert_many(records, on_conflict="error")
        return [record.id for record in records]

    @timed()
    def update(
        self,
        id: str,
        *,
        text: str | None = KEEP,
        metadata: Mapping[str, Any] | None = KEEP,
        embedding: Any = KEEP,
        importance: float = KEEP,
        ttl: float | None = KEEP,
        links: Links = KEEP,
    ) -> Record:
        """Change some of a record's fields; the others stay.  A new text is embedded anew unless an embedding is given.

        Args:
            id: of the record.
            text: the new text.
            metadata: the new metadata, in place of all of the old.
            embedding: the new vector.
            importance: the new importance.
            ttl: seconds from now, or None to let it live for ever.
            links: replace all of the record's links.

        Raises:
            NotFound: no record with that id.
            InvalidInput: an argument that cannot be used, or a new text without an embedding and no embedder.
        """
        id = check.check_id(id)
        if text is not KEEP and embedding is KEEP and self.embedder is None:
            raise InvalidInput("a new text needs its embedding: the store has no embedder, give embedding=... too")
        with self.database.transaction() as writer, self.database.read() as reader:
            old = reader.get([id])[0]
            if old is None:
                raise NotFound(f"no record with id {id!r}")
            if embedding is KEEP:
                embedding = reader.vector(id) if text is KEEP else None
            draft = Draft(
                text=old.text if text is KEEP else text,
                embedding=embedding,
                id=id,
                namespace=old.namespace,
                metadata=old.metadata if metadata is KEEP else metadata,
                thread=old.thread,
                session=old.session,
                speaker=old.speaker,
                position=old.position,
                importance=old.importance if importance is KEEP else importance,
                links=() if links is KEEP else links,
                created_at=old.created_at,
                ttl=None if ttl is KEEP else ttl,
            )
            record = self.ingest.complete([draft])[0]
            if links is not KEEP:
                writer.unlink_all(id)
            writer.upsert(record, keep_created_at=True, keep_expiry=ttl is KEEP)
            updated = reader.get([id])[0]
        if updated is None:
            raise NotFound(f"no record with id {id!r}")
        return updated

    @timed()
    def delete(self, *ids: str) -> int:
        """Delete records by id; return how many there were.  Unknown ids are passed over."""
        names = [check.check_id(each) for each in ids]
        with self.database.transaction() as writer:
            return writer.delete(names)

    @timed()
    def delete_where(self, filter: Mapping[str, Any] | None = None, namespace: str | None = None) -> int:
        """Delete every record that matches a filter, within a namespace; return how many.

        Raises:
            InvalidInput: neither a filter nor a namespace is given, which would delete everything.
        """
        filter, namespace = check.check_scope(filter, namespace)
        if not filter and namespace is None:
            raise InvalidInput("delete_where needs a filter or a namespace; it would delete everything")
        return self._delete_matching(lambda reader: reader.ids_where(filter, namespace))

    @timed()
    def purge_expired(self) -> int:
        """Delete the records that have expired (they are never found); return how many."""
        now = check.wall_clock()
        return self._delete_matching(lambda reader: reader.expired(now))

    def _delete_matching(self, find: Callable[[Any], list[str]]) -> int:
        with self.database.transaction() as writer, self.database.read() as reader:
            return writer.delete(find(reader))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make several changes one commit; an exception undoes them all.  Reads inside see the changes."""
        with operation("transaction", self.path), self.database.transaction():
            yield

    @timed()
    def create_metadata_index(self, path: str) -> None:
        """Make filters on one metadata path (dotted) fast, whatever the size of the store."""
        with self.database.transaction() as writer:
            writer.create_metadata_index(path)


def _each(values: Any, count: int, name: str) -> Iterable[Any]:
    """Return a column of ``add_many`` that has a value for each record; None stands for None in all of them."""
    if values is None:
        return repeat(None, count)
    if len(check.check_list(values, name)) != count:
        raise InvalidInput(f"{name} has {len(values)} entries for {count} records")
    return cast(Iterable[Any], values)


def _all_or_each(value: Any, count: int, name: str) -> Iterable[Any]:
    """Return a column of ``add_many`` that has one value for all records, or one for each."""
    return _each(value, count, name) if isinstance(value, (list, tuple, np.ndarray)) else repeat(value, count)
