"""Columns of a few rows, and the distinct ones among row numbers."""

cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

cnp.import_array()

cdef extern from "gather.h" nogil:
    ctypedef struct numbered_t:
        pass
    void take_column(const void *, int64_t, const int64_t *, const int64_t *, int64_t, void *)
    int within(const int64_t *, int64_t, int64_t)
    int64_t distinct_numbers(const int64_t *, int64_t, numbered_t *, int64_t *, int64_t *)


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
