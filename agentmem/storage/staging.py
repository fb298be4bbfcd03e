"""A change of the embedding model: new vectors wait in a table of their own until one transaction puts them to use."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from agentmem.errors import EmbedderMismatch, StoreBusy
from agentmem.storage.connection import Connection

_TARGET = "reembedding"
_BLANKS = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())
"""What ``str.strip`` takes away; SQLite's ``trim`` is told of it."""
_TEXT = "r.text IS NOT NULL AND trim(r.text, ?) != ''"
_MISSING = (
    f"FROM records r WHERE r.label > ? AND {_TEXT} AND NOT EXISTS (SELECT 1 FROM reembedded s WHERE s.label = r.label)"
)
_LOG = (
    "INSERT INTO changes(seq, op, id, label, dead, at) "
    "SELECT coalesce(max(seq), 0) + 1, 'reembed', '', NULL, NULL, ? FROM changes"
)


def generation(connection: Connection) -> int:
    """Return the number of the store's present embedding model: 1, and one more with each that took its place."""
    return int(connection.first("SELECT value FROM config WHERE key = 'generation'"))


def check_generation(path: str, expected: int, found: int) -> None:
    """Refuse to go on with vectors of a model that another has taken the place of.

    Raises:
        EmbedderMismatch: the two numbers differ.
    """
    if expected != found:
        raise EmbedderMismatch(
            f"{path} was re-embedded with another model (its generation is {found}, not {expected}); open it again "
            "with that model, or repeat the call where it was this very store object that was re-embedded"
        )


class Staging:
    """The vectors that wait, by label; a label stands for one version of a record, whose text never changes.

    Args:
        connection: in a transaction; a write transaction for whatever writes.
    """

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def begin(self, target: str) -> int:
        """Say which model the vectors are for; those of another are dropped.

        Returns:
            How many live records have their vector already.
        """
        if self._target() != target:
            self.clear()
            self._connection.run("INSERT INTO config(key, value) VALUES (?, ?)", (_TARGET, target))
        counted = "SELECT count(*) FROM reembedded WHERE label IN (SELECT label FROM records)"
        return int(self._connection.first(counted))

    def clear(self) -> None:
        """Forget the vectors and which model they are for."""
        self._connection.run("DELETE FROM reembedded")
        self._connection.run("DELETE FROM config WHERE key = ?", (_TARGET,))

    def without_text(self) -> int:
        """Return how many records have no text, or a blank one: nothing that could be embedded."""
        return int(self._connection.first(f"SELECT count(*) FROM records r WHERE NOT ({_TEXT})", (_BLANKS,)))

    def missing(self, after: int, limit: int) -> list[tuple[int, str]]:
        """Return (label, text) of the records past a label that have no vector yet, in order, at most ``limit``."""
        sql = f"SELECT r.label, r.text {_MISSING} ORDER BY r.label LIMIT ?"
        return self._connection.all(sql, (after, _BLANKS, limit))

    def count_missing(self) -> int:
        """Return how many records have no vector yet."""
        return int(self._connection.first(f"SELECT count(*) {_MISSING}", (0, _BLANKS)))

    def put(self, target: str, vectors: Iterable[tuple[int, bytes | None]]) -> None:
        """Keep (label, vector) pairs; None for a text that has no embedding.

        Raises:
            StoreBusy: what waits is for another model by now.
        """
        if self._target() != target:
            raise StoreBusy(f"{self._connection.path}: another call re-embeds this store by now; wait until it is done")
        self._connection.many("INSERT OR REPLACE INTO reembedded(label, vector) VALUES (?, ?)", vectors)

    def switch(self, identity: Mapping[str, str]) -> None:
        """Put the vectors to use: every record gets the one that waits for it, and the store its new identity.

        The manifest of segments is emptied, and vectors of judged queries, which are the old model's, are dropped.

        Args:
            identity: configuration values by key.
        """
        run = self._connection.run
        run("UPDATE embeddings SET vector = (SELECT s.vector FROM reembedded s WHERE s.label = embeddings.label)")
        self._connection.many("INSERT OR REPLACE INTO config(key, value) VALUES (?, ?)", identity.items())
        run("DELETE FROM segments")
        run("UPDATE feedback SET vector = NULL")
        run(_LOG, (time.time(),))
        self.clear()

    def _target(self) -> str | None:
        target: str | None = self._connection.first("SELECT value FROM config WHERE key = ?", (_TARGET,))
        return target
