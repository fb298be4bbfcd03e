"""A table of LanceDB, in the folder of a local database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agentmem.errors import BadSource
from agentmem.extras import need
from agentmem.identity import GIVEN
from agentmem.transfer.lines import Head, Line
from agentmem.transfer.source import FOREIGN, Rows, Source, one_of

OPTIONS = FOREIGN | {"table", "id", "text", "vector"}
_ROWS = 1000


@contextmanager
def opened(
    path: str,
    *,
    table: str | None = None,
    id: str | None = None,
    text: str | None = None,
    vector: str | None = None,
    namespace: str = "",
    prefix: str = "",
) -> Iterator[Source]:
    """Open a table, at its newest version.

    Args:
        path: of the folder.
        table: its name; the only one there is, when None.
        id: the column of ids; "id" where there is one, else hashes of the rows, when None.
        text: the column of texts; "text" where there is one, when None.
        vector: the column of vectors; the only one of lists of numbers of one length, when None.
        namespace: that the records get.
        prefix: put before every id.
    """
    if not Path(path).is_dir() or not any(Path(path).glob("*.lance")):
        raise BadSource(f"{path} is not a folder of a LanceDB database: it has no *.lance in it")
    lancedb = need("lancedb", "lancedb", "importing from LanceDB")
    arrow = need("pyarrow", "lancedb", "importing from LanceDB")
    database = lancedb.connect(path)
    name = one_of(sorted(each.stem for each in Path(path).glob("*.lance")), table, "table", path, "--table")
    opened_table = database.open_table(name)
    schema = opened_table.schema
    kinds = {field.name: field.type for field in schema}
    vectors = {
        column: kind.list_size
        for column, kind in kinds.items()
        if arrow.types.is_fixed_size_list(kind) and arrow.types.is_floating(kind.value_type)
    }
    where = f"table {name!r}"
    id = _column(kinds, id, "id", where, "--id")
    text = _column(kinds, text, "text", where, "--text")
    vector = one_of(vectors, vector, "vector column", where, "--vector") if vectors or vector else None
    head = None if vector is None else Head(GIVEN, vectors[vector], "cosine")
    others = frozenset(vectors) - {vector}
    rows = Rows(name, namespace, prefix)
    yield Source(head, opened_table.count_rows(), _lines(opened_table, rows, id, text, vector, others))


def _column(kinds: dict[str, Any], wanted: str | None, usual: str, where: str, option: str) -> str | None:
    """Return the column that was asked for, or the one that usually holds this, or None."""
    if wanted is None:
        return usual if usual in kinds else None
    return one_of(kinds, wanted, "column", where, option)


def _lines(
    table: Any, rows: Rows, id: str | None, text: str | None, vector: str | None, left: frozenset[str]
) -> Iterator[Line]:
    for batch in table.search().to_batches(_ROWS):
        for row in batch.to_pylist():
            taken = {name: row.pop(name, None) for name in (id, text, vector) if name is not None}
            metadata = {name: value for name, value in row.items() if value is not None and name not in left}
            yield rows.line(taken.get(id or ""), taken.get(text or ""), taken.get(vector or ""), metadata)
