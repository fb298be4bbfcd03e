"""Late interaction over static token vectors.  Arrays come validated; offsets and tokens may be mapped files."""

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
        float *out
    int maxsim_run(const maxsim_t *)


def maxsim(cnp.ndarray query not None, cnp.ndarray weights not None, cnp.ndarray table not None,
           cnp.ndarray scales, cnp.ndarray offsets not None, cnp.ndarray tokens not None, cnp.ndarray rows):
    """Return float32 (n_rows,): the weighted MaxSim of each row.

    Args: query float32 (n_query, dim); weights float32 (n_query,); table int8 or float32 (vocabulary, dim); scales
    float32 (vocabulary,) or None; offsets int64; tokens uint16 or uint32; rows int64, within the offsets, or None for all.
    """
    cdef maxsim_t m
    cdef cnp.npy_intp n_rows = cnp.PyArray_DIM(offsets, 0) - 1 if rows is None else cnp.PyArray_DIM(rows, 0)
    cdef cnp.ndarray out = cnp.PyArray_EMPTY(1, &n_rows, cnp.NPY_FLOAT32, 0)
    cdef bint coded = cnp.PyArray_TYPE(table) == cnp.NPY_INT8
    cdef int failed
    m.query, m.n_query = <float *>cnp.PyArray_DATA(query), cnp.PyArray_DIM(query, 0)
    m.dim, m.vocabulary = cnp.PyArray_DIM(table, 1), cnp.PyArray_DIM(table, 0)
    m.weights = <float *>cnp.PyArray_DATA(weights)
    m.codes = <int8_t *>cnp.PyArray_DATA(table) if coded else NULL
    m.floats = NULL if coded else <float *>cnp.PyArray_DATA(table)
    m.scales = NULL if scales is None else <float *>cnp.PyArray_DATA(scales)
    m.offsets, m.n_offsets = <int64_t *>cnp.PyArray_DATA(offsets), cnp.PyArray_DIM(offsets, 0)
    m.tokens, m.n_tokens = cnp.PyArray_DATA(tokens), cnp.PyArray_DIM(tokens, 0)
    m.wide = cnp.PyArray_ITEMSIZE(tokens) == 4
    m.rows = NULL if rows is None else <int64_t *>cnp.PyArray_DATA(rows)
    m.n_rows = n_rows
    m.out = <float *>cnp.PyArray_DATA(out)
    with nogil:
        failed = maxsim_run(&m)
    if failed:
        raise MemoryError("scratch of the late-interaction kernel")
    return out
