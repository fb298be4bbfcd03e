"""The six tools of memory: remember, recall, update, forget, list_namespaces, feedback."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from itertools import islice
from typing import Annotated, Any

from pydantic import BaseModel, Field

from agentmem import Hit, InvalidInput, MemoryStore, Record
from agentmem.adapters.mcp.scope import Scope
from agentmem.adapters.mcp.tool import ADDS, CHANGES, READS, Answer, Tool

LONGEST_TEXT = 100_000
MOST_HITS = 100
MOST_IDS = 1_000

Text = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)]
Ids = Annotated[list[str], Field(max_length=MOST_IDS)]
Metadata = Annotated[
    dict[str, Any] | None, Field(description='JSON object to filter by later, e.g. {"topic": "travel"}')
]
Importance = Annotated[float, Field(ge=0, le=1, description="From 0 (trivia) to 1 (never lose this).")]


class Link(BaseModel):
    """A link to another memory."""

    kind: str = Field(description='What the other memory is to this one, e.g. "answers" or "part_of".')
    target: str = Field(description="Id of the other memory.")


class Memory(Answer):
    """One memory; what it does not have is left out."""

    id: str
    text: str | None = None
    namespace: str
    metadata: dict[str, Any] | None = None
    thread: str | None = None
    session: str | None = None
    speaker: str | None = None
    position: float | None = None
    importance: float
    created_at: str = Field(description="ISO 8601, UTC.")
    updated_at: str | None = Field(default=None, description="Where it was changed since.")
    expires_at: str | None = None


class Recalled(Memory):
    """A memory that was found."""

    rank: int = Field(description="From 1, the best.")
    score: float = Field(description="Higher is better; comparable within one answer only.")
    relevance: float | None = Field(default=None, description="From 0 to 1: how likely it is right, roughly.")


class Recall(Answer):
    """The memories that were found, best first."""

    memories: list[Recalled]


class Remembered(Answer):
    """Where a memory was kept."""

    id: str = Field(description="For update, forget, feedback and links.")
    namespace: str


class Forgotten(Answer):
    """What was deleted."""

    forgotten: list[str]
    unknown: list[str] = Field(description="Ids of no memory, which were passed over.")


class Namespace(Answer):
    """A namespace that has memories."""

    name: str = Field(description='"" is the one that memories go to where none is given.')
    memories: int


class Namespaces(Answer):
    """Namespaces by name."""

    namespaces: list[Namespace]
    next: str | None = Field(default=None, description="There are more: give this as after.")


class Noted(Answer):
    """How many memories were judged."""

    judged: int


class MemoryTools:
    """The tools over one store, inside a scope."""

    def __init__(self, store: MemoryStore, scope: Scope) -> None:
        self._store = store
        self._scope = scope

    def tools(self) -> list[Tool]:
        """Return the six."""
        return [
            Tool.of(self.remember, ADDS),
            Tool.of(self.recall, READS),
            Tool.of(self.update, CHANGES),
            Tool.of(self.forget, CHANGES),
            Tool.of(self.list_namespaces, READS),
            Tool.of(self.feedback, ADDS),
        ]

    def remember(
        self,
        text: Annotated[Text, Field(description="The memory: one fact or turn, understandable on its own.")],
        namespace: Annotated[str, Field(description='Where to keep it, path-like, e.g. "projects/boat".')] = "",
        metadata: Metadata = None,
        thread: Annotated[str | None, Field(description="The conversation or document that it is part of.")] = None,
        session: Annotated[str | None, Field(description="The sitting within the thread.")] = None,
        speaker: Annotated[str | None, Field(description="Who said it.")] = None,
        importance: Importance = 0.5,
        ttl_seconds: Annotated[float | None, Field(gt=0, description="Forget it by itself after so long.")] = None,
        links: Annotated[list[Link] | None, Field(max_length=MOST_IDS, description="To memories that exist.")] = None,
    ) -> Remembered:
        """Keep a memory for good, and get its id. It can be recalled at once, by this and every other session.

        Store facts, decisions, preferences and events worth knowing later, one a call. Recall first where it may be
        known already: update the old memory then, rather than keeping two that contradict each other.
        """
        place = self._scope.place(namespace)
        drawn = [(link.kind, link.target) for link in links or ()]
        with self._store.transaction():
            self._scope.require(self._store, [target for _, target in drawn])
            id = self._store.add(
                text,
                namespace=place,
                metadata=metadata,
                thread=thread,
                session=session,
                speaker=speaker,
                importance=importance,
                ttl=ttl_seconds,
                links=drawn,
            )
        return Remembered(id=id, namespace=namespace)

    def recall(
        self,
        query: Annotated[Text, Field(description="What to look for: a question or a few words, in plain language.")],
        k: Annotated[int, Field(ge=1, le=MOST_HITS, description="How many memories at most.")] = 5,
        namespace: Annotated[
            str | None, Field(description='Only in this one; with a "/" at its end in the branch below it.')
        ] = None,
        filter: Annotated[
            dict[str, Any] | None,
            Field(
                description='Conditions on metadata: {"topic": "travel", "stars": {"$gte": 3}}. Operators: $eq $ne $gt '
                "$gte $lt $lte $in $nin $exists $contains $not $and $or. Own fields of a memory begin with @: @speaker "
                "@thread @session @text @id, @created_at @importance (numbers; times in seconds since 1970)."
            ),
        ] = None,
        offset: Annotated[int, Field(ge=0, le=10_000, description="Leave out the best so many: for more.")] = 0,
    ) -> Recall:
        """Find memories by meaning and by words, the best first. Recall before you answer from what you do not know.

        No memories is an answer too: nothing that matches is known. Tell with feedback which ones were of use.
        """
        within, condition = self._scope.within(namespace, filter)
        hits = self._store.search(query, k=k, offset=offset, namespace=within, filter=condition)
        return Recall(memories=[self._recalled(hit) for hit in hits])

    def update(
        self,
        id: Annotated[str, Field(min_length=1, description="Of the memory; from recall or remember.")],
        text: Annotated[Text | None, Field(description="The new text, in place of the old.")] = None,
        metadata: Annotated[
            dict[str, Any] | None, Field(description="The new metadata, in place of all of the old.")
        ] = None,
        importance: Annotated[float | None, Field(ge=0, le=1, description="The new importance.")] = None,
        ttl_seconds: Annotated[
            float | None, Field(ge=0, description="Forget it so long from now; 0: never by itself.")
        ] = None,
    ) -> Memory:
        """Change a memory that is wrong or out of date. What is not given stays as it is; the old text is gone."""
        changes: dict[str, Any] = {
            name: value
            for name, value in (("text", text), ("metadata", metadata), ("importance", importance))
            if value is not None
        }
        if ttl_seconds is not None:
            changes["ttl"] = ttl_seconds or None
        if not changes:
            raise InvalidInput("nothing to change; give text, metadata, importance or ttl_seconds")
        with self._store.transaction():
            self._scope.require(self._store, [id])
            self._scope.changeable(self._store, [id])
            record = self._store.update(id, **changes)
        return Memory(**self._fields(record))

    def forget(
        self, ids: Annotated[Ids, Field(min_length=1, description="Of the memories; from recall or remember.")]
    ) -> Forgotten:
        """Delete memories for good, and what feedback says of them. It cannot be undone."""
        with self._store.transaction():
            known = self._scope.changeable(self._store, ids)
            self._store.delete(*known)
        return Forgotten(forgotten=list(known), unknown=[id for id in dict.fromkeys(ids) if id not in known])

    def list_namespaces(
        self,
        prefix: Annotated[str, Field(description='Only names that begin so, e.g. "projects/".')] = "",
        limit: Annotated[int, Field(ge=1, le=MOST_IDS, description="How many at most.")] = 100,
        after: Annotated[
            str | None, Field(description="Only names behind this one: next of the answer before.")
        ] = None,
    ) -> Namespaces:
        """List the namespaces that have memories, with how many: to see what is known, and where to keep more."""
        below = prefix if self._scope.root is None else self._scope.root + (f"/{prefix}" if prefix else "")
        counts = ((name, count) for name, count in self._store.namespaces(below).items() if self._scope.holds(name))
        named = ((self._scope.relative(name), count) for name, count in sorted(counts))
        page = list(islice((pair for pair in named if after is None or pair[0] > after), limit + 1))
        shown = [Namespace(name=name, memories=count) for name, count in page[:limit]]
        return Namespaces(namespaces=shown, next=shown[-1].name if len(page) > limit else None)

    def feedback(
        self,
        query: Annotated[Text, Field(description="What was recalled with.")],
        accepted: Annotated[Ids | None, Field(description="Ids of memories that answered it.")] = None,
        rejected: Annotated[
            Ids | None, Field(description="Ids of memories that were wrong or beside the point.")
        ] = None,
        used: Annotated[
            Ids | None, Field(description="Ids of memories that you went on with: weaker evidence.")
        ] = None,
        shown: Annotated[
            Ids | None, Field(description="Ids of all that recall gave, in its order, if you know them.")
        ] = None,
    ) -> Noted:
        """Tell what a recall was worth, so that the store can learn to rank better. Judge one memory at least."""
        named = {"accepted": accepted or [], "rejected": rejected or [], "used": used or [], "shown": shown or []}
        with self._store.transaction():
            self._scope.require(self._store, [id for ids in named.values() for id in ids])
            self._store.feedback(query, **named)
        return Noted(judged=len({*named["accepted"], *named["rejected"], *named["used"]}))

    def _recalled(self, hit: Hit) -> Recalled:
        sure = None if hit.relevance is None else round(hit.relevance, 3)
        return Recalled(**self._fields(hit.record), rank=hit.rank, score=round(hit.score, 4), relevance=sure)

    def _fields(self, record: Record) -> dict[str, Any]:
        return {
            "id": record.id,
            "text": record.text,
            "namespace": self._scope.relative(record.namespace),
            "metadata": record.metadata or None,
            "thread": record.thread,
            "session": record.session,
            "speaker": record.speaker,
            "position": record.position,
            "importance": record.importance,
            "created_at": moment(record.created_at),
            "updated_at": moment(record.updated_at) if record.updated_at > record.created_at else None,
            "expires_at": None if record.expires_at is None else moment(record.expires_at),
        }


def moment(epoch: float) -> str:
    """Return a time as ISO 8601, UTC; before the year 1 or after 9999 its seconds since 1970."""
    if not -62_135_596_800 <= epoch < 253_402_300_800:
        return f"{epoch:g} s"
    return datetime.fromtimestamp(epoch, timezone.utc).isoformat(timespec="seconds")


def memory_tools(store: MemoryStore, scope: Scope) -> Sequence[Tool]:
    """Return the six tools over a store, inside a scope."""
    return MemoryTools(store, scope).tools()
