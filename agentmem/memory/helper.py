"""``Memory``: what an agent says and hears, for one user, agent and session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from agentmem import validation as check
from agentmem.errors import InvalidInput, NotFound
from agentmem.feedback import Judged
from agentmem.memory.duplicates import Duplicate, check_threshold, find_duplicates
from agentmem.memory.notes import later, note_of, own_metadata, rewrite
from agentmem.memory.packing import Recall, pack
from agentmem.memory.remembering import Remembering
from agentmem.memory.retention import Removal, Retention
from agentmem.memory.scopes import LIVE, PAST
from agentmem.records import Record


class Memory(Remembering):
    """The memory of an agent, in an open store, which it does not close.

    Args:
        store: where it is kept; any number of ``Memory`` may share it, and it may hold other records.
        user: whose memories; None for those of every user.
        agent: which agent's; None for those of every agent.
        session: which session's; None for those of every session.
        similarity: cosine, within (0, 1], from which on a new text counts as one that is known; None compares texts
            only by their words.
        count_tokens: gives the number of tokens of a text, for ``token_budget``; without it the bundled tokenizer
            counts, or a quarter of the UTF-8 bytes where that is more (``packing.default_count``).

    What is written belongs to exactly this user, agent and session.  What is read is that and everything narrower:
    ``Memory(store, user="ada")`` recalls what every agent learnt of her in every session, and ``Memory(store)`` all.

    Raises:
        InvalidInput: no open store, a name that is empty or no string, or a threshold out of range.
    """

    def recall(
        self,
        query: str,
        *,
        token_budget: int = 1_000,
        k: int = 10,
        filter: Mapping[str, Any] | None = None,
        embedding: Any = None,
        mechanism: str = "auto",
    ) -> Recall:
        """Return the memories that help with a query, as text for a prompt and as hits.

        Hits are packed best first while the whole text stays within the budget; one that does not fit is left out, and
        a shorter one behind it may take its place.  In the text each has a number, to give feedback by, its date (UTC)
        and its speaker; those of one thread stand together in order of time.

        Args:
            query: what to look for.
            token_budget: tokens that the text may have, by ``count_tokens``.
            k: how many hits are looked for.
            filter: see docs/filters.md.
            embedding: of the query, for a store that has no embedder.
            mechanism: as for ``MemoryStore.search``.

        Raises:
            InvalidInput: an argument that cannot be used.
        """
        budget = check.check_count(token_budget, "token_budget", low=0, high=check.MAX_INTEGER)
        namespace, where = self._where(filter)
        found = self.store.search(
            query, embedding=embedding, k=k, namespace=namespace, filter=where, mechanism=mechanism
        )
        return pack(query, found, budget, self._count)

    def feedback(
        self,
        recalled: Recall | str,
        *,
        accepted: Sequence[Any] = (),
        rejected: Sequence[Any] = (),
        used: Sequence[Any] = (),
    ) -> None:
        """Say which memories were right, wrong or of use; ``retain`` and ``MemoryStore.learn`` go by it.

        Args:
            recalled: what ``recall`` gave, or the text of a query.
            accepted: ids, hits, or, with a ``Recall``, numbers in its prompt.
            rejected: the same, of those that were wrong.
            used: the same, of those that somebody went on with.

        Raises:
            InvalidInput: a number that the prompt does not have; and what ``MemoryStore.feedback`` raises.
            NotFound: a memory that is gone.
        """
        prompt = recalled if isinstance(recalled, Recall) else None
        query = recalled.query if isinstance(recalled, Recall) else recalled
        self.store.feedback(
            query,
            accepted=_judged(prompt, accepted),
            rejected=_judged(prompt, rejected),
            used=_judged(prompt, used),
            shown=prompt.shown if prompt else (),
        )

    def forget(self, *ids: str, key: str | None = None) -> int:
        """Delete memories of this scope and narrower ones by their ids, or a fact of this scope with its history.

        Pinned ones too: they are named.  Ids that are unknown or of another scope are passed over.

        Args:
            ids: of memories, live or replaced.
            key: of the fact.

        Returns:
            How many records were deleted.
        """
        with self.store.transaction():
            found = [record for record in self.store.get_many(ids) if record is not None and self._covers(record)]
            doomed = {record.id for record in found}
            if key is not None:
                doomed |= {record.id for record in self.history(key)}
            return self.store.delete(*doomed)

    def forget_all(self) -> int:
        """Delete everything of this scope and narrower ones, history and pinned memories too; return how many."""
        with self.store.transaction():
            return self.store.delete(*(record.id for root in (LIVE, PAST) for record in self._all(root)))

    def history(self, key: str) -> list[Record]:
        """Return every version of a fact of this scope, oldest first; the last one is live unless it was forgotten.

        Args:
            key: of the fact; of one that had none and was replaced, the id of its first version.
        """
        where = {"memory.key": check.check_string(key, "key")}
        # The live one first: what is replaced in between is then found twice, and not missed.
        roots = (LIVE, PAST)
        versions = {each.id: each for root in roots for each in self.store.iterate(where, self.scope.namespace(root))}
        return sorted(versions.values(), key=lambda record: note_of(record).version)

    def pin(self, id: str, pinned: bool = True) -> None:
        """Keep a memory from ``retain`` and ``deduplicate``, or leave it to them again.

        Raises:
            NotFound: no memory of this scope has that id.
        """
        pinned = check.check_flag(pinned, "pinned")
        with self.store.transaction():
            record = self.store.get(id)
            if not self._covers(record):
                raise NotFound(f"no memory with id {id!r} in this scope")
            rewrite(self.store, record, note_of(record)._replace(pinned=pinned))

    def deduplicate(self, similarity: float | None = None, *, dry_run: bool = False) -> list[Duplicate]:
        """Find memories of this scope that say the same, and delete all but one of them; one commit.

        For records that were written without ``remember``, or with another threshold.  Pinned memories and those with
        a key stay, else the oldest does; it takes over what ``remember`` would give it.  Doing it twice finds nothing
        more.  Each vector is compared with all that stay, and nobody else can write meanwhile: time grows with the
        square of their number.

        Args:
            similarity: cosine, within (0, 1], from which on two mean the same; None takes that of this ``Memory``.
            dry_run: only say what would go.
        """
        threshold = self._similarity if similarity is None else check_threshold(similarity)
        namespace = self.scope.namespace()
        with nullcontext() if dry_run else self.store.transaction():
            records = list(self.store.iterate(namespace=namespace))
            vectors = [None if threshold is None else self.store.vector(record.id) for record in records]
            duplicates = find_duplicates(records, vectors, threshold)
            if not dry_run:
                self._merge_all({record.id: record for record in records}, duplicates)
        return duplicates

    def retain(self, policy: Retention, *, dry_run: bool = False) -> list[Removal]:
        """Delete what a policy does not keep, of this scope and narrower ones; one commit.

        Args:
            policy: how long, how many.
            dry_run: only say what would go.

        Returns:
            What went, and why, in the order in which it goes.
        """
        with nullcontext() if dry_run else self.store.transaction():
            removals = policy.removals(self._all(LIVE), self._all(PAST), self.store.feedback_log(), check.wall_clock())
            if not dry_run:
                self.store.delete(*(removal.id for removal in removals))
        return removals

    def _where(self, filter: Mapping[str, Any] | None) -> tuple[str, Mapping[str, Any] | None]:
        filter, _ = check.check_scope(filter, None)
        namespace, scope = self.scope.where(self.store)
        if scope is None or not filter:
            return namespace, scope or filter
        return namespace, {"$and": [scope, filter]}

    def _all(self, root: str) -> list[Record]:
        namespace, where = self.scope.where(self.store, root)
        return list(self.store.iterate(where, namespace))

    def _merge_all(self, records: dict[str, Record], duplicates: Sequence[Duplicate]) -> None:
        """Give what stays what it takes over, each once, and delete the others."""
        groups: dict[str, list[Record]] = {}
        for duplicate in duplicates:
            groups.setdefault(duplicate.kept, []).append(records[duplicate.id])
        for id, gone in groups.items():
            kept = records[id]
            metadata: dict[str, Any] = {}
            for record in reversed([kept, *gone]):
                metadata |= own_metadata(record)
            all_of_them = (kept, *gone)
            rewrite(
                self.store,
                kept,
                note_of(kept)._replace(seen_at=max(note_of(each).seen_at or each.created_at for each in all_of_them)),
                metadata=metadata,
                importance=max(each.importance for each in all_of_them),
                created_at=min(each.created_at for each in all_of_them),
                expires_at=later(*(each.expires_at for each in all_of_them)),
            )
        self.store.delete(*(duplicate.id for duplicate in duplicates))


def _judged(prompt: Recall | None, given: Sequence[Any]) -> Judged:
    """Return ids and hits as they are, and numbers in a prompt as the ids that they stand for."""
    numbers = [each for each in check.check_list(given, "the judged memories") if isinstance(each, int)]
    if numbers and prompt is None:
        raise InvalidInput("numbers name memories of a prompt; give what recall returned in place of the query's text")
    return [prompt.id_of(each) if prompt and isinstance(each, int) else each for each in given]
