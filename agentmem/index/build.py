"""Building a segment out of rows: order, codes, postings, namespaces, and the graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentmem.index.container import Progress, container_bytes, write_container
from agentmem.index.hnsw import GraphSettings, build_graph
from agentmem.index.part import Graph
from agentmem.index.quantise import CHUNK, quantise
from agentmem.index.ragged import take_ragged
from agentmem.index.segment import Segment
from agentmem.records import Float32, Int64, Metric
from agentmem.rows import Rows

Blocks = dict[str, NDArray[Any]]


def build_segment(
    path: Path | None,
    rows: Rows,
    *,
    store_uuid: str,
    seq: int,
    kind: str,
    metric: Metric,
    tokenizer_hash: str,
    graph: bool,
    M: int = 16,
    ef_construction: int = 200,
    threads: int = 1,
    seed: int = 100,
    extend: Segment | None = None,
    progress: Progress | None = None,
) -> Path | bytes:
    """Build a segment and write it.

    Args:
        path: the file to write, or None for the bytes of a segment that stays in memory.
        rows: what goes in.
        store_uuid: the store's identity; a segment of another store is refused at open.
        seq: the store's seq that the rows are of.
        kind: "base" or "delta".
        metric: "cosine" (rows are normalised), "ip" or "l2".
        tokenizer_hash: names the tokenizer that made ``rows.tokens``.
        graph: build a graph; without one the segment is scanned.
        M: links a node at upper levels, twice as many at level 0.
        ef_construction: breadth of the search for links.
        threads: for building the graph; one thread gives the same graph every time.
        seed: of the nodes' levels.
        extend: a segment whose graph is kept and added to, as long as all its rows are among ``rows``.
        progress: told the share that is done.

    Returns:
        ``path``, or the bytes.

    Raises:
        OSError: the disk refused.
    """
    order, names, name_ids = _row_order(rows)
    vectors = _vectors(rows, order, metric)
    blocks = _columns(rows, order, vectors)
    blocks |= _words(rows, order) | _namespaces(names, name_ids[order]) | _postings(rows, order)
    made: Graph | None = None
    if graph:
        made = build_graph(
            blocks["labels"],
            vectors,
            blocks["has_vector"].view(np.bool_),
            GraphSettings(metric, M, ef_construction, threads, seed),
            folder=Path(gettempdir()) if path is None else path.parent,
            extend=extend,
            progress=progress,
        )
        blocks |= _graph_blocks(made)
    header = {
        "store_uuid": store_uuid,
        "seq": seq,
        "kind": kind,
        "metric": metric,
        "tokenizer_hash": tokenizer_hash,
    }
    return _write(path, header | _facts(rows, made), blocks, progress)


def _facts(rows: Rows, graph: Graph | None) -> dict[str, Any]:
    return {
        "dimension": rows.vectors.shape[1],
        "max_label": int(rows.labels[-1]) if len(rows) else 0,
        "n": len(rows),
        "graph": None if graph is None else {"entry": graph.entry, "max_level": graph.max_level, "M": graph.M},
    }


def _write(path: Path | None, header: Mapping[str, Any], blocks: Blocks, progress: Progress | None) -> Path | bytes:
    if path is None:
        result: Path | bytes = container_bytes(header, blocks)
    else:
        write_container(path, header, blocks)
        result = path
    if progress is not None:
        progress(1.0)
    return result


def _row_order(rows: Rows) -> tuple[Int64, list[str], Int64]:
    """Return the rows in segment order, the sorted namespaces, and the index of each row's namespace among them."""
    names = sorted(set(rows.namespaces))
    index = {name: number for number, name in enumerate(names)}
    name_ids = np.fromiter((index[name] for name in rows.namespaces), np.int64, len(rows))
    return np.lexsort((rows.labels, rows.position, rows.thread_key, name_ids)), names, name_ids


def _vectors(rows: Rows, order: Int64, metric: Metric) -> Float32:
    """Return the rows' vectors in segment order; zeros where there is none; -0.0 becomes 0.0, so equal means equal."""
    result = rows.vectors[order]
    result[~rows.has_vector[order]] = 0.0
    result += np.float32(0.0)
    if metric == "cosine":
        for start in range(0, len(result), CHUNK):
            chunk = result[start : start + CHUNK]
            lengths = np.sqrt(np.einsum("ij,ij->i", chunk, chunk, dtype=np.float64))
            chunk /= np.where(lengths > 0, lengths, 1.0)[:, None]
    return result


def _columns(rows: Rows, order: Int64, vectors: Float32) -> Blocks:
    labels = rows.labels[order]
    codes, scales = quantise(vectors)
    return {
        "labels": labels,
        "label_order": np.argsort(labels, kind="stable").astype(np.int32),
        "vectors": vectors,
        "codes": codes,
        "scales": scales,
        "norms": np.einsum("ij,ij->i", vectors, vectors),
        "has_vector": rows.has_vector[order].view(np.uint8),
        "thread_key": rows.thread_key[order],
        "session_key": rows.session_key[order],
        "speaker_key": rows.speaker_key[order],
        "position": rows.position[order],
        "created_at": rows.created_at[order],
        "expires_at": rows.expires_at[order],
        "importance": rows.importance[order],
        "lengths": np.diff(rows.term_offsets)[order].astype(np.uint32),
    }


def _words(rows: Rows, order: Int64) -> Blocks:
    token_offsets, tokens = take_ragged(rows.token_offsets, rows.tokens, order)
    term_offsets, terms = take_ragged(rows.term_offsets, rows.terms, order)
    return {"token_offsets": token_offsets, "tokens": tokens, "term_offsets": term_offsets, "terms": terms}


def _namespaces(names: list[str], sorted_ids: Int64) -> Blocks:
    encoded = [name.encode("utf-8", "surrogatepass") for name in names]
    offsets = np.zeros(len(names) + 1, np.int64)
    np.cumsum([len(name) for name in encoded], out=offsets[1:])
    return {
        "namespace_bytes": np.frombuffer(b"".join(encoded), np.uint8),
        "namespace_offsets": offsets,
        "namespace_rows": np.searchsorted(sorted_ids, np.arange(len(names) + 1)).astype(np.int64),
    }


def _postings(rows: Rows, order: Int64) -> Blocks:
    offsets, terms = take_ragged(rows.term_offsets, rows.terms, order)
    owners = np.repeat(np.arange(len(order), dtype=np.uint64), np.diff(offsets))
    pairs, counts = np.unique((terms.astype(np.uint64) << np.uint64(32)) | owners, return_counts=True)
    distinct, first = np.unique(pairs >> np.uint64(32), return_index=True)
    return {
        "posting_terms": distinct.astype(np.uint32),
        "posting_offsets": np.append(first, len(pairs)).astype(np.int64),
        "posting_rows": (pairs & np.uint64(0xFFFFFFFF)).astype(np.uint32),
        "posting_counts": np.minimum(counts, 255).astype(np.uint8),
    }


def _graph_blocks(graph: Graph) -> Blocks:
    blocks: Blocks = {
        "links": graph.links,
        "upper_offsets": graph.upper_offsets,
        "upper": graph.upper,
        "unreachable": graph.unreachable,
    }
    if graph.group_offsets is not None and graph.group_rows is not None:
        blocks |= {"group_offsets": graph.group_offsets, "group_rows": graph.group_rows}
    return blocks
