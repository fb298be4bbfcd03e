"""Late interaction over static token vectors; offsets and tokens may be mapped files."""

cimport numpy as cnp
from libc.stdint cimport int8_t, int64_t

cnp.import_array()

cdef extern from "maxsim.h" nogil:
    ctypedef struct maxsim_t:
        const float *query
        int64_t n_query, dim
        const float *weights
        const int8_t *codes
        const float *floats
        const float *scales
        int64_t vocabulary
        const int64_t *offsets
        const void *tokens
        int64_t n_offsets, n_tokens
        int wide
        const int64_t *rows
        int64_t n_rows
        int isa
        float *out
    int all_finite(const float *, int64_t)
    int maxsim_run(const maxsim_t *)


cdef int64_t LONGEST_CODES = 131_072  # bytes of a row of codes, of which 127 * 128 times as many fit an int32


cdef inline bint is_array(object array, int kind, int ndim) noexcept:
    return (cnp.PyArray_Check(array) and cnp.PyArray_TYPE(<cnp.ndarray>array) == kind
            and cnp.PyArray_NDIM(<cnp.ndarray>array) == ndim and cnp.PyArray_IS_C_CONTIGUOUS(<cnp.ndarray>array)
            and cnp.PyArray_ISALIGNED(<cnp.ndarray>array) and cnp.PyArray_ISNOTSWAPPED(<cnp.ndarray>array))


cdef inline bint within(const int64_t *rows, int64_t n, int64_t limit) noexcept nogil:
    cdef int64_t i
    for i in range(n):
        if not 0 <= rows[i] < limit:
            return False
    return True


def maxsim(query, weights, table, scales, offsets, tokens, rows, int isa=4):
    """Return float32 (n_rows,): the weighted MaxSim of each row, NaN where a row has no token of the table.

    None where an array is not what it must be, a row is out of range or the query is not finite: the caller then finds
    the words.

    Args: query float32 (n_query, dim); weights float32 (n_query,); table int8 or float32 (vocabulary, dim); scales
    float32 (vocabulary,) or None; offsets int64; tokens uint16 or uint32; rows int64 or None for all; isa: the highest
    instruction set that codes take, 4, 3 or 1, so that tests can compare them.
    """
    cdef bint coded = is_array(table, cnp.NPY_INT8, 2), wide = is_array(tokens, cnp.NPY_UINT32, 1)
    if not (is_array(query, cnp.NPY_FLOAT32, 2) and is_array(weights, cnp.NPY_FLOAT32, 1)
            and (coded or is_array(table, cnp.NPY_FLOAT32, 2)) and is_array(offsets, cnp.NPY_INT64, 1)
            and (wide or is_array(tokens, cnp.NPY_UINT16, 1))
            and (scales is None or is_array(scales, cnp.NPY_FLOAT32, 1))
            and (rows is None or is_array(rows, cnp.NPY_INT64, 1))):
        return None
    cdef maxsim_t m
    cdef int failed
    m.query, m.n_query = <float *>cnp.PyArray_DATA(query), cnp.PyArray_DIM(query, 0)
    m.weights = <float *>cnp.PyArray_DATA(weights)
    m.dim, m.vocabulary = cnp.PyArray_DIM(table, 1), cnp.PyArray_DIM(table, 0)
    m.codes = <int8_t *>cnp.PyArray_DATA(table) if coded else NULL
    m.floats = NULL if coded else <float *>cnp.PyArray_DATA(table)
    m.scales = NULL if scales is None else <float *>cnp.PyArray_DATA(scales)
    m.offsets, m.n_offsets = <int64_t *>cnp.PyArray_DATA(offsets), cnp.PyArray_DIM(offsets, 0)
    m.tokens, m.n_tokens, m.wide = cnp.PyArray_DATA(tokens), cnp.PyArray_DIM(tokens, 0), wide
    m.rows = NULL if rows is None else <int64_t *>cnp.PyArray_DATA(rows)
    cdef cnp.npy_intp n_rows = m.n_offsets - 1 if rows is None else cnp.PyArray_DIM(rows, 0)
    if not (cnp.PyArray_DIM(query, 1) == m.dim and cnp.PyArray_DIM(weights, 0) == m.n_query and m.n_offsets >= 1
            and (scales is None or cnp.PyArray_DIM(scales, 0) == m.vocabulary)
            and not (coded and m.dim > LONGEST_CODES)
            and (rows is None or within(m.rows, n_rows, m.n_offsets - 1))
            and all_finite(m.query, m.n_query * m.dim) and all_finite(m.weights, m.n_query)):
        return None
    cdef cnp.ndarray out = cnp.PyArray_EMPTY(1, &n_rows, cnp.NPY_FLOAT32, 0)
    m.n_rows, m.isa, m.out = n_rows, isa, <float *>cnp.PyArray_DATA(out)
    with nogil:
        failed = maxsim_run(&m)
    if failed:
        raise MemoryError("scratch of the late-interaction kernel")
    return out
