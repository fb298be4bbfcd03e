"""A collection of Chroma, in the folder of its persistent client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agentmem.errors import BadSource
from agentmem.extras import need
from agentmem.identity import GIVEN
from agentmem.records import METRICS
from agentmem.transfer.lines import Head, Line
from agentmem.transfer.source import FOREIGN, Rows, Source, one_of

OPTIONS = FOREIGN | {"table"}
_PAGE = 500


@contextmanager
def opened(path: str, *, table: str | None = None, namespace: str = "", prefix: str = "") -> Iterator[Source]:
    """Open a collection: ids, documents, metadata and embeddings; URIs stay behind.

    Args:
        path: of the folder.
        table: the collection; the only one there is, when None.
        namespace: that the records get.
        prefix: put before every id.
    """
    if not (Path(path) / "chroma.sqlite3").is_file():
        raise BadSource(f"{path} is not a folder of Chroma's persistent client: it has no chroma.sqlite3")
    chromadb = need("chromadb", "chroma", "importing from Chroma")
    client = chromadb.PersistentClient(path, settings=chromadb.Settings(anonymized_telemetry=False))
    try:
        names = [collection.name for collection in client.list_collections()]
        name = one_of(names, table, "collection", path, "--table")
        collection = client.get_collection(name, embedding_function=None)
        ids = collection.get(include=[])["ids"]
        yield Source(_head(collection, ids), len(ids), _lines(collection, ids, Rows(name, namespace, prefix)))
    finally:
        client.close()


def _head(collection: Any, ids: list[str]) -> Head | None:
    if not ids:
        return None
    first = collection.get(ids=ids[:1], include=["embeddings"])["embeddings"][0]
    described = collection.configuration_json
    space = (described.get("hnsw") or described.get("spann") or {}).get("space")
    return Head(GIVEN, len(first), space if space in METRICS else "cosine")


def _lines(collection: Any, ids: list[str], rows: Rows) -> Iterator[Line]:
    """Yield the records in the order of their ids as they were at the beginning, whatever is written meanwhile."""
    for start in range(0, len(ids), _PAGE):
        got = collection.get(ids=ids[start : start + _PAGE], include=["documents", "metadatas", "embeddings"])
        found = zip(got["ids"], got["documents"], got["metadatas"], got["embeddings"], strict=True)
        page = {id: (document, metadata, vector) for id, document, metadata, vector in found}
        for id in ids[start : start + _PAGE]:
            if id in page:
                document, metadata, vector = page[id]
                yield rows.line(id, document, vector.tolist(), metadata or {})
