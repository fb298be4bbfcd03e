"""Attention without a detour: the arrays are looked at here, and what does not fit is the caller's to explain."""

cimport numpy as cnp
from libc.math cimport sqrt
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

cnp.import_array()

cdef extern from "attention_softmax.h" nogil:
    ctypedef struct attention_t:
        int64_t heads, n_queries, n_keys, dim, value_dim
        const float *query
        const float *key
        const float *value
        float *out
        int64_t query_row, query_head, key_row, key_head, value_row, value_head, out_row, out_head
        float scale
        int causal
        int64_t block
    int64_t attention_scratch(const attention_t *)
    int attention_run(const attention_t *, float *)

cdef extern from "attention_one.h" nogil:
    int64_t attention_one_scratch(const attention_t *)
    int attention_one_fits(const attention_t *)
    int attention_one(const attention_t *, float *)

cdef extern from "attention_tile.h" nogil:
    int attention_tiles_fit(const attention_t *)
    int64_t attention_tile_block(const attention_t *)
    int64_t attention_tile_scratch(const attention_t *, int64_t)
    int attention_tiles(const attention_t *, int64_t)
    int agentmem_isa()

cdef extern from "attention_decode.h" nogil:
    ctypedef struct decode_t:
        const attention_t *a
        int64_t parts
        float *outs
        float *logsums
    int attention_decode(decode_t *, int64_t)

cdef extern from "attention_hyperbolic.h" nogil:
    ctypedef struct space_t:
        double curvature, beta, clip, epsilon
        int lorentz, tangent
    ctypedef struct point_t:
        pass
    ctypedef struct hyperbolic_t:
        space_t space
        int64_t n_queries, n_keys, dim
        const float *query
        const float *key
        float *weights
        point_t *query_points
        point_t *key_points
        float *centre
        float *scores
    int hyperbolic_run(const hyperbolic_t *)

cdef int64_t LONG_WORK = 40_000          # multiply-adds from which on the GIL is released


def isa() -> int:
    """Return the instruction set that kernels take here: 4 for x86-64-v4 (AVX-512), 3 for -v3 (AVX2), 1 for the baseline."""
    return agentmem_isa()


cdef inline float *floats(array) noexcept:
    return <float *>cnp.PyArray_DATA(<cnp.ndarray>array)


cdef inline bint fits(array, int ndim) noexcept:
    """Whether it is a float32 array of that many dimensions, as a kernel wants it."""
    return (cnp.PyArray_Check(array) and cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT32
            and cnp.PyArray_NDIM(array) == ndim and cnp.PyArray_IS_C_CONTIGUOUS(array)
            and cnp.PyArray_ISALIGNED(array) and cnp.PyArray_ISNOTSWAPPED(array))


cdef inline int64_t length(array, int axis) noexcept:
    return cnp.PyArray_DIM(<cnp.ndarray>array, axis)


cdef object buffer(object out, int ndim, cnp.npy_intp *shape):
    """Return ``out`` where it is such an array and may be written, a new one where it is None, else None."""
    cdef int axis
    if out is None:
        return cnp.PyArray_EMPTY(ndim, shape, cnp.NPY_FLOAT32, 0)
    if not fits(out, ndim) or not cnp.PyArray_ISWRITEABLE(out):
        return None
    for axis in range(ndim):
        if length(out, axis) != shape[axis]:
            return None
    return out


cdef int run(attention_t *a, int64_t threads) except -1:
    cdef bint bad, long_work = a.heads * a.n_queries * a.n_keys * (a.dim + a.value_dim) > LONG_WORK
    cdef float *scratch
    if attention_one_fits(a):
        if not long_work:
            return attention_one(a, NULL)
        with nogil:
            bad = attention_one(a, NULL)
        return bad
    a.block = min(attention_tile_block(a), max(a.n_keys, 1))
    if attention_tiles_fit(a):
        with nogil:
            bad = attention_tiles(a, threads)
        if bad < 0:
            raise MemoryError("scratch of the attention tiles")
        return bad
    scratch = <float *>malloc(attention_scratch(a) * sizeof(float))
    if scratch == NULL:
        raise MemoryError("scratch of the attention kernel")
    with nogil:
        bad = attention_run(a, scratch)
    free(scratch)
    return bad


