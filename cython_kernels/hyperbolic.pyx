"""Hyperbolic attention kernel.  Arrays come validated: float32, C-contiguous, aligned."""

cimport numpy as cnp
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

cnp.import_array()

cdef extern from "attention_hyperbolic.h" nogil:
    ctypedef struct space_t:
        double curvature, beta, clip, epsilon
        int lorentz, tangent
    ctypedef struct point_t:
        pass
    ctypedef struct hyperbolic_t:
        space_t space
        int64_t n_queries, n_keys, dim, value_dim
        const float *query
        const float *key
        const float *value
        const unsigned char *mask
        int64_t mask_row
        float *weights
        float *out
        point_t *query_points
        point_t *key_points
        point_t *value_points
        float *centre
        float *scores
        float *mixed
    int hyperbolic_run(const hyperbolic_t *)


cdef inline float *floats(cnp.ndarray array) noexcept:
    return <float *>cnp.PyArray_DATA(array)


cdef int run(hyperbolic_t *h) except -1:
    """Run with scratch of its own, without the GIL."""
    cdef int64_t n = h.n_keys
    cdef int bad
    h.query_points = <point_t *>malloc((h.n_queries + 2 * n + 1) * sizeof(point_t))
    h.centre = <float *>malloc((h.dim + 2 * (n + 8)) * sizeof(float))
    if h.query_points == NULL or h.centre == NULL:
        free(h.query_points)
        free(h.centre)
        raise MemoryError("scratch of the hyperbolic kernel")
    h.key_points = h.query_points + h.n_queries
    h.value_points = h.key_points if h.value == h.key else h.key_points + n
    h.scores = h.centre + h.dim
    h.mixed = h.scores + n + 8
    with nogil:
        bad = hyperbolic_run(h)
    free(h.query_points)
    free(h.centre)
    return bad


def attend(cnp.ndarray query not None, cnp.ndarray key not None, cnp.ndarray value not None, double curvature, double beta,
           double clip, double epsilon, bint lorentz, bint tangent, cnp.ndarray mask, bint want_weights):
    """Hyperbolic attention: query (n_queries, dim), key (n, dim), value (n, value_dim); mask None or bool (n_queries, n).

    Returns: (output, weights or None, whether something was NaN or infinite).
    """
    cdef hyperbolic_t h
    cdef cnp.npy_intp shape[2]
    cdef cnp.ndarray out, weights = None
    h.space = space_t(curvature, beta, clip, epsilon, lorentz, tangent)
    h.n_queries, h.n_keys, h.dim = cnp.PyArray_DIM(query, 0), cnp.PyArray_DIM(key, 0), cnp.PyArray_DIM(key, 1)
    h.query, h.key, h.value, h.value_dim = floats(query), floats(key), floats(value), cnp.PyArray_DIM(value, 1)
    h.weights, h.mask, h.mask_row = NULL, NULL, 0
    shape[0], shape[1] = h.n_queries, h.n_keys
    if want_weights:
        weights = cnp.PyArray_EMPTY(2, shape, cnp.NPY_FLOAT32, 0)
        h.weights = floats(weights)
    shape[1] = h.value_dim
    out = cnp.PyArray_EMPTY(2, shape, cnp.NPY_FLOAT32, 0)
    h.out = floats(out)
    if mask is not None:
        h.mask, h.mask_row = <unsigned char *>cnp.PyArray_DATA(mask), h.n_keys if cnp.PyArray_NDIM(mask) > 1 else 0
    return out, weights, run(&h) != 0
