"""Tables of sqlite-vec (vec0), read from the ordinary tables in which it keeps them: the extension is not needed.

A table ``t`` keeps its rows in chunks: ``t_chunks`` says which places are taken and by which rowids,
``t_vector_chunksNN`` holds the vectors of column NN one after the other, ``t_metadatachunksNN`` the values of a
metadata column (texts of more than 12 bytes in ``t_metadatatextNN``), ``t_auxiliary`` the other columns, ``t_rowids``
the ids that are texts.
As written by sqlite-vec 0.1.6 and later; https://github.com/asg017/sqlite-vec, ARCHITECTURE.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from agentmem.errors import BadSource, InvalidInput, NotAStore, StoreBusy, StoreError
from agentmem.records import Float32
from agentmem.storage.connection import Connection, open_at_rest

_TABLES = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND sql LIKE 'CREATE VIRTUAL TABLE%' ORDER BY name"
_DECLARED = re.compile(r"\busing\s+vec0\s*\((.*)\)\s*;?\s*$", re.I | re.S)
_VECTOR = re.compile(r"(\w+)\s+(float32|float|f32|int8|i8|bit)\s*\[\s*(\d+)\s*\](.*)$", re.I | re.S)
_METRIC = re.compile(r"distance_metric\s*=\s*(\w+)", re.I)
_ELEMENTS: dict[str, type[np.generic]] = {
    "float": np.float32, "float32": np.float32, "f32": np.float32, "int8": np.int8, "i8": np.int8,
}  # fmt: skip
_VIEW = 16
_INLINE = 12
_SOME = 500


class VecColumn(NamedTuple):
    """A column of vectors: its number among those, name, length, element type, and metric ("l2", "l1", "cosine")."""

    number: int
    name: str
    dimension: int
    element: type[np.generic]
    metric: str


class VecRow(NamedTuple):
    """A row: its rowid or text key, its vector float32 (dim,), and its other columns."""

    id: int | str
    vector: Float32
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Declared:
    """What the columns of a table are, each kind in its order; a metadata column with its type."""

    vectors: list[VecColumn]
    partitions: list[str]
    metadata: list[tuple[str, str]]
    auxiliary: list[str]
    key: str | None
    text_key: bool


class VecFile:
    """A database that nobody writes meanwhile, opened to read only.

    Raises:
        NotAStore: it cannot be opened.
        BadSource: it is no SQLite database.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._connection = open_at_rest(path)
        try:
            found = _asked(self._connection, _TABLES)
        except BaseException:
            self._connection.close()
            raise
        self._declared = {name: match[1] for name, sql in found if (match := _DECLARED.search(str(sql)))}

    def tables(self) -> list[str]:
        """Return the names of the vec0 tables."""
        return list(self._declared)

    def table(self, name: str, texts: str | None) -> VecTable:
        """Return one of them.

        Args:
            name: of the table.
            texts: another table with more columns of the same rows, or None.

        Raises:
            BadSource: a declaration that cannot be read.
            InvalidInput: ``texts`` is not there.
        """
        return VecTable(self._connection, name, _parsed(name, self._declared[name]), texts)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


