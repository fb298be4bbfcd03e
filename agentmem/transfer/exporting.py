"""From a store into a file: all of one moment, as lines of JSON or as Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any

from agentmem.storage.reader import Reader
from agentmem.transfer import parquet
from agentmem.transfer.lines import Head, dump_line, to_line, with_vector
from agentmem.validation import check_scope, wall_clock

if TYPE_CHECKING:
    from agentmem.store import MemoryStore

BATCH = 1000
FORMATS = ("jsonl", "parquet")


def check_format(format: str) -> None:
    """Check that a format can be written, before a file is opened for it.

    Raises:
        MissingExtra: "parquet" without its library.
    """
    if format == "parquet":
        parquet.library()


def export_store(
    store: MemoryStore,
    output: IO[bytes],
    format: str,
    *,
    filter: Mapping[str, Any] | None,
    namespace: str | None,
    embeddings: bool,
    progress: Callable[[int], Callable[[float], None]],
) -> int:
    """Write memories to a file; return how many.

    Args:
        store: to read.
        output: opened to write bytes.
        format: "jsonl" or "parquet".
        filter: only what matches.
        namespace: only this one, or the branch below where it ends in "/".
        embeddings: write vectors, and before them what they are.
        progress: given the number of memories, returns what is called with how many were written since.

    Raises:
        MissingExtra: see ``check_format``.
    """
    where, namespace = check_scope(filter, namespace)
    now = wall_clock()
    identity = store.identity
    head = Head(identity.embedder, identity.dimension, identity.metric) if embeddings else None
    with store.database.read() as reader:
        advance = progress(reader.count(where, namespace, now))
        count = 0

        def counted() -> Iterator[list[dict[str, Any]]]:
            nonlocal count
            for page in pages(reader, namespace, where, embeddings, now):
                yield page
                count += len(page)
                advance(len(page))

        (_write_lines if format == "jsonl" else parquet.write)(output, counted(), head)
    return count


def _write_lines(output: IO[bytes], pages: Iterable[list[dict[str, Any]]], head: Head | None) -> None:
    if head is not None:
        output.write(head.to_line().encode())
    for page in pages:
        output.writelines(dump_line(line).encode() for line in page)


def pages(
    reader: Reader, namespace: str | None, where: Mapping[str, Any] | None, embeddings: bool, now: float
) -> Iterator[list[dict[str, Any]]]:
    """Yield what is live, as lines, page by page."""
    after = 0
    while page := reader.page(after, BATCH, where, namespace, now):
        after = page[-1].label
        lines = []
        for record in page:
            line = to_line(record, _live_links(reader, record.id, now))
            lines.append(with_vector(line, reader.vector(record.id)) if embeddings else line)
        yield lines


def _live_links(reader: Reader, id: str, now: float) -> list[tuple[str, str]]:
    links = reader.links(id)
    targets = reader.get([target for _, target in links])
    return [
        link
        for link, target in zip(links, targets, strict=True)
        if target is not None and (target.expires_at is None or target.expires_at > now)
    ]
