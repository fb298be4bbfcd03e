"""Lines of JSON, as ``export`` and ``recover`` write them."""

from __future__ import annotations

import io
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import IO

from agentmem.identity import GIVEN
from agentmem.transfer.lines import HEAD, Head, Line, check_fields, has_expired, head_of, object_of
from agentmem.transfer.source import Source

OPTIONS: frozenset[str] = frozenset()


@contextmanager
def opened(path: str) -> Iterator[Source]:
    """Open a file, or standard input for "-"."""
    if path == "-":
        yield source(io.BytesIO(sys.stdin.buffer.read()))
        return
    with open(path, "rb") as file:
        yield source(file if file.seekable() else io.BytesIO(file.read()))


def source(file: IO[bytes]) -> Source:
    """Return what a file that can be read twice holds."""
    head = _head(file)
    size = file.seek(0, 2)
    file.seek(0)
    return Source(head, size, read_lines(file), strict=True, foreign=False)


def _head(file: IO[bytes]) -> Head | None:
    """Return what the vectors of a file are, by its first line; None where that has no vector."""
    head = read_head(file)
    if head is None:
        first = next(read_lines(file), None)
        file.seek(0)
        embedding = first.fields.get("embedding") if first else None
        head = None if embedding is None else Head(GIVEN, len(embedding), "cosine")
    return head


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
    line = object_of(raw, where)
    return head_of(line, where) if set(line) == {HEAD} else None


def read_lines(file: IO[bytes]) -> Iterator[Line]:
    """Yield the lines of a file; one without an id gets a stable one.

    The id is a hash of the file's path, the line's bytes, and how often the same line came before it: the same line of
    the same file has the same id again, whatever was mended or appended elsewhere in the file.

    Raises:
        BadSource: a line that is not a record; the message names it.
    """
    path = os.path.abspath(_name(file)) if _name(file) not in ("-", "<stdin>") else "-"
    headed = read_head(file) is not None
    before: Counter[bytes] = Counter()
    now = time.time()
    for place, (where, raw, end) in enumerate(_numbered(file)):
        if headed and place == 0:
            continue
        fields = object_of(raw, where)
        check_fields(fields, where)
        record_id = fields.get("id")
        if record_id is None:
            digest = blake2b(raw, digest_size=16).digest()
            record_id = blake2b(f"{path}\0{before[digest]}\0".encode() + digest, digest_size=16).hexdigest()
            before[digest] += 1
        yield Line(where, record_id, fields, end, has_expired(fields, where, now), headed)
