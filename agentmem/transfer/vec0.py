"""A table of sqlite-vec, read without its extension."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from agentmem.identity import GIVEN
from agentmem.storage.vec0 import VecFile, VecTable
from agentmem.transfer.lines import Head, Line
from agentmem.transfer.source import FOREIGN, Rows, Source, one_of

OPTIONS = FOREIGN | {"table", "text", "texts", "vector"}


@contextmanager
def opened(
    path: str,
    *,
    table: str | None = None,
    text: str | None = None,
    texts: str | None = None,
    vector: str | None = None,
    namespace: str = "",
    prefix: str = "",
) -> Iterator[Source]:
    """Open a vec0 table, to read only.

    Args:
        path: of the database.
        table: its name; the only one there is, when None.
        text: the column of texts, of the table itself or of ``texts``; "text" where there is one, when None.
        texts: another table that holds more of each row, under the same rowid (or the same text key).
        vector: the column of vectors; the only one, when None.
        namespace: that the records get.
        prefix: put before every id.
    """
    with closing(VecFile(path)) as file:
        name = one_of(file.tables(), table, "vec0 table", path, "--table")
        found = file.table(name, texts)
        where = f"table {name!r}"
        column = found.vectors[one_of(found.vectors, vector, "float or int8 vector column", where, "--vector")]
        if text is not None:
            one_of(found.fields, text, "column", where, "--text")
        metric = "cosine" if column.metric == "cosine" else "l2"
        head = Head(GIVEN, column.dimension, metric)
        rows = Rows(name, namespace, prefix)
        yield Source(head, found.count(), _lines(found, rows, column.name, text or "text"))


def _lines(table: VecTable, rows: Rows, vector: str, text: str) -> Iterator[Line]:
    for row in table.rows(vector):
        metadata = {name: value for name, value in row.fields.items() if value is not None and name != text}
        yield rows.line(row.id, row.fields.get(text), row.vector, metadata)
