"""Columns of a few rows, and the distinct ones among row numbers."""

cimport numpy as cnp
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc

cnp.import_array()

cdef extern from "gather.h" nogil:
    ctypedef struct numbered_t:
        uint64_t number
        int64_t place
    void take_column(const void *, int64_t, const int64_t *, const int64_t *, int64_t, void *)
    int within(const int64_t *, int64_t, int64_t)
    int64_t distinct_numbers(const int64_t *, int64_t, numbered_t *, int64_t *, int64_t *)
    int64_t marked_numbers(numbered_t *, int64_t, int64_t *, uint8_t *)


def take(tuple columns not None, cnp.ndarray rows not None, cnp.ndarray places, tuple results not None):
    """Set results[c][places] = columns[c][rows] for each column, one-dimensional, of items of 1, 4 or 8 bytes.

    Args: rows and places int64 (m,), places None where they are 0 to m - 1, else within the results.

    Raises: IndexError for a row outside the columns.
    """
    cdef const int64_t *row = <int64_t *>cnp.PyArray_DATA(rows)
    cdef const int64_t *place = NULL if places is None else <int64_t *>cnp.PyArray_DATA(places)
    cdef int64_t m = cnp.PyArray_DIM(rows, 0)
    cdef cnp.ndarray column, result
    for column, result in zip(columns, results):
        if not within(row, m, cnp.PyArray_DIM(column, 0)):
            raise IndexError("a row is outside its part")
        take_column(cnp.PyArray_DATA(column), cnp.PyArray_ITEMSIZE(column), row, place, m, cnp.PyArray_DATA(result))


def distinct_places(cnp.ndarray numbers not None):
    """Return the distinct numbers, int64, ascending, and where each of the m stands among them; none is negative."""
    cdef cnp.npy_intp m = cnp.PyArray_DIM(numbers, 0)
    cdef cnp.ndarray distinct = cnp.PyArray_EMPTY(1, &m, cnp.NPY_INT64, 0)
    cdef cnp.ndarray places = cnp.PyArray_EMPTY(1, &m, cnp.NPY_INT64, 0)
    cdef numbered_t *scratch = <numbered_t *>malloc((2 * m + 1) * sizeof(numbered_t))
    if scratch is NULL:
        raise MemoryError("scratch of the gathering kernel")
    cdef int64_t count = distinct_numbers(<int64_t *>cnp.PyArray_DATA(numbers), m, scratch,
                                          <int64_t *>cnp.PyArray_DATA(distinct), <int64_t *>cnp.PyArray_DATA(places))
    free(scratch)
    return distinct[:count], places


def union(tuple offered not None, tuple bits not None):
    """Return the distinct numbers of several arrays (int64, none negative), ascending, and the bits of those that have
    each, uint8."""
    cdef cnp.npy_intp m = 0, at = 0
    cdef int64_t i, bit
    cdef cnp.ndarray numbers
    for numbers in offered:
        m += cnp.PyArray_DIM(numbers, 0)
    cdef cnp.ndarray distinct = cnp.PyArray_EMPTY(1, &m, cnp.NPY_INT64, 0)
    cdef cnp.ndarray marks = cnp.PyArray_EMPTY(1, &m, cnp.NPY_UINT8, 0)
    cdef numbered_t *scratch = <numbered_t *>malloc((2 * m + 1) * sizeof(numbered_t))
    if scratch is NULL:
        raise MemoryError("scratch of the gathering kernel")
    for numbers, bit in zip(offered, bits):
        for i in range(cnp.PyArray_DIM(numbers, 0)):
            scratch[at].number, scratch[at].place = (<int64_t *>cnp.PyArray_DATA(numbers))[i], bit
            at += 1
    cdef int64_t count = marked_numbers(scratch, m, <int64_t *>cnp.PyArray_DATA(distinct),
                                        <uint8_t *>cnp.PyArray_DATA(marks))
    free(scratch)
    return distinct[:count], marks[:count]
