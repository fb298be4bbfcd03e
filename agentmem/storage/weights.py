"""Learned weights, as rows: every attempt, at most one of them active; to change which counts the seq up."""

from __future__ import annotations

from typing import NamedTuple

from agentmem.storage.connection import Connection

_ADD = "INSERT INTO weights(at, mechanism, active, value, report) VALUES (?, ?, 0, ?, ?)"
_LIST = "SELECT id, at, mechanism, active, report FROM weights ORDER BY id"
_LOG = (
    "INSERT INTO changes(seq, op, id, label, dead, at) "
    "SELECT coalesce(max(seq), 0) + 1, 'weights', '', NULL, NULL, ? FROM changes"
)


class WeightsRow(NamedTuple):
    """One attempt; ``report`` is JSON."""

    id: int
    at: float
    mechanism: str
    active: bool
    report: str


def add(connection: Connection, at: float, mechanism: str, value: bytes, report: str) -> int:
    """Keep weights aside; return their number."""
    connection.run(_ADD, (at, mechanism, value, report))
    return int(connection.first("SELECT last_insert_rowid()"))


def activate(connection: Connection, number: int | None, at: float) -> None:
    """Have searches use these weights, or none, from this commit on."""
    connection.run("UPDATE weights SET active = 0 WHERE active = 1")
    if number is not None:
        connection.run("UPDATE weights SET active = 1 WHERE id = ?", (number,))
    connection.run(_LOG, (at,))


def active(connection: Connection) -> int | None:
    """Return the number of the weights that searches use, or None."""
    found: int | None = connection.first("SELECT id FROM weights WHERE active = 1")
    return found


def value(connection: Connection, number: int) -> bytes | None:
    """Return weights as they were kept; None where there are none of that number."""
    found: bytes | None = connection.first("SELECT value FROM weights WHERE id = ?", (number,))
    return found


def listed(connection: Connection) -> list[WeightsRow]:
    """Return all attempts, oldest first."""
    return [WeightsRow(id, at, name, bool(on), report) for id, at, name, on, report in connection.all(_LIST)]
