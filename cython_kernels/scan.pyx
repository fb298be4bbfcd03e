"""Scans of vectors and of threads.  Arrays come validated; lists of rows are bounds-checked: they may be mapped."""

cimport numpy as cnp
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t

cnp.import_array()

cdef extern from "scan.h" nogil:
    ctypedef struct ScanPart:
        const int8_t *codes
        const float *scales
        const float *norms
        const float *vectors
        const uint8_t *has_vector
        const int64_t *labels
        int64_t n, dim, stride
        int l2
    ctypedef struct ScanRange:
        int64_t start, stop
        const uint8_t *mask
        const int64_t *rows
        int64_t count
    int scan_many(const ScanPart *, const ScanRange *, const float *, int64_t, int64_t, int64_t, int, int64_t *,
                  float *, int32_t *)
    void scan_scores(const float *, int64_t, int64_t, int, const float *, const int64_t *, int64_t, float *)
    int64_t thread_window(const int64_t *, int64_t, const uint8_t *, int64_t, int64_t, const int64_t *, int64_t,
                          int64_t, int32_t *, int8_t *, int64_t *)


cdef inline void *data(cnp.ndarray array) noexcept:
    return NULL if array is None else cnp.PyArray_DATA(array)


def scan(cnp.ndarray codes not None, cnp.ndarray scales not None, cnp.ndarray norms not None,
         cnp.ndarray vectors not None, cnp.ndarray has_vector not None, cnp.ndarray labels not None, bint l2,
         cnp.ndarray queries not None, int64_t keep, int64_t start, int64_t stop, cnp.ndarray mask, cnp.ndarray rows,
         bint exact, cnp.ndarray found not None, cnp.ndarray scores not None, cnp.ndarray counts not None):
    """Fill found int64 (m, k), scores float32 (m, k) and counts int32 (m,) with the best rows for each query.

    Args: the columns of a part; l2: the metric, inner product otherwise; queries float32 (m, dim); keep: rows chosen
    by code and rescored, at least k; start, stop, mask uint8 (n,) or None, or rows int64 ascending in their place.
    """
    cdef ScanPart part
    cdef ScanRange area
    cdef int64_t m = cnp.PyArray_DIM(queries, 0), k = cnp.PyArray_DIM(found, 1)
    cdef int failed
    part.codes, part.scales, part.norms = <int8_t *>data(codes), <float *>data(scales), <float *>data(norms)
    part.vectors, part.has_vector = <float *>data(vectors), <uint8_t *>data(has_vector)
    part.labels = <int64_t *>data(labels)
    part.n, part.dim, part.stride = cnp.PyArray_DIM(vectors, 0), cnp.PyArray_DIM(vectors, 1), cnp.PyArray_DIM(codes, 1)
    part.l2 = l2
    area.start, area.stop, area.mask = start, stop, <uint8_t *>data(mask)
    area.rows = <int64_t *>data(rows)
    area.count = 0 if rows is None else cnp.PyArray_DIM(rows, 0)
    keep = max(1, min(keep, area.count if rows is not None else stop - start))
    with nogil:
        failed = scan_many(&part, &area, <float *>cnp.PyArray_DATA(queries), m, k, keep, exact,
                           <int64_t *>cnp.PyArray_DATA(found), <float *>cnp.PyArray_DATA(scores),
                           <int32_t *>cnp.PyArray_DATA(counts))
    if failed:
        raise MemoryError("scratch of the scan kernel")


def scores_of(cnp.ndarray vectors not None, bint l2, cnp.ndarray query not None, cnp.ndarray rows not None):
    """Return the exact scores of rows (int64), float32 (m,)."""
    cdef cnp.npy_intp m = cnp.PyArray_DIM(rows, 0)
    cdef cnp.ndarray scores = cnp.PyArray_EMPTY(1, &m, cnp.NPY_FLOAT32, 0)
    scan_scores(<float *>data(vectors), cnp.PyArray_DIM(vectors, 0), cnp.PyArray_DIM(vectors, 1), l2,
                <float *>data(query), <int64_t *>data(rows), m, <float *>data(scores))
    return scores


def window(cnp.ndarray thread_key not None, cnp.ndarray mask, int64_t start, int64_t stop,
           cnp.ndarray rows not None, int64_t radius):
    """Return owners int32, offsets int8 and rows int64 of the nearest rows in the same threads, by rank to radius."""
    cdef int64_t m = cnp.PyArray_DIM(rows, 0)
    cdef cnp.npy_intp room = 2 * radius * m
    cdef cnp.ndarray owners = cnp.PyArray_EMPTY(1, &room, cnp.NPY_INT32, 0)
    cdef cnp.ndarray offsets = cnp.PyArray_EMPTY(1, &room, cnp.NPY_INT8, 0)
    cdef cnp.ndarray found = cnp.PyArray_EMPTY(1, &room, cnp.NPY_INT64, 0)
    cdef int64_t total = thread_window(
        <int64_t *>data(thread_key), cnp.PyArray_DIM(thread_key, 0), <uint8_t *>data(mask), start, stop,
        <int64_t *>data(rows), m, radius, <int32_t *>data(owners), <int8_t *>data(offsets), <int64_t *>data(found))
    return owners[:total], offsets[:total], found[:total]
