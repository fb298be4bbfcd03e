"""What every kind of source gives to the import, and what their rows have in common."""

from __future__ import annotations

import base64
import datetime
import json
import math
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from hashlib import blake2b
from typing import Any

from agentmem.errors import BadSource, InvalidInput
from agentmem.transfer.lines import Head, Line

FOREIGN = frozenset({"namespace", "prefix"})
"""Options of every source that is another program's."""


@dataclass(frozen=True, slots=True)
class Source:
    """Something to import.

    Attributes:
        head: what the vectors are; None where there are none.
        size: the ``Line.end`` of the last line.
        lines: the records; they can be gone through once.
        strict: a record that cannot be taken ends the import, since a file of one's own can be mended; else it is
            skipped, and listed.
        foreign: another program's; its metric says how a new store is made, and nothing else.
    """

    head: Head | None
    size: float
    lines: Iterable[Line]
    strict: bool = False
    foreign: bool = True

    def without_vectors(self) -> Source:
        """Return the same without its vectors: the store's model makes new ones of the texts."""
        return replace(self, head=None, lines=(_without_vector(line) for line in self.lines))


def _without_vector(line: Line) -> Line:
    fields = {name: value for name, value in line.fields.items() if name != "embedding"}
    return replace(line, fields=fields, headed=False)


class Rows:
    """Makes lines of another program's rows.

    Args:
        name: of the table, for messages.
        namespace: that the records get.
        prefix: put before every id.
    """

    def __init__(self, name: str, namespace: str = "", prefix: str = "") -> None:
        self._name = name
        self._namespace = namespace
        self._prefix = prefix
        self._count = 0
        self._before: Counter[str] = Counter()

    def line(self, id: object, text: object, vector: Any, metadata: Mapping[str, Any]) -> Line:
        """Return a row as a line; one without an id gets a hash of what is in it and of how often that came before."""
        self._count += 1
        problem = None
        fields: dict[str, Any] = {"namespace": self._namespace}
        try:
            fields["metadata"] = {str(key): jsonable(value, str(key)) for key, value in metadata.items()}
        except InvalidInput as error:
            problem = str(error)
        if text is not None:
            fields["text"] = text
        if vector is not None:
            fields["embedding"] = vector
        name = self._stable(fields) if id is None else str(id)
        where = f"{self._name}, row {self._count if id is None else name}"
        return Line(where, self._prefix + name, fields, self._count, problem=problem)

    def _stable(self, fields: Mapping[str, Any]) -> str:
        content = json.dumps(fields, sort_keys=True, default=repr)
        again = self._before[content]
        self._before[content] += 1
        return stable_id(self._name, str(again), content)


def stable_id(*parts: str) -> str:
    """Return an id that is the same for the same parts: their hash, 32 hexadecimal digits (BLAKE2b, RFC 7693)."""
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def jsonable(value: Any, name: str) -> Any:
    """Return a value as metadata can hold it: times as ISO 8601, bytes as base64, NaN and infinity as null.

    Raises:
        InvalidInput: of a type that has no such form.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): jsonable(each, name) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(each, name) for each in value]
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (Decimal, uuid.UUID)):
        return str(value)
    raise InvalidInput(f"{name} holds a value of type {type(value).__name__}, which JSON does not know")


def one_of(names: Iterable[str], wanted: str | None, what: str, where: str, option: str) -> str:
    """Return the name that was asked for, or the only one there is.

    Raises:
        InvalidInput: it is not there; or several are, and none was asked for.
        BadSource: there is none at all.
    """
    known = sorted(names)
    if not known:
        raise BadSource(f"{where} has no {what}")
    if wanted is None and len(known) == 1:
        return known[0]
    if wanted not in known:
        came = f"no {what} {wanted!r}" if wanted is not None else f"several of {what}, name one with {option}"
        raise InvalidInput(f"{where}: {came}; there are {', '.join(map(repr, known))}")
    return wanted


def parsed_lines(path: str) -> Iterator[tuple[int, Any, str | None]]:
    """Yield the number, the value and the problem of each line of JSON that is not empty."""
    with open(path, "rb") as file:
        for number, raw in enumerate(file, 1):
            if raw.strip():
                try:
                    yield number, json.loads(raw), None
                except (ValueError, RecursionError) as error:
                    yield number, None, f"not JSON ({error})"
