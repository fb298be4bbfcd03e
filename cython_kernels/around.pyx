"""Rows and what stands around them in their threads.  Arrays come validated; rows are bounds-checked."""

cimport numpy as cnp
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cnp.import_array()

cdef extern from "around.h" nogil:
    ctypedef struct around_t:
        const float *vectors
        const uint8_t *has_vector
        int64_t n, dim
        int l2
        const float *query
        const float *lexical
        int64_t first_lexical, n_lexical
        const int64_t *thread_key
        const uint8_t *mask
        int64_t start, stop
    ctypedef struct numbered_t:
        uint64_t number
        int64_t place
    int within(const int64_t *, int64_t, int64_t)
    int64_t marked_numbers(numbered_t *, int64_t, int64_t *, uint8_t *)
    int64_t said_around(const around_t *, int64_t *, int64_t, int64_t, int32_t *, int8_t *, numbered_t *, int64_t *,
                        int64_t *, float *, float *, float *, int64_t *)
    int64_t add_beside(const around_t *, int64_t *, uint8_t *, int64_t, int64_t, int64_t, uint8_t, float *, int64_t *,
                       int64_t *, int32_t *, int8_t *, numbered_t *)


cdef inline void *data(cnp.ndarray array) noexcept:
    return NULL if array is None else cnp.PyArray_DATA(array)


cdef inline cnp.ndarray empty(cnp.npy_intp n, int dtype):
    return cnp.PyArray_EMPTY(1, &n, dtype, 0)


cdef around_t search_of(tuple part, bint l2, cnp.ndarray query, cnp.ndarray lexical, int64_t first, cnp.ndarray mask,
                        int64_t start, int64_t stop):
    cdef around_t a
    cdef cnp.ndarray vectors = part[0]
    a.vectors, a.has_vector, a.thread_key = <float *>data(vectors), <uint8_t *>data(part[1]), <int64_t *>data(part[2])
    a.n, a.dim, a.l2 = cnp.PyArray_DIM(vectors, 0), cnp.PyArray_DIM(vectors, 1), l2
    a.query, a.lexical, a.first_lexical = <float *>data(query), <float *>data(lexical), first
    a.n_lexical = 0 if lexical is None else cnp.PyArray_DIM(lexical, 0)
    a.mask, a.start, a.stop = <uint8_t *>data(mask), start, min(stop, a.n)
    return a


cdef void *room(int64_t bytes) except NULL:
    cdef void *memory = malloc(bytes + 64)
    if memory is NULL:
        raise MemoryError("scratch of the kernel of neighbours")
    return memory


def around(tuple part not None, bint l2, cnp.ndarray query, cnp.ndarray lexical, int64_t first, cnp.ndarray mask,
           int64_t start, int64_t stop, cnp.ndarray rows not None, int64_t radius):
    """Return what stands around rows, and what is said of these and of those.

    Args: part: vectors float32 (n, dim), has_vector uint8 (n,), thread_key int64 (n,); query float32 (dim,) or None;
    lexical: float32, the scores of the rows from first on, or None; mask uint8 (n,) or None, start, stop: the rows that
    may stand around; rows int64 (m,).

    Returns: owners int32 (n,) and offsets int8 (n,) as window does; the distinct rows int64, ascending; for the m rows
    and the n around them, in this order, their places among the distinct ones, int64, similarity and BM25, float32.

    Raises: IndexError for a row outside the part.
    """
    cdef around_t a = search_of(part, l2, query, lexical, first, mask, start, stop)
    cdef int64_t m = cnp.PyArray_DIM(rows, 0), n = 0, total = m + 2 * radius * m, count
    if not within(<int64_t *>data(rows), m, a.n):
        raise IndexError("a row is outside its part")
    cdef cnp.ndarray owners = empty(total - m, cnp.NPY_INT32), offsets = empty(total - m, cnp.NPY_INT8)
    cdef cnp.ndarray distinct = empty(total, cnp.NPY_INT64), places = empty(total, cnp.NPY_INT64)
    cdef cnp.ndarray dense = empty(total, cnp.NPY_FLOAT32), words = empty(total, cnp.NPY_FLOAT32)
    cdef char *memory = <char *>room(total * (2 * sizeof(numbered_t) + sizeof(int64_t) + 2 * sizeof(float)))
    cdef numbered_t *scratch = <numbered_t *>memory
    cdef int64_t *every = <int64_t *>(scratch + 2 * total)
    memcpy(every, data(rows), m * sizeof(int64_t))
    with nogil:
        count = said_around(&a, every, m, radius, <int32_t *>cnp.PyArray_DATA(owners),
                            <int8_t *>cnp.PyArray_DATA(offsets), scratch, <int64_t *>cnp.PyArray_DATA(distinct),
                            <int64_t *>cnp.PyArray_DATA(places), <float *>(every + total),
                            <float *>cnp.PyArray_DATA(dense), <float *>cnp.PyArray_DATA(words), &n)
    free(memory)
    return owners[:n], offsets[:n], distinct[:count], places[:m + n], dense[:m + n], words[:m + n]


def beside(tuple part not None, bint l2, cnp.ndarray query, cnp.ndarray lexical, int64_t first, cnp.ndarray mask,
           int64_t start, int64_t stop, tuple offered not None, tuple bits not None, int64_t best, int64_t reach,
           uint8_t mark):
    """Return the distinct rows of several arrays, with the turns beside the best of them, and the bits of each.

    Args: part to stop as in around; offered: int64 arrays of rows; bits: of each; best: how many rows, by the sum of
    similarity and BM25 scaled to [0, 1], as far as reach from which a turn is added; mark: the bit of the turns.

    Returns: rows int64, ascending, and uint8, the bits of what offered each.

    Raises: IndexError for a row outside the part.
    """
    cdef around_t a = search_of(part, l2, query, lexical, first, mask, start, stop)
    cdef int64_t m = 0, at = 0, i, bit, side = 2 * reach * best, total, count
    cdef cnp.ndarray numbers
    for numbers in offered:
        m += cnp.PyArray_DIM(numbers, 0)
        if not within(<int64_t *>data(numbers), cnp.PyArray_DIM(numbers, 0), a.n):
            raise IndexError("a row is outside its part")
    total = m + side
    cdef cnp.ndarray rows = empty(total, cnp.NPY_INT64), marks = empty(total, cnp.NPY_UINT8)
    cdef char *memory = <char *>room(total * 2 * sizeof(numbered_t) + (best + side) * sizeof(int64_t)
                                     + 4 * m * sizeof(float) + side * (sizeof(int32_t) + sizeof(int8_t)))
    cdef numbered_t *scratch = <numbered_t *>memory
    cdef int64_t *chosen = <int64_t *>(scratch + 2 * total)
    cdef float *scores = <float *>(chosen + best + side)
    cdef int32_t *owners = <int32_t *>(scores + 4 * m)
    for numbers, bit in zip(offered, bits):
        for i in range(cnp.PyArray_DIM(numbers, 0)):
            scratch[at].number, scratch[at].place = (<int64_t *>data(numbers))[i], bit
            at += 1
    with nogil:
        count = marked_numbers(scratch, m, <int64_t *>cnp.PyArray_DATA(rows), <uint8_t *>cnp.PyArray_DATA(marks))
        count = add_beside(&a, <int64_t *>cnp.PyArray_DATA(rows), <uint8_t *>cnp.PyArray_DATA(marks), count, best,
                           reach, mark, scores, chosen, chosen + best, owners, <int8_t *>(owners + side), scratch)
    free(memory)
    return rows[:count], marks[:count]
