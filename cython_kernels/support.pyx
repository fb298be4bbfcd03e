"""Attention over a support: softmax over a few runs of keys a query.  Arrays come validated: float32, C-contiguous, aligned,
runs within the keys.
"""

cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

cnp.import_array()

cdef extern from "support.h" nogil:
    ctypedef struct support_t:
        int64_t heads, n_queries, n_keys, dim, value_dim
        const float *query
        const float *key
        const float *value
        float *out
        int64_t query_row, query_head, key_row, key_head, value_row, value_head, out_row, out_head
        const int64_t *offsets
        const int64_t *runs
        const unsigned char *mask
        int64_t mask_head, mask_row
        float *weights
        const float *additive
        float scale, slope
        int64_t *index
        float *scores
    int support_run(const support_t *)


cdef inline float *floats(cnp.ndarray array) noexcept:
    return <float *>cnp.PyArray_DATA(array)


cdef cnp.ndarray lay_out(support_t *a, int64_t heads, cnp.ndarray query, cnp.ndarray key, cnp.ndarray value):
    """Fill in shapes, strides and data; return the output, laid out as the query is."""
    cdef bint split = cnp.PyArray_NDIM(query) == 3
    cdef int64_t merged = 1 if split else heads
    cdef cnp.npy_intp shape[3]
    a.heads = heads
    a.n_queries, a.n_keys = cnp.PyArray_DIM(query, split), cnp.PyArray_DIM(key, split)
    a.dim = cnp.PyArray_DIM(query, 1 + split) // merged
    a.value_dim = cnp.PyArray_DIM(value, 1 + split) // merged
    a.query, a.key, a.value = floats(query), floats(key), floats(value)
    a.query_row = a.key_row = merged * a.dim
    a.value_row = a.out_row = merged * a.value_dim
    a.query_head = a.n_queries * a.dim if split else a.dim
    a.key_head = a.n_keys * a.dim if split else a.dim
    a.value_head = a.n_keys * a.value_dim if split else a.value_dim
    a.out_head = a.n_queries * a.value_dim if split else a.value_dim
    shape[0], shape[1], shape[2] = heads, a.n_queries, a.value_dim
    if not split:
        shape[0], shape[1] = a.n_queries, heads * a.value_dim
    cdef cnp.ndarray out = cnp.PyArray_EMPTY(2 + split, shape, cnp.NPY_FLOAT32, 0)
    a.out = floats(out)
    return out


cdef int run(support_t *a, int64_t largest) except -1:
    """Run with scratch of its own, without the GIL."""
    cdef int bad
    a.index = <int64_t *>malloc((largest + 1) * sizeof(int64_t))
    a.scores = <float *>malloc((largest + 8) * sizeof(float))
    if a.index == NULL or a.scores == NULL:
        free(a.index)
        free(a.scores)
        raise MemoryError(f"scratch for a support of {largest} keys")
    with nogil:
        bad = support_run(a)
    free(a.index)
    free(a.scores)
    return bad


def attend(cnp.ndarray query not None, cnp.ndarray key not None, cnp.ndarray value not None, int64_t heads,
           cnp.ndarray offsets not None, cnp.ndarray runs not None, int64_t largest, double scale,
           cnp.ndarray additive, double slope, cnp.ndarray mask, bint want_weights):
    """Attention over runs of keys; arrays are (n, heads * dim) or (heads, n, dim).

    Args: offsets int64 (n_queries + 1,) and runs int64 (n_runs, 3), start, count and step; largest: keys of the largest
    support; additive None or (heads, dim) for the scores a . leaky(q + k); mask None or bool of shape (n_keys,),
    (n_queries, n_keys) or (heads, n_queries, n_keys).
    Returns: (output, weights or None, whether something was NaN or infinite).
    """
    cdef support_t a
    cdef cnp.ndarray out = lay_out(&a, heads, query, key, value), weights = None
    cdef cnp.npy_intp shape[3]
    a.offsets, a.runs = <int64_t *>cnp.PyArray_DATA(offsets), <int64_t *>cnp.PyArray_DATA(runs)
    a.mask, a.weights, a.additive = NULL, NULL, NULL
    a.scale, a.slope = <float>scale, <float>slope
    if additive is not None:
        a.additive = floats(additive)
    if mask is not None:
        a.mask = <unsigned char *>cnp.PyArray_DATA(mask)
        a.mask_row = a.n_keys if cnp.PyArray_NDIM(mask) > 1 else 0
        a.mask_head = a.n_queries * a.n_keys if cnp.PyArray_NDIM(mask) > 2 else 0
    if want_weights:
        shape[0], shape[1], shape[2] = heads, a.n_queries, a.n_keys
        weights = cnp.PyArray_ZEROS(3, shape, cnp.NPY_FLOAT32, 0)
        a.weights = floats(weights)
    return out, weights, run(&a, largest) != 0
