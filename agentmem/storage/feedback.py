"""Judged searches, as rows: written, read, and forgotten with the records that they judge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agentmem.records import Feedback
from agentmem.storage.connection import Connection
from agentmem.storage.jsontext import dump, load

_ADD = "INSERT INTO feedback(at, query, vector, shown, accepted, rejected, used) VALUES (?, ?, ?, ?, ?, ?, ?)"
_LIST = "SELECT at, query, vector, shown, accepted, rejected, used FROM feedback ORDER BY id DESC LIMIT ?"
_LEFT = "(SELECT json_group_array(value) FROM json_each({0}) WHERE value NOT IN (SELECT value FROM json_each(?1)))"
_NAMED = "EXISTS (SELECT 1 FROM json_each({0}) WHERE value IN (SELECT value FROM json_each(?1)))"
_LISTS = ("shown", "accepted", "rejected", "used")
_FORGET = (
    f"UPDATE feedback SET {', '.join(f'{name} = {_LEFT.format(name)}' for name in _LISTS)} "
    f"WHERE {' OR '.join(_NAMED.format(name) for name in _LISTS)}"
)


def add(connection: Connection, judged: Feedback) -> None:
    """Keep a judged search with the transaction that is open."""
    vector = None if judged.vector is None else judged.vector.tobytes()
    lists = (dump(list(ids)) for ids in (judged.shown, judged.accepted, judged.rejected, judged.used))
    connection.run(_ADD, (judged.at, judged.query, vector, *lists))


def listed(connection: Connection, limit: int | None = None) -> list[Feedback]:
    """Return the newest judged searches, all or ``limit`` of them, oldest first."""
    rows = connection.all(_LIST, (-1 if limit is None else limit,))
    return [
        Feedback(at, query, None if vector is None else np.frombuffer(vector, np.float32), *map(_ids, lists))
        for at, query, vector, *lists in reversed(rows)
    ]


def forget(connection: Connection, ids: Sequence[str]) -> None:
    """Take deleted records out of what was judged; a search of which no judged record is left goes whole."""
    if connection.run(_FORGET, (dump(list(ids)),)):
        connection.run("DELETE FROM feedback WHERE accepted = '[]' AND rejected = '[]' AND used = '[]'")


def _ids(text: str) -> tuple[str, ...]:
    return tuple(load(text))
