"""``AgentMemStore``: LangGraph's ``BaseStore`` on a store."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Mapping
from heapq import nlargest
from typing import Any, NamedTuple

import numpy as np
from langgraph.store.base import (
    BaseStore,
    GetOp,
    IndexConfig,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchOp,
    TTLConfig,
    ensure_embeddings,
    get_text_at_path,
)

from agentmem.adapters.langchain.models import AgentMemEmbeddings, check_model, embedder_for
from agentmem.adapters.langgraph import items
from agentmem.adapters.langgraph.filters import condition_of
from agentmem.adapters.langgraph.items import Place, found_item_of, item_of, place_of, place_of_record
from agentmem.adapters.langgraph.names import branch_of, labels_of, matches
from agentmem.aio import AsyncMemoryStore
from agentmem.embed import checked
from agentmem.errors import InvalidInput
from agentmem.records import Float32, Record
from agentmem.store import MemoryStore
from agentmem.validation import MAX_K, came, check_count

Filter = Mapping[str, Any]


class Batch(NamedTuple):
    """What a batch asks for, and the texts that have to be embedded for it.

    Attributes:
        ops: all of them, in order.
        puts: the last one for each place, in the order in which the places came; deletes among them.
        texts: what each item that is put is found by.
        queries: of the searches.
    """

    ops: list[Op]
    puts: dict[Place, PutOp]
    texts: dict[Place, list[str]]
    queries: list[str]

    @property
    def to_embed(self) -> list[str]:
        """Every text of an item, once."""
        return list(dict.fromkeys(text for texts in self.texts.values() for text in texts))


class AgentMemStore(BaseStore):
    """LangGraph's long-term memory in a store: it stays when the process ends, and other processes see it.

    Args:
        store: a path, or a store that is open and stays the caller's to close.
        index: LangGraph's ``IndexConfig``: "embed" (a model, a function, or a name), its "dims", and "fields".  Without
            "embed" the store's own embedder is used, the bundled one for a path; without "fields" an item is found by
            the whole of its value.
        ttl: LangGraph's ``TTLConfig``.  Items that have expired are never returned; ``sweep_ttl`` frees their place.
            Letting an item live on that is read is a write: a read-only store needs {"refresh_on_read": False}.
        mechanism: what ranks a search with a query; see ``MemoryStore.search``.  "auto" is hybrid, "dense" compares
            vectors alone.  A score is the best one among an item's fields, higher is better.
        namespace: the branch of the store under which everything lies.
        embedding_name: what the store is stamped with; ``model_name`` of the model when None.
        options: of ``MemoryStore``, where a path is given.

    Reads of a batch see the store as it was before the batch; of several puts to one place the last one counts; all
    writes of a batch are one commit.  A search without a query gives the items last put first.  With a query, items
    without index come after all others, without a score.

    Raises:
        EmbedderMismatch: the store was made with another model.
        InvalidInput: options with an open store, or what ``MemoryStore`` refuses.
    """

    supports_ttl = True

    def __init__(
        self,
        store: str | os.PathLike[str] | MemoryStore | AsyncMemoryStore = "memory.db",
        *,
        index: IndexConfig | None = None,
        ttl: TTLConfig | None = None,
        mechanism: str = "auto",
        namespace: str = "langgraph",
        embedding_name: str | None = None,
        **options: Any,
    ) -> None:
        config: IndexConfig = {} if index is None else index
        embed = config.get("embed")
        model = None if embed is None else ensure_embeddings(embed)
        if isinstance(store, AsyncMemoryStore):
            store = store.store
        self._owned = not isinstance(store, MemoryStore)
        if isinstance(store, MemoryStore):
            if options:
                raise InvalidInput(f"a store that is open keeps its options; leave out {', '.join(options)}")
            if model is not None:
                check_model(store, model, embedding_name)
            self.store = store
        else:
            if model is not None:
                options["embedder"] = embedder_for(model, embedding_name, config.get("dims"))
            self.store = MemoryStore(store, **options)
        if model is None and self.store.embedder is None:
            raise InvalidInput("the store takes given vectors only; say what embeds: index={'embed': ..., 'dims': ...}")
        self.embeddings = model or AgentMemEmbeddings(self.store.embedder)
        self.fields = list(config.get("fields") or ["$"])
        self.ttl_config = ttl
        self.mechanism = mechanism
        self.root = namespace

    def close(self) -> None:
        """Close the store, where it was given as a path."""
        if self._owned:
            self.store.close()

    def __enter__(self) -> AgentMemStore:
        """Return itself; leaving the block closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def sweep_ttl(self) -> int:
        """Delete the records of items that have expired, which no read returns; return how many."""
        return self.store.purge_expired()

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Carry out operations; return a result for each, in order.

        Raises:
            InvalidInput: an operation or argument that cannot be used; nothing was changed.
            InvalidFilter: the message lists the operators that exist.
            EmbeddingFailed: the model returned something else than one vector of the store's dimension for each text.
        """
        batch = self._batch(ops)
        texts = batch.to_embed
        vectors = self._vectors(texts, self.embeddings.embed_documents(texts) if texts else [])
        queries = self._vectors(batch.queries, [self.embeddings.embed_query(query) for query in batch.queries])
        return self._carry_out(batch, vectors, queries)

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Carry out operations without blocking the event loop; see ``batch``.

        A batch whose task is cancelled is carried out whole or not at all.
        """
        batch = self._batch(ops)
        texts = batch.to_embed
        vectors = self._vectors(texts, await self.embeddings.aembed_documents(texts) if texts else [])
        queries = self._vectors(batch.queries, await asyncio.gather(*map(self.embeddings.aembed_query, batch.queries)))
        return await asyncio.to_thread(self._carry_out, batch, vectors, queries)

    def _batch(self, ops: Iterable[Op]) -> Batch:
        batch = Batch(list(ops), {}, {}, [])
        for op in batch.ops:
            if isinstance(op, PutOp):
                batch.puts[place_of(self.root, op.namespace, op.key)] = op
            elif isinstance(op, SearchOp):
                query = _query(op)
                if query and query not in batch.queries:
                    batch.queries.append(query)
            elif not isinstance(op, GetOp | ListNamespacesOp):
                raise InvalidInput(f"expected a GetOp, SearchOp, PutOp or ListNamespacesOp, got {came(op)}")
        for place, op in batch.puts.items():
            if op.value is not None:
                batch.texts[place] = self._texts(op)
        return batch

    def _texts(self, op: PutOp) -> list[str]:
        """Return what an item is to be found by: the texts at the paths of its index, each once."""
        if op.index is False:
            return []
        paths = self.fields if op.index is None else op.index
        return list(dict.fromkeys(text for path in paths for text in get_text_at_path(op.value, path)))

    def _vectors(self, texts: list[str], made: Any) -> dict[str, Float32]:
        identity = self.store.identity
        if not texts:
            return {}
        return dict(zip(texts, checked(made, len(texts), identity.dimension, identity.embedder), strict=True))

    def _carry_out(self, batch: Batch, vectors: Mapping[str, Float32], queries: Mapping[str, Float32]) -> list[Result]:
        results: list[Result] = [None] * len(batch.ops)
        read: dict[str, Record] = {}
        for number, op in enumerate(batch.ops):
            if isinstance(op, GetOp):
                record = self.store.get_many([place_of(self.root, op.namespace, op.key).id()])[0]
                results[number] = None if record is None else item_of(record)
                found = [] if record is None else [record]
            elif isinstance(op, SearchOp):
                scored = self._search(op, queries)
                results[number] = [found_item_of(record, score) for record, score in scored]
                found = [record for record, _ in scored]
            elif isinstance(op, ListNamespacesOp):
                results[number] = self._namespaces(op)
                continue
            else:
                continue
            if op.refresh_ttl:
                read |= {place_of_record(record).id(): record for record in found if record.metadata["ttl"] is not None}
        if read or batch.puts:
            with self.store.transaction():
                self._refresh(read.values())
                self._put(batch, vectors)
        return results

    def _search(self, op: SearchOp, queries: Mapping[str, Float32]) -> list[tuple[Record, float | None]]:
        """Return what a search shows: the record that answers for each item, and its score."""
        limit = check_count(op.limit, "limit", low=0)
        offset = check_count(op.offset, "offset", low=0)
        branch = branch_of(self.root, op.namespace_prefix)
        conditions = condition_of(op.filter or {}, items.VALUE)
        query = _query(op)
        if not query:
            return [(record, None) for record in self._newest(branch, [items.ANSWERS, *conditions], offset, limit)]
        best = self._best(query, queries[query], branch, [items.INDEXED, *conditions], offset + limit)
        shown: list[tuple[Record, float | None]] = [*best[offset : offset + limit]]
        if len(shown) < limit:
            after = max(0, offset - len(best))
            rest = self._newest(branch, [items.UNINDEXED, *conditions], after, limit - len(shown))
            shown += [(record, None) for record in rest]
        return shown

    def _newest(self, branch: str, conditions: list[Filter], offset: int, limit: int) -> list[Record]:
        records = self.store.iterate({"$and": conditions}, branch)
        newest = nlargest(offset + limit, records, key=lambda each: (each.metadata["updated_at"], each.label))
        return newest[offset:]

    def _best(
        self, query: str, vector: Float32, branch: str, conditions: list[Filter], wanted: int
    ) -> list[tuple[Record, float]]:
        """Return the best items and the score of each one's best field; all there are, if fewer than wanted."""
        count = wanted * len(self.fields)
        while True:
            k = min(count, MAX_K)
            hits = self.store.search(
                query,
                embedding=vector if vector.any() else None,
                k=max(k, 1),
                namespace=branch,
                filter={"$and": conditions},
                mechanism=self.mechanism,
            )
            best: dict[Place, tuple[Record, float]] = {}
            for hit in hits:
                best.setdefault(place_of_record(hit.record), (hit.record, hit.score))
            if len(best) >= wanted or len(hits) < k or k == MAX_K:
                return list(best.values())[:wanted]
            count *= 2

    def _namespaces(self, op: ListNamespacesOp) -> list[tuple[str, ...]]:
        limit = check_count(op.limit, "limit", low=0)
        offset = check_count(op.offset, "offset", low=0)
        branch = branch_of(self.root, ())
        counted = self.store.namespaces(branch)
        expired = sum(counted.values()) > self.store.count(namespace=branch)
        found = {
            namespace[: op.max_depth]
            for path, namespace in ((path, labels_of(path)) for path in counted)
            if all(matches(namespace, each.match_type, each.path) for each in op.match_conditions or ())
            and not (expired and not self.store.count({"@namespace": path}))
        }
        return sorted(found)[offset : offset + limit]

    def _refresh(self, records: Iterable[Record]) -> None:
        """Let what was read live its whole time again; what has gone since stays gone."""
        for record in records:
            for part in self.store.get_many(items.ids_of(record)):
                if part is not None and part.metadata["ttl"] is not None:
                    self.store.update(part.id, ttl=part.metadata["ttl"] * items.MINUTE)

    def _put(self, batch: Batch, vectors: Mapping[str, Float32]) -> None:
        now = time.time()
        rows: list[dict[str, Any]] = []
        stale: list[str] = []
        before = self.store.get_many([place.id() for place in batch.puts])
        for (place, op), old in zip(batch.puts.items(), before, strict=True):
            made = []
            if op.value is not None:
                made = items.rows_of(place, op, batch.texts[place], vectors, self.store.identity.dimension, now)
            rows += made
            stale += [place.id()] if old is None else items.ids_of(old)[len(made) :]  # it may have expired
        self.store.delete(*stale)
        if rows:
            self.store.add_many(
                [row["text"] for row in rows],
                embeddings=np.stack([row["embedding"] for row in rows]),
                ids=[row["id"] for row in rows],
                metadatas=[row["metadata"] for row in rows],
                namespace=[row["namespace"] for row in rows],
                ttl=[row["ttl"] for row in rows],
                on_conflict="replace",
            )


def _query(op: SearchOp) -> str:
    """Return what a search asks for; nothing where there are only blanks."""
    return op.query if op.query and op.query.strip() else ""