class VecTable:
    """One vec0 table; made by ``VecFile.table``.

    Attributes:
        vectors: its columns of float or int8 vectors, by name.
        fields: the names of its other columns, those of the table of texts among them.
    """

    def __init__(self, connection: Connection, name: str, declared: _Declared, texts: str | None) -> None:
        self._connection = connection
        self._name = name
        self._declared = declared
        self._texts = texts
        self.vectors = {column.name: column for column in declared.vectors}
        self.fields = [*declared.partitions, *(name for name, _ in declared.metadata), *declared.auxiliary]
        if texts is not None:
            columns = [row[1] for row in self._all(f"PRAGMA table_info({_quoted(texts)})")]
            if not columns:
                raise InvalidInput(f"{connection.path} has no table {texts!r} to take texts from")
            if declared.text_key and declared.key not in columns:
                raise InvalidInput(f"table {texts!r} has no column {declared.key!r}, which is the key of {name!r}")
            self.fields += [column for column in columns if column not in self.fields]

    def count(self) -> int:
        """Return the number of rows."""
        return int(self._all(f"SELECT count(*) FROM {self._shadow('rowids')}")[0][0])

    def rows(self, vector: str) -> Iterator[VecRow]:
        """Yield the rows, chunk by chunk.

        Args:
            vector: the column of vectors to take.

        Raises:
            BadSource: the tables do not fit each other.
        """
        column = self.vectors[vector]
        for (chunk,) in self._all(f"SELECT chunk_id FROM {self._shadow('chunks')} ORDER BY chunk_id"):
            try:
                rows = self._chunk(chunk, column)
            except (IndexError, KeyError, TypeError, ValueError) as error:
                raise self._unreadable(f"chunk {chunk}: {error}") from error
            yield from rows

    def _chunk(self, chunk: int, column: VecColumn) -> list[VecRow]:
        declared = self._declared
        partitions = "".join(f", partition{number:02}" for number in range(len(declared.partitions)))
        size, validity, ids, *values = self._all(
            f"SELECT size, validity, rowids{partitions} FROM {self._shadow('chunks')} WHERE chunk_id = ?", chunk
        )[0]
        taken = np.flatnonzero(_bits(validity)[:size])
        rowids = np.frombuffer(ids, np.int64)[taken].tolist()
        blob = self._blob(f"vector_chunks{column.number:02}", "vectors", chunk)
        if len(blob) != size * column.dimension * np.dtype(column.element).itemsize:
            raise self._unreadable(f"chunk {chunk} of {column.name!r} is not as long as its rows need")
        vectors = np.frombuffer(blob, column.element).reshape(size, column.dimension)[taken].astype(np.float32)
        columns: dict[str, Sequence[Any]] = {
            name: [value] * len(taken) for name, value in zip(declared.partitions, values, strict=True)
        }
        for number, (name, kind) in enumerate(declared.metadata):
            columns[name] = self._metadata(number, kind, chunk, taken.tolist(), rowids)
        keys = self._looked_up(self._shadow("rowids"), ["id"], "rowid", rowids) if declared.text_key else {}
        ids_of = [keys[rowid][0] if keys else rowid for rowid in rowids]
        more = self._more(rowids, ids_of)
        return [
            VecRow(id, vector, {**more[rowid], **{name: each[place] for name, each in columns.items()}})
            for place, (id, rowid, vector) in enumerate(zip(ids_of, rowids, vectors, strict=True))
        ]

    def _more(self, rowids: list[int], ids: list[Any]) -> dict[int, dict[str, Any]]:
        """Return the auxiliary columns, and those of the table of texts, by rowid."""
        more: dict[int, dict[str, Any]] = {rowid: {} for rowid in rowids}
        auxiliary = self._declared.auxiliary
        if auxiliary:
            names = [f"value{number:02}" for number in range(len(auxiliary))]
            for rowid, values in self._looked_up(self._shadow("auxiliary"), names, "rowid", rowids).items():
                more[rowid].update(zip(auxiliary, values, strict=True))
        if self._texts is not None:
            columns = [row[1] for row in self._all(f"PRAGMA table_info({_quoted(self._texts)})")]
            key = _quoted(self._declared.key or "") if self._declared.text_key else "rowid"
            quoted = [_quoted(name) for name in columns]
            found = self._looked_up(_quoted(self._texts), quoted, key, ids)
            for rowid, id in zip(rowids, ids, strict=True):
                if id in found:
                    more[rowid].update(zip(columns, found[id], strict=True))
        return more

    def _metadata(self, number: int, kind: str, chunk: int, taken: list[int], rowids: list[int]) -> list[Any]:
        """Return the values of a metadata column at the places that are taken."""
        blob = self._blob(f"metadatachunks{number:02}", "data", chunk)
        if kind == "boolean":
            return [bool(value) for value in _bits(blob)[taken]]
        if kind in ("integer", "float"):
            values: list[Any] = np.frombuffer(blob, np.int64 if kind == "integer" else np.float64)[taken].tolist()
            return values
        views = [blob[place * _VIEW : (place + 1) * _VIEW] for place in taken]
        lengths = [int.from_bytes(view[:4], "little") for view in views]
        long = [rowid for rowid, length in zip(rowids, lengths, strict=True) if length > _INLINE]
        texts = self._looked_up(self._shadow(f"metadatatext{number:02}"), ["data"], "rowid", long)
        return [
            texts[rowid][0] if length > _INLINE else view[4 : 4 + length].decode("utf-8", "replace")
            for rowid, view, length in zip(rowids, views, lengths, strict=True)
        ]

    def _looked_up(self, table: str, columns: list[str], key: str, keys: list[Any]) -> dict[Any, tuple[Any, ...]]:
        """Return rows by their keys."""
        found = {}
        for start in range(0, len(keys), _SOME):
            part = keys[start : start + _SOME]
            marks = ", ".join("?" * len(part))
            for row in self._all(f"SELECT {key}, {', '.join(columns)} FROM {table} WHERE {key} IN ({marks})", *part):
                found[row[0]] = row[1:]
        return found

    def _blob(self, table: str, column: str, chunk: int) -> bytes:
        rows = self._all(f"SELECT {column} FROM {self._shadow(table)} WHERE rowid = ?", chunk)
        if not rows or not isinstance(rows[0][0], bytes):
            raise self._unreadable(f"chunk {chunk} is missing in {self._name}_{table}")
        return rows[0][0]

    def _shadow(self, table: str) -> str:
        return _quoted(f"{self._name}_{table}")

    def _all(self, sql: str, *values: Any) -> list[Any]:
        return _asked(self._connection, sql, *values)

    def _unreadable(self, why: str) -> BadSource:
        return BadSource(f"table {self._name!r} cannot be read as sqlite-vec writes it ({why})")


