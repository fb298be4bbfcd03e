"""Lines of JSON on their way into a store."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import IO, Any

from agentmem.cli.app import Failure
from agentmem.cli.common import RECORD_FIELDS
from agentmem.errors import InvalidInput
from agentmem.validation import check_id, check_number

FIELDS = frozenset({*RECORD_FIELDS, "embedding", "updated_at", "ttl", "expires_at", "links"})


@dataclass(frozen=True, slots=True)
class Line:
    """One line: where it is, its id, its fields, and the file's offset behind it."""

    where: str
    id: str
    fields: dict[str, Any]
    end: int
    expired: bool

    def failure(self, error: Exception) -> Failure:
        """Return the failure that an error in this line is."""
        return _bad(self.where, str(error))


def _bad(where: str, problem: str) -> Failure:
    return Failure(f"{where}: {problem}. The lines before it are kept; mend it and run the same command again")


def _fields(raw: bytes, where: str) -> dict[str, Any]:
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _bad(where, f"not JSON ({error})") from error
    if not isinstance(fields, dict):
        raise _bad(where, "not a JSON object")
    unknown = sorted(set(fields) - FIELDS)
    if unknown:
        raise _bad(where, f"unknown field {', '.join(unknown)}; there are {', '.join(sorted(FIELDS))}")
    if fields.get("id") is not None:
        try:
            check_id(fields["id"])
        except InvalidInput as error:
            raise _bad(where, str(error)) from error
    embedding = fields.get("embedding")
    if embedding is not None and not isinstance(embedding, list):
        raise _bad(where, "embedding is not a list of numbers")
    links = fields.get("links")
    if links and not (isinstance(links, list) and all(isinstance(link, list) and len(link) == 2 for link in links)):
        raise _bad(where, "links is not a list of [kind, id] pairs")
    return fields


def _expire(fields: dict[str, Any], where: str, now: float) -> bool:
    """Turn ``expires_at`` into ``ttl``; return whether that time has passed."""
    expires_at = fields.get("expires_at")
    if expires_at is None:
        return False
    try:
        fields["ttl"] = check_number(expires_at, "expires_at") - now
    except InvalidInput as error:
        raise _bad(where, str(error)) from error
    return bool(fields["ttl"] <= 0)


def read_lines(file: IO[bytes]) -> Iterator[Line]:
    """Yield the lines of a file; one without an id gets a stable one.

    The id is a hash of the file's path, the line's bytes, and how often the same line came before it: the same line of
    the same file has the same id again, whatever was mended or appended elsewhere in the file.

    Raises:
        Failure: a line that is not a record; the message names it.
    """
    name = getattr(file, "name", "-")
    path = os.path.abspath(name) if isinstance(name, str) and name != "<stdin>" else "-"
    before: Counter[bytes] = Counter()
    now = time.time()
    end = 0
    for number, raw in enumerate(file, 1):
        end += len(raw)
        raw = raw.strip()
        if not raw:
            continue
        where = f"{name}, line {number}"
        fields = _fields(raw, where)
        record_id = fields.get("id")
        if record_id is None:
            digest = blake2b(raw, digest_size=16).digest()
            record_id = blake2b(f"{path}\0{before[digest]}\0".encode() + digest, digest_size=16).hexdigest()
            before[digest] += 1
        yield Line(where, record_id, fields, end, _expire(fields, where, now))
