"""Parquet: the fields of a line as columns, vectors as lists of float32 of one length, metadata as JSON."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import IO, Any

from agentmem.errors import BadSource
from agentmem.extras import need
from agentmem.identity import GIVEN
from agentmem.transfer.lines import HEAD, Head, Line, bad_line, check_fields, has_expired, head_of, object_of
from agentmem.transfer.source import Source

OPTIONS: frozenset[str] = frozenset()
_TEXTS = ("id", "text", "namespace", "metadata", "thread", "session", "speaker")
_NUMBERS = ("position", "importance", "created_at", "updated_at", "expires_at")
_KEY = f"agentmem.{HEAD}".encode()
_ROWS = 1000


def library() -> Any:
    """Return pyarrow, with its Parquet.

    Raises:
        MissingExtra: it is not installed.
    """
    need("pyarrow.parquet", "parquet", "Parquet")
    return need("pyarrow", "parquet", "Parquet")


@contextmanager
def opened(path: str) -> Iterator[Source]:
    """Open a Parquet file with the columns that ``export`` writes, or some of them."""
    arrow = library()
    try:
        file = arrow.parquet.ParquetFile(path)
    except arrow.ArrowInvalid as error:
        raise BadSource(f"{path} is not a Parquet file ({error})") from error
    with file:
        schema = file.schema_arrow
        written = (schema.metadata or {}).get(_KEY)
        head = None if written is None else head_of(object_of(written, path), path)
        lines = _lines(path, file, headed=head is not None)
        if head is None and "embedding" in schema.names:
            head = _guessed(arrow, file, path)
        yield Source(head, file.metadata.num_rows, lines, strict=True, foreign=False)


def _guessed(arrow: Any, file: Any, path: str) -> Head | None:
    """Return what the vectors of another program's file are: as long as its type, or its first vector, says."""
    kind = file.schema_arrow.field("embedding").type
    if arrow.types.is_fixed_size_list(kind):
        return Head(GIVEN, kind.list_size, "cosine")
    for batch in file.iter_batches(batch_size=_ROWS, columns=["embedding"]):
        for vector in batch.column(0).to_pylist():
            if vector is not None:
                if not isinstance(vector, list):
                    raise BadSource(f"{path}: the column embedding holds no lists of numbers")
                return Head(GIVEN, len(vector), "cosine")
    return None


def _lines(path: str, file: Any, *, headed: bool) -> Iterator[Line]:
    whole = os.path.abspath(path)
    before: Counter[bytes] = Counter()
    now = time.time()
    number = 0
    for batch in file.iter_batches(batch_size=_ROWS):
        for row in batch.to_pylist():
            number += 1
            where = f"{path}, row {number}"
            fields = _fields(row, where, headed=headed)
            check_fields(fields, where)
            record_id = fields.get("id")
            if record_id is None:
                digest = blake2b(
                    json.dumps(row, default=repr).encode("utf-8", "surrogatepass"), digest_size=16
                ).digest()
                record_id = blake2b(f"{whole}\0{before[digest]}\0".encode() + digest, digest_size=16).hexdigest()
                before[digest] += 1
            yield Line(where, record_id, fields, number, has_expired(fields, where, now), headed)


def _fields(row: dict[str, Any], where: str, *, headed: bool) -> dict[str, Any]:
    """Return a row as the fields of a line; a null is what a line leaves out, but for a vector beside a head."""
    fields = {name: value for name, value in row.items() if value is not None or (headed and name == "embedding")}
    metadata = fields.get("metadata")
    if isinstance(metadata, str):
        fields["metadata"] = object_of(metadata.encode("utf-8", "surrogatepass"), f"{where}, metadata")
    if "links" in fields:
        links = fields["links"]
        if not isinstance(links, list) or not all(isinstance(link, dict) for link in links):
            raise bad_line(where, "links is not a list of (kind, id) structures")
        fields["links"] = [[link.get("kind"), link.get("id")] for link in links]
    return fields


def write(output: IO[bytes], pages: Iterable[list[dict[str, Any]]], head: Head | None) -> None:
    """Write lines as Parquet, a row group a page; with a head their vectors too.

    Args:
        output: opened to write bytes.
        pages: lines, see ``lines.to_line``.
        head: what the vectors are; it goes into the file's metadata.
    """
    arrow = library()
    schema = _schema(arrow, head)
    with arrow.parquet.ParquetWriter(output, schema) as writer:
        for page in pages:
            writer.write_table(arrow.Table.from_pylist([_row(line) for line in page], schema=schema))


def _schema(arrow: Any, head: Head | None) -> Any:
    link = arrow.struct([("kind", arrow.string()), ("id", arrow.string())])
    columns = [(name, arrow.string()) for name in _TEXTS] + [(name, arrow.float64()) for name in _NUMBERS]
    columns.append(("links", arrow.list_(link)))
    if head is None:
        return arrow.schema(columns)
    columns.append(("embedding", arrow.list_(arrow.float32(), head.dimension)))
    return arrow.schema(columns, metadata={_KEY: head.to_line().encode()})


def _row(line: dict[str, Any]) -> dict[str, Any]:
    row = dict(line)
    if "metadata" in row:
        row["metadata"] = json.dumps(row["metadata"], ensure_ascii=False)
    if "links" in row:
        row["links"] = [{"kind": kind, "id": id} for kind, id in row["links"]]
    return row
