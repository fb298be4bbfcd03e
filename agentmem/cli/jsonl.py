"""Memories as lines of JSON: written by ``export`` and ``recover``, read by ``import``."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import IO, Any

from agentmem.cli.app import Failure
from agentmem.cli.common import RECORD_FIELDS
from agentmem.errors import InvalidInput
from agentmem.ingest import WITHOUT, Draft
from agentmem.records import Float32, Record
from agentmem.validation import check_id, check_number

WRITTEN = (*RECORD_FIELDS, "updated_at", "expires_at")
FIELDS = frozenset({*WRITTEN, "embedding", "ttl", "links"})
HEAD = "store"
"""The one key of the line that says which vectors follow."""
_LEFT_OUT: dict[str, Any] = {"namespace": "", "metadata": {}}
"""Values that are not written, besides None: they are what a line without them means."""


@dataclass(frozen=True, slots=True)
class Head:
    """What the vectors of a file are: the first line of one that has vectors by ``export``.

    Attributes:
        embedder: the name of what made them.
        dimension: of each.
        metric: of the store that they are from.
    """

    embedder: str
    dimension: int
    metric: str

    def to_line(self) -> str:
        """Return it as a line."""
        return json.dumps({HEAD: asdict(self)}, ensure_ascii=False) + "\n"


def to_line(record: Record, links: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return a record's fields as a line holds them, without its vector."""
    line = {name: getattr(record, name) for name in WRITTEN}
    line = {name: value for name, value in line.items() if value is not None and value != _LEFT_OUT.get(name)}
    return line | ({"links": links} if links else {})


def with_vector(line: dict[str, Any], vector: Float32 | None) -> dict[str, Any]:
    """Return a line with its vector; null says that there is none and that none is to be made."""
    return line | {"embedding": None if vector is None else vector.tolist()}


def dump_line(line: dict[str, Any]) -> str:
    """Return a line as text."""
    return json.dumps(line, ensure_ascii=False) + "\n"


@dataclass(frozen=True, slots=True)
class Line:
    """One line: where it is, its id, its fields, and the file's offset behind it."""

    where: str
    id: str
    fields: dict[str, Any]
    end: int
    expired: bool
    headed: bool

    def failure(self, error: Exception) -> Failure:
        """Return the failure that an error in this line is."""
        return _bad(self.where, str(error))

    def draft(self, created_at: float | None) -> Draft:
        """Return the record to write, without its links.

        Args:
            created_at: of the record that it replaces, for a line that has none.
        """
        fields = self.fields
        bare = self.headed and fields.get("embedding", WITHOUT) is None
        return Draft(
            text=fields.get("text"),
            embedding=WITHOUT if bare else fields.get("embedding"),
            id=self.id,
            namespace=fields.get("namespace", ""),
            metadata=fields.get("metadata"),
            thread=fields.get("thread"),
            session=fields.get("session"),
            speaker=fields.get("speaker"),
            position=fields.get("position"),
            importance=fields.get("importance", 0.5),
            created_at=created_at if fields.get("created_at") is None else fields["created_at"],
            ttl=fields.get("ttl"),
            updated_at=fields.get("updated_at"),
            expires_at=fields.get("expires_at"),
        )


def _bad(where: str, problem: str) -> Failure:
    return Failure(f"{where}: {problem}. The lines before it are kept; mend it and run the same command again")


def _object(raw: bytes, where: str) -> dict[str, Any]:
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _bad(where, f"not JSON ({error})") from error
    if not isinstance(fields, dict):
        raise _bad(where, "not a JSON object")
    return fields


def _check(fields: dict[str, Any], where: str) -> None:
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


def _has_expired(fields: dict[str, Any], where: str, now: float) -> bool:
    expires_at = fields.get("expires_at")
    if expires_at is None:
        return False
    try:
        return check_number(expires_at, "expires_at") <= now
    except InvalidInput as error:
        raise _bad(where, str(error)) from error


def _name(file: IO[bytes]) -> str:
    name = getattr(file, "name", "-")
    return name if isinstance(name, str) else "-"


def _numbered(file: IO[bytes]) -> Iterator[tuple[str, bytes, int]]:
    """Yield where each line stands that is not empty, its bytes, and the offset behind it."""
    end = 0
    for number, raw in enumerate(file, 1):
        end += len(raw)
        if raw.strip():
            yield f"{_name(file)}, line {number}", raw.strip(), end


def read_head(file: IO[bytes]) -> Head | None:
    """Return what the first line says of the vectors, None where it is a record, and go back to the beginning."""
    where, raw, _ = next(_numbered(file), ("", b"{}", 0))
    file.seek(0)
    line = _object(raw, where)
    if set(line) != {HEAD}:
        return None
    kinds = {"embedder": str, "dimension": int, "metric": str}
    fields = line[HEAD]
    if not isinstance(fields, dict) or {name: type(value) for name, value in fields.items()} != kinds:
        raise _bad(where, f"{HEAD} is not an object of embedder, dimension and metric")
    return Head(**fields)


def read_lines(file: IO[bytes]) -> Iterator[Line]:
    """Yield the lines of a file; one without an id gets a stable one.

    The id is a hash of the file's path, the line's bytes, and how often the same line came before it: the same line of
    the same file has the same id again, whatever was mended or appended elsewhere in the file.

    Raises:
        Failure: a line that is not a record; the message names it.
    """
    path = os.path.abspath(_name(file)) if _name(file) not in ("-", "<stdin>") else "-"
    headed = read_head(file) is not None
    before: Counter[bytes] = Counter()
    now = time.time()
    for place, (where, raw, end) in enumerate(_numbered(file)):
        if headed and place == 0:
            continue
        fields = _object(raw, where)
        _check(fields, where)
        record_id = fields.get("id")
        if record_id is None:
            digest = blake2b(raw, digest_size=16).digest()
            record_id = blake2b(f"{path}\0{before[digest]}\0".encode() + digest, digest_size=16).hexdigest()
            before[digest] += 1
        yield Line(where, record_id, fields, end, _has_expired(fields, where, now), headed)
