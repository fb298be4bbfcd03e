"""A record on its way in or out: the fields of a line, checked, and the line as a record to write."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agentmem.errors import BadSource, InvalidInput
from agentmem.ingest import WITHOUT, Draft
from agentmem.records import Float32, Record
from agentmem.validation import check_id, check_number

WRITTEN = (
    "id", "text", "namespace", "metadata", "thread", "position", "session", "speaker", "importance", "created_at",
    "updated_at", "expires_at",
)  # fmt: skip
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


def head_of(line: dict[str, Any], where: str) -> Head:
    """Return the head that a line is.

    Raises:
        BadSource: it is not one.
    """
    kinds = {"embedder": str, "dimension": int, "metric": str}
    fields = line.get(HEAD)
    if not isinstance(fields, dict) or {name: type(value) for name, value in fields.items()} != kinds:
        raise bad_line(where, f"{HEAD} is not an object of embedder, dimension and metric")
    return Head(**fields)


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
    """One line of a file, or row of a table.

    Attributes:
        where: it stands, for messages.
        id: of the record.
        fields: of the record, some of ``FIELDS``.
        end: how far the source is read behind it, in the unit of ``Source.size``.
        expired: the record has, and is left out.
        headed: a null embedding says that there is none and that none is to be made.
        problem: why it cannot be a record, or None.
    """

    where: str
    id: str
    fields: dict[str, Any]
    end: int
    expired: bool = False
    headed: bool = False
    problem: str | None = None

    def failure(self, error: Exception) -> BadSource:
        """Return the exception that an error in this line is."""
        return bad_line(self.where, str(error))

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


def bad_line(where: str, problem: str) -> BadSource:
    """Return the exception for a line that is not a record."""
    return BadSource(f"{where}: {problem}. The lines before it are kept; mend it and run the same command again")


def object_of(raw: bytes, where: str) -> dict[str, Any]:
    """Return a line's JSON object.

    Raises:
        BadSource: it is none.
    """
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise bad_line(where, f"not JSON ({error})") from error
    if not isinstance(fields, dict):
        raise bad_line(where, "not a JSON object")
    return fields


def check_fields(fields: dict[str, Any], where: str) -> None:
    """Check what is not checked when the record is written.

    Raises:
        BadSource: an unknown field, or an id, embedding or links of the wrong kind.
    """
    unknown = sorted(set(fields) - FIELDS)
    if unknown:
        raise bad_line(where, f"unknown field {', '.join(unknown)}; there are {', '.join(sorted(FIELDS))}")
    if fields.get("id") is not None:
        try:
            check_id(fields["id"])
        except InvalidInput as error:
            raise bad_line(where, str(error)) from error
    embedding = fields.get("embedding")
    if embedding is not None and not isinstance(embedding, list):
        raise bad_line(where, "embedding is not a list of numbers")
    links = fields.get("links")
    if links and not (isinstance(links, list) and all(isinstance(link, list) and len(link) == 2 for link in links)):
        raise bad_line(where, "links is not a list of [kind, id] pairs")


def has_expired(fields: dict[str, Any], where: str, now: float) -> bool:
    """Say whether a record has expired.

    Raises:
        BadSource: its expiry is no number.
    """
    expires_at = fields.get("expires_at")
    if expires_at is None:
        return False
    try:
        return check_number(expires_at, "expires_at") <= now
    except InvalidInput as error:
        raise bad_line(where, str(error)) from error