cdef object lay_out(attention_t *a, query, keys, values, int64_t heads, scale, bint causal, out):
    """Fill in the call and return the output; None where an array is not what it must be."""
    cdef int ndim, split
    cdef cnp.npy_intp shape[3]
    cdef int64_t width, value_width, merged
    if not cnp.PyArray_Check(query):
        return None
    ndim = cnp.PyArray_NDIM(<cnp.ndarray>query)
    split = ndim == 3
    if not (1 <= ndim <= 3 and fits(query, ndim) and fits(keys, 2 + split) and fits(values, 2 + split)):
        return None
    if split:
        heads = length(query, 0)
    memset(a, 0, sizeof(a[0]))
    width, value_width, merged = length(query, ndim - 1), length(values, 1 + split), 1 if split else heads
    a.heads, a.n_queries, a.n_keys = heads, 1 if ndim == 1 else length(query, split), length(keys, split)
    if (heads < 1 or width == 0 or value_width == 0 or width % merged or value_width % merged
            or length(keys, 1 + split) != width or length(values, split) != a.n_keys
            or (split and (length(keys, 0) != heads or length(values, 0) != heads))):
        return None
    a.dim, a.value_dim = width // merged, value_width // merged
    shape[0], shape[1], shape[2] = heads, a.n_queries, value_width
    out = buffer(out, ndim, shape + (3 - ndim))
    if out is None:
        return None
    a.query, a.key, a.value, a.out = floats(query), floats(keys), floats(values), floats(out)
    a.query_row, a.key_row, a.value_row, a.out_row = width, width, value_width, value_width
    a.query_head = a.n_queries * a.dim if split else a.dim
    a.key_head = a.n_keys * a.dim if split else a.dim
    a.value_head = a.n_keys * a.value_dim if split else a.value_dim
    a.out_head = a.n_queries * a.value_dim if split else a.value_dim
    a.scale = <float>(1 / sqrt(<double>a.dim)) if scale is None else <float>scale
    a.causal = causal
    return out


def attention(query, keys, values, int64_t heads, scale, bint causal, out, int64_t threads):
    """Softmax attention: query (heads * dim,), (n_queries, heads * dim) or (heads, n_queries, dim), the others to match.

    Returns the output; None where an array is not what it must be, or something is not finite.
    """
    cdef attention_t a
    out = lay_out(&a, query, keys, keys if values is None else values, heads, scale, causal, out)
    return None if out is None or run(&a, threads) else out


def scratch_bytes(int64_t heads, int64_t n_queries, int64_t n_keys, int64_t dim, int64_t value_dim, int64_t threads):
    """Return the bytes that such an attention takes besides its arrays: per head, dim and value_dim."""
    cdef attention_t a
    memset(&a, 0, sizeof(a))
    a.heads, a.n_queries, a.n_keys, a.dim, a.value_dim = heads, n_queries, n_keys, dim, value_dim
    if attention_one_fits(&a):
        return attention_one_scratch(&a)
    a.block = min(attention_tile_block(&a), max(n_keys, 1))
    return attention_tile_scratch(&a, threads) if attention_tiles_fit(&a) else attention_scratch(&a) * sizeof(float)


def decode(query, keys, values, int64_t heads, double scale, bint causal, int64_t parts, out, int64_t threads):
    """Flash-decoding over ``parts`` of the keys; returns (output, whether something was NaN or infinite).

    The output is ``out`` where that has its shape.
    """
    cdef attention_t a
    cdef decode_t d
    cdef bint bad
    came = lay_out(&a, query, keys, values, heads, scale, causal, out)
    out = lay_out(&a, query, keys, values, heads, scale, causal, None) if came is None else came
    d.a, d.parts = &a, parts
    d.outs = <float *>malloc(a.n_queries * parts * a.heads * (a.value_dim + 1) * sizeof(float) + 1)
    if d.outs == NULL:
        raise MemoryError("scratch of the parts")
    d.logsums = d.outs + a.n_queries * parts * a.heads * a.value_dim
    with nogil:
        bad = attention_decode(&d, threads)
    free(d.outs)
    return out, bad


def poincare(query, keys, double curvature, double beta, double clip, double epsilon, bint tangent, out):
    """Return -beta * distance in the Poincaré ball: query (dim,), keys (n, dim).

    None where an array is not what it must be, or something is not finite.
    """
    cdef hyperbolic_t h
    cdef cnp.npy_intp n
    cdef bint bad
    if not (fits(query, 1) and fits(keys, 2) and length(query, 0) == length(keys, 1) and length(query, 0)):
        return None
    n = length(keys, 0)
    out = buffer(out, 1, &n)
    if out is None:
        return None
    memset(&h, 0, sizeof(h))
    h.space = space_t(curvature, beta, clip, epsilon, False, tangent)
    h.n_queries, h.n_keys, h.dim = 1, n, length(keys, 1)
    h.query, h.key, h.weights = floats(query), floats(keys), floats(out)
    h.query_points = <point_t *>malloc((n + 1) * sizeof(point_t))
    h.centre = <float *>malloc((h.dim + n + 8) * sizeof(float))
    if h.query_points == NULL or h.centre == NULL:
        free(h.query_points)
        free(h.centre)
        raise MemoryError("scratch of the hyperbolic kernel")
    h.key_points, h.scores = h.query_points + 1, h.centre + h.dim
    if n * h.dim > LONG_WORK:
        with nogil:
            bad = hyperbolic_run(&h)
    else:
        bad = hyperbolic_run(&h)
    free(h.query_points)
    free(h.centre)
    return None if bad else out
