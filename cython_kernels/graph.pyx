"""Best-first search over the mapped graph of a segment; see graph.h."""

cimport numpy as cnp
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint32_t

cnp.import_array()


cdef extern from "graph.h" nogil:
    ctypedef struct Graph:
        const uint32_t *links
        const int64_t *upper_offsets
        const uint32_t *upper
        int64_t upper_size, n, entry, max_level, M
        const int8_t *codes
        const float *scales
        const float *norms
        const float *vectors
        int64_t stride, dim
        int l2

    int search_graph(const Graph *graph, const float *queries, int64_t m, int64_t k, int64_t ef,
                     const uint8_t *allowed, int64_t *rows, float *scores, int32_t *counts)


def search(
    cnp.ndarray links,
    cnp.ndarray upper_offsets,
    cnp.ndarray upper,
    int64_t entry,
    int64_t max_level,
    int64_t M,
    cnp.ndarray codes,
    cnp.ndarray scales,
    cnp.ndarray norms,
    cnp.ndarray vectors,
    bint l2,
    cnp.ndarray queries,
    int64_t ef,
    cnp.ndarray allowed,
    cnp.ndarray rows,
    cnp.ndarray scores,
    cnp.ndarray counts,
):
    """Fill ``rows`` int64 (m, k), ``scores`` float32 (m, k) and ``counts`` int32 (m,), all C-contiguous.

    ``codes`` None walks by the vectors; ``allowed`` None allows every row.  Raises MemoryError.
    """
    cdef Graph graph
    cdef int64_t m = rows.shape[0], k = rows.shape[1]
    cdef const float *query = <const float *>cnp.PyArray_DATA(queries)
    cdef const uint8_t *mask = NULL
    cdef int64_t *row = <int64_t *>cnp.PyArray_DATA(rows)
    cdef float *score = <float *>cnp.PyArray_DATA(scores)
    cdef int32_t *count = <int32_t *>cnp.PyArray_DATA(counts)
    cdef int failed
    graph.n = vectors.shape[0]
    if entry < 0 or entry >= graph.n or k < 1:
        return
    graph.links = <const uint32_t *>cnp.PyArray_DATA(links)
    graph.upper_offsets = <const int64_t *>cnp.PyArray_DATA(upper_offsets)
    graph.upper = <const uint32_t *>cnp.PyArray_DATA(upper)
    graph.upper_size = upper.shape[0]
    graph.entry = entry
    graph.max_level = max_level
    graph.M = M
    graph.codes = NULL
    graph.stride = 0
    if codes is not None:
        graph.codes = <const int8_t *>cnp.PyArray_DATA(codes)
        graph.stride = codes.shape[1]
    graph.scales = <const float *>cnp.PyArray_DATA(scales)
    graph.norms = <const float *>cnp.PyArray_DATA(norms)
    graph.vectors = <const float *>cnp.PyArray_DATA(vectors)
    graph.dim = vectors.shape[1]
    graph.l2 = l2
    if allowed is not None:
        mask = <const uint8_t *>cnp.PyArray_DATA(allowed)
    with nogil:
        failed = search_graph(&graph, query, m, k, ef, mask, row, score, count)
    if failed:
        raise MemoryError("no memory for a graph search")
