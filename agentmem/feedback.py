"""The verbs of feedback: what was right and what was wrong among the memories that a search showed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentmem import validation as check
from agentmem.core import StoreCore
from agentmem.errors import InvalidInput, NotFound
from agentmem.records import Feedback, Hit
from agentmem.storage.reader import Reader
from agentmem.telemetry import timed

Judged = Sequence[str | Hit]


class FeedbackVerbs(StoreCore):
    """feedback, feedback_log."""

    @timed()
    def feedback(
        self,
        query: str | None = None,
        *,
        embedding: Any = None,
        accepted: Judged = (),
        rejected: Judged = (),
        shown: Judged = (),
        used: Judged = (),
    ) -> None:
        """Keep what a search was worth; committed when it returns, within a transaction at its end.

        Args:
            query: the text that was searched for, as for ``search``.
            embedding: the query vector, float (dim,), as for ``search``.
            accepted: ids, or hits, of the records that were right.
            rejected: ids, or hits, of those that were wrong.
            shown: all that the search showed, in its order; leave it out where that is not known.
            used: ids, or hits, of those that somebody went on with; weaker evidence (``Hit.used`` says it of one).

        A record that is deleted later is taken out of the feedback too; feedback of which no judged or used record is
        left is deleted, its query with it.

        Raises:
            InvalidInput: no query, nothing judged, or a record that is both accepted and rejected.
            NotFound: ids of no record; the message names them all.
        """
        if query is None and embedding is None:
            raise InvalidInput("feedback needs the query's text, its embedding, or both")
        if embedding is not None:
            embedding = check.check_vector(embedding, self.identity.dimension, self.identity.metric)
        judged = Feedback(
            at=check.wall_clock(),
            query=None if query is None else check.check_query(query),
            vector=embedding,
            shown=_ids(shown, "shown"),
            accepted=_ids(accepted, "accepted"),
            rejected=_ids(rejected, "rejected"),
            used=_ids(used, "used"),
        )
        if not judged.accepted and not judged.rejected and not judged.used:
            raise InvalidInput("feedback judges nothing: give accepted=[...], rejected=[...] or used=[...]")
        both = [id for id in judged.accepted if id in judged.rejected]
        if both:
            raise InvalidInput(
                f"accepted and rejected share {', '.join(map(repr, both))}; a record is one or the other"
            )
        with self.database.transaction() as writer, self.database.read() as reader:
            _check_known(reader, judged)
            writer.add_feedback(judged)

    def feedback_log(self, limit: int | None = None) -> list[Feedback]:
        """Return the feedback that is kept, oldest first: all of it, or the newest ``limit``."""
        if limit is not None:
            limit = check.check_count(limit, "limit", low=0)
        with self.database.read() as reader:
            return reader.feedback(limit)


def _ids(judged: Judged, name: str) -> tuple[str, ...]:
    """Return the ids of records or hits, each once, in their order."""
    if isinstance(judged, str) or not isinstance(judged, Sequence):
        raise InvalidInput(f"{name} must be a list of ids or hits, got {type(judged).__name__}")
    return tuple(dict.fromkeys(each.id if isinstance(each, Hit) else check.check_id(each) for each in judged))


def _check_known(reader: Reader, judged: Feedback) -> None:
    ids = tuple(dict.fromkeys((*judged.shown, *judged.accepted, *judged.rejected, *judged.used)))
    unknown = [id for id, record in zip(ids, reader.get(ids), strict=True) if record is None]
    if unknown:
        raise NotFound(f"feedback names records that are not there: {', '.join(map(repr, unknown))}; leave them out")
