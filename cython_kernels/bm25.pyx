"""BM25.  Arrays come validated; postings are bounds-checked, they may be mapped files."""

cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc

cnp.import_array()

cdef extern from "bm25.h" nogil:
    ctypedef struct Candidate:
        float score
        uint32_t row
    ctypedef struct Best:
        Candidate *items
        int64_t size, capacity
    ctypedef struct Inverted:
        const uint32_t *terms
        const int64_t *offsets
        const uint32_t *rows
        const uint8_t *counts
        int64_t n_terms, n_postings
    ctypedef struct Occurrence:
        uint32_t row
        int32_t term
    void bm25_frequencies(const Inverted *, const uint32_t *, int64_t, int64_t, int64_t, const uint8_t *, int64_t *)
    void bm25_accumulate(const Inverted *, const uint32_t *, const float *, int64_t, float, float, float,
                         const uint32_t *, int64_t, int64_t, float *)
    int64_t bm25_top(const float *, int64_t, int64_t, const int64_t *, const uint8_t *, Best *)
    void bm25_texts(const uint32_t *, const uint8_t *, int64_t, int64_t, int64_t *, int64_t *)
    int64_t term_occurrences(const int64_t *, const uint32_t *, int64_t, int64_t, const uint32_t *, int64_t,
                             Occurrence *)
    int64_t term_postings(const Occurrence *, int64_t, int64_t, int64_t *, uint32_t *, uint8_t *)


cdef inline void *data(cnp.ndarray array) noexcept:
    return NULL if array is None else cnp.PyArray_DATA(array)


cdef inline cnp.ndarray empty(cnp.npy_intp n, int dtype):
    return cnp.PyArray_EMPTY(1, &n, dtype, 0)


cdef Inverted inverted(cnp.ndarray terms, cnp.ndarray offsets, cnp.ndarray rows, cnp.ndarray counts):
    cdef Inverted index
    index.terms, index.offsets = <uint32_t *>data(terms), <int64_t *>data(offsets)
    index.rows, index.counts = <uint32_t *>data(rows), <uint8_t *>data(counts)
    index.n_terms, index.n_postings = cnp.PyArray_DIM(terms, 0), cnp.PyArray_DIM(rows, 0)
    return index


def document_frequencies(cnp.ndarray posting_terms not None, cnp.ndarray offsets not None,
                         cnp.ndarray posting_rows not None, cnp.ndarray terms not None, int64_t start, int64_t stop,
                         cnp.ndarray mask):
    """Return in how many rows of [start, stop) under the mask each term occurs, int64 (t,)."""
    cdef Inverted index = inverted(posting_terms, offsets, posting_rows, None)
    cdef int64_t n_terms = cnp.PyArray_DIM(terms, 0)
    cdef cnp.ndarray frequencies = empty(n_terms, cnp.NPY_INT64)
    cdef const uint32_t *wanted = <uint32_t *>data(terms)
    cdef const uint8_t *allowed = <uint8_t *>data(mask)
    cdef int64_t *out = <int64_t *>data(frequencies)
    with nogil:
        bm25_frequencies(&index, wanted, n_terms, start, stop, allowed, out)
    return frequencies


def accumulate(cnp.ndarray posting_terms not None, cnp.ndarray offsets not None, cnp.ndarray posting_rows not None,
               cnp.ndarray counts not None, cnp.ndarray terms not None, cnp.ndarray weights not None, float gain,
               float flat, float slope, cnp.ndarray lengths not None, int64_t start, cnp.ndarray scores not None):
    """Add w · tf · gain / (tf + flat + slope · length) for every posting to scores, of the rows from start on."""
    cdef Inverted index = inverted(posting_terms, offsets, posting_rows, counts)
    cdef int64_t n_terms = cnp.PyArray_DIM(terms, 0), stop = start + cnp.PyArray_DIM(scores, 0)
    cdef const uint32_t *wanted = <uint32_t *>data(terms)
    cdef const float *weight = <float *>data(weights)
    cdef const uint32_t *length = <uint32_t *>data(lengths)
    cdef float *out = <float *>data(scores)
    with nogil:
        bm25_accumulate(&index, wanted, weight, n_terms, gain, flat, slope, length, start, stop, out)


def top_scores(cnp.ndarray scores not None, int64_t start, cnp.ndarray labels not None, cnp.ndarray mask, int64_t k):
    """Return the rows (int64) and scores of the k best positive scores, best first, ties by lower label."""
    cdef Best best
    cdef int64_t n = cnp.PyArray_DIM(scores, 0), count, i
    cdef const float *values = <float *>data(scores)
    cdef const int64_t *label = <int64_t *>data(labels)
    cdef const uint8_t *allowed = <uint8_t *>data(mask)
    cdef cnp.ndarray rows, kept
    best.capacity, best.size = max(1, min(k, n)), 0
    best.items = <Candidate *>malloc(best.capacity * sizeof(Candidate))
    if best.items is NULL:
        raise MemoryError("scratch of the BM25 kernel")
    with nogil:
        count = bm25_top(values, start, n, label, allowed, &best)
    try:
        rows, kept = empty(count, cnp.NPY_INT64), empty(count, cnp.NPY_FLOAT32)
        for i in range(count):
            (<int64_t *>data(rows))[i] = best.items[i].row
            (<float *>data(kept))[i] = best.items[i].score
    finally:
        free(best.items)
    return rows, kept


def count_texts(cnp.ndarray lengths not None, int64_t start, int64_t stop, cnp.ndarray mask):
    """Return how many rows of [start, stop) under the mask have terms, and how many terms they have together."""
    cdef int64_t texts, total
    bm25_texts(<uint32_t *>data(lengths), <uint8_t *>data(mask), start, stop, &texts, &total)
    return texts, total


def invert(cnp.ndarray term_offsets not None, cnp.ndarray terms not None, int64_t first, int64_t last,
           cnp.ndarray wanted not None):
    """Return offsets, rows and counts of the postings of wanted terms (uint32, ascending) in rows [first, last)."""
    cdef const int64_t *starts = <int64_t *>data(term_offsets)
    cdef const uint32_t *tokens = <uint32_t *>data(terms)
    cdef const uint32_t *sought = <uint32_t *>data(wanted)
    cdef int64_t n_wanted = cnp.PyArray_DIM(wanted, 0), total
    cdef Occurrence *occurrences = <Occurrence *>malloc((starts[last] - starts[first] + 1) * sizeof(Occurrence))
    cdef cnp.ndarray offsets, rows, counts
    if occurrences is NULL:
        raise MemoryError("scratch of the BM25 kernel")
    try:
        with nogil:
            total = term_occurrences(starts, tokens, first, last, sought, n_wanted, occurrences)
        if total < 0:
            raise MemoryError("scratch of the BM25 kernel")
        offsets = empty(n_wanted + 1, cnp.NPY_INT64)
        rows, counts = empty(total, cnp.NPY_UINT32), empty(total, cnp.NPY_UINT8)
        total = term_postings(occurrences, total, n_wanted, <int64_t *>data(offsets), <uint32_t *>data(rows),
                              <uint8_t *>data(counts))
    finally:
        free(occurrences)
    return offsets, rows[:total], counts[:total]
