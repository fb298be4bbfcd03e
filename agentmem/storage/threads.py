"""Threads as rows: which a namespace has, and what was said in one of them, by time."""

from __future__ import annotations

from typing import NamedTuple

from agentmem.storage.connection import Connection

_LIVE = "(expires_at IS NULL OR expires_at > ?)"
_SUMMARY = (
    "SELECT thread, count(*), count(DISTINCT session), min(created_at), max(created_at) FROM records "
    f"WHERE namespace = ? AND {_LIVE} AND "
)
_NAMED = f"{_SUMMARY}thread {{}} ? GROUP BY thread ORDER BY thread LIMIT ?"
_LOOSE = f"{_SUMMARY}thread IS NULL"
_PLACE = "created_at, ifnull(position, -9e999), label"
_TURNS = f"SELECT {_PLACE} FROM records WHERE namespace = ? AND thread IS ? AND {_LIVE} AND "


class Thread(NamedTuple):
    """One thread of a namespace; ``name`` is None for the records that are in none, times are epoch seconds, UTC."""

    name: str | None
    records: int
    sessions: int
    first: float
    last: float


class Place(NamedTuple):
    """Where a record stands in its thread: by time, then by position, then by version."""

    created_at: float
    position: float
    label: int


def listed(connection: Connection, namespace: str, now: float, after: str | None, limit: int) -> list[Thread]:
    """Return threads of exactly this namespace by name: the first ones, or those that follow ``after``."""
    sql = _NAMED.format(">=" if after is None else ">")
    return [Thread(*row) for row in connection.all(sql, (namespace, now, after or "", limit))]


def loose(connection: Connection, namespace: str, now: float) -> Thread | None:
    """Return the records of exactly this namespace that are in no thread, None where there are none."""
    found = Thread(*connection.all(_LOOSE, (namespace, now))[0])
    return found if found.records else None


def turns(
    connection: Connection,
    namespace: str,
    thread: str | None,
    now: float,
    after: Place | None,
    limit: int,
    *,
    newest_first: bool,
) -> list[Place]:
    """Return the places of a thread's records, by time, beyond ``after``."""
    direction, beyond = ("DESC", "<") if newest_first else ("ASC", ">")
    order = ", ".join(f"{column} {direction}" for column in ("1", "2", "3"))
    passed = "1" if after is None else f"({_PLACE}) {beyond} (?, ?, ?)"
    values = (namespace, thread, now, *(after or ()), limit)
    return [Place(*row) for row in connection.all(f"{_TURNS}{passed} ORDER BY {order} LIMIT ?", values)]
