"""The verb that changes a store's embedding model: vectors wait beside the old ones until one commit switches over."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace

from agentmem import faults
from agentmem import validation as check
from agentmem.core import StoreCore
from agentmem.embed.protocol import Embedder
from agentmem.errors import InvalidInput, StoreBusy, StoreReadOnly
from agentmem.identity import Identity, embedder_of
from agentmem.ingest import Ingest
from agentmem.live_index import LiveIndex, index_folder
from agentmem.maintenance import work_lock
from agentmem.progress import track
from agentmem.records import Metric
from agentmem.storage.database import Database
from agentmem.storage.staging import Staging
from agentmem.telemetry import timed


@dataclass(frozen=True, slots=True)
class ReembedReport:
    """What ``reembed`` did.

    Attributes:
        embedder: name of the store's model now.
        dimension: of its vectors.
        metric: of the store.
        embedded: records that this call embedded, some of which may have been changed or deleted since.
        resumed: records that a call before, which did not come to its end, had embedded.
        switched: False where the store had this model already, so that there was nothing to do.
    """

    embedder: str
    dimension: int
    metric: Metric
    embedded: int = 0
    resumed: int = 0
    switched: bool = True


class ReembeddingVerbs(StoreCore):
    """reembed."""

    @timed()
    def reembed(
        self, embedder: object, *, metric: str | None = None, batch: int = 256, progress: bool = False
    ) -> ReembedReport:
        """Give every record a vector of another embedding model, and the store that model.

        Until all vectors are there, the store is searched and written with the old model, here and by other processes;
        then one commit switches over.  What was embedded is kept in the database: a call that was killed or failed is
        taken up where it ended by calling again with the same model.  Called with the model that the store has, it
        only drops what such a call has left.

        A vector that was given along with a text is replaced too.  Other store objects that have this store open raise
        EmbedderMismatch from then on; open them again with the new model.  So may calls on this object that other
        threads have under way at the switch: repeat them.  The index is built anew by the next merge.

        Args:
            embedder: as for ``MemoryStore``; not None.
            metric: "cosine", "ip" or "l2"; the store's own when None.
            batch: records that are embedded and kept at a time.
            progress: show a progress bar.

        Raises:
            InvalidInput: an argument that cannot be used, records without a text, or inside a transaction.
            EmbeddingFailed: the embedder failed; what it made so far is kept.
            StoreBusy: another call re-embeds this store, or another process held the write lock past the timeout.
            StoreReadOnly: the store was opened read-only.
        """
        database = self.database
        if self._read_only:
            raise StoreReadOnly("the store was opened read-only; open it with read_only=False to re-embed it")
        if database.in_transaction():
            raise InvalidInput("reembed is a transaction of its own; leave the one that is open first")
        size = check.check_count(batch, "batch", low=1)
        model = embedder_of(embedder, None, self.tokenizer)
        if model is None:
            raise InvalidInput("reembed needs an embedder; vectors of your own go into a new store")
        identity = replace(
            self.identity,
            embedder=model.name,
            dimension=model.dimension,
            metric=self.identity.metric if metric is None else check.check_metric(metric),
            generation=self.identity.generation + 1,
        )
        ingest = Ingest(model, self.tokenizer, self.analyzer, identity.dimension, identity.metric)
        folder = index_folder(database.path)
        with nullcontext(True) if folder is None else work_lock(folder, "reembed") as mine:
            if not mine:
                raise StoreBusy(f"{self.path}: another call re-embeds this store; wait until it is done")
            change = _Change(database, identity, ingest, size)
            if replace(identity, generation=self.identity.generation) == self.identity:
                change.forget()
                return ReembedReport(identity.embedder, identity.dimension, identity.metric, switched=False)
            embedded, resumed = change.run(progress)
        self._adopt(identity, model, ingest)
        return ReembedReport(identity.embedder, identity.dimension, identity.metric, embedded, resumed)

    def _adopt(self, identity: Identity, model: Embedder, ingest: Ingest) -> None:
        """Go on with another model.

        The index and what transactions are held to come last: whoever takes one of these before it embeds has either
        the new model for all that follows, or is refused.
        """
        self.identity = identity
        self.embedder = model
        self.ingest = ingest
        self.index = LiveIndex(self._database, identity)
        self._database.hold_to(identity.generation)


@dataclass(frozen=True, slots=True)
class _Change:
    """One change of the model.

    Args:
        database: of the store.
        identity: that the store is to have.
        ingest: makes the vectors.
        batch: texts that are embedded at a time.
    """

    database: Database
    identity: Identity
    ingest: Ingest
    batch: int

    def forget(self) -> None:
        """Drop what a call that did not come to its end has left."""
        with self.database.transaction() as writer:
            Staging(writer.connection).clear()

    def run(self, progress: bool) -> tuple[int, int]:
        """Embed everything and switch over; return how many texts were embedded, and how many had been before."""
        with self.database.transaction() as writer:
            staging = Staging(writer.connection)
            _refuse_without_text(staging)
            resumed = staging.begin(self._target)
            total = staging.count_missing()
        embedded = after = 0
        with track("embedding", total, progress) as advance:
            while True:
                page = self._missing(after)
                if page:
                    self._keep(page)
                    faults.point("reembed:staged")
                    embedded += len(page)
                    after = page[-1][0]
                    advance(len(page))
                if len(page) < self.batch and (late := self._switch(after)) is not None:
                    faults.point("reembed:switched")
                    return embedded + late, resumed

    @property
    def _target(self) -> str:
        """Return what tells this change from one to another model."""
        return json.dumps([self.identity.embedder, self.identity.dimension, self.identity.metric])

    def _missing(self, after: int) -> list[tuple[int, str]]:
        """Return the next records without a new vector: labels only grow, so none comes in behind the last one seen."""
        with self.database.read() as reader:
            return Staging(reader.connection).missing(after, self.batch)

    def _keep(self, page: list[tuple[int, str]]) -> None:
        """Embed records, and keep their vectors in a commit of their own."""
        vectors = self.ingest.embed([text for _, text in page])
        rows = [
            (label, vector.tobytes() if vector.any() else None)
            for (label, _), vector in zip(page, vectors, strict=True)
        ]
        with self.database.transaction() as writer:
            Staging(writer.connection).put(self._target, rows)

    def _switch(self, after: int) -> int | None:
        """Embed what was written meanwhile and switch over, in one commit; return how many that were.

        None is the answer when it is a batch or more: too much to have other writers wait for.
        """
        with self.database.transaction() as writer:
            staging = Staging(writer.connection)
            late = staging.missing(after, self.batch)
            if len(late) == self.batch:
                return None
            _refuse_without_text(staging)
            self._keep(late)
            staging.switch({key: str(value) for key, value in asdict(self.identity).items()})
            faults.point("reembed:switching")
        return len(late)


def _refuse_without_text(staging: Staging) -> None:
    count = staging.without_text()
    if count:
        raise InvalidInput(
            f"{count} records have a vector but no text, so no other model can embed them; give them a text with "
            "update(id, text=...), delete them, or add vectors of the new model to a new store"
        )