def _asked(connection: Connection, sql: str, *values: Any) -> list[Any]:
    """Return the rows of a query.

    Raises:
        BadSource: they cannot be read.
        StoreBusy: another process holds a lock; retry.
    """
    try:
        return connection.all(sql, values)
    except StoreBusy:
        raise
    except NotAStore as error:
        raise BadSource(f"{connection.path} is not an SQLite database") from error
    except (StoreError, UnicodeDecodeError, OverflowError) as error:
        raise BadSource(f"{connection.path} cannot be read ({error})") from error


def _bits(blob: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.unpackbits(np.frombuffer(blob, np.uint8), bitorder="little")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _parsed(table: str, declaration: str) -> _Declared:
    """Return the columns of a declaration, the words between the brackets of ``vec0(...)``."""
    declared = _Declared([], [], [], [], *_key(declaration))
    vectors = 0
    for part in (each.strip() for each in declaration.split(",")):
        words = part.split()
        vector = _VECTOR.match(part)
        if vector:
            name, kind, dimension, options = vector.groups()
            element = _ELEMENTS.get(kind.lower())
            metric = _METRIC.search(options)
            if element is not None:
                declared.vectors.append(
                    VecColumn(vectors, name, int(dimension), element, metric[1].lower() if metric else "l2")
                )
            vectors += 1
        elif part.startswith("+"):
            declared.auxiliary.append(part[1:].split()[0])
        elif "partition" in part.lower().split():
            declared.partitions.append(words[0])
        elif "=" not in part and "primary" not in part.lower().split():
            declared.metadata.append((words[0], _kind(table, words)))
    return declared


def _key(declaration: str) -> tuple[str | None, bool]:
    """Return the name of the primary key, None where there is none, and whether it is a text."""
    for part in declaration.split(","):
        words = part.lower().split()
        if "primary" in words:
            return part.split()[0], words[1] == "text"
    return None, False


def _kind(table: str, words: list[str]) -> str:
    kind = words[1].lower() if len(words) > 1 else ""
    for name, others in {"text": (), "integer": ("int",), "float": ("double", "real"), "boolean": ("bool",)}.items():
        if kind == name or kind in others:
            return name
    raise BadSource(f"table {table!r}: column {words[0]!r} has the type {kind!r}, which this version does not read")
