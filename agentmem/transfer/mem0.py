"""What mem0 gives with ``get_all``, as a JSON file: the memories of users, agents and runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agentmem.errors import BadSource, InvalidInput
from agentmem.memory.notes import Note, check_own, text_hash
from agentmem.memory.scopes import Scope
from agentmem.transfer.lines import Line
from agentmem.transfer.source import Source, parsed_lines, stable_id
from agentmem.validation import check_id, check_string, check_timestamp, wall_clock

OPTIONS = frozenset({"prefix"})
_LISTS = ("results", "memories")
_DAY = 86_400.0
_TAKEN = ("id", "memory", "hash", "metadata", "score", "created_at", "updated_at", "expiration_date")
_SCOPE = {"user_id": "user", "agent_id": "agent", "run_id": "session"}


@contextmanager
def opened(path: str, *, prefix: str = "") -> Iterator[Source]:
    """Open a file: an object with "results" (or "memories"), a list of memories, or one memory a line.

    A memory becomes what ``Memory(store, user=..., agent=..., session=...)`` of its user, agent and run recalls.

    Args:
        path: of the file.
        prefix: put before every id.
    """
    found = _memories(path)
    now = wall_clock()
    lines = (_line(f"{path}, memory {number}", number, memory, prefix, now) for number, memory in enumerate(found, 1))
    yield Source(None, len(found), lines)


def _memories(path: str) -> list[Any]:
    with open(path, "rb") as file:
        raw = file.read()
    try:
        whole = json.loads(raw)
    except (ValueError, RecursionError):
        return _by_line(path)
    if isinstance(whole, dict):
        whole = next((whole[name] for name in _LISTS if name in whole), [whole] if "memory" in whole else None)
    if not isinstance(whole, list):
        raise BadSource(f"{path} holds no memories of mem0: an object with 'results', or a list of memories")
    return whole


def _by_line(path: str) -> list[Any]:
    memories = []
    for number, memory, problem in parsed_lines(path):
        if problem is not None:
            raise BadSource(f"{path}, line {number}: {problem}")
        memories.append(memory)
    return memories


def _line(where: str, end: int, memory: Any, prefix: str, now: float) -> Line:
    try:
        id, fields = _fields(memory)
    except InvalidInput as error:
        return Line(where, "", {}, end, problem=str(error))
    expires_at = fields.get("expires_at")
    return Line(where, prefix + id, fields, end, expired=expires_at is not None and expires_at <= now)


def _fields(memory: Any) -> tuple[str, dict[str, Any]]:
    """Return the id and the fields of a memory; mem0 lets one expire at the end of a day, UTC.

    Raises:
        InvalidInput: it is none.
    """
    if not isinstance(memory, dict) or not isinstance(memory.get("memory"), str):
        raise InvalidInput("not a memory: an object with its text under 'memory'")
    text = check_string(memory["memory"], "memory")
    scope = Scope(**{mine: memory[name] for name, mine in _SCOPE.items() if memory.get(name) is not None})
    others = {name: value for name, value in memory.items() if name not in (*_TAKEN, *_SCOPE) and value is not None}
    fields: dict[str, Any] = {
        "text": text,
        "namespace": scope.namespace(),
        "session": scope.session,
        "metadata": Note(hash=text_hash(text)).metadata({**check_own(others), **check_own(memory.get("metadata"))}),
    }
    for name in ("created_at", "updated_at"):
        if memory.get(name) is not None:
            fields[name] = check_timestamp(memory[name], name)
    if memory.get("expiration_date") is not None:
        fields["expires_at"] = check_timestamp(memory["expiration_date"], "expiration_date") + _DAY
    id = memory.get("id")
    return (stable_id(fields["namespace"], text) if id is None else check_id(id)), fields
